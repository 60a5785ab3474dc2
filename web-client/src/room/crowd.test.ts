// What a meeting of hundreds costs the page, counted in steps and not in time.

import { expect, it } from 'vitest';
import { layOut, scrollMax, tileAt, visibleTiles } from '../layout/layout';
import { orderAfter } from './stage';

const STAGE = { width: 1264, height: 590 };

/** Ids that count how often anybody looks at the list of them. */
function counted(count: number) {
  let reads = 0;
  const ids = Array.from({ length: count }, (_, index) => `p${index}`);
  const list = new Proxy(ids, {
    get(target, key, receiver) {
      if (typeof key === 'string' && /^\d+$/.test(key)) reads += 1;
      return Reflect.get(target, key, receiver);
    },
  });
  return {
    list: list as readonly string[],
    readsOf<T>(act: () => T): { reads: number; result: T } {
      reads = 0;
      const result = act();
      return { reads, result };
    },
  };
}

it.each([200, 500])('of %i people each is looked at a few times when somebody speaks', (count) => {
  const { list, readsOf } = counted(count);
  const places = { others: list, own: 'me', held: ['p9'], capacity: 25 };
  const before = orderAfter([], { ...places, spoke: [] });
  const { reads, result } = readsOf(() =>
    orderAfter(before, { ...places, spoke: [`p${count - 1}`, 'p77'] }),
  );
  expect(reads).toBeLessThanOrEqual(3 * count);
  const moved = result.filter((id, place) => before[place] !== id);
  expect(moved, 'two speakers and the two whose places they take').toHaveLength(4);
});

it.each([200, 500])('of %i people only those on the page are laid out', (count) => {
  for (const kind of ['grid', 'speaker', 'sidebar', 'presentation'] as const) {
    const { front, track } = layOut(
      kind,
      { front: 1, others: count - 1 },
      STAGE.width,
      STAGE.height,
    );
    // The layout itself is as large as what is seen, however many there are.
    expect(track.cells.length + front.length).toBeLessThanOrEqual(25);
    let most = 0;
    for (let offset = 0; offset <= scrollMax(track); offset += 17) {
      const [from, to] = visibleTiles(track, offset, 0);
      most = Math.max(most, to - from);
      expect(tileAt(track, from)).toBeDefined();
    }
    // Two pages while one is turned.
    expect(most).toBeLessThanOrEqual(2 * track.cells.length + 8);
  }
});

it('asks for nothing when a step of scrolling shows no other tile', () => {
  const { track } = layOut('speaker', { front: 1, others: 199 }, STAGE.width, STAGE.height);
  let changes = 0;
  let known = '';
  const steps = Math.floor((20 * track.pitch) / 3);
  for (let step = 0; step < steps; step += 1) {
    const now = visibleTiles(track, step * 3, 0).join();
    if (now !== known) changes += 1;
    known = now;
  }
  // One comes and one goes with each tile's width.
  expect(changes).toBeLessThanOrEqual(2 * 20 + 1);
  expect(changes).toBeGreaterThanOrEqual(20);
});
