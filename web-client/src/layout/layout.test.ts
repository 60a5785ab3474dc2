import { describe, expect, it } from 'vitest';
import {
  type Counts,
  type Layout,
  type LayoutKind,
  layOut,
  pageStep,
  type Rect,
  scrollMax,
  tileAt,
  visibleTiles,
} from './layout';

const STAGES = [
  { name: 'desktop', width: 1264, height: 640 },
  { name: 'large screen', width: 2544, height: 1300 },
  { name: 'phone', width: 344, height: 590 },
  { name: 'small phone', width: 304, height: 420 },
  { name: 'phone on its side', width: 724, height: 250 },
];

const KINDS: readonly LayoutKind[] = ['grid', 'speaker', 'sidebar', 'presentation'];

/** Of a pixel, which floating point may add. */
const THIN = 0.01;

function overlap(a: Rect, b: Rect): boolean {
  return (
    a.x + THIN < b.x + b.width &&
    b.x + THIN < a.x + a.width &&
    a.y + THIN < b.y + b.height &&
    b.y + THIN < a.y + a.height
  );
}

/** A tile of a column may be higher than a very low stage; it is scrolled to then. */
function isInside({ x, y, ...rect }: Rect, width: number, height: number, axis: string): boolean {
  const across = x >= -THIN && x + rect.width <= width + THIN;
  return across && y >= -THIN && (axis === 'y' || y + rect.height <= height + THIN);
}

/** The tiles that are seen whole before anything was scrolled. */
function seenAtFirst({ front, track }: Layout): Rect[] {
  const places = Array.from({ length: track.places }, (_, index) => tileAt(track, index));
  return [...front, ...places].filter((rect) => rect !== undefined);
}

describe.each(STAGES)('on a $name', ({ width, height }) => {
  it.each(KINDS)('a %s stays on the stage and nothing covers anything', (kind) => {
    for (let others = 0; others <= 60; others += 1) {
      for (const front of [0, 1, 2, 5]) {
        const layout = layOut(kind, { front, others }, width, height);
        const rects = seenAtFirst(layout);
        const outside = rects.filter((rect) => !isInside(rect, width, height, layout.track.axis));
        expect(outside, `${front} in front of ${others}`).toEqual([]);
        const covered = rects.filter((rect, index) =>
          rects.slice(index + 1).some((other) => overlap(rect, other)),
        );
        expect(covered, `${front} in front of ${others}`).toEqual([]);
        expect(layout.front.length + layout.track.count, 'everybody has a place').toBe(
          front + others,
        );
      }
    }
  });

  it.each(KINDS)('scrolling a %s to its end shows the last tile whole', (kind) => {
    const { track } = layOut(kind, { front: 1, others: 199 }, width, height);
    const end = scrollMax(track);
    const last = tileAt(track, track.count - 1);
    const [start, length] =
      track.axis === 'x' ? (['x', 'width'] as const) : (['y', 'height'] as const);
    expect(visibleTiles(track, end, 0)[1]).toBe(track.count);
    expect(last && last[start] - end).toBeGreaterThanOrEqual(track.area[start] - 0.01);
    expect(last && last[start] + last[length] - end).toBeLessThanOrEqual(
      track.area[start] + track.area[length] + 0.01,
    );
    // Turning pages from the first one gets there, and no tile is left out on the way.
    let known = 0;
    for (let offset = 0; ; offset = Math.min(end, offset + pageStep(track))) {
      const [from, to] = visibleTiles(track, offset, 0);
      expect(from).toBeLessThanOrEqual(known);
      known = to;
      if (offset >= end) break;
    }
    expect(known).toBe(track.count);
  });
});

describe('a grid', () => {
  it.each([
    [1264, 655, 1, 1],
    [1264, 655, 2, 2],
    [1264, 655, 9, 9],
    [1264, 655, 25, 25],
    [344, 610, 2, 2],
    [344, 610, 8, 8],
  ])('on a stage of %i × %i shows %i people on one page', (width, height, count, shown) => {
    const layout = layOut('grid', { front: 0, others: count }, width, height);
    expect(layout.track.places).toBe(shown);
    expect(layout.pager).toBeUndefined();
    expect(scrollMax(layout.track)).toBe(0);
  });

  it('has pages when not everybody fits, and buttons below them', () => {
    const { track, pager } = layOut('grid', { front: 0, others: 60 }, 1264, 655);
    expect(track).toMatchObject({ size: 25, groups: 3, places: 25 });
    expect(pager?.y).toBeGreaterThanOrEqual(track.area.y + track.area.height);
    expect(pageStep(track)).toBe(track.pitch);
    expect(visibleTiles(track, 0, 0)).toEqual([0, 25]);
    expect(visibleTiles(track, track.pitch, 0)).toEqual([25, 50]);
    expect(visibleTiles(track, 2 * track.pitch, 0)).toEqual([50, 60]);
    expect(visibleTiles(track, 1.5 * track.pitch, 0)).toEqual([25, 60]);
  });

  it('keeps those in front on every page', () => {
    const layout = layOut('grid', { front: 2, others: 58 }, 1264, 655);
    expect(layout.front).toHaveLength(2);
    expect(layout.track).toMatchObject({ size: 23, groups: 3 });
  });

  it('leaves one place to turn pages in, however many are in front', () => {
    const layout = layOut('grid', { front: 40, others: 20 }, 1264, 655);
    expect(layout.front).toHaveLength(24);
    expect(layout.track).toMatchObject({ size: 1, count: 36 });
  });

  it('puts two people side by side on a desktop and one above the other on a phone', () => {
    const two: Counts = { front: 0, others: 2 };
    const [left, right] = layOut('grid', two, 1264, 655).track.cells;
    expect(left?.y).toBe(right?.y);
    const [upper, lower] = layOut('grid', two, 344, 610).track.cells;
    expect(upper?.x).toBe(lower?.x);
  });
});

describe('a large picture', () => {
  const five: Counts = { front: 1, others: 4 };

  it.each([
    ['speaker', 1264, 640, 'below'],
    ['speaker', 344, 590, 'below'],
    ['speaker', 724, 250, 'beside'],
    ['sidebar', 1264, 640, 'beside'],
    ['sidebar', 344, 590, 'below'],
    ['presentation', 1264, 640, 'beside'],
    ['presentation', 344, 590, 'below'],
  ] as const)('of a %s on %i × %i has the others %s it', (kind, width, height, where) => {
    const { front, track } = layOut(kind, five, width, height);
    const [large] = front;
    const other = tileAt(track, 0);
    if (!large || !other) throw new Error('both are there');
    if (where === 'beside') expect(other.x).toBeGreaterThan(large.width);
    else expect(other.y).toBeGreaterThan(large.height);
    expect(large.width * large.height).toBeGreaterThan(2 * other.width * other.height);
  });

  it('has the whole stage when nobody else is there', () => {
    const { front } = layOut('speaker', { front: 1, others: 0 }, 1264, 640);
    expect(front).toEqual([{ x: 0, y: 0, width: 1264, height: 640 }]);
  });

  it('is shared by up to four', () => {
    expect(layOut('speaker', { front: 3, others: 9 }, 1264, 640).front).toHaveLength(3);
    const many = layOut('speaker', { front: 6, others: 9 }, 1264, 640);
    expect(many.front).toHaveLength(4);
    expect(many.track.count).toBe(11);
  });
});

it.each(STAGES)('one’s own picture is small and inside that of the other on a $name', (stage) => {
  const [other, own] = layOut('duo', { front: 2, others: 0 }, stage.width, stage.height).front;
  if (!other || !own) throw new Error('both are there');
  expect(other).toMatchObject({ x: 0, y: 0, width: stage.width, height: stage.height });
  expect(own.x + own.width).toBeLessThan(stage.width);
  expect(own.y + own.height).toBeLessThan(stage.height);
  expect(own.width * own.height).toBeLessThan((stage.width * stage.height) / 5);
});

it('has nothing to lay out before the stage has a size', () => {
  for (const kind of [...KINDS, 'duo'] as const) {
    const { front, track } = layOut(kind, { front: 1, others: 3 }, 0, 0);
    expect(front).toEqual([]);
    expect(visibleTiles(track, 0, 100)).toEqual([0, 0]);
    expect([scrollMax(track), pageStep(track)]).toEqual([0, 0]);
    expect(tileAt(track, 0)).toBeUndefined();
  }
});
