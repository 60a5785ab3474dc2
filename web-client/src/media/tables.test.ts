import { describe, expect, it } from 'vitest';
import { readOptions } from '../options';
import { audioCodecs, type CodecCapability, negotiated, videoCodecs } from './codecs';
import { activeEncodings, cameraLayers } from './encodings';
import { levelOf } from './level';

describe('cameraLayers', () => {
  it.each([
    [1280, 720, ['q 4', 'h 2', 'f 1']],
    [960, 540, ['q 4', 'h 2', 'f 1']],
    [720, 1280, ['q 4', 'h 2', 'f 1']],
    [640, 360, ['q 2', 'h 1']],
    [480, 270, ['q 2', 'h 1']],
    [320, 180, ['q 1']],
  ])('of %i × %i', (width, height, layers) => {
    const active = cameraLayers(width, height).filter((layer) => layer.active);
    expect(
      active.map(({ rid, scaleResolutionDownBy }) => `${rid} ${scaleResolutionDownBy}`),
    ).toEqual(layers);
  });

  it('give more bits to larger layers', () => {
    const bitrates = cameraLayers(1280, 720).map(({ maxBitrate }) => maxBitrate);
    expect(bitrates).toEqual([150_000, 550_000, 1_700_000]);
  });
});

describe('activeEncodings', () => {
  it.each([
    ['nobody said', [true, true, false], undefined, [true, true, false]],
    ['the largest is not seen', [true, true, true], [0, 1], [true, true, false]],
    ['one is seen that cannot be sent', [true, false, false], [0, 2], [true, false, false]],
    ['nobody watches', [true, true, true], [], [false, false, false]],
    ['one encoding with several layers', [true], [0, 2], [true]],
    ['one encoding that nobody watches', [true], [], [false]],
  ])('%s', (_, possible, layers, expected) => {
    expect(activeEncodings(possible, layers)).toEqual(expected);
  });
});

const h264 = (profile: string, mode: number): CodecCapability => ({
  mimeType: 'video/H264',
  clockRate: 90_000,
  sdpFmtpLine: `level-asymmetry-allowed=1;packetization-mode=${mode};profile-level-id=${profile}`,
});
const VP8: CodecCapability = { mimeType: 'video/VP8', clockRate: 90_000 };
const RTX: CodecCapability = { mimeType: 'video/rtx', clockRate: 90_000 };
const RED: CodecCapability = { mimeType: 'video/red', clockRate: 90_000 };
const ALL = [VP8, RTX, h264('42001f', 1), h264('42e01f', 1), h264('42e01f', 0), RED];

describe('videoCodecs', () => {
  it('puts the wanted one first, with one profile of H.264, and repair last', () => {
    const baseline = h264('42e01f', 1);
    expect(videoCodecs(ALL, ['h264', 'vp8'], 'h264')).toEqual([baseline, VP8, RTX]);
    expect(videoCodecs(ALL, ['h264', 'vp8'], 'vp8')).toEqual([VP8, baseline, RTX]);
  });

  it('offers only what is wanted, whatever should come first', () => {
    expect(videoCodecs(ALL, ['vp8'], 'h264')).toEqual([VP8, RTX]);
  });

  it('takes another profile where the browser lacks the preferred one', () => {
    expect(videoCodecs([h264('640c1f', 1), RTX], ['h264', 'vp8'], 'vp8')).toEqual([
      h264('640c1f', 1),
      RTX,
    ]);
  });

  it('is empty where the browser has none of them', () => {
    expect(videoCodecs([VP8, RTX], ['h264'], 'h264')).toEqual([]);
  });

  it('finds the negotiated one by name', () => {
    expect(negotiated(ALL, 'vp8')).toBe(VP8);
    expect(negotiated(ALL, 'av1')).toBeUndefined();
  });
});

describe('audioCodecs', () => {
  it('is Opus, with older frames in each packet where the browser can do that', () => {
    const opus = { mimeType: 'audio/opus', clockRate: 48_000, channels: 2 };
    const red = { mimeType: 'audio/red', clockRate: 48_000, channels: 2 };
    const pcmu = { mimeType: 'audio/PCMU', clockRate: 8_000 };
    expect(audioCodecs([pcmu, opus])).toEqual([opus]);
    expect(audioCodecs([opus, red, pcmu])).toEqual([red, opus]);
  });
});

describe('levelOf', () => {
  it('is 0 in silence, 1 at full scale, and between on a scale of decibels', () => {
    expect(levelOf(new Float32Array(8))).toBe(0);
    expect(levelOf(new Float32Array(8).fill(1))).toBe(1);
    expect(levelOf(new Float32Array(8).fill(0.1))).toBeCloseTo(1 - 20 / 55);
    expect(levelOf(new Float32Array(8).fill(1e-6))).toBe(0);
  });
});

describe('readOptions', () => {
  it('has defaults', () => {
    expect(readOptions('')).toEqual({
      sendCodecs: ['h264', 'vp8'],
      receiveCodecs: ['h264', 'vp8'],
      camera: { width: 1280, height: 720 },
    });
  });

  it.each([
    ['?codec=vp8', { sendCodecs: ['vp8'], receiveCodecs: ['vp8'] }],
    ['?send-codec=VP8', { sendCodecs: ['vp8'], receiveCodecs: ['h264', 'vp8'] }],
    ['?codec=h264,nonsense', { sendCodecs: ['h264'] }],
    ['?codec=nonsense', { sendCodecs: ['h264', 'vp8'] }],
    ['?camera=640x360', { camera: { width: 640, height: 360 } }],
    ['?camera=9999x1', { camera: { width: 1280, height: 720 } }],
  ])('reads %s', (query, expected) => {
    expect(readOptions(query)).toMatchObject(expected);
  });
});
