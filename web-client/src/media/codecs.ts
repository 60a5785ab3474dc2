// Which codecs of the browser go into an offer, and in which order. Pure.

import type { VideoCodec } from '../protocol/messages';

/** A codec as getCapabilities() names it. */
export interface CodecCapability {
  mimeType: string;
  clockRate: number;
  channels?: number;
  sdpFmtpLine?: string;
}

/** What the server can forward, in the order in which it is offered by default. */
export const OFFERED: readonly VideoCodec[] = ['h264', 'vp8', 'vp9', 'av1'];

/**
 * The capabilities to offer, `first` in front. Of H.264 only the constrained baseline profile in
 * non-interleaved mode is offered where the browser has it: every browser and room system decodes
 * it, and each further profile would make every m-line longer. Empty: the browser has none of the
 * wanted codecs, so that its own list should stand.
 */
export function videoCodecs<T extends CodecCapability>(
  capabilities: readonly T[],
  wanted: readonly VideoCodec[],
  first: VideoCodec,
): T[] {
  const order = [first, ...wanted.filter((codec) => codec !== first)].filter((codec) =>
    wanted.includes(codec),
  );
  const media = order.flatMap((codec) => {
    const all = capabilities.filter(({ mimeType }) => mimeType.toLowerCase() === `video/${codec}`);
    const preferred = all.filter(isPreferred);
    return preferred.length > 0 ? preferred : all;
  });
  if (media.length === 0) return [];
  const repair = capabilities.filter(({ mimeType }) => mimeType.toLowerCase() === 'video/rtx');
  return [...media, ...repair];
}

/** Opus with older frames in each packet (RFC 2198) before Opus alone, where the browser has it. */
export function audioCodecs<T extends CodecCapability>(capabilities: readonly T[]): T[] {
  return ['audio/red', 'audio/opus'].flatMap((wanted) =>
    capabilities.filter(({ mimeType }) => mimeType.toLowerCase() === wanted),
  );
}

/** The codec to give to `setParameters`, out of those that were negotiated. */
export function negotiated<T extends CodecCapability>(
  codecs: readonly T[],
  wanted: VideoCodec,
): T | undefined {
  return codecs.find(({ mimeType }) => mimeType.toLowerCase() === `video/${wanted}`);
}

/** A codec of the browser in the words of the protocol. */
export function nameOf({ mimeType }: CodecCapability): VideoCodec | undefined {
  return OFFERED.find((codec) => mimeType.toLowerCase() === `video/${codec}`);
}

function isPreferred({ mimeType, sdpFmtpLine = '' }: CodecCapability): boolean {
  switch (mimeType.toLowerCase()) {
    case 'video/h264':
      return (
        sdpFmtpLine.includes('packetization-mode=1') && /profile-level-id=42e0/i.test(sdpFmtpLine)
      );
    case 'video/vp9':
      return /profile-id=0/.test(sdpFmtpLine) || sdpFmtpLine === '';
    case 'video/av1':
      return !/profile=[^0]/.test(sdpFmtpLine);
    default:
      return true;
  }
}
