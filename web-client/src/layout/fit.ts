// How a picture fills a tile of another shape. Pure.

/** Faces are in the middle: much may be cut away at the sides, as long as this share is left. */
const WIDTH_KEPT_MIN = 0.4;
/** Heads are at the top: little may be cut away there. A picture of 4:3 still fills a tile of 16:9. */
const HEIGHT_KEPT_MIN = 0.74;

/** `cover` fills the tile and cuts; `contain` shows all of the picture, with borders. */
export type Fit = 'cover' | 'contain';

/** Both shapes as width through height. */
export function fitOf(picture: number, tile: number): Fit {
  if (!(picture > 0) || !(tile > 0)) return 'cover';
  const wider = picture >= tile;
  const kept = wider ? tile / picture : picture / tile;
  return kept >= (wider ? WIDTH_KEPT_MIN : HEIGHT_KEPT_MIN) ? 'cover' : 'contain';
}
