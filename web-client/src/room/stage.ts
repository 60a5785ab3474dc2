// Who gets a tile, and which slot of the pool carries each tile's video. Pure.

import type { ParticipantId, Source, ViewSlot } from '../protocol/messages';

/** Who has a place, and how many places are seen at once. */
export interface Places {
  /** In order of arrival. */
  others: readonly ParticipantId[];
  /** Oneself, if one's own tile is among the others. */
  own: ParticipantId | undefined;
  /** Who has the first places, whoever speaks. */
  held: readonly ParticipantId[];
  /** Who spoke, latest first. */
  spoke: readonly ParticipantId[];
  /** How many tiles are seen at once, those of `held` among them. */
  capacity: number;
}

/**
 * Everybody in the order of their places. Whoever has a place keeps it: when not everybody is seen,
 * somebody who speaks changes places with the one who was silent for longest, and nobody else moves.
 * One's own tile is the last of those that are seen.
 */
export function orderAfter(before: readonly ParticipantId[], places: Places): ParticipantId[] {
  const { own, held, capacity } = places;
  const ownHeld = own !== undefined && held.includes(own);
  const moving = own !== undefined && !ownHeld;
  const present = ownHeld ? [...places.others, own] : places.others;
  const seen = Math.max(0, capacity - (moving && capacity > 1 ? 1 : 0));
  const earlier = before.filter((id) => ownHeld || id !== own);
  const order = withoutGaps(earlier, present, seen);
  holdInFront(order, held);
  letSpeakersIn(order, places.spoke, held.length, Math.min(seen, order.length));
  const last = Math.max(held.length, Math.min(seen, order.length));
  if (moving) order.splice(capacity > 1 ? last : order.length, 0, own);
  return order;
}

/** The gap of one who left is filled from behind what is seen; what is left of it closes. */
function withoutGaps(
  before: readonly ParticipantId[],
  present: readonly ParticipantId[],
  seen: number,
): ParticipantId[] {
  const left = new Set(present);
  const known = before.map((id) => (left.delete(id) ? id : undefined));
  const all: (ParticipantId | undefined)[] = [...known, ...left];
  const beyond = all.slice(seen).filter((id) => id !== undefined);
  let next = 0;
  const filled = all.slice(0, seen).flatMap((id) => {
    const here = id ?? beyond[next++];
    return here === undefined ? [] : [here];
  });
  return [...filled, ...beyond.slice(next)];
}

/** Who has to go to the front changes places with whoever was there. */
function holdInFront(order: ParticipantId[], held: readonly ParticipantId[]): void {
  for (const [place, id] of held.entries()) swap(order, place, order.indexOf(id));
}

/** Whoever spoke lately has a place among those seen, and takes it from who spoke longest ago. */
function letSpeakersIn(
  order: ParticipantId[],
  spoke: readonly ParticipantId[],
  from: number,
  seen: number,
): void {
  if (order.length <= seen || from >= seen) return;
  const fixed = new Set(order.slice(0, from));
  const present = new Set(order);
  const speakers = spoke.filter((id) => present.has(id) && !fixed.has(id)).slice(0, seen - from);
  const speaks = new Set(speakers);
  const inside = new Set(order.slice(from, seen));
  const silent = spoke.filter((id) => inside.has(id) && !speaks.has(id)).reverse();
  const mute = new Set(silent);
  const givers = [
    ...order.slice(from, seen).filter((id) => !speaks.has(id) && !mute.has(id)),
    ...silent,
  ];
  const places = new Map(order.map((id, place) => [id, place]));
  for (const speaker of speakers.filter((id) => !inside.has(id))) {
    const giver = givers.shift();
    if (giver === undefined) return;
    swap(order, places.get(giver) ?? -1, places.get(speaker) ?? -1);
  }
}

function swap(order: ParticipantId[], a: number, b: number): void {
  const [one, other] = [order[a], order[b]];
  if (one === undefined || other === undefined) return;
  order[a] = other;
  order[b] = one;
}

export interface Wanted {
  participant: ParticipantId;
  source: Source;
  /** In device pixels. */
  width: number;
  height: number;
}

/** Each stream once, in the order of the first mention and as large as the largest one. */
export function wantedOnce(all: readonly Wanted[]): Wanted[] {
  const once = new Map<string, Wanted>();
  for (const want of all) {
    const key = `${want.source} ${want.participant}`;
    const { width = 0, height = 0 } = once.get(key) ?? {};
    once.set(key, {
      ...want,
      width: Math.max(want.width, width),
      height: Math.max(want.height, height),
    });
  }
  return [...once.values()];
}

/** What each slot of the pool was last asked to show, by mid. */
export type View = ReadonlyMap<string, Wanted | undefined>;

/**
 * Gives every wanted stream a slot. A stream that has one keeps it, so that it is not interrupted.
 * What finds no slot is left out until the pool has grown.
 */
export function viewAfter(
  before: View,
  mids: readonly string[],
  wanted: readonly Wanted[],
): Map<string, Wanted | undefined> {
  const view = new Map<string, Wanted | undefined>(mids.map((mid) => [mid, undefined]));
  const waiting: Wanted[] = [];
  for (const want of wanted) {
    const mid = mids.find((mid) => isSameStream(before.get(mid), want));
    if (mid === undefined) waiting.push(want);
    else view.set(mid, want);
  }
  for (const mid of mids) if (!view.get(mid)) view.set(mid, waiting.shift());
  return view;
}

/** The slots to name in a `view` message. */
export function viewChanges(before: View, after: View): ViewSlot[] {
  return [...after].flatMap(([mid, want]): ViewSlot[] => {
    const was = before.get(mid);
    if (!want) return was || !before.has(mid) ? [{ mid, show: { type: 'off' } }] : [];
    const { participant, source, width, height } = want;
    if (isSameStream(was, want) && was?.width === width && was.height === height) return [];
    return [{ mid, show: { type: 'participant', participant, source }, width, height }];
  });
}

export function isSameStream(a: Wanted | undefined, b: Wanted): boolean {
  return a?.participant === b.participant && a.source === b.source;
}
