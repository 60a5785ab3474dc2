import type { it } from './it';

/** The shape that every language fills. */
export type Texts = { [Area in keyof typeof it]: Record<keyof (typeof it)[Area], string> };

/** Such as `home.create`. */
export type TextKey = {
  [Area in keyof Texts]: `${Area}.${keyof Texts[Area] & string}`;
}[keyof Texts];
