// The page's language and its texts. `t` re-renders what uses it when the language changes.

import i18next from 'i18next';
import { remember, remembered } from '../storage';
import { en } from './en';
import { it } from './it';
import type { TextKey } from './texts';

export const LANGUAGES = { it: 'Italiano', en: 'English' } as const;
export type Language = keyof typeof LANGUAGES;

/** Keys with a plural are asked for without their ending. */
type PluralKey = 'meeting.more_people';

let current = $state<Language>('it');

export function startLanguage(): void {
  void i18next.init({
    resources: { it: { translation: it }, en: { translation: en } },
    fallbackLng: 'en',
    // Svelte escapes what it shows.
    interpolation: { escapeValue: false },
  });
  apply(initialLanguage());
}

export function language(): Language {
  return current;
}

export function setLanguage(chosen: Language): void {
  remember('language', chosen);
  apply(chosen);
}

export function t(key: TextKey | PluralKey, values: Record<string, string | number> = {}): string {
  const { name } = values;
  // A name may be written in the other direction than the sentence around it.
  const isolated = name === undefined ? values : { ...values, name: `\u2068${name}\u2069` };
  return i18next.getFixedT(current)(key, isolated);
}

function apply(chosen: Language): void {
  current = chosen;
  void i18next.changeLanguage(chosen);
  document.documentElement.lang = chosen;
}

function initialLanguage(): Language {
  const wanted = [remembered('language') ?? '', ...navigator.languages];
  for (const tag of wanted) {
    const found = (Object.keys(LANGUAGES) as Language[]).find(
      (known) => tag.toLowerCase().split('-')[0] === known,
    );
    if (found) return found;
  }
  return 'en';
}
