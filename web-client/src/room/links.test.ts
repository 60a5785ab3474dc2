import { describe, expect, it } from 'vitest';
import { type Part, partsOf } from './links';

/** Links in square brackets, with where they lead unless they say so themselves. */
function shown(parts: Part[]): string {
  return parts
    .map((part) => {
      if (part.type === 'text') return part.text;
      return part.plain ? `[${part.text}]` : `[${part.text} -> ${part.host}]`;
    })
    .join('');
}

describe('w6_links', () => {
  it.each([
    ['no address here', 'no address here'],
    ['https://example.org', '[https://example.org]'],
    ['see https://example.org/a?b=1#c, please', 'see [https://example.org/a?b=1#c], please'],
    ['(https://example.org/a)', '([https://example.org/a])'],
    ['https://example.org/a_(b).', '[https://example.org/a_(b)].'],
    ['http://[::1]:8080/x', '[http://[::1]:8080/x]'],
    ['HTTPS://Example.ORG/Path', '[HTTPS://Example.ORG/Path]'],
    ['https://a.example https://b.example', '[https://a.example] [https://b.example]'],
    ['https://example.org…', '[https://example.org]…'],
  ])('are found in %j', (text, expected) => {
    expect(shown(partsOf(text))).toBe(expected);
  });

  it.each([
    'javascript:alert(1)',
    'JaVaScRiPt://example.org/%0aalert(1)',
    'data:text/html,<script>alert(1)</script>',
    'vbscript:msgbox(1)',
    'file:///etc/passwd',
    'ftp://example.org/',
    '//example.org/',
    'www.example.org',
    'mailto:ada@example.org',
    'https://bank.example@evil.example/',
    'https://user:secret@evil.example/',
    'https://',
    'https://%',
    'xhttps://example.org',
    '<a href="x" onclick="alert(1)">x</a>',
    '<img src=x onerror=alert(1)>',
    'java\u0000script:alert(1)',
    'java\u200bscript:alert(1)',
  ])('are not made of %j', (text) => {
    expect(partsOf(text)).toEqual([{ type: 'text', text }]);
  });

  it.each([
    // Letters that look Latin.
    ['https://\u0430pple.com/', 'xn--pple-43d.com'],
    ['https://bücher.example/', 'xn--bcher-kva.example'],
    // Full-width dots and letters are read as plain ones.
    ['https://evil\uff0eexample/', 'evil.example'],
    ['https://ⓔvil.example/', 'evil.example'],
    // A path may have other letters too, and the host is told.
    ['https://evil.example/\u0430pple.com', 'evil.example'],
    ['http://0x7f.1/', '127.0.0.1'],
  ])('say where %j really leads', (text, host) => {
    expect(partsOf(text)).toMatchObject([{ type: 'link', host, plain: false }]);
  });

  it.each([
    // Right-to-left override, isolates, zero-width characters, soft hyphen, line separator.
    ['\u202e', '\u2066', '\u2069', '\u200b', '\u200d', '\u2060', '\ufeff', '\u00ad', '\u2028'],
  ])('end at invisible characters', (...invisible) => {
    for (const char of invisible) {
      const text = `https://example.org/${char}moc.live//:sptth`;
      const [link, rest] = partsOf(text);
      expect(link).toMatchObject({ type: 'link', href: 'https://example.org/' });
      expect(rest).toEqual({ type: 'text', text: `${char}moc.live//:sptth` });
    }
  });

  it('end before markup', () => {
    expect(partsOf('https://example.org/"onmouseover="alert(1)')).toMatchObject([
      { type: 'link', href: 'https://example.org/' },
      { type: 'text', text: '"onmouseover="alert(1)' },
    ]);
    expect(shown(partsOf('https://example.org<script>'))).toBe('[https://example.org]<script>');
  });

  it('are so many and no more, and lose no letter', () => {
    const text = 'https://example.org '.repeat(100);
    const parts = partsOf(text);
    expect(parts.filter(({ type }) => type === 'link')).toHaveLength(50);
    expect(parts.map((part) => part.text).join('')).toBe(text);
  });

  it('have only http and https, whatever is written', () => {
    // Pieces that hostile text is made of, in every order of three.
    const pieces = [
      'https://',
      'javascript:',
      'a.example',
      '@',
      '/',
      '\u202e',
      '"',
      ' ',
      '%00',
      ')',
    ];
    for (const a of pieces) {
      for (const b of pieces) {
        for (const c of pieces) {
          const parts = partsOf(a + b + c);
          expect(parts.map((part) => part.text).join('')).toBe(a + b + c);
          for (const part of parts) {
            if (part.type === 'link') expect(part.href).toMatch(/^https?:\/\/[^@/]+\//);
          }
        }
      }
    }
  });

  it('are found in long text at once', () => {
    expect(partsOf('https://'.repeat(250))).toBeDefined();
    expect(partsOf(`https://example.org/${')'.repeat(1_900)}`)).toHaveLength(2);
  });
});
