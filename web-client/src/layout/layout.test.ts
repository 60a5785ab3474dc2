import { describe, expect, it } from 'vitest';
import { layOut, type Rect } from './layout';

const STAGES = [
  { name: 'desktop', width: 1264, height: 655 },
  { name: 'phone', width: 344, height: 610 },
  { name: 'small phone', width: 304, height: 440 },
  { name: 'phone on its side', width: 724, height: 270 },
];

function overlap(a: Rect, b: Rect): boolean {
  return a.x < b.x + b.width && b.x < a.x + a.width && a.y < b.y + b.height && b.y < a.y + a.height;
}

describe.each(STAGES)('on a $name', ({ width, height }) => {
  it.each([
    ['a grid', false],
    ['a shared screen', true],
  ])('%s stays on the stage and nothing covers anything', (_, focus) => {
    for (let count = 0; count <= 60; count += 1) {
      const layout = layOut(count, width, height, focus);
      const rects = [...layout.tiles, ...(layout.focus ? [layout.focus] : [])];
      for (const [index, rect] of rects.entries()) {
        expect(rect.x).toBeGreaterThanOrEqual(-0.01);
        expect(rect.y).toBeGreaterThanOrEqual(-0.01);
        expect(rect.x + rect.width).toBeLessThanOrEqual(width + 0.01);
        expect(rect.y + rect.height).toBeLessThanOrEqual(height + 0.01);
        for (const other of rects.slice(index + 1)) expect(overlap(rect, other)).toBe(false);
      }
      expect(layout.tiles.length).toBeLessThanOrEqual(count);
      if (count > 0) expect(layout.tiles.length).toBeGreaterThan(0);
    }
  });
});

describe('layOut', () => {
  it.each([
    [1264, 655, 1, 1],
    [1264, 655, 2, 2],
    [1264, 655, 9, 9],
    [1264, 655, 25, 25],
    [1264, 655, 26, 25],
    [344, 610, 2, 2],
    [344, 610, 8, 8],
    [344, 610, 30, 8],
  ])('a stage of %i × %i shows of %i people %i', (width, height, count, shown) => {
    expect(layOut(count, width, height, false).tiles).toHaveLength(shown);
  });

  it('puts two people side by side on a desktop and one above the other on a phone', () => {
    const [left, right] = layOut(2, 1264, 655, false).tiles;
    expect(left?.y).toBe(right?.y);
    const [upper, lower] = layOut(2, 344, 610, false).tiles;
    expect(upper?.x).toBe(lower?.x);
  });

  it('puts the tiles of a shared screen beside it where the stage is wide, and below it else', () => {
    const wide = layOut(3, 1264, 655, true);
    expect(wide.tiles[0]?.x).toBeGreaterThan(wide.focus?.width ?? Number.NaN);
    const tall = layOut(3, 344, 610, true);
    expect(tall.tiles[0]?.y).toBeGreaterThan(tall.focus?.height ?? Number.NaN);
  });

  it('has nothing to lay out before the stage has a size', () => {
    expect(layOut(3, 0, 0, false)).toEqual({ focus: undefined, tiles: [] });
  });
});
