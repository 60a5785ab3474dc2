import { describe, expect, it } from 'vitest';
import { joinedRoom, person } from './examples';
import { newsBetween } from './news';
import { NO_ROOM, roomAfter } from './room';

const room = joinedRoom([person('a'), person('me')]);

function kinds(...news: ReturnType<typeof newsBetween>): string[] {
  return news.map(({ kind, name, count }) => `${kind} ${name || count}`);
}

describe('newsBetween', () => {
  it('says nothing of what was there on arrival', () => {
    expect(newsBetween(NO_ROOM, room)).toEqual([]);
  });

  it('names who comes and goes', () => {
    const next = joinedRoom([person('b', { name: 'Bo' }), person('me')]);
    expect(kinds(...newsBetween(room, next))).toEqual(['joined Bo', 'left Name a']);
  });

  it('counts a crowd', () => {
    const crowd = joinedRoom([person('a'), person('me'), person('b'), person('c'), person('d')]);
    expect(kinds(...newsBetween(room, crowd))).toEqual(['joined_many 3']);
    expect(kinds(...newsBetween(crowd, room))).toEqual(['left_many 3']);
  });

  it('tells of a shared screen, but not of one’s own', () => {
    const share = (id: string) =>
      roomAfter(room, {
        type: 'participant_changed',
        participant: person(id, { publishing: { screen: true } }),
      });
    expect(kinds(...newsBetween(room, share('a')))).toEqual(['sharing Name a']);
    expect(kinds(...newsBetween(share('a'), room))).toEqual(['sharing_ended 0']);
    expect(newsBetween(room, share('me'))).toEqual([]);
  });

  it('tells of a lost and of a restored connection', () => {
    const away = roomAfter(room, { type: 'reconnecting' });
    expect(kinds(...newsBetween(room, away))).toEqual(['reconnecting 0']);
    expect(kinds(...newsBetween(away, room))).toEqual(['reconnected 0']);
  });
});
