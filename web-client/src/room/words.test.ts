import { describe, expect, it } from 'vitest';
import { codeIn, readableCode } from './code';
import { initials } from './initials';
import { type KeyPress, keyOf, printed, SHORTCUTS, shortcutFor } from './shortcuts';

describe('codes', () => {
  it.each([
    ['204 117 935', '204117935'],
    ['204-117-935', '204117935'],
    ['https://meet.example.org/r/mfrggzdf?codec=vp8', 'mfrggzdf'],
    ['http://localhost:8080/r/204117935/', '204117935'],
    ['   ', ''],
  ])('finds the code in %j', (text, code) => {
    expect(codeIn(text)).toBe(code);
  });

  it('groups digits by three and leaves ids alone', () => {
    expect(readableCode('204117935')).toBe('204 117 935');
    expect(readableCode('mfrggzdf')).toBe('mfrggzdf');
  });
});

describe('initials', () => {
  it.each([
    ['Maria Lombardi', 'ML'],
    ['ahmed', 'A'],
    ['Łukasz Z. Żółć', 'ŁŻ'],
    ['😀 Bo', 'B'],
    ['', ''],
  ])('of %j are %j', (name, letters) => {
    expect(initials(name)).toBe(letters);
  });
});

describe('shortcuts', () => {
  const press = (more: Partial<KeyPress>): KeyPress => ({
    key: 'm',
    ctrlKey: false,
    metaKey: false,
    altKey: false,
    repeat: false,
    typing: false,
    ...more,
  });

  it('act on their key, capital or not', () => {
    expect(shortcutFor(press({ key: 'm' }))).toBe('microphone');
    expect(shortcutFor(press({ key: 'C' }))).toBe('camera');
    expect(shortcutFor(press({ key: 'x' }))).toBeUndefined();
  });

  it.each(['ctrlKey', 'metaKey', 'altKey', 'repeat', 'typing'] as const)(
    'do nothing with %s',
    (field) => {
      expect(shortcutFor(press({ [field]: true }))).toBeUndefined();
    },
  );

  it.each(['key', 'action', 'text'] as const)('use each %s once', (field) => {
    expect(new Set(SHORTCUTS.map((shortcut) => shortcut[field])).size).toBe(SHORTCUTS.length);
  });

  it('use single characters as the browser says them, and none that pages need', () => {
    for (const { key } of SHORTCUTS) {
      expect([...key], key).toHaveLength(1);
      expect(key).toBe(key.toLowerCase());
      // Firefox searches in the page with these two.
      expect(["'", '/'], key).not.toContain(key);
    }
  });

  it('say their keys as the keyboard does', () => {
    expect(keyOf('microphone')).toBe('M');
    expect(printed(' ')).toBe('␣');
  });
});
