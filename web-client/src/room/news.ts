// What changed between two states of a room that people who do not see it should hear of. Pure.

import type { Reaction } from '../protocol/messages';
import { isModerator } from './rights';
import { participantOf, type Room } from './room';

export type NewsKind =
  | 'joined'
  | 'left'
  | 'joined_many'
  | 'left_many'
  | 'sharing'
  | 'sharing_ended'
  | 'reconnecting'
  | 'reconnected'
  | 'admitted'
  | 'waiting'
  | 'waiting_many'
  | 'hand'
  | 'hand_up'
  | 'hand_down'
  | 'moderator'
  | 'spotlight'
  | 'spotlight_ended'
  | 'message'
  | 'message_private'
  | 'line'
  | `react_${Reaction}`;

export interface News {
  kind: NewsKind;
  name: string;
  count: number;
  /** What was written. */
  text?: string;
}

/** When more people than this come or go at once, they are counted rather than named. */
const NAMES_MAX = 2;

export function newsBetween(before: Room, after: Room): News[] {
  const news: News[] = [];
  if (before.connection === 'joined' && after.connection === 'reconnecting') {
    news.push(plain('reconnecting'));
  }
  if (before.connection === 'reconnecting' && after.connection === 'joined') {
    news.push(plain('reconnected'));
  }
  if (before.connection === 'waiting' && after.connection === 'joined')
    news.push(plain('admitted'));
  // What was there on arrival is no news.
  if (before.connection === 'joining' || before.connection === 'waiting') return news;
  news.push(...movement('joined', 'joined_many', missing(after, before)));
  news.push(...movement('left', 'left_many', missing(before, after)));
  news.push(...sharing(before, after));
  news.push(...lobby(before, after));
  news.push(...hands(before, after));
  news.push(...oneself(before, after));
  news.push(...written(before, after));
  return news;
}

function plain(kind: NewsKind): News {
  return { kind, name: '', count: 0 };
}

/** Names of the participants of one room that are not in the other. */
function missing(room: Room, other: Room): string[] {
  const known = new Set(other.participants.map(({ id }) => id));
  return room.participants
    .filter(({ id }) => !known.has(id) && id !== room.you)
    .map(({ name }) => name);
}

function movement(one: NewsKind, many: NewsKind, names: string[]): News[] {
  if (names.length > NAMES_MAX) return [{ kind: many, name: '', count: names.length }];
  return names.map((name) => ({ kind: one, name, count: 1 }));
}

function sharing(before: Room, after: Room): News[] {
  const [was] = before.sharing;
  const [is] = after.sharing;
  if (was === is || is === after.you || was === before.you) return [];
  if (is === undefined) return [plain('sharing_ended')];
  const name = participantOf(after, is)?.name ?? '';
  return [{ kind: 'sharing', name, count: 1 }];
}

function lobby(before: Room, after: Room): News[] {
  if (before.waiting === after.waiting) return [];
  const known = new Set(before.waiting.map(({ id }) => id));
  const names = after.waiting.filter(({ id }) => !known.has(id)).map(({ name }) => name);
  return movement('waiting', 'waiting_many', names);
}

/** One's own hand, and for moderators those of the others. */
function hands(before: Room, after: Room): News[] {
  if (before.participants === after.participants) return [];
  const up = new Set(
    before.participants.filter(({ hand }) => hand !== undefined).map(({ id }) => id),
  );
  const news: News[] = [];
  const own = participantOf(after, after.you);
  if (own && up.has(own.id) !== (own.hand !== undefined)) {
    news.push(plain(own.hand === undefined ? 'hand_down' : 'hand_up'));
  }
  if (!isModerator(after)) return news;
  for (const { id, name, hand } of after.participants) {
    if (hand !== undefined && !up.has(id) && id !== after.you) {
      news.push({ kind: 'hand', name, count: 1 });
    }
  }
  return news;
}

/** What a moderator made of one. */
function oneself(before: Room, after: Room): News[] {
  const news: News[] = [];
  if (before.participants.length > 0 && !isModerator(before) && isModerator(after)) {
    news.push(plain('moderator'));
  }
  const inFront = (room: Room) => room.info?.spotlight.includes(room.you) ?? false;
  if (inFront(before) !== inFront(after)) {
    news.push(plain(inFront(after) ? 'spotlight' : 'spotlight_ended'));
  }
  return news;
}

function written(before: Room, after: Room): News[] {
  const news: News[] = [];
  if (before.chat !== after.chat) {
    const last = before.chat.at(-1)?.serial ?? -1;
    for (const { serial, participant, name, text, to } of after.chat) {
      if (serial <= last || participant === after.you) continue;
      const kind = to === undefined ? 'message' : 'message_private';
      news.push({ kind, name, count: 1, text });
    }
  }
  if (before.lines !== after.lines) {
    for (const [id, line] of after.lines) {
      if (line === before.lines.get(id) || !line.done || line.text === '') continue;
      if (id === after.you) continue;
      const name = participantOf(after, id)?.name ?? '';
      news.push({ kind: 'line', name, count: 1, text: line.text });
    }
  }
  return news;
}
