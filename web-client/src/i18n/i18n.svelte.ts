// The page's language and its texts. `t` re-renders what uses it when the language changes.

import i18next from 'i18next';
import { remember, remembered } from '../storage';
import { en } from './en';
import { it } from './it';
import type { TextKey } from './texts';

export const LANGUAGES = { it: 'Italiano', en: 'English' } as const;
export type Language = keyof typeof LANGUAGES;

/** Keys with a plural are asked for without their ending. */
type PluralKey = Stem<TextKey>;
type Stem<Key> = Key extends `${infer Stem}_other` ? Stem : never;

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
  const isolated = { ...values };
  for (const key of ['name', 'text']) {
    if (key in values) isolated[key] = isolate(String(values[key]));
  }
  return i18next.getFixedT(current)(key, isolated);
}

/**
 * What people wrote may run in the other direction than the sentence around it. Controls of their
 * own could end the isolate, and turn the sentence around.
 */
function isolate(text: string): string {
  return `\u2068${text.replace(/[\u202a-\u202e\u2066-\u2069]/g, '')}\u2069`;
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
