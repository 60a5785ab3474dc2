// A microphone without the noise around it: RNNoise in an AudioWorklet. Loaded only when somebody
// chooses it.

import { loadRnnoise, RnnoiseWorkletNode } from '@sapphi-red/web-noise-suppressor';
import wasmUrl from '@sapphi-red/web-noise-suppressor/rnnoise.wasm?url';
import simdWasmUrl from '@sapphi-red/web-noise-suppressor/rnnoise_simd.wasm?url';
import workletUrl from '@sapphi-red/web-noise-suppressor/rnnoiseWorklet.js?url';
import { keepRunning } from '../context';

/** The filter was trained on this rate and knows no other. */
const SAMPLE_RATE_HZ = 48_000;

let wasm: Promise<ArrayBuffer> | undefined;

export interface Suppressed {
  track: MediaStreamTrack;
  /** Ends the filtered track, not the microphone's. */
  stop(): void;
}

export async function suppress(microphone: MediaStreamTrack): Promise<Suppressed> {
  wasm ??= loadRnnoise({ url: wasmUrl, simdUrl: simdWasmUrl });
  const context = new AudioContext({ sampleRate: SAMPLE_RATE_HZ, latencyHint: 'interactive' });
  try {
    const [wasmBinary] = await Promise.all([wasm, context.audioWorklet.addModule(workletUrl)]);
    const filter = new RnnoiseWorkletNode(context, { maxChannels: 1, wasmBinary });
    const source = context.createMediaStreamSource(new MediaStream([microphone]));
    const sink = context.createMediaStreamDestination();
    sink.channelCount = 1;
    source.connect(filter).connect(sink);
    keepRunning(context);
    const [track] = sink.stream.getAudioTracks();
    if (!track) throw new Error('the filter has no output');
    return {
      track,
      stop() {
        track.stop();
        source.disconnect();
        filter.destroy();
        void context.close();
      },
    };
  } catch (error) {
    // What did not load may load at the next try.
    wasm = undefined;
    void context.close();
    throw error;
  }
}
