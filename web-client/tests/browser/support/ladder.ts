import { expect, test } from '@playwright/test';
import { anna, bruno } from './fixtures';
import { Participant } from './participant';
import { Service, until } from './service';

interface Ladder {
  /** For the page's address. */
  query: string;
  /** Stands in what is printed. */
  name: string;
  /** Of 240 frames in 8 s on the small layer, so many come at least, and no two are further apart. */
  least: { frames: number; gapMs: number };
  /** Once the large picture is there. */
  sending(publisher: Participant, receiver: Participant): Promise<void>;
}

/**
 * One publishes, another receives: the picture follows the size of the tile and what the link carries, and never breaks.
 * Freezes of the fall itself are printed and not asserted: what is on its way when a link narrows is late.
 */
export async function climbsAndFalls({ query, name, least, sending }: Ladder): Promise<void> {
  const service = await Service.start({ relay: true });
  const publisher = await Participant.open(anna, { camera: { width: 1280, height: 720 } });
  const receiver = await Participant.open(bruno, { viewport: { width: 1920, height: 1000 } });
  const height = async () => (await receiver.sees(anna))?.height ?? 0;
  const becomes = (expected: number, timeoutMs: number) =>
    until(
      `the receiver gets ${expected} lines`,
      async () => (await height()) === expected,
      timeoutMs,
      () => service.logs(),
    );
  const freezes = async () =>
    (await receiver.inboundVideo()).reduce((sum, { freezeCount }) => sum + freezeCount, 0);
  try {
    const room = await publisher.createRoom(service.url, query);
    await receiver.join(room, query);
    await receiver.waitToSee(anna, () => service.logs());
    // Its tiles change size with the window; of two people alone one has all of it.
    await receiver.page.getByTestId('layout').click();
    await receiver.page.getByTestId('layout-grid').click();

    await test.step('a large tile gets the large layer', () => becomes(720, 30_000));
    await sending(publisher, receiver);
    const atStart = await freezes();

    await test.step('a small tile gets the small layer', async () => {
      await receiver.page.setViewportSize({ width: 340, height: 420 });
      await becomes(180, 15_000);
      await receiver.page.waitForTimeout(1_000);
    });

    await test.step('large again', async () => {
      await receiver.page.setViewportSize({ width: 1920, height: 1000 });
      await becomes(720, 15_000);
      await receiver.page.waitForTimeout(1_000);
    });
    const afterTiles = await freezes();
    console.log(`${name}: freezes: ${atStart} at the start, ${afterTiles - atStart} by tile size`);
    expect(afterTiles).toBe(atStart);

    await test.step('the link falls to 300 kbit/s and the picture goes on', async () => {
      await receiver.watchFrames(anna);
      await service.link('down rate 300000');
      await becomes(180, 10_000);
      // Chromium counts the freeze of the fall itself when the picture has been back for a while.
      await receiver.page.waitForTimeout(1_500);
      const falling = await receiver.longestGap(anna);
      const afterFall = await freezes();
      await receiver.watchFrames(anna);
      await receiver.page.waitForTimeout(8_000);
      const { gapMs, frames } = await receiver.longestGap(anna);
      const lower = (await freezes()) - afterFall;
      console.log(
        `${name}: fall: longest gap ${Math.round(falling.gapMs)} ms, freezes ${afterFall - afterTiles}; ` +
          `on the lower layer: ${frames} frames in 8 s, longest gap ${Math.round(gapMs)} ms, freezes ${lower}`,
      );
      expect(frames).toBeGreaterThan(least.frames);
      expect(gapMs).toBeLessThan(least.gapMs);
      expect(lower).toBe(0);
    });

    await test.step('the link recovers and the picture climbs back', async () => {
      const before = await freezes();
      await service.link('down rate 0');
      const start = Date.now();
      await becomes(720, 30_000);
      const climb = Date.now() - start;
      await receiver.page.waitForTimeout(1_000);
      const climbing = (await freezes()) - before;
      console.log(`${name}: climb: ${climb} ms, freezes ${climbing}`);
      expect(climbing).toBe(0);
    });
  } catch (error) {
    console.error(service.logs());
    await receiver.page.screenshot({ path: 'test-results/failed-receiver.png' }).catch(() => {});
    throw error;
  } finally {
    await Promise.all(
      [publisher.close(), receiver.close()].map((closing) => closing.catch(() => {})),
    );
    await service.stop();
  }
}
