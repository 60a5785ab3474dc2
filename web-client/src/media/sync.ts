// Voice and picture of one participant at the same time. They come in different slots, so that the
// browser does not know that they belong together, and the voice usually waits longer in its buffer.
//
// All slots of a connection count their timestamps from one moment, in ticks of 48 kHz and 90 kHz
// (PROTOCOL.md, "Receiving"). So the timestamps that are being played now say how far the picture
// is ahead, and whichever is ahead is told to wait. `evenOut` decides, `keepInSync` asks and tells.

import type { Source } from '../protocol/messages';

/** What a slot plays just now. */
export interface Playing {
  kind: 'audio' | 'video';
  /** In ticks of its clock. */
  rtpTimestamp: number;
  /** When that was played, in ms. */
  at: number;
}

const CLOCK_RATES = { audio: 48_000, video: 90_000 } as const;
/** Timestamps of both clocks tell the time but for a multiple of this, in ms. */
const COMMON_MS = (2 ** 29 / CLOCK_RATES.video) * 1_000;

/** What is not seen or heard yet: broadcasters allow 45 ms of a voice ahead of the lips (ITU-R BT.1359). */
const TOLERANCE_MS = 35;
/** More than this is no delay but a mistake. */
const SKEW_MS_MAX = 1_000;
/** No buffer is made longer than this for the sake of another. */
const TARGET_MS_MAX = 500;
/** Browsers lengthen a picture's buffer by a tenth of real time: more at once would not be seen yet. */
const STEP_MS_MAX = 60;
const INTERVAL_MS = 500;
/** The median of so many measurements counts. */
const SAMPLES = 3;

/** How much later the picture is played than the voice, in ms; negative: it is ahead. */
export function skewOf(voice: Playing, picture: Playing): number {
  const captured = (playing: Playing) => (playing.rtpTimestamp / CLOCK_RATES[playing.kind]) * 1_000;
  const apart = (captured(picture) - captured(voice)) % COMMON_MS;
  const nearest =
    apart > COMMON_MS / 2 ? apart - COMMON_MS : apart < -COMMON_MS / 2 ? apart + COMMON_MS : apart;
  return picture.at - voice.at - nearest;
}

/** How long voice and picture are told to wait at least, in ms. */
export interface Targets {
  voice: number;
  picture: number;
}

/** Skews of a pair, the latest last. A change is judged only by what was measured after it. */
export function evenOut(skews: readonly number[], targets: Targets): Targets {
  if (skews.length < SAMPLES) return targets;
  const skew = [...skews].sort((a, b) => a - b)[Math.floor(skews.length / 2)] as number;
  if (Math.abs(skew) <= TOLERANCE_MS || Math.abs(skew) > SKEW_MS_MAX) return targets;
  const step = Math.min(Math.abs(skew), STEP_MS_MAX);
  const [late, early] =
    skew > 0 ? (['picture', 'voice'] as const) : (['voice', 'picture'] as const);
  // Nobody waits for a wait: what was told the one before is taken back first.
  const back = Math.min(targets[late], step);
  return {
    ...targets,
    [late]: targets[late] - back,
    [early]: Math.min(TARGET_MS_MAX, targets[early] + step - back),
  };
}

/** A slot, as the page knows it. */
export interface SyncSlot {
  mid: string;
  kind: 'audio' | 'video';
  participant: string;
  source: Source;
}

/** Voices with the pictures that they belong to. */
export function pairsOf(slots: readonly SyncSlot[]): { voice: SyncSlot; picture: SyncSlot }[] {
  const beside = { microphone: 'camera', screen_audio: 'screen' } as const;
  return slots.flatMap((voice) => {
    if (voice.source !== 'microphone' && voice.source !== 'screen_audio') return [];
    const wanted = beside[voice.source];
    const picture = slots.find(
      ({ participant, source }) => participant === voice.participant && source === wanted,
    );
    return picture ? [{ voice, picture }] : [];
  });
}

/** In TypeScript's types it is not known yet. */
type Receiver = RTCRtpReceiver & { jitterBufferTarget?: number | null };

interface Measured {
  pair: string;
  skews: number[];
  /** What was measured last, so that a picture that stands still is not measured twice. */
  seen: string;
  targets: Targets;
}

/** Returns what ends it. */
export function keepInSync(
  slots: () => readonly SyncSlot[],
  receiverOf: (mid: string) => RTCRtpReceiver | undefined,
): () => void {
  let measured = new Map<string, Measured>();
  const told = new Map<string, number>();

  function tell(mid: string, targetMs: number): void {
    if ((told.get(mid) ?? 0) === targetMs) return;
    const receiver: Receiver | undefined = receiverOf(mid);
    if (!receiver || !('jitterBufferTarget' in receiver)) return;
    receiver.jitterBufferTarget = targetMs === 0 ? null : targetMs;
    told.set(mid, targetMs);
  }

  function look(): void {
    const next = new Map<string, Measured>();
    const paired = new Set<string>();
    for (const { voice, picture } of pairsOf(slots())) {
      const heard = playingOf(receiverOf(voice.mid), 'audio');
      const seen = playingOf(receiverOf(picture.mid), 'video');
      const pair = `${voice.mid} ${picture.mid}`;
      const now: Measured = measured.get(pair) ?? {
        pair: '',
        skews: [],
        seen: '',
        targets: { voice: told.get(voice.mid) ?? 0, picture: told.get(picture.mid) ?? 0 },
      };
      // Another participant in the same two slots: what was measured says nothing any more.
      if (now.pair !== voice.participant + voice.source) {
        now.pair = voice.participant + voice.source;
        now.skews = [];
      }
      next.set(pair, now);
      paired.add(voice.mid).add(picture.mid);
      const moment = `${heard?.rtpTimestamp} ${seen?.rtpTimestamp}`;
      if (!heard || !seen || moment === now.seen) continue;
      now.seen = moment;
      now.skews = [...now.skews, skewOf(heard, seen)].slice(-SAMPLES);
      const targets = evenOut(now.skews, now.targets);
      if (targets === now.targets) continue;
      now.targets = targets;
      now.skews = [];
      tell(voice.mid, targets.voice);
      tell(picture.mid, targets.picture);
    }
    // Who belongs to nobody waits for nobody.
    for (const mid of told.keys()) if (!paired.has(mid)) tell(mid, 0);
    measured = next;
  }

  const timer = setInterval(look, INTERVAL_MS);
  return () => clearInterval(timer);
}

function playingOf(
  receiver: RTCRtpReceiver | undefined,
  kind: 'audio' | 'video',
): Playing | undefined {
  const [source] = receiver?.getSynchronizationSources() ?? [];
  return source && { kind, rtpTimestamp: source.rtpTimestamp, at: source.timestamp };
}
