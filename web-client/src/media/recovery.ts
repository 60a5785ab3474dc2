// What to do about a track that the system took away: a call that came in, a locked screen, a
// device that was pulled out. Pure.

export interface Trouble {
  /** The person wants this source on. */
  wanted: boolean;
  /** Its track has ended, or the system keeps it silent. */
  track: 'live' | 'muted' | 'ended';
  hidden: boolean;
  /** When it was reopened lately. */
  reopened_ms: readonly number[];
  now_ms: number;
}

/** A device that breaks again and again is left alone. */
const TRIES_MAX = 3;
const TRIES_WITHIN_MS = 15_000;

/**
 * `reopen` at once, `wait` until the page is seen again or the system gives the track back, or
 * `give_up` and say so.
 */
export function recoveryOf(trouble: Trouble): 'keep' | 'wait' | 'reopen' | 'give_up' {
  const { wanted, track, hidden, reopened_ms, now_ms } = trouble;
  if (!wanted || track === 'live') return 'keep';
  // In the background browsers refuse to open devices, and phones take them away.
  if (hidden) return 'wait';
  const tries = reopened_ms.filter((then) => now_ms - then < TRIES_WITHIN_MS).length;
  if (tries >= TRIES_MAX) return track === 'ended' ? 'give_up' : 'wait';
  return 'reopen';
}
