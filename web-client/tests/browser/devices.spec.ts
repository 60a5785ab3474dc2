// Devices and their filters during a real meeting: what one changes, the other sees and hears.

import { expect, test } from '@playwright/test';
import { anna, bruno } from './support/fixtures';
import { Participant, type ParticipantOptions } from './support/participant';
import { Service, until } from './support/service';

const SMALL = { width: 320, height: 180 };
const QUERY = 'camera=320x180';
const LOUD_DBFS = -60;

// Two browsers, a filter and the server share the machine's two cores: best of three.
test.describe.configure({ retries: 2 });

/** Anna, whose devices are tried, and Bruno, who sees and hears her. */
async function meeting(
  options: ParticipantOptions,
  body: (a: Participant, b: Participant) => Promise<void>,
): Promise<void> {
  const service = await Service.start();
  const people: Participant[] = [];
  try {
    const a = await Participant.open(anna, options);
    people.push(a);
    const b = await Participant.open(bruno, { camera: SMALL });
    people.push(b);
    await b.join(await a.createRoom(service.url, QUERY), QUERY);
    await until('a picture', async () => (await b.sees(anna)) !== undefined, 30_000);
    await body(a, b);
  } catch (error) {
    console.error(service.logs());
    for (const { page, persona } of people) {
      await page.screenshot({ path: `test-results/failed-${persona.name}.png` }).catch(() => {});
    }
    throw error;
  } finally {
    await Promise.all(people.map((person) => person.close().catch(() => {})));
    await service.stop();
  }
}

/** Ids of the devices whose tracks are being sent. */
function sent(person: Participant, kind: 'audio' | 'video'): Promise<(string | undefined)[]> {
  return person.page.evaluate((kind) => {
    const { peers } = (window as unknown as { __probe: { peers: RTCPeerConnection[] } }).__probe;
    return peers
      .flatMap((peer) => peer.getSenders())
      .filter(({ track }) => track?.kind === kind)
      .map(({ track }) => track?.getSettings().deviceId);
  }, kind);
}

/** How many pictures of Anna have been decoded, and how loud she has been altogether. */
function received(person: Participant): Promise<{ frames: number; energy: number }> {
  return person.page.evaluate(async () => {
    const { peers } = (window as unknown as { __probe: { peers: RTCPeerConnection[] } }).__probe;
    const sum = { frames: 0, energy: 0 };
    for (const peer of peers) {
      for (const report of (await peer.getStats()).values()) {
        if (report.type !== 'inbound-rtp') continue;
        sum.frames += report.framesDecoded ?? 0;
        sum.energy += report.totalAudioEnergy ?? 0;
      }
    }
    return sum;
  });
}

async function expectFlow(person: Participant): Promise<void> {
  const before = await received(person);
  await until(
    'pictures and sound go on',
    async () => {
      const now = await received(person);
      return now.frames > before.frames + 10 && now.energy > before.energy;
    },
    30_000,
  );
}

/** How much neighbouring pixels differ: sharp pictures have more of it than blurred ones. */
function detail(person: Participant): Promise<number> {
  return person
    .tile(anna.name)
    .locator('video')
    .first()
    .evaluate((element) => {
      const canvas = new OffscreenCanvas(320, 180);
      const context = canvas.getContext('2d');
      if (!context) throw new Error('no canvas');
      context.drawImage(element as HTMLVideoElement, 0, 0, 320, 180);
      const { data } = context.getImageData(0, 0, 320, 180);
      let sum = 0;
      for (let i = 4; i < data.length; i += 4) {
        sum += Math.abs((data[i + 1] as number) - (data[i - 3] as number));
      }
      return sum / (data.length / 4);
    });
}

async function openSettings(person: Participant, tab: 'audio' | 'video'): Promise<void> {
  await person.page.getByTestId('more').click();
  await person.page.getByTestId('open-devices').click();
  await person.page.getByTestId(`tab-${tab}`).click();
}

test('another camera and another microphone during a meeting', async () => {
  await meeting({ plainDevices: true }, async (a, b) => {
    for (const [source, tab, kind] of [
      ['camera', 'video', 'video'],
      ['microphone', 'audio', 'audio'],
    ] as const) {
      await openSettings(a, tab);
      const select = a.page.getByTestId(`select-${source}`);
      const ids = await select
        .locator('option')
        .evaluateAll((options) => options.map((option) => (option as HTMLOptionElement).value));
      const current = await select.inputValue();
      const other = ids.findLast((id) => id !== current && id !== 'default') ?? '';
      expect(other).not.toBe('');
      expect(await sent(a, kind)).not.toContain(other);
      await select.selectOption(other);
      await until('it is sent', async () => (await sent(a, kind)).includes(other));
      await expect(select).toHaveValue(other);
      // Chromium encodes nothing of the second of its own fake cameras after the first, in any page.
      if (source === 'camera') await select.selectOption(current);
      await a.page.keyboard.press('Escape');
      await expectFlow(b);
    }
    expect(await a.peerCount()).toBe(1);
  });
});

test('a camera that is pulled out is replaced, and used again when it is back', async () => {
  await meeting({ plainDevices: true }, async (a, b) => {
    await openSettings(a, 'video');
    const select = a.page.getByTestId('select-camera');
    const chosen = await select.locator('option').last().getAttribute('value');
    await select.selectOption(chosen);
    await until('it is sent', async () => (await sent(a, 'video')).includes(chosen ?? ''));
    await a.page.keyboard.press('Escape');

    /** The browser lists its devices without this one, as after somebody pulled its plug. */
    const plug = (without: string | null) =>
      a.page.evaluate((without) => {
        const media = navigator.mediaDevices;
        const all = MediaDevices.prototype.enumerateDevices;
        media.enumerateDevices = async () =>
          (await all.call(media)).filter(({ deviceId }) => deviceId !== without);
        const { peers } = (window as unknown as { __probe: { peers: RTCPeerConnection[] } })
          .__probe;
        for (const { track } of peers.flatMap((peer) => peer.getSenders())) {
          if (track?.getSettings().deviceId !== without) continue;
          track?.stop();
          track?.dispatchEvent(new Event('ended'));
        }
        media.dispatchEvent(new Event('devicechange'));
      }, without);

    const notice = a.page.getByTestId('device-notice');
    await plug(chosen);
    await expect(notice).toHaveAttribute('data-kind', 'lost');
    await until('another one is sent', async () => {
      const [id] = await sent(a, 'video');
      return id !== undefined && id !== chosen;
    });
    await expectFlow(b);

    await plug(null);
    await expect(notice).toHaveAttribute('data-kind', 'back');
    await until('it is sent again', async () => (await sent(a, 'video')).includes(chosen ?? ''));
  });
});

test('the background is blurred and sharp again, and the picture goes on', async () => {
  await meeting({ camera: SMALL }, async (a, b) => {
    const violations: string[] = [];
    a.page.on('console', (message) => {
      if (/Content Security Policy/.test(message.text())) violations.push(message.text());
    });
    const sharp = await detail(b);
    await openSettings(a, 'video');
    await a.page.getByTestId('background-strong').check();
    const becomes = (what: string, isSo: (now: number) => boolean) => {
      let last = 0;
      const probe = async () => {
        last = await detail(b);
        return isSo(last);
      };
      return until(what, probe, 40_000, () => `${sharp} before, ${last} now`);
    };
    await becomes('a blurred picture', (now) => now < sharp * 0.6);
    const before = await received(b);
    await until('more of it', async () => (await received(b)).frames > before.frames + 20, 30_000);
    expect((await b.sees(anna))?.width).toBe(SMALL.width);
    await expect(a.page.getByTestId('background')).toHaveAttribute('data-value', 'strong');
    await a.page.getByTestId('background-off').check();
    await becomes('a sharp picture', (now) => now > sharp * 0.8);
    expect(violations).toEqual([]);
    expect(await a.peerCount()).toBe(1);
  });
});

test('strong noise reduction lets the voice pass', async () => {
  await meeting({ plainDevices: true }, async (a, b) => {
    await openSettings(a, 'audio');
    await a.page.getByTestId('noise-strong').check();
    await expect(a.page.getByTestId('noise')).toHaveAttribute('data-value', 'strong');
    // A filtered track comes from no device.
    await until('it is sent', async () => {
      const ids = await sent(a, 'audio');
      return ids.length === 1 && !/^[0-9a-f]{64}$|^default$/.test(ids[0] ?? '');
    });
    await expectFlow(b);
    await expect(a.page.getByTestId('device-notice')).toHaveCount(0);
    await a.page.getByTestId('noise-off').check();
    await expectFlow(b);
  });
});

test('hold Space to talk', async () => {
  await meeting({ camera: SMALL }, async (a, b) => {
    const microphone = a.page.getByTestId('toggle-microphone');
    await microphone.click();
    await expect(b.tile(anna.name)).toHaveAttribute('data-microphone', 'false');
    await b.page.waitForTimeout(1_000);
    expect((await b.hears([anna]))[0]).toBeLessThan(LOUD_DBFS);
    // The muted voice is noticed, and the button that was clicked is not pressed by the key.
    await expect(a.page.getByTestId('muted-speech')).toBeVisible();
    await a.page.keyboard.down(' ');
    await expect(a.page.getByTestId('push-to-talk')).toBeVisible();
    await until('she is heard', async () => ((await b.hears([anna]))[0] ?? -200) > LOUD_DBFS);
    await a.page.keyboard.up(' ');
    await expect(microphone).toHaveAttribute('data-on', 'off');
    await expect(b.tile(anna.name)).toHaveAttribute('data-microphone', 'false');

    await openSettings(a, 'audio');
    await a.page.getByTestId('tab-general').click();
    await a.page.getByTestId('settings-push-to-talk').uncheck();
    await a.page.keyboard.press('Escape');
    await a.page.locator('h1').click();
    await a.page.keyboard.down(' ');
    await a.page.waitForTimeout(300);
    await expect(microphone).toHaveAttribute('data-on', 'off');
    await a.page.keyboard.up(' ');
  });
});

test('one hears oneself and the speaker before entering', async () => {
  const service = await Service.start();
  const a = await Participant.open(anna, { camera: SMALL });
  try {
    await a.page.goto(`${service.url}/r/204117935?${QUERY}`);
    await a.page.getByTestId('open-settings').click();
    const echo = a.page.getByTestId('echo-test');
    await echo.click();
    await expect(echo).toHaveAttribute('data-state', 'recording');
    await expect(echo).toHaveAttribute('data-state', 'playing', { timeout: 10_000 });
    await expect(echo).toHaveAttribute('data-state', 'idle', { timeout: 15_000 });
    const speaker = a.page.getByTestId('speaker-test');
    await speaker.click();
    await expect(speaker).toHaveAttribute('data-state', 'playing');
    await expect(speaker).toHaveAttribute('data-state', 'idle', { timeout: 10_000 });
    await a.page.getByTestId('tab-video').click();
    await expect(a.page.getByTestId('preview-size')).toHaveText('320 × 180');
    // A self-view that is no mirror stays so.
    await a.page.getByTestId('mirror').uncheck();
    await a.page.reload();
    await expect(a.page.getByTestId('preview')).not.toHaveClass(/mirrored/);
  } finally {
    await a.close();
    await service.stop();
  }
});
