// Who gets a tile, and which slot of the pool carries each tile's video. Pure.

import type { ParticipantId, Source, ViewSlot } from '../protocol/messages';
import type { Room } from './room';

/**
 * Who has the places of a grid of `capacity` tiles. Whoever is shown keeps the place: when not
 * everybody fits, somebody who speaks takes the place of the one who was silent for longest, and
 * nobody else moves. One's own tile has the last place.
 */
export function tilesAfter(
  before: readonly ParticipantId[],
  room: Room,
  capacity: number,
): ParticipantId[] {
  const others = room.participants.map(({ id }) => id).filter((id) => id !== room.you);
  const ownPlaces = capacity > 1 && others.length < room.participants.length ? 1 : 0;
  const chosen = new Set(byInterest(before, room, others).slice(0, capacity - ownPlaces));
  const everybodyFits = chosen.size === others.length;
  const places: (ParticipantId | undefined)[] = before
    .filter((id) => id !== room.you && (!everybodyFits || chosen.has(id)))
    .slice(0, chosen.size)
    .map((id) => (chosen.delete(id) ? id : undefined));
  const newcomers = [...chosen];
  const filled = places.map((id) => id ?? newcomers.shift()).filter((id) => id !== undefined);
  return [...filled, ...newcomers, ...(ownPlaces > 0 || others.length === 0 ? [room.you] : [])];
}

/** Latest speakers first, then those who have a place, then in order of arrival. */
function byInterest(
  before: readonly ParticipantId[],
  room: Room,
  others: readonly ParticipantId[],
): ParticipantId[] {
  const present = new Set(others);
  const order = new Set([...room.spoke, ...before, ...others].filter((id) => present.has(id)));
  return [...order];
}

export interface Wanted {
  participant: ParticipantId;
  source: Source;
  /** In device pixels. */
  width: number;
  height: number;
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
