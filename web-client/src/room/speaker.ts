// Whose picture is the large one. Pure: the caller owns time.

import type { ParticipantId } from '../protocol/messages';
import type { Room } from './room';

/** A cough, a yes or a chair is shorter than this. */
export const SPEECH_MS = 1_000;
/** Speech has gaps of this length, which count for nothing. */
export const PAUSE_MS = 600;

export interface Following {
  large: ParticipantId | undefined;
  /** Who speaks, but not yet for long enough. */
  challenger: { id: ParticipantId; sinceMs: number; quietMs: number | undefined } | undefined;
}

export const NOBODY: Following = { large: undefined, challenger: undefined };

/** To be called whenever who speaks has changed, and when `followingDue` says. */
export function followed(before: Following, room: Room, nowMs: number): Following {
  const others = new Set(room.participants.map(({ id }) => id));
  others.delete(room.you);
  const speaking = room.speaking.filter((id) => others.has(id));
  const { large } = before;
  if (large === undefined || !others.has(large)) {
    const next = speaking[0] ?? room.spoke.find((id) => others.has(id)) ?? [...others][0];
    return { large: next, challenger: undefined };
  }
  const challenger = challengerAfter(before, speaking, nowMs);
  if (!challenger || challenger.quietMs !== undefined) return { large, challenger };
  return nowMs - challenger.sinceMs >= SPEECH_MS
    ? { large: challenger.id, challenger: undefined }
    : { large, challenger };
}

function challengerAfter(
  { large, challenger }: Following,
  speaking: readonly ParticipantId[],
  nowMs: number,
): Following['challenger'] {
  const [loudest] = speaking;
  // Whoever is large stays so while nobody is louder.
  if (loudest !== undefined && loudest === large) return undefined;
  if (challenger && speaking.includes(challenger.id)) {
    const pause = challenger.quietMs === undefined ? 0 : nowMs - challenger.quietMs;
    if (pause <= PAUSE_MS) {
      return { id: challenger.id, sinceMs: challenger.sinceMs + pause, quietMs: undefined };
    }
  }
  if (loudest !== undefined) return { id: loudest, sinceMs: nowMs, quietMs: undefined };
  if (!challenger) return undefined;
  const quietMs = challenger.quietMs ?? nowMs;
  return nowMs - quietMs > PAUSE_MS ? undefined : { ...challenger, quietMs };
}

/** When to look again, though nobody starts or stops to speak. */
export function followingDue({ challenger }: Following): number | undefined {
  if (!challenger) return undefined;
  return challenger.quietMs === undefined
    ? challenger.sinceMs + SPEECH_MS
    : challenger.quietMs + PAUSE_MS + 1;
}
