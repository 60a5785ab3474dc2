import { expect, it } from 'vitest';
import { fitOf } from './fit';

it.each([
  ['a camera in a tile of its shape', 16 / 9, 16 / 9, 'cover'],
  ['a camera in a tile of 4:3', 16 / 9, 4 / 3, 'cover'],
  ['an older camera in a wide tile', 4 / 3, 16 / 9, 'cover'],
  ['a camera in an upright tile of a phone', 16 / 9, 3 / 4, 'cover'],
  ['an upright phone in an upright tile', 9 / 16, 3 / 4, 'cover'],
  ['an upright phone in a wide tile', 9 / 16, 16 / 9, 'contain'],
  ['an upright phone in a square tile', 9 / 16, 1, 'contain'],
  ['a camera in a tile like a column', 16 / 9, 1 / 2, 'contain'],
  ['a picture that has not come yet', 0, 16 / 9, 'cover'],
] as const)('%s', (_, picture, tile, fit) => {
  expect(fitOf(picture, tile)).toBe(fit);
});
