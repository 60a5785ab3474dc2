// A camera with a blurred background: takes the camera's track, gives a track to send. Loaded only
// when somebody switches it on.

import type { FromWorker, Strength, ToWorker } from './wire';

export interface Processed<Setting> {
  track: MediaStreamTrack;
  set(setting: Setting): void;
  /** Ends the processed track, not the camera's. */
  stop(): void;
}

export interface BlurOptions {
  strength: Strength;
  /** How long each frame took. */
  onFrame(ms: number): void;
  /** It broke after it had begun. */
  onFailed(reason: string): void;
}

/** Chromium's streams of frames; not in TypeScript's types. */
interface FrameStreams {
  MediaStreamTrackProcessor?: new (options: {
    track: MediaStreamTrack;
    maxBufferSize: number;
  }) => { readable: ReadableStream<VideoFrame> };
  MediaStreamTrackGenerator?: new (options: {
    kind: 'video';
  }) => MediaStreamTrack & { writable: WritableStream<VideoFrame> };
}

/** Where frames have to be fetched one by one, they are at most this many a second. */
const FRAMES_PER_S = 24;
/** A phone on a slow network has some seconds for the model. */
const LOAD_MS_MAX = 30_000;

export async function blur(
  camera: MediaStreamTrack,
  options: BlurOptions,
): Promise<Processed<Strength>> {
  const worker = new Worker(new URL('./worker.ts', import.meta.url), { type: 'module' });
  const say = (message: ToWorker, transfer: Transferable[] = []) =>
    worker.postMessage(message, transfer);
  say({ type: 'strength', strength: options.strength });
  try {
    await ready(worker);
  } catch (error) {
    worker.terminate();
    throw error;
  }
  const picture = streams(camera, say) ?? pictures(camera, worker, say);
  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
    if (data.type === 'took') options.onFrame(data.ms);
    if (data.type === 'failed') options.onFailed(data.reason);
  });
  picture.track.contentHint = camera.contentHint;
  // Who asks a camera for its size asks this one too, which would not know.
  picture.track.getSettings = () => camera.getSettings();
  return {
    track: picture.track,
    set: (strength) => say({ type: 'strength', strength }),
    stop() {
      picture.track.stop();
      picture.stop();
      worker.terminate();
    },
  };
}

function ready(worker: Worker): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error('it did not load in time')), LOAD_MS_MAX);
    const settle = (act: () => void) => {
      clearTimeout(timer);
      act();
    };
    worker.onerror = ({ message }) => settle(() => reject(new Error(message)));
    worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
      if (data.type === 'ready') settle(resolve);
      if (data.type === 'failed') settle(() => reject(new Error(data.reason)));
    });
  });
}

interface Picture {
  track: MediaStreamTrack;
  stop(): void;
}

/** The frames go from the camera through the worker without passing by here. */
function streams(
  camera: MediaStreamTrack,
  say: (message: ToWorker, transfer: Transferable[]) => void,
): Picture | undefined {
  const { MediaStreamTrackProcessor, MediaStreamTrackGenerator } = globalThis as FrameStreams;
  if (!MediaStreamTrackProcessor || !MediaStreamTrackGenerator) return undefined;
  // A clone, because it ends with the processor.
  const source = camera.clone();
  const { readable } = new MediaStreamTrackProcessor({ track: source, maxBufferSize: 1 });
  const generator = new MediaStreamTrackGenerator({ kind: 'video' });
  const { writable } = generator;
  say({ type: 'streams', readable, writable }, [readable, writable]);
  return { track: generator, stop: () => source.stop() };
}

/** Pictures of a hidden video go to the worker and come back onto a canvas, one at a time. */
function pictures(
  camera: MediaStreamTrack,
  worker: Worker,
  say: (message: ToWorker, transfer: Transferable[]) => void,
): Picture {
  const video = document.createElement('video');
  video.muted = true;
  video.playsInline = true;
  video.srcObject = new MediaStream([camera]);
  void video.play().catch(() => {});
  const canvas = document.createElement('canvas');
  const { width = 640, height = 360 } = camera.getSettings();
  canvas.width = width;
  canvas.height = height;
  const screen = canvas.getContext('bitmaprenderer');
  const [track] = canvas.captureStream(FRAMES_PER_S).getVideoTracks();
  if (!track || !screen) throw new Error('this browser does not capture a canvas');
  let busy = false;

  const timer = setInterval(async () => {
    if (busy || video.readyState < HTMLMediaElement.HAVE_CURRENT_DATA) return;
    busy = true;
    try {
      const frame = await createImageBitmap(video);
      say({ type: 'frame', frame }, [frame]);
    } catch {
      // The camera stopped in between.
      busy = false;
    }
  }, 1_000 / FRAMES_PER_S);

  worker.addEventListener('message', ({ data }: MessageEvent<FromWorker>) => {
    if (data.type !== 'frame') return;
    busy = false;
    const { frame } = data;
    // A phone was turned.
    if (canvas.width !== frame.width || canvas.height !== frame.height) {
      canvas.width = frame.width;
      canvas.height = frame.height;
    }
    screen.transferFromImageBitmap(frame);
  });
  return {
    track,
    stop() {
      clearInterval(timer);
      video.srcObject = null;
    },
  };
}
