import { describe, expect, it } from 'vitest';
import { joinedRoom, person } from './examples';
import { newsBetween } from './news';
import { NO_ROOM, type Room, roomAfter } from './room';

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

  it('tells those who waited that they were let in, and nothing else', () => {
    const waiting = roomAfter(NO_ROOM, { type: 'waiting' });
    expect(kinds(...newsBetween(waiting, room))).toEqual(['admitted 0']);
  });

  const chaired = joinedRoom([person('me', { role: 'moderator' }), person('a')]);
  const changed = (before: Room, id: string, more: Parameters<typeof person>[1]) =>
    roomAfter(before, { type: 'participant_changed', participant: person(id, more) });

  it('tells moderators who waits, once', () => {
    const ada = { id: 'x', name: 'Ada', kind: 'browser' } as const;
    const one = roomAfter(chaired, { type: 'lobby', waiting: [ada] });
    expect(kinds(...newsBetween(chaired, one))).toEqual(['waiting Ada']);
    const more = roomAfter(one, {
      type: 'lobby',
      waiting: [ada, ...['1', '2', '3'].map((id) => ({ ...ada, id }))],
    });
    expect(kinds(...newsBetween(one, more))).toEqual(['waiting_many 3']);
    expect(newsBetween(one, roomAfter(one, { type: 'lobby', waiting: [] }))).toEqual([]);
  });

  it('tells moderators of hands, and everybody of their own', () => {
    const up = changed(chaired, 'a', { hand: 1 });
    expect(kinds(...newsBetween(chaired, up))).toEqual(['hand Name a']);
    expect(newsBetween(up, chaired)).toEqual([]);
    expect(newsBetween(room, changed(room, 'a', { hand: 1 }))).toEqual([]);
    const own = changed(room, 'me', { hand: 1 });
    expect(kinds(...newsBetween(room, own))).toEqual(['hand_up 0']);
    expect(kinds(...newsBetween(own, room))).toEqual(['hand_down 0']);
  });

  it('tells one what a moderator made of one', () => {
    const chair = changed(room, 'me', { role: 'moderator' });
    expect(kinds(...newsBetween(room, chair))).toEqual(['moderator 0']);
    if (!room.info) throw new Error('the room of this test has no info');
    const front = roomAfter(room, {
      type: 'room_changed',
      room: { ...room.info, spotlight: ['me'] },
    });
    expect(kinds(...newsBetween(room, front))).toEqual(['spotlight 0']);
    expect(kinds(...newsBetween(front, room))).toEqual(['spotlight_ended 0']);
  });

  it('reads each message of others once, also when it is told again', () => {
    const message = {
      type: 'chat_message',
      serial: 4,
      participant: 'a',
      name: 'Ada',
      text: 'Good day',
      at_ms: 0,
    } as const;
    const one = roomAfter(room, message);
    expect(newsBetween(room, one)).toEqual([
      { kind: 'message', name: 'Ada', count: 1, text: 'Good day' },
    ]);
    expect(newsBetween(one, roomAfter(one, message))).toEqual([]);
    const whispered = roomAfter(one, { ...message, serial: 5, to: 'me' });
    expect(kinds(...newsBetween(one, whispered))).toEqual(['message_private Ada']);
    expect(newsBetween(one, roomAfter(one, { ...message, serial: 5, participant: 'me' }))).toEqual(
      [],
    );
  });

  it('reads a line of real-time text when it is finished', () => {
    const line = (text: string, done: boolean, before = room) =>
      roomAfter(before, { type: 'text_line', participant: 'a', text, done });
    const growing = line('I agr', false);
    expect(newsBetween(room, growing)).toEqual([]);
    const finished = line('I agree', true, growing);
    expect(newsBetween(growing, finished)).toEqual([
      { kind: 'line', name: 'Name a', count: 1, text: 'I agree' },
    ]);
    expect(newsBetween(growing, line('', true, growing))).toEqual([]);
  });
});
