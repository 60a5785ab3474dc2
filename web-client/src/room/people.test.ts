import { describe, expect, it } from 'vitest';
import { joinedRoom, person } from './examples';
import { listedPeople, matching } from './people';

const room = joinedRoom([
  person('a', { name: 'Ada Bianchi' }),
  person('b', { name: 'Zoë Müller', hand: 7 }),
  person('me', { name: 'Bo Rossi' }),
  person('c', { name: 'Nicolò De Rossi', hand: 3 }),
]);

describe('the list of participants', () => {
  it('has raised hands first, numbered, then oneself', () => {
    expect(listedPeople(room).map(({ participant, turn }) => [participant.id, turn])).toEqual([
      ['c', 1],
      ['b', 2],
      ['me', undefined],
      ['a', undefined],
    ]);
  });

  it('counts one’s own hand among the others', () => {
    const raised = joinedRoom([person('me', { hand: 9 }), person('a', { hand: 2 })]);
    expect(listedPeople(raised).map(({ turn }) => turn)).toEqual([1, 2]);
  });

  it.each([
    ['', ['c', 'b', 'me', 'a']],
    ['rossi', ['c', 'me']],
    ['ROSSI nicolo', ['c']],
    ['muller', ['b']],
    ['zoe', ['b']],
    ['x', []],
  ])('is searched for %j', (search, found) => {
    const people = matching(listedPeople(room), search);
    expect(people.map(({ participant }) => participant.id)).toEqual(found);
  });
});
