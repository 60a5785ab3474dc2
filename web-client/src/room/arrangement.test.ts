import { describe, expect, it } from 'vitest';
import { arrange, type Choice, choiceOf, handsInOrder, type Wishes } from './arrangement';
import { joinedRoom, person } from './examples';
import { type Room, roomAfter } from './room';

const WISHES: Wishes = { choice: 'auto', self: true, pins: [], screen: undefined };

function roomOf(others: string[], sharing: string[] = [], spotlight: string[] = []): Room {
  const publishing = (id: string) => ({ camera: true, screen: sharing.includes(id) });
  const people = [...others, 'me'].map((id) => person(id, { publishing: publishing(id) }));
  const room = joinedRoom(people);
  if (!room.info) throw new Error('a joined room is known');
  return roomAfter(room, { type: 'room_changed', room: { ...room.info, spotlight } });
}

describe('the layout', () => {
  it.each<[Choice, string[], string[], string]>([
    ['auto', [], [], 'grid'],
    ['auto', ['a'], [], 'duo'],
    ['auto', ['a', 'b'], [], 'grid'],
    ['auto', ['a'], ['a'], 'presentation'],
    ['auto', ['a', 'b'], ['b'], 'presentation'],
    ['grid', ['a'], [], 'grid'],
    ['grid', ['a', 'b'], ['b'], 'grid'],
    ['speaker', ['a'], [], 'duo'],
    ['speaker', ['a', 'b'], ['b'], 'speaker'],
    ['sidebar', ['a'], [], 'sidebar'],
    ['sidebar', ['a', 'b'], ['b'], 'sidebar'],
    ['presentation', ['a', 'b'], ['b'], 'presentation'],
    ['presentation', ['a', 'b'], [], 'speaker'],
    ['presentation', ['a'], [], 'duo'],
  ])('chosen as %s among %j while %j share is %s', (choice, others, sharing, kind) => {
    expect(arrange(roomOf(others, sharing), { ...WISHES, choice }, 'a').kind).toBe(kind);
  });

  it('shows who is pinned, or put in front by a moderator, as the large picture', () => {
    const pinned = arrange(roomOf(['a', 'b', 'c']), { ...WISHES, pins: ['c'] }, 'a');
    expect(pinned).toMatchObject({ kind: 'speaker', held: ['c'], heldInFront: true });
    const spotlit = arrange(
      roomOf(['a', 'b', 'c'], [], ['b']),
      { ...WISHES, pins: ['c', 'b'] },
      'a',
    );
    expect(spotlit.held).toEqual(['b', 'c']);
  });

  it('follows the speaker where there is a large picture and nobody is pinned', () => {
    const room = roomOf(['a', 'b', 'c']);
    expect(arrange(room, { ...WISHES, choice: 'sidebar' }, 'b').held).toEqual(['b']);
    expect(arrange(room, { ...WISHES, choice: 'sidebar' }, undefined).held).toEqual(['a']);
    expect(arrange(room, WISHES, 'b').held).toEqual([]);
  });

  it('does not hold those who have left', () => {
    const wishes = { ...WISHES, pins: ['gone', 'b'] };
    expect(arrange(roomOf(['a', 'b'], [], ['left']), wishes, 'a').held).toEqual(['b']);
  });

  it('enlarges the screen that was chosen, as long as it is shared', () => {
    const room = roomOf(['a', 'b', 'c'], ['a', 'b']);
    const latest = arrange(room, WISHES, 'a');
    expect(latest).toMatchObject({ screen: 'b', screens: ['a'] });
    const chosen = arrange(room, { ...WISHES, screen: 'a' }, 'a');
    expect(chosen).toMatchObject({ screen: 'a', screens: ['b'] });
    expect(arrange(room, { ...WISHES, screen: 'gone' }, 'a').screen).toBe('b');
    const grid = arrange(room, { ...WISHES, choice: 'grid' }, 'a');
    expect(grid).toMatchObject({ screen: undefined, screens: ['b', 'a'] });
  });

  it('hides one’s own picture, but for when nobody else is there', () => {
    const hidden = { ...WISHES, self: false };
    expect(arrange(roomOf(['a', 'b']), hidden, 'a').own).toBeUndefined();
    expect(arrange(roomOf(['a']), hidden, 'a')).toMatchObject({ kind: 'speaker', own: undefined });
    expect(arrange(roomOf([]), hidden, undefined).own).toBe('me');
  });
});

it('knows only choices of the menu', () => {
  expect(choiceOf('sidebar')).toBe('sidebar');
  expect(choiceOf('duo')).toBe('auto');
  expect(choiceOf(undefined)).toBe('auto');
});

it('numbers raised hands in the order in which they were raised', () => {
  const room = joinedRoom([person('a', { hand: 9 }), person('b'), person('c', { hand: 4 })]);
  expect([...handsInOrder(room)]).toEqual([
    ['c', 1],
    ['a', 2],
  ]);
});
