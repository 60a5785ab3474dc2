// The form of what the help page says. `[[controls.screen]]` stands for the words on that button, so
// that the page names it as it is named.

import type { TextKey } from '../../i18n/texts';

export interface Section {
  /** The anchor, the same in every language: links to it may be printed. */
  id: string;
  heading: string;
  blocks: readonly Block[];
}

export type Block =
  | { kind: 'text'; text: string }
  | { kind: 'heading'; text: string }
  | { kind: 'list' | 'steps'; items: readonly string[] }
  | { kind: 'shortcuts' }
  | { kind: 'tour' };

export const text = (words: string): Block => ({ kind: 'text', text: words });
export const heading = (words: string): Block => ({ kind: 'heading', text: words });
export const list = (...items: string[]): Block => ({ kind: 'list', items });
export const steps = (...items: string[]): Block => ({ kind: 'steps', items });

export type Part = { words: string } | { key: TextKey };

/** Takes a sentence apart into words and names of buttons. */
export function partsOf(sentence: string): Part[] {
  return sentence
    .split(/\[\[([a-z]+\.\w+)\]\]/)
    .map((piece, index): Part => (index % 2 === 1 ? { key: piece as TextKey } : { words: piece }))
    .filter((part) => !('words' in part) || part.words !== '');
}
