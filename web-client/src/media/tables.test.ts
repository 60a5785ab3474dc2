import { describe, expect, it } from 'vitest';
import { readOptions } from '../options';
import { audioCodecs, type CodecCapability, nameOf, negotiated, videoCodecs } from './codecs';
import { activeEncodings, cameraLayers, cameraWays } from './encodings';
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

describe('cameraWays', () => {
  it('is simulcast with codecs that have no spatial layers', () => {
    expect(cameraWays(1280, 720, 'vp8')).toEqual([cameraLayers(1280, 720)]);
    expect(cameraWays(1280, 720, 'h264')).toEqual([cameraLayers(1280, 720)]);
  });

  it.each([
    ['vp9', 1280, 720, ['L3T3_KEY', 'L3T3', 'L1T3', 'L1T1'], 2_400_000],
    ['av1', 640, 360, ['L2T3_KEY', 'L2T3', 'L1T3', 'L1T1'], 700_000],
    ['av1', 320, 180, ['L1T3', 'L1T1'], 150_000],
  ] as const)(
    'of %s at %i × %i is one encoding with all sizes',
    (codec, width, height, modes, bps) => {
      const ways = cameraWays(width, height, codec);
      expect(ways.map(([first]) => first?.scalabilityMode)).toEqual(modes);
      for (const way of ways) {
        const active = way.filter((layer) => layer.active);
        expect(
          active.map(({ rid, scaleResolutionDownBy }) => [rid, scaleResolutionDownBy]),
        ).toEqual([['q', 1]]);
        expect(active[0]?.maxBitrate).toBe(bps);
      }
    },
  );
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

  it('takes the first profiles of VP9 and AV1 alone', () => {
    const profile = (mimeType: string, sdpFmtpLine: string): CodecCapability => ({
      mimeType,
      clockRate: 90_000,
      sdpFmtpLine,
    });
    const vp9 = [0, 2].map((id) => profile('video/VP9', `profile-id=${id}`));
    const av1 = [0, 1].map((id) => profile('video/AV1', `level-idx=5;profile=${id};tier=0`));
    expect(videoCodecs([...vp9, ...av1, RTX], ['vp9', 'av1'], 'av1')).toEqual([
      av1[0],
      vp9[0],
      RTX,
    ]);
  });

  it('names what it knows', () => {
    expect([h264('42e01f', 1), VP8, RTX].map(nameOf)).toEqual(['h264', 'vp8', undefined]);
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
      sendCodecs: ['h264', 'vp8', 'vp9', 'av1'],
      receiveCodecs: ['h264', 'vp8', 'vp9', 'av1'],
      camera: { width: 1280, height: 720 },
      iceTransportPolicy: 'all',
    });
  });

  it.each([
    ['?codec=vp8', { sendCodecs: ['vp8'], receiveCodecs: ['vp8'] }],
    ['?send-codec=VP8', { sendCodecs: ['vp8'], receiveCodecs: ['h264', 'vp8', 'vp9', 'av1'] }],
    ['?codec=h264,nonsense', { sendCodecs: ['h264'] }],
    ['?codec=nonsense', { sendCodecs: ['h264', 'vp8', 'vp9', 'av1'] }],
    ['?codec=av1,vp9', { sendCodecs: ['vp9', 'av1'], receiveCodecs: ['vp9', 'av1'] }],
    ['?camera=640x360', { camera: { width: 640, height: 360 } }],
    ['?ice=relay', { iceTransportPolicy: 'relay' }],
    ['?ice=nonsense', { iceTransportPolicy: 'all' }],
    ['?camera=9999x1', { camera: { width: 1280, height: 720 } }],
  ])('reads %s', (query, expected) => {
    expect(readOptions(query)).toMatchObject(expected);
  });
});
