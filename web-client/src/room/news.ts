// What changed between two states of a room that people who do not see it should hear of. Pure.

import type { Room } from './room';

export type NewsKind =
  | 'joined'
  | 'left'
  | 'joined_many'
  | 'left_many'
  | 'sharing'
  | 'sharing_ended'
  | 'reconnecting'
  | 'reconnected';

export interface News {
  kind: NewsKind;
  name: string;
  count: number;
}

/** When more people than this come or go at once, they are counted rather than named. */
const NAMES_MAX = 2;

export function newsBetween(before: Room, after: Room): News[] {
  const news: News[] = [];
  if (before.connection === 'joined' && after.connection === 'reconnecting') {
    news.push({ kind: 'reconnecting', name: '', count: 0 });
  }
  if (before.connection === 'reconnecting' && after.connection === 'joined') {
    news.push({ kind: 'reconnected', name: '', count: 0 });
  }
  // What was there on arrival is no news.
  if (before.connection === 'joining') return news;
  news.push(...movement('joined', 'joined_many', missing(after, before)));
  news.push(...movement('left', 'left_many', missing(before, after)));
  news.push(...sharing(before, after));
  return news;
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
  if (is === undefined) return [{ kind: 'sharing_ended', name: '', count: 0 }];
  const name = after.participants.find(({ id }) => id === is)?.name ?? '';
  return [{ kind: 'sharing', name, count: 1 }];
}
