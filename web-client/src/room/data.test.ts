import { describe, expect, it } from 'vitest';
import { dataModeOf, limited } from './data';
import type { Wanted } from './stage';

const camera = (participant: string): Wanted => ({
  participant,
  source: 'camera',
  width: 1_280,
  height: 720,
});
const screen: Wanted = { participant: 'z', source: 'screen', width: 2_560, height: 1_440 };
const ALL = [camera('a'), camera('b'), camera('c')];

describe('what is asked for', () => {
  it('is everything, or no picture at all', () => {
    expect(limited(ALL, 'all')).toBe(ALL);
    expect(limited([screen, ...ALL], 'audio')).toEqual([]);
    expect(limited([], 'saving')).toEqual([]);
  });

  it('to save data is one small picture: of whoever spoke last', () => {
    expect(limited(ALL, 'saving', ['b', 'a'])).toEqual([
      { participant: 'b', source: 'camera', width: 320, height: 180 },
    ]);
    // Who spoke last has the camera off.
    expect(limited(ALL, 'saving', ['x', 'c'])).toMatchObject([{ participant: 'c' }]);
    expect(limited(ALL, 'saving')).toMatchObject([{ participant: 'a' }]);
  });

  it('or the shared screen, in a size that can be read', () => {
    expect(limited([...ALL, screen], 'saving', ['b'])).toEqual([
      { ...screen, width: 1_280, height: 720 },
    ]);
  });

  it('is never larger than what was wanted', () => {
    const small = { ...camera('a'), width: 160, height: 90 };
    expect(limited([small], 'saving')).toEqual([small]);
  });

  it('stays with somebody who still speaks, and when nobody has spoken', () => {
    const before = [camera('c')];
    expect(limited(ALL, 'saving', ['b', 'c'], before, ['b', 'c'])).toMatchObject([
      { participant: 'c' },
    ]);
    expect(limited(ALL, 'saving', ['b', 'c'], before, ['b'])).toMatchObject([{ participant: 'b' }]);
    expect(limited(ALL, 'saving', [], before)).toMatchObject([{ participant: 'c' }]);
    expect(limited([camera('a')], 'saving', ['c'], before, ['c'])).toMatchObject([
      { participant: 'a' },
    ]);
  });

  it('is remembered by its name', () => {
    expect(dataModeOf('audio')).toBe('audio');
    expect(dataModeOf('everything')).toBe('all');
    expect(dataModeOf(undefined)).toBe('all');
  });
});
