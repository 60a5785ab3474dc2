import { expect, test } from '@playwright/test';
import { anna, bruno, carla } from './support/fixtures';
import { Participant } from './support/participant';
import { Service, until } from './support/service';

/** Runs the body with a service and cleans up whatever happened; a failure prints the logs. */
async function meeting(
  options: Parameters<typeof Service.start>[0],
  body: (service: Service, open: typeof Participant.open) => Promise<void>,
): Promise<void> {
  const service = await Service.start(options);
  const opened: Participant[] = [];
  try {
    await body(service, async (...parameters) => {
      const participant = await Participant.open(...parameters);
      opened.push(participant);
      return participant;
    });
  } catch (error) {
    console.error(service.logs());
    for (const participant of opened) {
      await participant.page
        .screenshot({ path: `test-results/failed-${participant.persona.name}.png` })
        .catch(() => {});
    }
    throw error;
  } finally {
    await Promise.all(opened.map((participant) => participant.close().catch(() => {})));
    await service.stop();
  }
}

// Three browsers and the server share the machine's two cores: best of three.
test.describe.configure({ retries: 2 });

test('three participants in H.264 see and hear each other, share, resume and leave', async () => {
  await meeting({}, async (service, open) => {
    const people = [await open(anna), await open(bruno), await open(carla)] as const;
    const [a, b, c] = people;
    const room = await a.createRoom(service.url);
    await b.join(room);
    await c.join(room);

    for (const one of people) {
      for (const other of people.filter((other) => other !== one)) {
        await one.waitToSee(other.persona, () => service.logs());
        let size = '';
        await until(
          'the picture is whole',
          async () => {
            const picture = await one.sees(other.persona);
            size = `${picture?.width}x${picture?.height}`;
            return size === '640x360';
          },
          40_000,
          () => size,
        );
      }
      // Both others are heard, and one's own voice does not come back.
      const others = people.filter((other) => other !== one).map((other) => other.persona);
      const [own, ...heard] = await one.hears([one.persona, ...others]);
      console.log(`${one.persona.name} hears ${heard.map(Math.round)} dBFS, herself ${own}`);
      for (const level of heard) {
        expect(level).toBeGreaterThan(-60);
        expect(level).toBeGreaterThan((own as number) + 15);
      }
      for (const video of await one.inboundVideo()) expect(video.codec).toBe('video/H264');
    }

    await test.step('one shares a screen', async () => {
      await a.page.getByTestId('toggle-screen').click();
      for (const viewer of [b, c]) {
        await until(
          'the screen is seen',
          async () => ((await viewer.sees(anna, 'screen'))?.width ?? 0) > 300,
          20_000,
          () => service.logs(),
        );
      }
      await a.page.getByTestId('toggle-screen').click();
      await b.page
        .locator('[data-testid="tile"][data-source="screen"]')
        .waitFor({ state: 'detached' });
    });

    await test.step('one drops its WebSocket and resumes', async () => {
      await b.watchFrames(anna);
      const sockets = await b.socketCount();
      const peers = await b.peerCount();
      await b.dropWebSocket();
      await until('a new WebSocket', async () => (await b.socketCount()) > sockets);
      await b.online();
      await b.page.waitForTimeout(1_000);
      expect(await b.peerCount()).toBe(peers);
      expect((await b.longestGap(anna)).gapMs).toBeLessThan(500);
      // What was said afterwards arrives: Carla switches her camera off and Bruno knows.
      await c.page.getByTestId('toggle-camera').click();
      await b.tile(carla.name).and(b.page.locator('[data-camera="false"]')).waitFor();
      await c.page.getByTestId('toggle-camera').click();
      await b.waitToSee(carla);
    });

    await test.step('one leaves', async () => {
      await c.page.getByTestId('leave').click();
      for (const one of [a, b]) {
        await one.tile(carla.name).waitFor({ state: 'detached' });
      }
      await a.waitToSee(bruno);
      await b.waitToSee(anna);
    });
  });
});

test('two participants in VP8', async () => {
  await meeting({}, async (service, open) => {
    const [a, b] = [await open(anna), await open(bruno)];
    const room = await a.createRoom(service.url, 'codec=vp8');
    await b.join(room, 'codec=vp8');
    for (const [one, other] of [
      [a, b],
      [b, a],
    ] as const) {
      await one.waitToSee(other.persona, () => service.logs());
      for (const video of await one.inboundVideo()) expect(video.codec).toBe('video/VP8');
    }
  });
});

test('a phone joins over https with the certificate that the program made', async () => {
  await meeting({}, async (service, open) => {
    const [a, b] = [await open(anna), await open(bruno, { viewport: { width: 360, height: 740 } })];
    const room = await a.createRoom(service.url);
    await b.join(room.replace(service.url, service.encryptedUrl));
    await a.waitToSee(bruno, () => service.logs());
    await b.waitToSee(anna, () => service.logs());
  });
});

test('a browser without H.264 meets one that prefers it', async () => {
  await meeting({}, async (service, open) => {
    const [a, b] = [await open(anna), await open(bruno)];
    const room = await a.createRoom(service.url);
    await until('Anna sends H.264', async () =>
      (await a.outboundVideo()).some(({ codec }) => codec === 'video/H264'),
    );
    await b.join(room, 'codec=vp8');
    await b.waitToSee(anna, () => service.logs());
    await a.waitToSee(bruno, () => service.logs());
    for (const video of await b.inboundVideo()) expect(video.codec).toBe('video/VP8');
  });
});

test('signaling restarts as a process of its own and the media flows on', async () => {
  await meeting({ split: true }, async (service, open) => {
    const [a, b] = [await open(anna), await open(bruno)];
    const room = await a.createRoom(service.url);
    await b.join(room);
    await a.waitToSee(bruno, () => service.logs());
    await b.waitToSee(anna, () => service.logs());
    const peers = [await a.peerCount(), await b.peerCount()];
    await a.watchFrames(bruno);
    await b.watchFrames(anna);

    await service.processes.signaling?.stop('SIGKILL');
    await a.page.waitForTimeout(1_500);
    service.startSignaling();
    await service.ready();
    await a.online();
    await b.online();
    await a.page.waitForTimeout(2_000);
    for (const [one, other] of [
      [a, bruno],
      [b, anna],
    ] as const) {
      const { gapMs, frames } = await one.longestGap(other);
      expect(frames).toBeGreaterThan(60);
      expect(gapMs).toBeLessThan(500);
    }
    expect([await a.peerCount(), await b.peerCount()]).toEqual(peers);

    // The room goes on as before: a third person is seen by both.
    const c = await open(carla);
    await c.join(room);
    await a.waitToSee(carla, () => service.logs());
    await b.waitToSee(carla, () => service.logs());
  });
});
