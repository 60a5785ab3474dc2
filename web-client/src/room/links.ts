// Finds web addresses in what people wrote. Everything else stays text, whatever it looks like.
// Pure; nothing of it is markup.

export type Part =
  | { type: 'text'; text: string }
  /** `text` is as it was written, `host` is where the address really leads, in punycode. */
  | { type: 'link'; text: string; href: string; host: string; plain: boolean };

/** An address ends at a space, at quotes and brackets that enclose it, and at invisible characters. */
const CANDIDATE = /\bhttps?:\/\/[^\s<>"'`{}|\\^\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Co}\p{Cn}]+/giu;
/** A sentence goes on after the address. */
const TRAILING = /[.,;:!?…·*_~]+$/u;
const LINKS_MAX = 50;
const HREF_CHARS_MAX = 2_000;

export function partsOf(text: string): Part[] {
  const parts: Part[] = [];
  let end = 0;
  let links = 0;
  for (const { 0: match, index } of text.matchAll(CANDIDATE)) {
    if (links >= LINKS_MAX) break;
    const written = withoutTrailing(match);
    const link = linkOf(written);
    if (!link) continue;
    if (index > end) parts.push({ type: 'text', text: text.slice(end, index) });
    parts.push(link);
    end = index + written.length;
    links += 1;
  }
  if (end < text.length) parts.push({ type: 'text', text: text.slice(end) });
  return parts;
}

function linkOf(written: string): Part | undefined {
  if (written.length > HREF_CHARS_MAX) return undefined;
  let url: URL;
  try {
    url = new URL(written);
  } catch {
    return undefined;
  }
  if (url.protocol !== 'http:' && url.protocol !== 'https:') return undefined;
  // "https://bank.example@evil.example" leads to evil.example: nobody needs such a link.
  if (url.username !== '' || url.password !== '' || url.hostname === '') return undefined;
  // What is written shows the host as it is, so that it need not be told beside it.
  const after = written.slice(written.indexOf('//') + 2).toLowerCase();
  const plain = after.startsWith(url.host) && /^[\x21-\x7e]+$/.test(written);
  return { type: 'link', text: written, href: url.href, host: url.host, plain };
}

/** A closing bracket belongs to the address only if it was opened in it. */
function withoutTrailing(candidate: string): string {
  let written = candidate;
  for (;;) {
    const shorter = written.replace(TRAILING, '');
    const last = shorter.at(-1);
    const opening = last === ')' ? '(' : last === ']' ? '[' : undefined;
    const unmatched =
      opening !== undefined && count(shorter, opening) < count(shorter, last as string);
    const next = unmatched ? shorter.slice(0, -1) : shorter;
    if (next === written) return written;
    written = next;
  }
}

function count(text: string, char: string): number {
  return text.split(char).length - 1;
}
