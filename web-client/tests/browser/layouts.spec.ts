// The layouts of a meeting: who has a tile, which streams are asked for and how large, by mouse, touch
// and keyboard. The pages come from the real program; the room is made up by the test.

import AxeBuilder from '@axe-core/playwright';
import { FakeRoom, people, person, YOU } from './support/fake-room';
import { expect, type Page, test } from './support/pages';

test.use({ locale: 'en-GB', viewport: { width: 1280, height: 800 } });

const tiles = (page: Page) => page.getByTestId('tile');
const tile = (page: Page, id: string, source = 'camera') =>
  page.locator(`[data-testid="tile"][data-participant="${id}"][data-source="${source}"]`);

async function choose(page: Page, layout: string): Promise<void> {
  await page.getByTestId('layout').click();
  await page.getByTestId(`layout-${layout}`).click();
  await expect(page.getByTestId('layout')).toHaveAttribute('data-choice', layout);
}

/** The tiles of others that have a camera and of which something can be seen, as `camera 1.4`. */
async function seen(page: Page): Promise<string[]> {
  return page.evaluate((you) => {
    const stage = document.querySelector('[data-testid="scroller"]')?.getBoundingClientRect();
    if (!stage) return [];
    return [...document.querySelectorAll<HTMLElement>('[data-testid="tile"]')]
      .filter(({ dataset }) => dataset.participant !== you && dataset.camera !== 'false')
      .filter((element) => {
        const { left, right, top, bottom } = element.getBoundingClientRect();
        const [beside, below] = [12, 12];
        return (
          right - beside > stage.left &&
          left + beside < stage.right &&
          bottom - below > stage.top &&
          top + below < stage.bottom
        );
      })
      .map(({ dataset }) => `${dataset.source} ${dataset.participant}`)
      .sort();
  }, YOU);
}

async function expectOnlySeenAsked(page: Page, room: FakeRoom): Promise<void> {
  await expect(async () => expect(room.streams()).toEqual(await seen(page))).toPass({
    timeout: 15_000,
  });
}

async function expectAccessible(page: Page): Promise<void> {
  const { violations } = await new AxeBuilder({ page }).analyze();
  expect(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`)).toEqual([]);
}

test('each layout asks for what it shows, at the size it shows it', async ({ page }) => {
  const others = people(9);
  const room = await FakeRoom.open(page, { others });
  await expect(page.getByTestId('stage')).toHaveAttribute('data-layout', 'grid');
  await expect(tiles(page)).toHaveCount(10);
  await expectOnlySeenAsked(page, room);
  const small = room.slotOf('1.2')?.width ?? 0;

  for (const layout of ['speaker', 'sidebar']) {
    await choose(page, layout);
    await expect(page.getByTestId('stage')).toHaveAttribute('data-layout', layout);
    await expect(tile(page, '1.1')).toHaveAttribute('data-held', 'true');
    await expectOnlySeenAsked(page, room);
    // Sizes are told when they rest.
    await expect(async () => {
      const [large, other] = [room.slotOf('1.1')?.width ?? 0, room.slotOf('1.2')?.width ?? 0];
      expect(large).toBeGreaterThan(3 * other);
      expect(other).toBeLessThan(small);
      const box = await tile(page, '1.1').boundingBox();
      expect(Math.abs((box?.width ?? 0) - large)).toBeLessThan(2);
    }).toPass({ timeout: 5_000 });
  }
  // What was chosen is remembered.
  await page.reload();
  await page.getByTestId('enter').click();
  await expect(page.getByTestId('stage')).toHaveAttribute('data-layout', 'sidebar');
});

test('the large picture follows speech and not noise, and keeps its slot', async ({ page }) => {
  const room = await FakeRoom.open(page, { others: people(9) });
  await choose(page, 'speaker');
  room.speak('1.1');
  await expect(tile(page, '1.1')).toHaveAttribute('data-held', 'true');
  await expectOnlySeenAsked(page, room);

  room.speak('1.3');
  await page.waitForTimeout(300);
  room.speak();
  await page.waitForTimeout(1_500);
  await expect(tile(page, '1.1')).toHaveAttribute('data-held', 'true');

  const { mid } = room.slotOf('1.3') ?? {};
  expect(mid).toBeDefined();
  await page.evaluate(() => {
    const large = () =>
      document.querySelector<HTMLElement>('[data-held="true"]')?.dataset.participant;
    const noted = { atMs: 0 };
    Object.assign(window, { noted });
    const watch = new MutationObserver(() => {
      if (large() === '1.3' && noted.atMs === 0) noted.atMs = Date.now();
    });
    watch.observe(document.body, { subtree: true, attributes: true, childList: true });
  });
  const heardMs = Date.now();
  room.speak('1.3');
  await expect(tile(page, '1.3')).toHaveAttribute('data-held', 'true');
  const switched = await page.evaluate(
    () => (window as unknown as { noted: { atMs: number } }).noted.atMs,
  );
  console.log(`large ${switched - heardMs} ms after the first sound`);
  expect(switched - heardMs).toBeGreaterThanOrEqual(1_000);
  await expect(tile(page, '1.3').locator('video')).toHaveAttribute('data-mid', mid ?? '');
  await expect.poll(() => room.slotOf('1.3')?.width ?? 0).toBeGreaterThan(1_000);
  expect(room.slotOf('1.3')?.mid).toBe(mid);
});

test('whoever is pinned or put in front stays, whoever speaks', async ({ page }) => {
  const room = await FakeRoom.open(page, { others: people(60), role: 'moderator' });
  await expect(tiles(page)).toHaveCount(25);
  // By keyboard: from one tile's button to the next, and into its menu.
  const button = (id: string) => tile(page, id).getByTestId('tile-menu-button');
  await button('1.1').focus();
  await page.keyboard.press('ArrowRight');
  await page.keyboard.press('ArrowRight');
  await expect(button('1.3')).toBeFocused();
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('tile-menu')).toBeVisible();
  await expectAccessible(page);
  await page.getByTestId('tile-pin').press('Enter');
  await expect(button('1.3')).toBeFocused();
  await expect(tile(page, '1.3').getByTestId('tile-pinned')).toBeVisible();
  await expect(page.getByTestId('stage')).toHaveAttribute('data-layout', 'speaker');

  await choose(page, 'grid');
  await expect(tile(page, '1.3')).toHaveAttribute('data-held', 'true');
  room.speak('1.50', '1.51', '1.52');
  await expect(tile(page, '1.50')).toBeVisible();
  await page.getByTestId('page-after').click();
  await expect(tile(page, '1.50')).toHaveCount(0);
  await expect(tile(page, '1.3')).toBeInViewport();
  await expectOnlySeenAsked(page, room);
  expect(room.streams()).toContain('camera 1.3');

  // For everyone, by a moderator.
  await tile(page, '1.3').hover();
  await button('1.3').click();
  await page.getByTestId('tile-spotlight').click();
  await expect(tile(page, '1.3').getByTestId('tile-spotlit')).toBeVisible();
  const asked = room.received.find(({ type }) => type === 'spotlight');
  expect(asked).toMatchObject({ participants: ['1.3'] });
  room.spotlight('1.4', '1.3');
  await choose(page, 'speaker');
  const held = page.locator('[data-held="true"]');
  await expect(held).toHaveCount(2);
  await expect(held.first()).toHaveAttribute('data-participant', '1.4');
});

test('of several shared screens one chooses which is large', async ({ page }) => {
  const sharing = { camera: true, screen: true };
  const others = [
    person('1.1', 'Ada Bianchi', { publishing: sharing }),
    person('1.2', 'Bruno Costa', { publishing: sharing }),
    person('1.3', 'Carla De Luca'),
  ];
  const room = await FakeRoom.open(page, { others });
  await expect(page.getByTestId('stage')).toHaveAttribute('data-layout', 'presentation');
  const large = page.locator('[data-held="true"]');
  await expect(large).toHaveAttribute('data-source', 'screen');
  const first = await large.getAttribute('data-participant');
  await page.getByTestId('screen-front').press('Enter');
  await expect(large).not.toHaveAttribute('data-participant', first ?? '');
  await expect(large).toHaveCount(1);
  await expectOnlySeenAsked(page, room);
});

test('alone with one other, one’s own picture is small over the other, and can be hidden', async ({
  page,
}) => {
  const room = await FakeRoom.open(page, { others: people(1) });
  await expect(page.getByTestId('stage')).toHaveAttribute('data-layout', 'duo');
  const [other, own] = [await tile(page, '1.1').boundingBox(), await tile(page, YOU).boundingBox()];
  expect(other?.width).toBeGreaterThan(1_200);
  expect(own?.width).toBeLessThan(300);
  const mirrored = (locator: string) =>
    page.locator(`${locator} video`).evaluate((video) => getComputedStyle(video).transform);
  expect(await mirrored('[data-own="true"]')).toBe('matrix(-1, 0, 0, 1, 0, 0)');
  expect(await mirrored('[data-own="false"]')).toBe('none');

  await page.getByTestId('layout').click();
  await page.getByTestId('self-view').click();
  await expect(tile(page, YOU)).toHaveCount(0);
  await page.reload();
  await page.getByTestId('enter').click();
  await expect(tile(page, '1.1')).toBeVisible();
  await expect(tile(page, YOU)).toHaveCount(0);
  await expectOnlySeenAsked(page, room);
});

test('tiles show raised hands, poor connections and what is typed', async ({ page }) => {
  const [ada, bruno, carla] = people(3);
  const others = [
    { ...(ada as (typeof others)[number]), hand: 9 },
    { ...(bruno as (typeof others)[number]), hand: 4 },
    { ...(carla as (typeof others)[number]), quality: 'poor' as const },
  ] as ReturnType<typeof people>;
  const room = await FakeRoom.open(page, { others });
  await expect(tile(page, '1.2').getByTestId('tile-hand')).toContainText('number 1');
  await expect(tile(page, '1.1').getByTestId('tile-hand')).toContainText('number 2');
  await expect(tile(page, '1.3').getByTestId('tile-quality')).toContainText('poor connection');
  room.tell({ type: 'text_line', participant: '1.1', text: 'Good morni', done: false });
  await expect(page.getByTestId('captions')).toContainText('Good morni');
  await expectAccessible(page);
});

test('two hundred people scroll smoothly and cost no more than what is seen', async ({ page }) => {
  const room = await FakeRoom.open(page, { others: people(199) });
  await expect(tiles(page)).toHaveCount(25);
  await expect(page.getByTestId('page')).toHaveText('1–25 of 200');
  await expectOnlySeenAsked(page, room);
  await page.getByTestId('page-after').click();
  await expect(page.getByTestId('page')).toHaveText('26–50 of 200');
  await expect(tiles(page)).toHaveCount(25);
  await expectOnlySeenAsked(page, room);
  await page.getByTestId('scroller').press('PageDown');
  await expect(page.getByTestId('page')).toHaveText('51–75 of 200');

  await choose(page, 'speaker');
  await expectOnlySeenAsked(page, room);
  const before = room.received.filter(({ type }) => type === 'view').length;
  const { most, frames } = await page.evaluate(async () => {
    const scroller = document.querySelector('[data-testid="scroller"]') as HTMLElement;
    const frames: number[] = [];
    let most = 0;
    let last = await new Promise<number>(requestAnimationFrame);
    for (let step = 0; step < 120; step += 1) {
      scroller.scrollLeft += 60;
      const now = await new Promise<number>(requestAnimationFrame);
      frames.push(now - last);
      last = now;
      most = Math.max(most, document.querySelectorAll('[data-testid="tile"]').length);
    }
    return { most, frames: frames.sort((a, b) => a - b) };
  });
  const at = (share: number) => Math.round(frames[Math.floor(frames.length * share)] ?? 0);
  console.log(
    `frames while scrolling: median ${at(0.5)} ms, 95 % ${at(0.95)} ms, worst ${at(0.999)} ms`,
  );
  // One large, at most six in the strip and some on either side of it.
  expect(most).toBeLessThanOrEqual(12);
  await expectOnlySeenAsked(page, room);
  // It is asked for once it rests, not at every step.
  const views = room.received.filter(({ type }) => type === 'view').length - before;
  expect(views).toBeLessThan(30);
});

for (const { name, width, height } of [
  { name: 'phone', width: 360, height: 740 },
  { name: 'phone on its side', width: 740, height: 360 },
]) {
  test.describe(`on a ${name}`, () => {
    test.use({ viewport: { width, height }, hasTouch: true, isMobile: true, locale: 'it-IT' });

    test('nothing stands out and everything can be pressed', async ({ page }) => {
      const room = await FakeRoom.open(page, { others: people(40) });
      for (const layout of ['grid', 'speaker', 'sidebar']) {
        await choose(page, layout);
        await expectOnlySeenAsked(page, room);
        await expectAccessible(page);
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
        expect(wide).toBeLessThanOrEqual(0);
        const small = await page.evaluate(() =>
          [...document.querySelectorAll<HTMLElement>('.meeting button')]
            .map((button) => ({ button, box: button.getBoundingClientRect() }))
            .filter(({ box }) => box.width > 0 && (box.width < 44 || box.height < 44))
            .map(({ button }) => button.dataset.testid),
        );
        expect(small).toEqual([]);
      }
      await page.setViewportSize({ width: height, height: width });
      await expectOnlySeenAsked(page, room);
    });
  });
}
