// Whether a machine keeps up with the background blur, by how long its frames take. Pure.

/** At a third of this many frames a second people look like slides. */
const FRAME_MS_MAX = 1_000 / 12;
/** The first frames warm caches up and compile shaders. */
const WARM_UP_FRAMES = 15;
/** Frames that are looked at together, so that one hiccup means nothing. */
const FRAMES = 45;
/** This share of them has to be slow. */
const SLOW_SHARE = 0.6;

export interface Pace {
  seen: number;
  /** Of the last `FRAMES`, whether each was slow. */
  slow: readonly boolean[];
}

export const FRESH_PACE: Pace = { seen: 0, slow: [] };

export function paceAfter(pace: Pace, frame_ms: number): Pace {
  const seen = pace.seen + 1;
  if (seen <= WARM_UP_FRAMES) return { seen, slow: [] };
  return { seen, slow: [...pace.slow, frame_ms > FRAME_MS_MAX].slice(-FRAMES) };
}

export function isTooSlow({ slow }: Pace): boolean {
  return slow.length === FRAMES && slow.filter(Boolean).length >= FRAMES * SLOW_SHARE;
}
