// Room codes as people read, type and paste them.

const GROUP = 3;

/** The code (or room id) in what was typed: digits with spaces or dashes, or a whole link. */
export function codeIn(text: string): string {
  const linked = text.match(/\/r\/([^/?#\s]+)/)?.[1];
  return (linked ?? text).replace(/[\s.-]+/g, '');
}

/** A code is for people to read; an id is not. */
export function isCode(text: string): boolean {
  return /^\d+$/.test(text);
}

/** In groups of three, as codes are read aloud. An id stays as it is. */
export function readableCode(code: string): string {
  if (!isCode(code)) return code;
  return code.match(new RegExp(`\\d{1,${GROUP}}`, 'g'))?.join(' ') ?? code;
}
