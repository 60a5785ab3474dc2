import { describe, expect, it } from 'vitest';
import {
  orderAfter,
  type Places,
  type View,
  viewAfter,
  viewChanges,
  type Wanted,
  wantedOnce,
} from './stage';

function places(others: string[], capacity: number, more: Partial<Places> = {}): Places {
  return { others, own: 'me', held: [], spoke: [], capacity, ...more };
}

describe('orderAfter', () => {
  it('shows everybody where there is room, oneself last', () => {
    expect(orderAfter([], places(['a', 'b'], 3))).toEqual(['a', 'b', 'me']);
    expect(orderAfter([], places([], 2))).toEqual(['me']);
    expect(orderAfter([], places(['a'], 1))).toEqual(['a', 'me']);
    expect(orderAfter([], places(['a'], 0))).toEqual(['a', 'me']);
    expect(orderAfter([], places(['a', 'b'], 9, { own: undefined }))).toEqual(['a', 'b']);
  });

  it('is the last of those that are seen oneself', () => {
    expect(orderAfter([], places(['a', 'b', 'c'], 3))).toEqual(['a', 'b', 'me', 'c']);
  });

  it('moves nobody when somebody comes', () => {
    expect(orderAfter(['b', 'a', 'me'], places(['a', 'b', 'c'], 4))).toEqual(['b', 'a', 'c', 'me']);
  });

  it('closes the gap when somebody goes', () => {
    expect(orderAfter(['a', 'b', 'c', 'me'], places(['a', 'c'], 3))).toEqual(['a', 'c', 'me']);
  });

  it('fills the gap of somebody seen from behind, and moves nobody else', () => {
    const before = ['a', 'b', 'c', 'me', 'd', 'e'];
    expect(orderAfter(before, places(['a', 'c', 'd', 'e'], 4))).toEqual(['a', 'd', 'c', 'me', 'e']);
  });

  it('lets a speaker change places with the one who was silent for longest', () => {
    const before = ['a', 'b', 'c', 'me', 'd', 'e'];
    const others = ['a', 'b', 'c', 'd', 'e'];
    const spoken = orderAfter(before, places(others, 4, { spoke: ['e', 'a', 'c'] }));
    expect(spoken).toEqual(['a', 'e', 'c', 'me', 'd', 'b']);
    const all = orderAfter(before, places(others, 4, { spoke: ['d', 'a', 'b', 'c'] }));
    expect(all).toEqual(['a', 'b', 'd', 'me', 'c', 'e']);
  });

  it('does not change while those who are seen speak', () => {
    const before = ['a', 'b', 'c', 'me', 'd'];
    expect(orderAfter(before, places(['a', 'b', 'c', 'd'], 4, { spoke: ['c', 'b'] }))).toEqual(
      before,
    );
  });

  it('holds in front whoever is pinned, whatever others say', () => {
    const before = ['a', 'b', 'c', 'me', 'd', 'e'];
    const others = ['a', 'b', 'c', 'd', 'e'];
    const pinned = orderAfter(before, places(others, 4, { held: ['d'], spoke: [] }));
    expect(pinned).toEqual(['d', 'b', 'c', 'me', 'a', 'e']);
    const talk = places(others, 4, { held: ['d'], spoke: ['e', 'a', 'b', 'c'] });
    expect(orderAfter(pinned, talk)[0]).toBe('d');
    expect(orderAfter(pinned, talk).slice(0, 4).sort()).toEqual(['a', 'd', 'e', 'me']);
  });

  it('swaps two tiles and no others when the large one changes', () => {
    const others = ['a', 'b', 'c', 'd'];
    const before = orderAfter([], places(others, 9, { held: ['a'] }));
    expect(orderAfter(before, places(others, 9, { held: ['c'] }))).toEqual([
      'c',
      'b',
      'a',
      'd',
      'me',
    ]);
  });

  it('can hold oneself', () => {
    expect(orderAfter([], places(['a', 'b'], 3, { held: ['me'] }))).toEqual(['me', 'b', 'a']);
  });

  it('keeps everybody exactly once, with many people who come, go, speak and are pinned', () => {
    let seed = 7;
    const random = (below: number) => {
      seed = (seed * 1_103_515_245 + 12_345) % 2_147_483_648;
      return Math.floor((seed / 2_147_483_648) * below);
    };
    let present = Array.from({ length: 200 }, (_, index) => `p${index}`);
    let order: string[] = [];
    for (let turn = 0; turn < 500; turn += 1) {
      if (random(3) === 0) present = present.filter((_, index) => index !== random(300));
      if (random(3) === 0) present = [...present, `q${turn}`];
      const some = () => present[random(present.length)] as string;
      const spoke = [...new Set([some(), some(), some(), some()])];
      const held = [...new Set(random(2) === 0 ? [some(), some()] : [])];
      const capacity = 1 + random(30);
      order = orderAfter(order, places(present, capacity, { spoke, held }));
      expect([...order].sort()).toEqual([...present, 'me'].sort());
      expect(order.slice(0, held.length)).toEqual(held);
    }
  });
});

const want = (participant: string, width = 320): Wanted => ({
  participant,
  source: 'camera',
  width,
  height: 180,
});

describe('wantedOnce', () => {
  it('keeps the larger of two wishes for one stream, in the place of the first', () => {
    expect(wantedOnce([want('a'), want('b'), want('a', 640)])).toEqual([want('a', 640), want('b')]);
  });
});

describe('viewAfter', () => {
  it('keeps a stream in its slot', () => {
    const before: View = new Map([
      ['5', want('a')],
      ['6', want('b')],
    ]);
    const view = viewAfter(before, ['5', '6', '7'], [want('c'), want('b', 640)]);
    expect([...view]).toEqual([
      ['5', want('c')],
      ['6', want('b', 640)],
      ['7', undefined],
    ]);
  });

  it('leaves out what finds no slot', () => {
    const view = viewAfter(new Map(), ['5'], [want('a'), want('b')]);
    expect([...view]).toEqual([['5', want('a')]]);
  });
});

describe('viewChanges', () => {
  it('names only the slots that change', () => {
    const before: View = new Map([
      ['5', want('a')],
      ['6', want('b')],
      ['7', want('c')],
      ['8', undefined],
    ]);
    const after: View = new Map([
      ['5', want('a')],
      ['6', want('b', 640)],
      ['7', undefined],
      ['8', undefined],
    ]);
    expect(viewChanges(before, after)).toEqual([
      {
        mid: '6',
        show: { type: 'participant', participant: 'b', source: 'camera' },
        width: 640,
        height: 180,
      },
      { mid: '7', show: { type: 'off' } },
    ]);
  });
});
