import { expect, test } from '@playwright/test';
import { anna, bruno, carla, type Persona } from './support/fixtures';
import { Participant } from './support/participant';
import { Service } from './support/service';
import { installStage } from './support/stage';

// It measures time, on a machine that may be busy with something else: best of three.
test.describe.configure({ retries: 2 });

/** Time for the buffers to be evened out, and then to look. */
const SETTLE_MS = 12_000;
const LOOK_MS = 12_000;
const APART_MS_MAX = 80;

const describe = (skews: number[]) => skews.map((skew) => Math.round(skew)).join(' ');
const median = (skews: number[]) =>
  [...skews].sort((a, b) => a - b)[Math.floor(skews.length / 2)] as number;

/** How much later than its beep each flash is seen, in ms. */
async function skews(viewer: Participant, other: Persona): Promise<number[]> {
  const video = viewer.tile(other.name).locator('video').first();
  return video.evaluate(
    async (element, { lookMs, tone }) => {
      const flashes: number[] = [];
      const beeps: number[] = [];
      const canvas = document.createElement('canvas');
      canvas.width = canvas.height = 4;
      const brush = canvas.getContext('2d', { willReadFrequently: true });
      let bright = true;
      const picture = element as HTMLVideoElement;
      const watch = (_now: number, { expectedDisplayTime }: VideoFrameCallbackMetadata) => {
        brush?.drawImage(picture, 0, 0, 4, 4);
        const [red = 0, green = 0, blue = 0] = brush?.getImageData(1, 2, 1, 1).data ?? [];
        const isBright = Math.min(red, green, blue) > 180;
        if (isBright && !bright) flashes.push(expectedDisplayTime);
        bright = isBright;
        picture.requestVideoFrameCallback(watch);
      };
      picture.requestVideoFrameCallback(watch);

      const context = new AudioContext({ latencyHint: 'interactive', sampleRate: 48_000 });
      await context.resume();
      const analysers = [...document.querySelectorAll('audio')]
        .filter((audio) => audio.srcObject instanceof MediaStream)
        .map((audio) => {
          const band = new BiquadFilterNode(context, { type: 'bandpass', frequency: tone, Q: 4 });
          const analyser = new AnalyserNode(context, { fftSize: 2048 });
          context.createMediaStreamSource(audio.srcObject as MediaStream).connect(band);
          band.connect(analyser);
          return analyser;
        });
      const samples = new Float32Array(2048);
      let silentSince = 0;
      const listen = setInterval(() => {
        const now = performance.now();
        let onset: number | undefined;
        let loud = false;
        for (const analyser of analysers) {
          analyser.getFloatTimeDomainData(samples);
          const first = samples.findIndex((sample) => Math.abs(sample) > 0.05);
          if (first < 0) continue;
          loud = true;
          onset = Math.min(
            onset ?? Number.POSITIVE_INFINITY,
            now - ((samples.length - first) / context.sampleRate) * 1_000,
          );
        }
        if (!loud) silentSince ||= now;
        else if (silentSince > 0 && now - silentSince > 100 && onset !== undefined)
          beeps.push(onset);
        if (loud) silentSince = 0;
      }, 10);
      await new Promise((resolve) => setTimeout(resolve, lookMs));
      clearInterval(listen);
      await context.close();
      return flashes.flatMap((flash) => {
        const [nearest] = beeps
          .map((beep) => flash - beep)
          .sort((a, b) => Math.abs(a) - Math.abs(b));
        return nearest !== undefined && Math.abs(nearest) < 500 ? [nearest] : [];
      });
    },
    { lookMs: LOOK_MS, tone: other.tone },
  );
}

test('voice and picture come at the same time, also after the slots were switched', async () => {
  const service = await Service.start({ relay: true });
  const open = async (persona: Persona, colour: string) => {
    const participant = await Participant.open(persona);
    const act = { colour, tone: persona.tone, every: 1_100 };
    await participant.page.addInitScript(installStage, act);
    return participant;
  };
  const first = await open(anna, '#800');
  const second = await open(carla, '#008');
  const viewer = await Participant.open(bruno);
  try {
    // A voice waits longer where packets come irregularly, and a picture does not.
    await service.link('down delay 20');
    await service.link('down jitter 60');
    const room = await first.createRoom(service.url);
    await viewer.join(room);
    for (const [step, publisher] of [first, second].entries()) {
      if (step > 0) {
        // Her slots become free, and the next one takes them.
        await first.page.getByTestId('leave').click();
        await publisher.join(room);
      }
      await viewer.tile(publisher.persona.name).locator('video').first().waitFor();
      await viewer.page.waitForTimeout(SETTLE_MS);
      const found = await skews(viewer, publisher.persona);
      console.log(`${publisher.persona.name}: picture after voice, in ms: ${describe(found)}`);
      expect(found.length).toBeGreaterThanOrEqual(6);
      expect(Math.abs(median(found))).toBeLessThan(APART_MS_MAX);
      const apart = found.filter((skew) => Math.abs(skew) > APART_MS_MAX).length;
      expect(apart, 'flashes too far from their beep').toBeLessThanOrEqual(found.length / 5);
    }
  } catch (error) {
    console.error(service.logs());
    throw error;
  } finally {
    const closing = [first, second, viewer].map((one) => one.close().catch(() => {}));
    await Promise.all(closing);
    await service.stop();
  }
});
