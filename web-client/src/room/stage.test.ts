import { describe, expect, it } from 'vitest';
import { joinedRoom, person } from './examples';
import { type Room, roomAfter } from './room';
import { tilesAfter, type View, viewAfter, viewChanges, type Wanted } from './stage';

function roomOf(...ids: string[]): Room {
  return joinedRoom(ids.map((id) => person(id)));
}

function speaking(room: Room, ...ids: string[]): Room {
  const speakers = ids.map((participant) => ({ participant, level: 20 }));
  return roomAfter(room, { type: 'speakers', speakers });
}

describe('tilesAfter', () => {
  it('shows everybody where there is room, oneself last', () => {
    expect(tilesAfter([], roomOf('a', 'me', 'b'), 3)).toEqual(['a', 'b', 'me']);
    expect(tilesAfter([], roomOf('me'), 2)).toEqual(['me']);
    expect(tilesAfter([], roomOf('me', 'a'), 1)).toEqual(['a']);
    expect(tilesAfter([], roomOf('me', 'a'), 0)).toEqual([]);
  });

  it('moves nobody when somebody comes', () => {
    expect(tilesAfter(['b', 'a', 'me'], roomOf('a', 'b', 'me', 'c'), 4)).toEqual([
      'b',
      'a',
      'c',
      'me',
    ]);
  });

  it('closes the gap when somebody goes', () => {
    expect(tilesAfter(['a', 'b', 'c', 'me'], roomOf('a', 'c', 'me'), 3)).toEqual(['a', 'c', 'me']);
  });

  it('gives a speaker the place of the one who was silent for longest', () => {
    const room = roomOf('a', 'b', 'c', 'd', 'me');
    const before = tilesAfter([], room, 4);
    expect(before).toEqual(['a', 'b', 'c', 'me']);
    const spoken = speaking(speaking(speaking(room, 'c'), 'a'), 'd');
    expect(tilesAfter(before, spoken, 4)).toEqual(['a', 'd', 'c', 'me']);
  });

  it('does not change while those who are shown speak', () => {
    const room = speaking(roomOf('a', 'b', 'c', 'd', 'me'), 'b');
    expect(tilesAfter(['a', 'b', 'c', 'me'], room, 4)).toEqual(['a', 'b', 'c', 'me']);
  });

  it('fills the place of somebody shown who leaves a full grid', () => {
    const room = roomOf('a', 'c', 'd', 'e', 'me');
    expect(tilesAfter(['a', 'b', 'c', 'me'], room, 4)).toEqual(['a', 'd', 'c', 'me']);
  });
});

const want = (participant: string, width = 320): Wanted => ({
  participant,
  source: 'camera',
  width,
  height: 180,
});

describe('viewAfter', () => {
  it('keeps a stream in its slot', () => {
    const before: View = new Map([
      ['5', want('a')],
      ['6', want('b')],
    ]);
    const view = viewAfter(before, ['5', '6', '7'], [want('c'), want('b', 640)]);
    expect([...view]).toEqual([
      ['5', want('c')],
      ['6', want('b', 640)],
      ['7', undefined],
    ]);
  });

  it('leaves out what finds no slot', () => {
    const view = viewAfter(new Map(), ['5'], [want('a'), want('b')]);
    expect([...view]).toEqual([['5', want('a')]]);
  });
});

describe('viewChanges', () => {
  it('names only the slots that change', () => {
    const before: View = new Map([
      ['5', want('a')],
      ['6', want('b')],
      ['7', want('c')],
      ['8', undefined],
    ]);
    const after: View = new Map([
      ['5', want('a')],
      ['6', want('b', 640)],
      ['7', undefined],
      ['8', undefined],
    ]);
    expect(viewChanges(before, after)).toEqual([
      {
        mid: '6',
        show: { type: 'participant', participant: 'b', source: 'camera' },
        width: 640,
        height: 180,
      },
      { mid: '7', show: { type: 'off' } },
    ]);
  });
});
