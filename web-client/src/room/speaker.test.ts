import { describe, expect, it } from 'vitest';
import { joinedRoom, person } from './examples';
import { type Room, roomAfter } from './room';
import { type Following, followed, followingDue, NOBODY, PAUSE_MS, SPEECH_MS } from './speaker';

const ROOM = joinedRoom(['a', 'b', 'c', 'me'].map((id) => person(id)));

/** A script: at each time these speak, loudest first. Gives who is large after each line. */
function play(
  lines: readonly [atMs: number, ...speaking: string[]][],
  room: Room = ROOM,
): string[] {
  let following: Following = NOBODY;
  const large: string[] = [];
  for (const [atMs, ...speaking] of lines) {
    // What is due before is done before, as the page's timer does.
    for (let due = followingDue(following); due !== undefined && due <= atMs; ) {
      following = followed(following, room, due);
      const next = followingDue(following);
      due = next === due ? undefined : next;
    }
    const speakers = speaking.map((participant) => ({ participant, level: 20 }));
    room = roomAfter(room, { type: 'speakers', speakers });
    following = followed(following, room, atMs);
    large.push(following.large ?? '');
  }
  return large;
}

describe('the large picture', () => {
  it.each<[string, [number, ...string[]][], string[]]>([
    ['is the first one before anybody speaks', [[0]], ['a']],
    ['is whoever speaks when nobody was large', [[0, 'b']], ['b']],
    ['does not follow a short noise', [[0, 'a'], [500, 'b'], [900], [5_000]], ['a', 'a', 'a', 'a']],
    [
      'follows whoever speaks for a second',
      [
        [0, 'a'],
        [500, 'b'],
        [1_499, 'b'],
        [1_500, 'b'],
      ],
      ['a', 'a', 'a', 'b'],
    ],
    ['follows though nothing new is heard', [[0, 'a'], [500, 'b'], [3_000]], ['a', 'a', 'b']],
    [
      'takes a breath for a part of the speech, but does not count it',
      [[0, 'a'], [500, 'b'], [1_000], [1_400, 'b'], [1_800, 'b'], [1_900, 'b']],
      ['a', 'a', 'a', 'a', 'a', 'b'],
    ],
    [
      'begins anew after a long pause',
      [[0, 'a'], [500, 'b'], [1_400], [3_000, 'b'], [3_900, 'b']],
      ['a', 'a', 'a', 'a', 'a'],
    ],
    [
      'stays with whoever is louder',
      [
        [0, 'a'],
        [500, 'a', 'b'],
        [5_000, 'a', 'b'],
      ],
      ['a', 'a', 'a'],
    ],
    [
      'goes to the first of two who speak at once',
      [
        [0, 'a'],
        [500, 'b'],
        [900, 'c', 'b'],
        [1_500, 'c', 'b'],
      ],
      ['a', 'a', 'a', 'b'],
    ],
    [
      'is never oneself',
      [
        [0, 'me'],
        [5_000, 'me'],
      ],
      ['a', 'a'],
    ],
  ])('%s', (_, lines, large) => {
    expect(play(lines)).toEqual(large);
  });

  it('goes to the latest speaker at once when the large one leaves', () => {
    const room = roomAfter(ROOM, {
      type: 'speakers',
      speakers: [{ participant: 'c', level: 20 }],
    });
    const left = roomAfter(room, { type: 'participant_left', participant: 'a' });
    const before: Following = { large: 'a', challenger: undefined };
    expect(followed(before, left, 0).large).toBe('c');
  });

  it('says when to look again', () => {
    expect(followingDue(NOBODY)).toBeUndefined();
    const challenger = { id: 'b', sinceMs: 500, quietMs: undefined };
    expect(followingDue({ large: 'a', challenger })).toBe(500 + SPEECH_MS);
    const quiet = { ...challenger, quietMs: 900 };
    expect(followingDue({ large: 'a', challenger: quiet })).toBe(900 + PAUSE_MS + 1);
    // Then the one who fell silent is forgotten, and nothing more is due.
    const after = followed({ large: 'a', challenger: quiet }, ROOM, 900 + PAUSE_MS + 1);
    expect(followingDue(after)).toBeUndefined();
  });
});
