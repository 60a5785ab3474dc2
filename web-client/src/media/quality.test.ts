import { describe, expect, it } from 'vitest';
import type { Quality } from '../protocol/messages';
import {
  type Cause,
  NO_VERDICT,
  type Reading,
  readingOf,
  remediesFor,
  type Sample,
  sampleBetween,
  type Verdict,
  verdictAfter,
} from './quality';

const CALM: Sample = {
  path: 'udp',
  roundTripMs: 20,
  voiceLoss: 0,
  pictureLoss: 0,
  sentLoss: 0,
  frozen: 0,
  freezes: 0,
  bandwidthLimited: 0,
  cpuLimited: 0,
  sentKbps: 1_500,
  receivedKbps: 2_000,
  sending: [],
};

function after(samples: Partial<Sample>[], start: Verdict = NO_VERDICT, server?: Quality): Verdict {
  return samples.reduce<Verdict>(
    (verdict, sample) => verdictAfter(verdict, { ...CALM, ...sample }, server),
    start,
  );
}

const times = (count: number, sample: Partial<Sample>) => Array(count).fill(sample);

describe('the verdict', () => {
  it.each<[string, Partial<Sample>, Quality, Cause[]]>([
    ['a calm link', {}, 'good', []],
    ['a little loss', { sentLoss: 0.03, voiceLoss: 0.03 }, 'good', []],
    ['loss of what is sent', { sentLoss: 0.05 }, 'fair', ['sending']],
    ['much of it', { sentLoss: 0.1 }, 'poor', ['sending']],
    ['lost voices', { voiceLoss: 0.06 }, 'fair', ['hearing']],
    ['many of them', { voiceLoss: 0.2 }, 'poor', ['hearing']],
    [
      'both ways, what others hear first',
      { voiceLoss: 0.2, sentLoss: 0.2 },
      'poor',
      ['sending', 'hearing'],
    ],
    ['lost pictures, which are sent again', { pictureLoss: 0.3 }, 'good', []],
    ['pictures that stand still never make it poor', { frozen: 1 }, 'fair', ['seeing']],
    ['a long way', { roundTripMs: 400 }, 'fair', ['slow']],
    ['a way too long to talk', { roundTripMs: 1_200 }, 'poor', ['slow']],
    ['a browser that does not say', { roundTripMs: undefined }, 'good', []],
    ['a narrow link', { bandwidthLimited: 0.9 }, 'fair', ['narrow']],
    ['a busy computer is no bad link', { cpuLimited: 1 }, 'good', ['busy']],
    ['TCP is worth knowing', { path: 'tcp' }, 'good', ['detour']],
    ['a relay by TCP too', { path: 'relay_tcp' }, 'good', ['detour']],
    ['a relay by UDP is as good', { path: 'relay_udp' }, 'good', []],
  ])('of %s', (_, sample, quality, causes) => {
    expect(after(times(3, sample))).toMatchObject({ quality, causes });
  });

  it('does not come of a single bad sample', () => {
    expect(after([{}, { sentLoss: 0.5 }, {}, { sentLoss: 0.5 }, {}]).quality).toBe('good');
  });

  it('comes of two on end', () => {
    expect(after([{}, { sentLoss: 0.5 }, { sentLoss: 0.5 }]).quality).toBe('poor');
  });

  it('says the lesser of two that differ', () => {
    expect(after([{}, { sentLoss: 0.5 }, { sentLoss: 0.05 }]).quality).toBe('fair');
  });

  it('stays through a moment of calm, and goes after ten seconds of it', () => {
    const poor = after(times(3, { sentLoss: 0.5 }));
    expect(after(times(4, {}), poor).quality).toBe('poor');
    expect(after(times(5, {}), poor)).toMatchObject({ quality: 'good', causes: [] });
  });

  it('does not flicker on a link that comes and goes', () => {
    let verdict = after(times(2, { sentLoss: 0.5 }));
    for (let round = 0; round < 20; round += 1) {
      verdict = after([{}, {}, { sentLoss: 0.5 }], verdict);
      expect(verdict.quality).toBe('poor');
    }
  });

  it('believes the server where the browser sees nothing', () => {
    expect(after(times(2, {}), NO_VERDICT, 'poor')).toMatchObject({
      quality: 'poor',
      causes: ['unstable'],
    });
  });

  it('prefers a reason to a general word', () => {
    expect(after(times(2, { sentLoss: 0.05 }), NO_VERDICT, 'poor')).toMatchObject({
      quality: 'poor',
      causes: ['sending'],
    });
    expect(after(times(2, { path: 'tcp' }), NO_VERDICT, 'fair').causes).toEqual([
      'unstable',
      'detour',
    ]);
  });
});

describe('remedies', () => {
  const on = { camera: true, data: 'all' } as const;
  it.each<[Cause[], Parameters<typeof remediesFor>[1], string[]]>([
    [[], on, []],
    [['sending'], on, ['camera_off']],
    [['sending'], { camera: false, data: 'all' }, []],
    [['hearing'], on, ['save_data', 'audio_only']],
    [['hearing'], { camera: true, data: 'saving' }, ['audio_only']],
    [['hearing'], { camera: true, data: 'audio' }, []],
    [['seeing'], on, ['save_data']],
    [['narrow'], on, ['camera_off']],
    [['detour'], on, []],
    [['unstable'], on, ['camera_off', 'save_data', 'audio_only']],
  ])('against %j with %j are %j', (causes, now, remedies) => {
    expect(remediesFor(causes, now)).toEqual(remedies);
  });
});

const reports = (...all: object[]): [string, unknown][] =>
  all.map((report) => [(report as { id: string }).id, report]);

/** As Chromium gives them, shortened. */
const STATS = reports(
  { id: 'T', type: 'transport', selectedCandidatePairId: 'P' },
  {
    id: 'P',
    type: 'candidate-pair',
    localCandidateId: 'L',
    currentRoundTripTime: 0.042,
    bytesSent: 5_000,
    bytesReceived: 9_000,
  },
  { id: 'Q', type: 'candidate-pair', localCandidateId: 'M', currentRoundTripTime: 9 },
  { id: 'L', type: 'local-candidate', candidateType: 'host', protocol: 'udp' },
  { id: 'V', type: 'codec', mimeType: 'video/VP8' },
  { id: 'a', type: 'inbound-rtp', kind: 'audio', packetsReceived: 100, packetsLost: 3 },
  { id: 'b', type: 'inbound-rtp', kind: 'audio' },
  {
    id: 'c',
    type: 'inbound-rtp',
    kind: 'video',
    packetsReceived: 400,
    packetsLost: -2,
    framesDecoded: 90,
    freezeCount: 1,
    totalFreezesDuration: 0.5,
  },
  {
    id: 'd',
    type: 'outbound-rtp',
    kind: 'video',
    codecId: 'V',
    packetsSent: 300,
    frameWidth: 320,
    frameHeight: 180,
    framesPerSecond: 29.7,
    qualityLimitationDurations: { bandwidth: 1.5, cpu: 0, none: 9 },
  },
  { id: 'e', type: 'outbound-rtp', kind: 'video', codecId: 'V', packetsSent: 0 },
  { id: 'f', type: 'outbound-rtp', kind: 'audio', packetsSent: 100 },
  { id: 'g', type: 'remote-inbound-rtp', kind: 'video', packetsLost: 6 },
  { id: 'h', type: 'remote-inbound-rtp', kind: 'audio', packetsLost: 1 },
);

describe('a reading', () => {
  it('adds up what the browser says', () => {
    expect(readingOf(STATS, 7)).toEqual<Reading>({
      atMs: 7,
      path: 'udp',
      roundTripMs: 42,
      sentBytes: 5_000,
      receivedBytes: 9_000,
      voices: { packets: 100, lost: 3 },
      pictures: {
        packets: 400,
        lost: -2,
        freezes: 1,
        each: new Map([['c', { frames: 90, frozenMs: 500 }]]),
      },
      sent: { packets: 393, lost: 7 },
      limitedMs: { bandwidth: 1_500, cpu: 0 },
      sending: ['VP8 320×180, 30/s'],
    });
  });

  it.each([
    [{ candidateType: 'host', protocol: 'udp' }, 'udp'],
    [{ candidateType: 'srflx', protocol: 'udp' }, 'udp'],
    [{ candidateType: 'host', protocol: 'tcp' }, 'tcp'],
    [{ candidateType: 'relay', protocol: 'udp', relayProtocol: 'udp' }, 'relay_udp'],
    [{ candidateType: 'relay', protocol: 'udp', relayProtocol: 'tls' }, 'relay_tcp'],
  ])('takes %j for %s', (candidate, path) => {
    const firefox = reports(
      {
        id: 'P',
        type: 'candidate-pair',
        localCandidateId: 'L',
        nominated: true,
        state: 'succeeded',
      },
      { id: 'L', type: 'local-candidate', ...candidate },
    );
    expect(readingOf(firefox, 0).path).toBe(path);
  });

  it('of nothing is empty', () => {
    expect(readingOf([], 0)).toMatchObject({
      path: undefined,
      roundTripMs: undefined,
      sentBytes: 0,
    });
  });
});

describe('a sample', () => {
  const start = readingOf(STATS, 0);
  const later = (change: Partial<Reading>): Reading => ({ ...start, atMs: 2_000, ...change });

  it('is what happened between two readings', () => {
    const sample = sampleBetween(
      start,
      later({
        sentBytes: 255_000,
        voices: { packets: 190, lost: 13 },
        sent: { packets: 773, lost: 27 },
        limitedMs: { bandwidth: 2_500, cpu: 0 },
      }),
    );
    expect(sample).toMatchObject({
      sentKbps: 1_000,
      receivedKbps: 0,
      voiceLoss: 0.1,
      sentLoss: 0.05,
      bandwidthLimited: 0.5,
    });
  });

  it('says nothing of a handful of packets, nor of losses taken back', () => {
    expect(sampleBetween(start, later({ voices: { packets: 110, lost: 8 } })).voiceLoss).toBe(0);
    expect(sampleBetween(start, later({ voices: { packets: 300, lost: 1 } })).voiceLoss).toBe(0);
  });

  it('means by frozen all pictures that come, and none that are not shown', () => {
    const each = (...pictures: [string, number, number][]) =>
      new Map(pictures.map(([id, frames, frozenMs]) => [id, { frames, frozenMs }]));
    const pictures = { packets: 0, lost: 0, freezes: 0 };
    const before = later({ pictures: { ...pictures, each: each(['c', 90, 500], ['d', 10, 0]) } });
    const frozen = (...now: [string, number, number][]) =>
      sampleBetween(
        { ...before, atMs: 0 },
        later({ pictures: { ...pictures, each: each(...now) } }),
      ).frozen;
    expect(frozen(['c', 100, 1_500], ['d', 10, 0])).toBe(0.5);
    expect(frozen(['c', 100, 1_500], ['d', 70, 0])).toBe(0.25);
    // A slot that wakes after a minute counts the minute as one freeze.
    expect(frozen(['c', 91, 60_500], ['d', 10, 0])).toBe(1);
    expect(frozen(['c', 90, 500], ['d', 10, 0])).toBe(0);
  });
});
