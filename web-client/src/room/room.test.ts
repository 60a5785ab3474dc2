import { describe, expect, it } from 'vitest';
import type { SessionEvent } from '../protocol/session';
import { joined, joinedRoom, person } from './examples';
import { type Room, roomAfter } from './room';

const room = joinedRoom([person('a'), person('b'), person('me')]);

function after(start: Room, ...events: SessionEvent[]): Room {
  return events.reduce(roomAfter, start);
}

function sharing(id: string, screen: boolean): SessionEvent {
  return { type: 'participant_changed', participant: person(id, { publishing: { screen } }) };
}

describe('roomAfter', () => {
  it('takes the whole state from joined', () => {
    expect(room).toMatchObject({ connection: 'joined', you: 'me', videoCodec: 'h264' });
    expect(room.participants.map(({ id }) => id)).toEqual(['a', 'b', 'me']);
  });

  it('adds, changes and removes participants in order of arrival', () => {
    const end = after(
      room,
      { type: 'participant_joined', participant: person('c') },
      { type: 'participant_changed', participant: person('b', { name: 'Bo' }) },
      { type: 'participant_left', participant: 'a' },
    );
    expect(end.participants.map(({ id }) => id)).toEqual(['b', 'me', 'c']);
    expect(end.participants[0]?.name).toBe('Bo');
  });

  it('keeps slots that are not named, and empties those of who left', () => {
    const shows = (participant: string) => ({ participant, source: 'camera' as const });
    const full = after(room, {
      type: 'slots',
      slots: [
        { mid: '5', shows: shows('a') },
        { mid: '6', shows: shows('b') },
      ],
    });
    const changed = after(full, { type: 'slots', slots: [{ mid: '6', shows: null }] });
    expect([...changed.slots]).toEqual([['5', shows('a')]]);
    const left = after(full, { type: 'participant_left', participant: 'a' });
    expect([...left.slots.keys()]).toEqual(['6']);
  });

  it('keeps showing after a resume what the server has not told of yet', () => {
    const shows = (participant: string) => ({ participant, source: 'camera' as const });
    const full = after(room, {
      type: 'slots',
      slots: ['a', 'b', 'c'].map((id, index) => ({ mid: `${index}`, shows: shows(id) })),
    });
    const resumed = (media: boolean): SessionEvent => ({
      type: 'joined',
      joined: joined([person('a'), person('b'), person('me')], {
        media,
        slots: [{ mid: '1', shows: null }],
      }),
      resumed: true,
    });
    expect([...after(full, resumed(true)).slots]).toEqual([['0', shows('a')]]);
    expect([...after(full, resumed(false)).slots]).toEqual([]);
  });

  it('empties the slots when the media connection is made anew', () => {
    const full = after(room, {
      type: 'slots',
      slots: [{ mid: '5', shows: { participant: 'a', source: 'camera' } }],
    });
    const lost = after(full, { type: 'offer_needed' });
    expect(lost).toMatchObject({ media: 'connecting', participants: full.participants });
    expect([...lost.slots]).toEqual([]);
  });

  it('remembers who spoke, latest first', () => {
    const say = (...ids: string[]): SessionEvent => ({
      type: 'speakers',
      speakers: ids.map((participant) => ({ participant, level: 30 })),
    });
    const end = after(room, say('a'), say('b', 'me'), say());
    expect(end.speaking).toEqual([]);
    expect(end.spoke).toEqual(['b', 'me', 'a']);
  });

  it('shows the screen that was shared last, and the one before when it ends', () => {
    const both = after(room, sharing('b', true), sharing('a', true));
    expect(both.sharing).toEqual(['a', 'b']);
    expect(after(both, sharing('a', false)).sharing).toEqual(['b']);
    expect(after(both, { type: 'participant_left', participant: 'b' }).sharing).toEqual(['a']);
  });

  it('knows that it is reconnecting, back, and ended', () => {
    const away = after(room, { type: 'reconnecting' });
    expect(away.connection).toBe('reconnecting');
    expect(away.participants).toHaveLength(3);
    expect(after(away, { type: 'ended', reason: 'lost' })).toMatchObject({
      connection: 'ended',
      ended: 'lost',
    });
  });
});

it('forgets the lobby with the role of a moderator', () => {
  const chair = joinedRoom([person('me', { role: 'moderator' }), person('a')]);
  const ada = { id: 'x', name: 'Ada', kind: 'browser' } as const;
  const lobby = roomAfter(chair, { type: 'lobby', waiting: [ada] });
  const changed = (id: string, role: 'guest' | 'moderator') =>
    roomAfter(lobby, { type: 'participant_changed', participant: person(id, { role }) });
  expect(changed('a', 'guest').waiting).toEqual([ada]);
  expect(changed('me', 'guest').waiting).toEqual([]);
});
