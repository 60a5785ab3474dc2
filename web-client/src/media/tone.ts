// A sound by which one hears that the speaker works, and a recording of one's own voice.

import { audioContext } from './context';
import { canChooseSpeaker } from './playing';

/** A fifth, upwards, in Hz. */
const TONES_HZ = [523.25, 783.99];
const TONE_S = 0.35;
const LOUDNESS = 0.25;

/** Resolves when it has sounded. */
export async function playTone(speaker: string): Promise<void> {
  const context = audioContext();
  await context.resume();
  const sink = context.createMediaStreamDestination();
  const start = context.currentTime + 0.1;
  TONES_HZ.forEach((frequency, index) => {
    const begin = start + index * TONE_S;
    const tone = new OscillatorNode(context, { frequency });
    const loudness = new GainNode(context, { gain: 0 });
    // Without a slope it would click.
    loudness.gain.setValueAtTime(0, begin);
    loudness.gain.linearRampToValueAtTime(LOUDNESS, begin + 0.03);
    loudness.gain.exponentialRampToValueAtTime(0.001, begin + TONE_S * 1.8);
    tone.connect(loudness).connect(sink);
    tone.start(begin);
    tone.stop(begin + TONE_S * 2);
  });
  const element = await played(sink.stream, speaker);
  await after((TONES_HZ.length + 1.5) * TONE_S * 1_000);
  element.srcObject = null;
}

/** What the microphone sends, for so long. */
export async function record(track: MediaStreamTrack, for_ms: number): Promise<Blob> {
  const recorder = new MediaRecorder(new MediaStream([track]));
  const parts: Blob[] = [];
  recorder.ondataavailable = ({ data }) => parts.push(data);
  const stopped = new Promise<void>((resolve, reject) => {
    recorder.onstop = () => resolve();
    recorder.onerror = () => reject(new Error('the browser cannot record'));
  });
  recorder.start();
  await after(for_ms);
  if (recorder.state !== 'inactive') recorder.stop();
  await stopped;
  return new Blob(parts, { type: recorder.mimeType });
}

/** Resolves when it has been heard to its end, or `signal` cut it short. */
export async function playBack(voice: Blob, speaker: string, signal: AbortSignal): Promise<void> {
  const url = URL.createObjectURL(voice);
  try {
    const element = await played(url, speaker);
    await new Promise<void>((resolve) => {
      element.onended = () => resolve();
      element.onerror = () => resolve();
      signal.addEventListener('abort', () => {
        element.pause();
        resolve();
      });
    });
  } finally {
    URL.revokeObjectURL(url);
  }
}

async function played(sound: MediaStream | string, speaker: string): Promise<HTMLAudioElement> {
  const element = new Audio();
  if (canChooseSpeaker()) await element.setSinkId(speaker).catch(() => {});
  if (typeof sound === 'string') element.src = sound;
  else element.srcObject = sound;
  await element.play();
  return element;
}

function after(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}
