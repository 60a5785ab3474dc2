// A whole meeting by keyboard alone, with the real program: from the home page to the end. Each step is a
// function that begins and ends in the meeting, so that a new feature adds a step to the list.

import { anna, bruno } from './support/fixtures';
import { expect, type Page, test } from './support/pages';
import { Participant } from './support/participant';

/** Tab presses after which a control counts as out of reach. */
const PRESSES_MAX = 40;

type Step = [name: string, run: (page: Page, other: Participant) => Promise<void>];

const STEPS: readonly Step[] = [
  ['microphone and camera by their keys', switchDevices],
  ['the list of participants', readPeople],
  ['sharing the screen', shareScreen],
  ['the quality of the connection, and saving data', saveData],
  ['the menu and its dialogs', walkMenu],
  ['shortcuts switched off and on again', switchShortcuts],
];

test.use({ locale: 'en-GB', viewport: { width: 1280, height: 800 } });

test('a whole meeting by keyboard alone', async ({ page }) => {
  const other = await Participant.open(bruno);
  try {
    await test.step('the home page', async () => {
      await page.goto('/');
      await page.keyboard.press('Tab');
      await expect(page.getByTestId('skip-link')).toBeFocused();
      await page.keyboard.press('Enter');
      await expect(page.locator('#content')).toBeFocused();
      await tabTo(page, 'room-title');
      await page.keyboard.type('Giunta comunale');
      await page.keyboard.press('Enter');
    });
    await test.step('the device check', async () => {
      await expect(page.getByTestId('join-page')).toBeVisible();
      await tabTo(page, 'name');
      // These letters are shortcuts in a meeting; here they are a name.
      await page.keyboard.type(`${anna.name} mcspl`);
      await page.keyboard.press('Enter');
      await expect(page.getByTestId('meeting')).toBeVisible();
    });
    await other.join(page.url().split('?')[0] as string);
    await other.tile(anna.name).waitFor();
    for (const [name, run] of STEPS) await test.step(name, () => run(page, other));
    await test.step('leaving', async () => {
      await tabTo(page, 'leave');
      await page.keyboard.press('Enter');
      await expect(page.getByTestId('end-page')).toBeVisible();
      await expect(page.locator('h1')).toBeFocused();
      await tabTo(page, 'rejoin');
    });
  } finally {
    await other.close();
  }
});

async function switchDevices(page: Page, other: Participant): Promise<void> {
  const ownTile = other.tile(anna.name);
  for (const [key, source] of [
    ['m', 'microphone'],
    ['c', 'camera'],
  ] as const) {
    const button = page.getByTestId(`toggle-${source}`);
    await expect(button).toHaveAttribute('data-on', 'on');
    await page.keyboard.press(key);
    await expect(button).toHaveAttribute('data-on', 'off');
    await expect(ownTile).toHaveAttribute(`data-${source}`, 'false');
    await tabTo(page, `toggle-${source}`);
    await page.keyboard.press('Space');
    await expect(button).toHaveAttribute('data-on', 'on');
    await expect(ownTile).toHaveAttribute(`data-${source}`, 'true');
  }
}

async function readPeople(page: Page): Promise<void> {
  await tabTo(page, 'toggle-people');
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('person')).toHaveCount(2);
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('people')).toBeHidden();
  await expect(page.getByTestId('toggle-people')).toBeFocused();
}

async function shareScreen(page: Page, other: Participant): Promise<void> {
  const shared = other.page.locator('[data-testid="tile"][data-source="screen"]');
  await page.keyboard.press('s');
  await expect(shared).toBeVisible({ timeout: 20_000 });
  await page.keyboard.press('s');
  await expect(shared).toBeHidden();
}

async function saveData(page: Page, other: Participant): Promise<void> {
  const picture = page.locator(`[data-testid="tile"]`, { hasText: bruno.name }).locator('video');
  await expect(picture).toBeVisible({ timeout: 20_000 });
  await tabTo(page, 'quality');
  await page.keyboard.press('Enter');
  await expect(page.getByTestId('quality-popover')).toBeVisible();
  await tabTo(page, 'data-all');
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('ArrowDown');
  await expect(page.getByTestId('data-audio')).toBeChecked();
  // The server stops sending the picture, and the sender is told nothing of it.
  await expect(picture).toBeHidden({ timeout: 20_000 });
  await page.keyboard.press('ArrowUp');
  await page.keyboard.press('ArrowUp');
  await expect(page.getByTestId('data-all')).toBeChecked();
  await expect(picture).toBeVisible({ timeout: 20_000 });
  await page.keyboard.press('Escape');
  await expect(page.getByTestId('quality')).toBeFocused();
  await expect(other.page.getByTestId('meeting')).toBeVisible();
}

async function walkMenu(page: Page): Promise<void> {
  for (const [item, opened] of [
    ['open-devices', 'devices-dialog'],
    ['open-shortcuts', 'shortcuts-dialog'],
    ['start-tour', 'tour'],
    ['end-room', 'end-dialog'],
  ] as const) {
    await tabTo(page, 'more');
    await page.keyboard.press('Enter');
    await arrowTo(page, item);
    await page.keyboard.press('Enter');
    await expect(page.getByTestId(opened)).toBeVisible();
    // A key that is pressed inside belongs to what is open.
    await page.keyboard.press('m');
    await expect(page.getByTestId('toggle-microphone')).toHaveAttribute('data-on', 'on');
    await page.keyboard.press('Escape');
    await expect(page.getByTestId(opened)).toBeHidden();
  }
}

async function switchShortcuts(page: Page): Promise<void> {
  const microphone = page.getByTestId('toggle-microphone');
  const flip = async () => {
    await tabTo(page, 'enable-shortcuts');
    await page.keyboard.press('Space');
    await page.keyboard.press('Escape');
    await expect(page.getByTestId('shortcuts-dialog')).toBeHidden();
  };
  await page.keyboard.press('?');
  await flip();
  await page.keyboard.press('m');
  await expect(microphone).toHaveAttribute('data-on', 'on');
  await tabTo(page, 'more');
  await page.keyboard.press('Enter');
  await arrowTo(page, 'open-shortcuts');
  await page.keyboard.press('Enter');
  await flip();
  await page.keyboard.press('m');
  await expect(microphone).toHaveAttribute('data-on', 'off');
  await page.keyboard.press('m');
  await expect(microphone).toHaveAttribute('data-on', 'on');
}

test.describe('the guided tour', () => {
  test.use({ tour: true });

  test('shows itself once, leads on by Enter, and ends by Escape', async ({ page }) => {
    const errors: Error[] = [];
    page.on('pageerror', (error) => errors.push(error));
    await page.goto('/');
    await tabTo(page, 'create-room');
    await page.keyboard.press('Enter');
    await tabTo(page, 'name');
    await page.keyboard.type(anna.name);
    await page.keyboard.press('Enter');
    const tour = page.getByTestId('tour');
    await expect(page.getByTestId('tour-next')).toBeFocused();
    await expect(tour).toHaveAttribute('data-step', 'microphone');
    const anchors = ['toggle-microphone', 'toggle-camera', 'toggle-screen', 'toggle-people'];
    for (const anchor of anchors) {
      await expectAround(page, anchor);
      await page.keyboard.press('Enter');
    }
    await expectAround(page, 'quality');
    expect(errors).toEqual([]);
    // One may leave it and come back: it is no modal dialog.
    await page.keyboard.press('Tab');
    await tabTo(page, 'tour-back');
    await page.keyboard.press('Enter');
    await expectAround(page, 'toggle-people');
    await page.keyboard.press('Escape');
    await expect(tour).toBeHidden();

    await page.reload();
    await tabTo(page, 'enter');
    await page.keyboard.press('Enter');
    await expect(page.getByTestId('meeting')).toBeVisible();
    await expect(tour).toBeHidden();
  });

  test('comes again when the help page is asked for it', async ({ page }) => {
    await page.goto('/help');
    await page.evaluate(() => localStorage.setItem('broletto.tour', 'seen'));
    await tabTo(page, 'ask-tour');
    await page.keyboard.press('Enter');
    await tabTo(page, 'brand', 'Shift+Tab');
    await page.keyboard.press('Enter');
    await tabTo(page, 'create-room');
    await page.keyboard.press('Enter');
    await tabTo(page, 'name');
    await page.keyboard.type(anna.name);
    await page.keyboard.press('Enter');
    await expect(page.getByTestId('tour')).toBeVisible();
    for (let step = 0; step < 7; step += 1) await page.keyboard.press('Enter');
    await expect(page.getByTestId('tour')).toBeHidden();
    await expect(page.getByTestId('meeting')).toBeVisible();
  });
});

/** The ring stands around the control, once it has come to rest. */
async function expectAround(page: Page, testid: string): Promise<void> {
  await expect
    .poll(async () => {
      const ring = await page.getByTestId('tour-ring').boundingBox();
      const anchor = await page.getByTestId(testid).boundingBox();
      if (!ring || !anchor) return undefined;
      return Math.abs(ring.x + ring.width / 2 - anchor.x - anchor.width / 2) < 2;
    })
    .toBe(true);
}

async function tabTo(page: Page, testid: string, key = 'Tab'): Promise<void> {
  const wanted = page.getByTestId(testid);
  await expect(wanted).toBeVisible();
  for (let press = 0; press < PRESSES_MAX; press += 1) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press(key);
  }
  await expect(wanted).toBeFocused();
}

async function arrowTo(page: Page, testid: string): Promise<void> {
  const wanted = page.getByTestId(testid);
  await expect(wanted).toBeVisible();
  for (let press = 0; press < PRESSES_MAX; press += 1) {
    if (await wanted.evaluate((element) => element === document.activeElement)) return;
    await page.keyboard.press('ArrowDown');
  }
  await expect(wanted).toBeFocused();
}
