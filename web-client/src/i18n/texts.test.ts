import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { en } from './en';
import { it as italian } from './it';

type Tree = { [key: string]: string | Tree };

function flat(tree: Tree, prefix = ''): Map<string, string> {
  const entries = Object.entries(tree).flatMap(([key, value]): [string, string][] =>
    typeof value === 'string' ? [[prefix + key, value]] : [...flat(value, `${prefix}${key}.`)],
  );
  return new Map(entries);
}

const LANGUAGES = { it: flat(italian), en: flat(en) };

function sources(folder: URL): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = new URL(entry.name + (entry.isDirectory() ? '/' : ''), folder);
    if (entry.isDirectory()) return sources(path);
    return /\.(svelte|ts)$/.test(entry.name) && !entry.name.endsWith('.test.ts')
      ? [readFileSync(path, 'utf8')]
      : [];
  });
}

describe('the texts', () => {
  it('have the same keys in both languages', () => {
    expect([...LANGUAGES.en.keys()].sort()).toEqual([...LANGUAGES.it.keys()].sort());
  });

  it.each(Object.keys(LANGUAGES) as (keyof typeof LANGUAGES)[])('are all there in %s', (tag) => {
    for (const [key, text] of LANGUAGES[tag]) expect(text.trim(), key).not.toBe('');
  });

  it('put the same values into both languages', () => {
    const values = (text: string) => [...text.matchAll(/\{\{\w+\}\}/g)].map(String).sort();
    for (const [key, text] of LANGUAGES.it) {
      expect(values(LANGUAGES.en.get(key) ?? ''), key).toEqual(values(text));
    }
  });

  it('exist wherever a page asks for one', () => {
    const plurals = [...LANGUAGES.it.keys()].map((key) => key.replace(/_other$/, ''));
    const known = new Set([...LANGUAGES.it.keys(), ...plurals]);
    const asked = sources(new URL('../', import.meta.url)).flatMap((source) =>
      [...source.matchAll(/\bt\(\s*'([a-z]+\.\w+)'/g)].map(([, key]) => key ?? ''),
    );
    expect(asked.length).toBeGreaterThan(50);
    expect(asked.filter((key) => !known.has(key))).toEqual([]);
  });
});
