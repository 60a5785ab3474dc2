import { describe, expect, it } from 'vitest';
import { cardAt, stopsOn, TOUR } from './tour';

describe('the stops of the tour', () => {
  it('are all there when every anchor is', () => {
    expect(stopsOn(() => true).map(({ step }) => step)).toEqual(TOUR.map(({ step }) => step));
  });

  it('leave out what the page does not have', () => {
    const viewer = new Set(['toggle-people', 'more', 'leave']);
    const stops = stopsOn((anchor) => viewer.has(anchor));
    expect(stops.map(({ step }) => step)).toEqual(['people', 'more', 'leave']);
  });

  it('are none on an empty page', () => {
    expect(stopsOn(() => false)).toEqual([]);
  });
});

describe('the card', () => {
  const phone = { width: 360, height: 740 };
  const card = { width: 320, height: 200 };

  it.each([
    ['above a button of the toolbar', { x: 150, y: 680, width: 48, height: 48 }, { x: 14, y: 466 }],
    ['below a button at the top', { x: 310, y: 4, width: 44, height: 36 }, { x: 32, y: 54 }],
    ['inside at the left edge', { x: 0, y: 680, width: 48, height: 48 }, { x: 8, y: 466 }],
  ])('stands %s', (_, anchor, place) => {
    expect(cardAt(anchor, card, phone)).toEqual(place);
  });

  it('stays inside where neither above nor below has room', () => {
    const { y } = cardAt({ x: 0, y: 100, width: 40, height: 40 }, card, {
      width: 360,
      height: 240,
    });
    expect(y).toBe(32);
  });
});
