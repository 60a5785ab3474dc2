// The worker of the background blur: takes frames, gives frames with a blurred background back.

import { composer } from './compose';
import { loadSegmenter } from './segmenter';
import type { FromWorker, Strength, ToWorker } from './wire';

let strength: Strength = 'light';

const say = (message: FromWorker, transfer: Transferable[] = []) =>
  self.postMessage(message, { transfer });

const loaded = loadSegmenter();
loaded.then(
  () => say({ type: 'ready' }),
  (error: Error) => say({ type: 'failed', reason: error.message }),
);

self.onmessage = ({ data }: MessageEvent<ToWorker>) => {
  switch (data.type) {
    case 'strength':
      strength = data.strength;
      return;
    case 'streams':
      return void pump(data.readable, data.writable);
    case 'frame':
      return void one(data.frame);
  }
};

/** Frame by frame between two streams, where the browser has them: the page need not be awake. */
async function pump(
  readable: ReadableStream<VideoFrame>,
  writable: WritableStream<VideoFrame>,
): Promise<void> {
  try {
    const segmenter = await loaded;
    const compose = composer(segmenter);
    const frames = new TransformStream<VideoFrame, VideoFrame>({
      transform(frame, controller) {
        const started = performance.now();
        const { displayWidth, displayHeight, timestamp } = frame;
        const canvas = compose(frame, displayWidth, displayHeight, strength);
        frame.close();
        controller.enqueue(new VideoFrame(canvas, { timestamp, alpha: 'discard' }));
        say({ type: 'took', ms: performance.now() - started });
      },
    });
    await readable.pipeThrough(frames).pipeTo(writable);
  } catch (error) {
    say({ type: 'failed', reason: String(error) });
  }
}

let compose: ReturnType<typeof composer> | undefined;

/** One picture that the page sent. */
async function one(frame: ImageBitmap): Promise<void> {
  try {
    const segmenter = await loaded;
    compose ??= composer(segmenter);
    const started = performance.now();
    const canvas = compose(frame, frame.width, frame.height, strength);
    frame.close();
    const picture = canvas.transferToImageBitmap();
    say({ type: 'frame', frame: picture }, [picture]);
    say({ type: 'took', ms: performance.now() - started });
  } catch (error) {
    say({ type: 'failed', reason: String(error) });
  }
}
