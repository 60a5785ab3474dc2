// How much of what the page would show is asked of the server: a choice of people whose network is
// slow or whose traffic is dear. Pure.

import type { ParticipantId } from '../protocol/messages';
import type { Wanted } from './stage';

export const DATA_MODES = ['all', 'saving', 'audio'] as const;
/** `saving`: sound and one small picture. `audio`: sound alone. */
export type DataMode = (typeof DATA_MODES)[number];

export function dataModeOf(text: string | undefined): DataMode {
  return DATA_MODES.find((mode) => mode === text) ?? 'all';
}

/** In device pixels: the size of the small layer of a camera. */
const PICTURE_WIDTH_MAX = 320;
/** Letters on a screen must stay readable. */
const SCREEN_WIDTH_MAX = 1_280;

/**
 * What is left of the wanted streams. The one picture is the shared screen, else the camera of the
 * first of `speakers` (latest first) who has one; `before` keeps its place while its owner speaks.
 */
export function limited(
  wanted: readonly Wanted[],
  mode: DataMode,
  speakers: readonly ParticipantId[] = [],
  before: readonly Wanted[] = [],
  speaking: readonly ParticipantId[] = [],
): readonly Wanted[] {
  switch (mode) {
    case 'all':
      return wanted;
    case 'audio':
      return [];
    case 'saving':
      return onePicture(wanted, speakers, before, speaking);
  }
}

function onePicture(
  wanted: readonly Wanted[],
  speakers: readonly ParticipantId[],
  before: readonly Wanted[],
  speaking: readonly ParticipantId[],
): Wanted[] {
  const screen = wanted.find(({ source }) => source === 'screen');
  if (screen) return [narrowed(screen, SCREEN_WIDTH_MAX)];
  const cameraOf = (id: ParticipantId) => wanted.find(({ participant }) => participant === id);
  const kept = before.find(({ participant }) => speaking.includes(participant))?.participant;
  const order = kept === undefined ? speakers : [kept, ...speakers];
  const spoke = order.map(cameraOf).find((want) => want !== undefined);
  const stays = before.map(({ participant }) => cameraOf(participant)).find(Boolean);
  const one = spoke ?? stays ?? wanted[0];
  return one ? [narrowed(one, PICTURE_WIDTH_MAX)] : [];
}

function narrowed(want: Wanted, widthMax: number): Wanted {
  const scale = Math.min(1, widthMax / Math.max(1, want.width));
  return {
    ...want,
    width: Math.round(want.width * scale),
    height: Math.round(want.height * scale),
  };
}
