import { afterEach, expect, it, vi } from 'vitest';
import { forgetToken, rememberedToken, rememberToken } from './storage';

afterEach(() => vi.unstubAllGlobals());

it('forgets the token of one room only', () => {
  const kept = new Map<string, string>();
  vi.stubGlobal('sessionStorage', {
    getItem: (key: string) => kept.get(key) ?? null,
    setItem: (key: string, value: string) => kept.set(key, value),
    removeItem: (key: string) => kept.delete(key),
  });
  rememberToken('1', 'first');
  rememberToken('2', 'second');
  forgetToken('1');
  expect(rememberedToken('1')).toBeUndefined();
  expect(rememberedToken('2')).toBe('second');
});

it('forgets nothing, and does not fail, where storage is switched off', () => {
  const removeItem = vi.fn(() => {
    throw new DOMException('storage is switched off', 'SecurityError');
  });
  vi.stubGlobal('sessionStorage', { removeItem });
  expect(() => forgetToken('1')).not.toThrow();
  expect(removeItem).toHaveBeenCalledOnce();
});
