// Which layers a camera sends, as a pure function of the size it captures and of the codec: three
// simulcast encodings, or one encoding with spatial layers.

import type { VideoCodec } from '../protocol/messages';

export interface Layer {
  rid: 'q' | 'h' | 'f';
  active: boolean;
  scaleResolutionDownBy: number;
  maxBitrate: number;
  /** W3C webrtc-svc. Undefined: the encoding has no spatial layers. */
  scalabilityMode: string | undefined;
}

/** Codecs that carry all sizes in one encoding, the larger ones built on the smaller. */
const WITH_SPATIAL_LAYERS: readonly VideoCodec[] = ['vp9', 'av1'];

/** Upper bound of bits a second for a layer of this height, sorted by height. */
const BITRATES: readonly { height_max: number; bitrate_bps: number }[] = [
  { height_max: 120, bitrate_bps: 90_000 },
  { height_max: 180, bitrate_bps: 150_000 },
  { height_max: 270, bitrate_bps: 300_000 },
  { height_max: 360, bitrate_bps: 550_000 },
  { height_max: 540, bitrate_bps: 1_000_000 },
  { height_max: 720, bitrate_bps: 1_700_000 },
  { height_max: Number.POSITIVE_INFINITY, bitrate_bps: 3_000_000 },
];

/**
 * Chromium refuses to send as many layers as it was given when the picture is small, and drops
 * them from the top: the largest size would be missing. So below these sizes the page itself uses
 * fewer layers, and the highest of them carries the full size.
 */
const LAYER_COUNTS: readonly { pixels_min: number; scales: readonly number[] }[] = [
  { pixels_min: 960 * 540, scales: [4, 2, 1] },
  { pixels_min: 480 * 270, scales: [2, 1] },
  { pixels_min: 0, scales: [1] },
];

const RIDS = ['q', 'h', 'f'] as const;

/**
 * What browsers are asked for, by the number of sizes: temporal layers always, and spatial layers
 * that depend on each other in key pictures only, so that who gets the largest needs no other. The
 * later ones are for browsers that refuse the earlier.
 */
const MODES: Record<number, readonly string[]> = {
  3: ['L3T3_KEY', 'L3T3', 'L1T3', 'L1T1'],
  2: ['L2T3_KEY', 'L2T3', 'L1T3', 'L1T1'],
  1: ['L1T3', 'L1T1'],
};

/** The ways to send a camera, the best first. There is only one without spatial layers. */
export function cameraWays(width: number, height: number, codec: VideoCodec): Layer[][] {
  const simulcast = cameraLayers(width, height);
  if (!WITH_SPATIAL_LAYERS.includes(codec)) return [simulcast];
  const sizes = simulcast.filter(({ active }) => active);
  const maxBitrate = sizes.reduce((sum, layer) => sum + layer.maxBitrate, 0);
  return (MODES[sizes.length] ?? []).map((scalabilityMode) =>
    simulcast.map(({ rid }, index) => ({
      rid,
      active: index === 0,
      scaleResolutionDownBy: 1,
      maxBitrate,
      scalabilityMode,
    })),
  );
}

/** Simulcast. */
export function cameraLayers(width: number, height: number): Layer[] {
  const { scales } = LAYER_COUNTS.find(({ pixels_min }) => width * height >= pixels_min) ?? {
    scales: [1],
  };
  return RIDS.map((rid, index) => {
    const scale = scales[index];
    const scaleResolutionDownBy = scale ?? 1;
    return {
      rid,
      active: scale !== undefined,
      scaleResolutionDownBy,
      maxBitrate: bitrateOf(Math.min(width, height) / scaleResolutionDownBy),
      scalabilityMode: undefined,
    };
  });
}

export const SCREEN_BITRATE_BPS = 2_500_000;
export const SCREEN_FRAMES_PER_S_MAX = 15;
/** Of a screen that shows a film. */
export const FILM_FRAMES_PER_S_MAX = 30;

function bitrateOf(height: number): number {
  return (
    BITRATES.find(({ height_max }) => height <= height_max)?.bitrate_bps ?? Number.POSITIVE_INFINITY
  );
}

/**
 * Which encodings of a source to send, out of those that could be: the ones that somebody sees.
 * `layers` undefined: nobody said, and all are sent. An encoding that holds several layers is sent
 * for as long as any of them is seen.
 */
export function activeEncodings(
  possible: readonly boolean[],
  layers: readonly number[] | undefined,
): boolean[] {
  if (layers === undefined) return [...possible];
  if (possible.length === 1) return possible.map((can) => can && layers.length > 0);
  return possible.map((can, index) => can && layers.includes(index));
}
