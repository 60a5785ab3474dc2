// Whether somebody speaks into a microphone that is switched off. Not too eager: a cough, a
// keyboard and a fan are no speech. Pure.

/** Levels are those of `levelOf`, 0 to 1 on a scale of decibels. */
export interface Speech {
  /** What it is like when nobody speaks. */
  floor: number;
  /** Of the last `WINDOW` levels, whether each was loud. */
  loud: readonly boolean[];
  /** When it was last said, so that nobody is nagged. */
  saidAt_ms: number | undefined;
  /** Whether it is to be said now. */
  speaks: boolean;
}

/** Levels come every 80 ms: 1.6 s. */
const WINDOW = 20;
/** Speech has pauses between its words. */
const LOUD_SHARE = 0.5;
/** Above the floor by so much, about 11 dB. */
const ABOVE_FLOOR = 0.2;
/** Quieter than this is nobody in front of this microphone. */
const LOUD_MIN = 0.4;
/** The floor sinks at once and rises slowly. */
const FLOOR_RISE = 0.01;
export const REPEAT_MS = 60_000;

export const SILENCE: Speech = {
  floor: LOUD_MIN - ABOVE_FLOOR,
  loud: [],
  saidAt_ms: undefined,
  speaks: false,
};

export function speechAfter(speech: Speech, level: number, now_ms: number): Speech {
  const isLoud = level > Math.max(LOUD_MIN, speech.floor + ABOVE_FLOOR);
  const loud = [...speech.loud, isLoud].slice(-WINDOW);
  const floor = level < speech.floor ? level : speech.floor + (level - speech.floor) * FLOOR_RISE;
  const rested = speech.saidAt_ms === undefined || now_ms - speech.saidAt_ms >= REPEAT_MS;
  const speaks =
    rested && loud.length === WINDOW && loud.filter(Boolean).length >= WINDOW * LOUD_SHARE;
  return { floor, loud, saidAt_ms: speaks ? now_ms : speech.saidAt_ms, speaks };
}
