// Options in the page's address, for support and for tests; README.md lists them.

import { OFFERED } from './media/codecs';
import type { VideoCodec } from './protocol/messages';

export interface PageOptions {
  sendCodecs: readonly VideoCodec[];
  receiveCodecs: readonly VideoCodec[];
  camera: { width: number; height: number };
  /** `relay`: through TURN servers only. */
  iceTransportPolicy: RTCIceTransportPolicy;
}

const CAMERA = { width: 1280, height: 720 };
const CAMERA_SIDE_MAX = 3840;

export function readOptions(query: string): PageOptions {
  const parameters = new URLSearchParams(query);
  const both = codecs(parameters.get('codec')) ?? OFFERED;
  return {
    sendCodecs: codecs(parameters.get('send-codec')) ?? both,
    receiveCodecs: codecs(parameters.get('receive-codec')) ?? both,
    camera: size(parameters.get('camera')) ?? CAMERA,
    iceTransportPolicy: parameters.get('ice') === 'relay' ? 'relay' : 'all',
  };
}

function codecs(text: string | null): VideoCodec[] | undefined {
  const known = OFFERED.filter((codec) => text?.toLowerCase().split(',').includes(codec));
  return known.length > 0 ? known : undefined;
}

function size(text: string | null): { width: number; height: number } | undefined {
  const match = text?.match(/^(\d{2,4})x(\d{2,4})$/);
  if (!match) return undefined;
  const side = (digits: string | undefined) => Math.min(Number(digits), CAMERA_SIDE_MAX);
  return { width: side(match[1]), height: side(match[2]) };
}
