import { expect, test } from '@playwright/test';
import { anna, bruno, carla } from './support/fixtures';
import { climbsAndFalls } from './support/ladder';
import { Participant } from './support/participant';
import { Service, until } from './support/service';

// It asserts how long things take, on a machine that may be busy with something else: best of three.
test.describe.configure({ retries: 2 });

for (const codec of ['vp9', 'av1'] as const) {
  test(`spatial layers of ${codec} follow the tile and the link, and the picture never breaks`, () =>
    climbsAndFalls({
      query: `codec=${codec}`,
      name: codec,
      // Its encoders need most of what two cores have.
      least: { frames: 80, gapMs: 700 },
      sending: async (publisher, receiver) => {
        const sent = await publisher.outboundVideo();
        expect(sent.length, 'there is one encoding').toBe(1);
        expect(sent[0]).toMatchObject({
          codec: `video/${codec.toUpperCase()}`,
          scalabilityMode: 'L3T3_KEY',
        });
        for (const video of await receiver.inboundVideo()) {
          expect(video.codec).toBe(`video/${codec.toUpperCase()}`);
        }
      },
    }));
}

test('who can only send one codec is seen by everyone who can decode it', async () => {
  const service = await Service.start();
  const people = [
    { persona: anna, codec: 'h264' },
    { persona: bruno, codec: 'vp8' },
    { persona: carla, codec: 'vp9' },
  ];
  const opened = await Promise.all(
    people.map(async (one) => ({ ...one, participant: await Participant.open(one.persona) })),
  );
  try {
    let room = '';
    for (const { participant, codec } of opened) {
      const query = `send-codec=${codec}`;
      if (room) await participant.join(room, query);
      else room = await participant.createRoom(service.url, query);
    }
    for (const { persona, participant } of opened) {
      const others = opened.filter((other) => other.persona !== persona);
      for (const other of others) {
        // In the colour of the other's camera.
        await participant.waitToSee(other.persona, () => service.logs());
      }
      const codecs = (await participant.inboundVideo()).map((video) => video.codec).sort();
      expect(codecs).toEqual(others.map(({ codec }) => `video/${codec.toUpperCase()}`).sort());
    }
  } catch (error) {
    console.error(service.logs());
    throw error;
  } finally {
    await Promise.all(opened.map(({ participant }) => participant.close().catch(() => {})));
    await service.stop();
  }
});

test('a room changes between simulcast and spatial layers while it runs', async () => {
  const service = await Service.start();
  const publisher = await Participant.open(anna, { camera: { width: 1280, height: 720 } });
  const first = await Participant.open(bruno);
  const second = await Participant.open(carla);
  const sends = (codec: string, encodings: number) =>
    until(
      `the publisher sends ${codec} in ${encodings} encodings`,
      async () => {
        const before = await publisher.outboundVideo();
        await publisher.page.waitForTimeout(500);
        const now = await publisher.outboundVideo();
        const flowing = now.filter(
          ({ rid, framesEncoded }) =>
            framesEncoded > (before.find((other) => other.rid === rid)?.framesEncoded ?? 0),
        );
        return (
          flowing.length === encodings && flowing.every((one) => one.codec === `video/${codec}`)
        );
      },
      20_000,
      () => service.logs(),
    );
  try {
    const room = await publisher.createRoom(service.url);
    await first.join(room);
    await first.waitToSee(anna);
    await test.step('everyone can decode the first of the list', () => sends('H264', 3));
    await test.step('one comes who can only decode VP9', async () => {
      await second.join(room, 'codec=vp9');
      await second.waitToSee(anna, () => service.logs());
      await sends('VP9', 1);
      await first.waitToSee(anna, () => service.logs());
    });
    await test.step('and goes', async () => {
      await second.page.getByTestId('leave').click();
      await sends('H264', 3);
      await first.waitToSee(anna, () => service.logs());
    });
  } catch (error) {
    console.error(service.logs());
    throw error;
  } finally {
    await Promise.all([publisher, first, second].map((one) => one.close().catch(() => {})));
    await service.stop();
  }
});
