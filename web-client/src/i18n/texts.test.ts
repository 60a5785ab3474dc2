import { readdirSync, readFileSync } from 'node:fs';
import { parse } from 'svelte/compiler';
import { describe, expect, it } from 'vitest';
import { partsOf, type Section } from '../pages/help/help';
import { SECTIONS_EN } from '../pages/help/text.en';
import { SECTIONS_IT } from '../pages/help/text.it';
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

interface Source {
  name: string;
  text: string;
}

function sources(folder: URL): Source[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = new URL(entry.name + (entry.isDirectory() ? '/' : ''), folder);
    // The texts themselves ask for none.
    if (entry.isDirectory()) return entry.name === 'i18n' ? [] : sources(path);
    return /\.(svelte|ts)$/.test(entry.name) && !entry.name.endsWith('.test.ts')
      ? [{ name: entry.name, text: readFileSync(path, 'utf8') }]
      : [];
  });
}

const SOURCES = sources(new URL('../', import.meta.url));

/** With the ending of a plural, as i18next has them. */
const PLURAL = /_(zero|one|two|few|many|other)$/;

/** The same in both languages, and rightly so: names, and words that Italian took over. */
const SAME = new Set([
  'app.name',
  'controls.camera',
  'controls.chat',
  'quality.figure_browser',
  'settings.audio',
  'settings.video',
  'shortcuts.chat',
]);

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

  it('are translated', () => {
    // What is left of a sentence without its values: `{{title}} · Broletto` has nothing to translate.
    const words = (text: string) => text.replace(/\{\{\w+\}\}|Broletto/g, '').match(/\p{L}/u);
    const same = [...LANGUAGES.it].filter(
      ([key, text]) => LANGUAGES.en.get(key) === text && words(text) && !SAME.has(key),
    );
    expect(same).toEqual([]);
  });

  it('exist wherever a page asks for one', () => {
    const known = new Set(
      [...LANGUAGES.it.keys()].flatMap((key) => [key, key.replace(PLURAL, '')]),
    );
    const asked = SOURCES.flatMap(({ text }) =>
      [...text.matchAll(/\bt\(\s*'([a-z_]+\.\w+)'/g)].map(([, key]) => key ?? ''),
    );
    expect(asked.length).toBeGreaterThan(50);
    expect(asked.filter((key) => !known.has(key))).toEqual([]);
  });

  it('are all used by a page', () => {
    const asked = new Set<string>();
    const patterns: RegExp[] = [];
    for (const { text } of SOURCES) {
      for (const [, key] of text.matchAll(/['"`[]([a-z_]+\.\w+)['"`\]]/g)) asked.add(key ?? '');
      // `quality.${cause}`: any word in the place of the value.
      for (const [, key] of text.matchAll(/`([a-z_]+\.(?:\w|\$\{[^}]*\})+)`/g)) {
        if (key?.includes('$')) {
          patterns.push(
            new RegExp(`^${key.replaceAll('.', '\\.').replace(/\$\{[^}]*\}/g, '\\w+')}$`),
          );
        }
      }
    }
    const used = (key: string) =>
      asked.has(key) ||
      asked.has(key.replace(PLURAL, '')) ||
      patterns.some((pattern) => pattern.test(key));
    expect([...LANGUAGES.it.keys()].filter((key) => !used(key))).toEqual([]);
  });
});

describe('the pages', () => {
  /** What is read aloud or shown although it stands in an attribute. */
  const SPOKEN = new Set([
    'aria-label',
    'aria-description',
    'title',
    'placeholder',
    'alt',
    'label',
  ]);
  /** Neither words nor translated: names of units, keys and languages. */
  const UNTRANSLATED = /^[\s\d\p{P}\p{S}]*$/u;

  interface Node {
    type: string;
    name?: string;
    data?: string;
    value?: unknown;
    [field: string]: unknown;
  }

  function* nodes(value: unknown): Generator<Node> {
    if (Array.isArray(value)) for (const one of value) yield* nodes(one);
    else if (value !== null && typeof value === 'object') {
      const node = value as Node;
      if (typeof node.type === 'string') yield node;
      // Scripts and styles hang elsewhere: this walks the markup alone.
      for (const one of Object.values(node)) yield* nodes(one);
    }
  }

  const written = (name: string, text: string) => {
    const found: string[] = [];
    for (const node of nodes(parse(text, { modern: true, filename: name }).fragment)) {
      const attribute = node.type === 'Attribute' || node.type.endsWith('Directive');
      if (attribute && !SPOKEN.has(node.name ?? '')) {
        // Its value is no text on the page.
        for (const inner of nodes(node.value)) if (inner.type === 'Text') inner.data = '';
      }
      if (node.type === 'Text' && !UNTRANSLATED.test(node.data ?? '')) found.push(node.data ?? '');
    }
    return found;
  };

  it('find what is written in the markup, and only that', () => {
    const markup = '<p class="a" title="Seen">Read {t("x")} <b aria-label="Heard">{1} × 2</b></p>';
    expect(written('x.svelte', markup)).toEqual(['Seen', 'Read ', 'Heard']);
  });

  it('have no words of their own', () => {
    const components = SOURCES.filter(({ name }) => name.endsWith('.svelte'));
    expect(components.length).toBeGreaterThan(20);
    for (const { name, text } of components) expect(written(name, text), name).toEqual([]);
  });
});

describe('the help', () => {
  const shape = (sections: readonly Section[]) =>
    sections.map(({ id, blocks }) => [
      id,
      ...blocks.map((block) => ('items' in block ? [block.kind, block.items.length] : block.kind)),
    ]);
  const named = (sections: readonly Section[]) =>
    [...JSON.stringify(sections).matchAll(/\[\[([^\]]*)\]\]/g)].map(([, key]) => key ?? '');

  it('says the same in both languages', () => {
    expect(shape(SECTIONS_EN)).toEqual(shape(SECTIONS_IT));
    expect(named(SECTIONS_EN)).toEqual(named(SECTIONS_IT));
  });

  it('names buttons that there are', () => {
    expect(named(SECTIONS_IT).length).toBeGreaterThan(10);
    for (const key of named(SECTIONS_IT)) expect(LANGUAGES.it.has(key), key).toBe(true);
  });

  it('has an anchor of its own for each section', () => {
    const ids = SECTIONS_IT.map(({ id }) => id);
    expect(new Set(ids).size).toBe(ids.length);
  });

  it('tells words from names of buttons', () => {
    expect(partsOf('Press [[join.enter]] now')).toEqual([
      { words: 'Press ' },
      { key: 'join.enter' },
      { words: ' now' },
    ]);
    expect(partsOf('[[join.enter]]')).toEqual([{ key: 'join.enter' }]);
  });
});
