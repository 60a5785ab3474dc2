// In which order the list of participants shows them, and how it is searched. Pure.

import type { Participant } from '../protocol/messages';
import type { Room } from './room';

export interface ListedPerson {
  participant: Participant;
  /** Place among the raised hands, from 1. */
  turn?: number;
}

/** Raised hands come first, in the order in which they went up; then oneself; then the others. */
export function listedPeople(room: Room): ListedPerson[] {
  const hands = room.participants
    .filter(({ hand }) => hand !== undefined)
    .sort((a, b) => (a.hand ?? 0) - (b.hand ?? 0));
  const others = room.participants.filter(({ hand }) => hand === undefined);
  return [
    ...hands.map((participant, index) => ({ participant, turn: index + 1 })),
    ...others.filter(({ id }) => id === room.you).map((participant) => ({ participant })),
    ...others.filter(({ id }) => id !== room.you).map((participant) => ({ participant })),
  ];
}

/** Those whose name has every word that was typed, whatever its accents and capitals. */
export function matching(people: readonly ListedPerson[], search: string): readonly ListedPerson[] {
  const words = plain(search)
    .split(/\s+/)
    .filter((word) => word !== '');
  if (words.length === 0) return people;
  return people.filter(({ participant }) => {
    const name = plain(participant.name);
    return words.every((word) => name.includes(word));
  });
}

function plain(text: string): string {
  return text.normalize('NFD').replace(/\p{M}/gu, '').toLowerCase();
}
