// How well one's own connection carries the meeting, in words rather than figures. Pure: readings of
// `getStats` go in, a verdict comes out.

import type { Quality } from '../protocol/messages';

/** How often a reading is taken. */
export const READING_MS = 2_000;

/** How packets reach the server. */
export type Path = 'udp' | 'tcp' | 'relay_udp' | 'relay_tcp';

/** What one `getStats` says. Counters are totals since the connection began. */
export interface Reading {
  atMs: number;
  path: Path | undefined;
  /** Of the packets on the wire, there and back; undefined where the browser does not say. */
  roundTripMs: number | undefined;
  sentBytes: number;
  receivedBytes: number;
  voices: Streams;
  pictures: Streams & { freezes: number; each: ReadonlyMap<string, Picture> };
  /** What the server says of the packets that were sent to it. */
  sent: Streams;
  /** How long the browser held back the camera's picture, in ms, and why. */
  limitedMs: { bandwidth: number; cpu: number };
  /** For support: what is sent, such as `VP8 1280×720`. */
  sending: readonly string[];
}

interface Streams {
  /** Those that arrived. */
  packets: number;
  lost: number;
}

interface Picture {
  frames: number;
  frozenMs: number;
}

/** What happened between two readings. Losses and times are shares, 0 to 1. */
export interface Sample {
  path: Path | undefined;
  roundTripMs: number | undefined;
  voiceLoss: number;
  pictureLoss: number;
  sentLoss: number;
  frozen: number;
  freezes: number;
  bandwidthLimited: number;
  cpuLimited: number;
  sentKbps: number;
  receivedKbps: number;
  sending: readonly string[];
}

export type Cause =
  /** What is sent gets lost: others hear and see it badly. */
  | 'sending'
  /** Voices of others break off. */
  | 'hearing'
  /** Pictures of others stand still. */
  | 'seeing'
  /** Answers come late. */
  | 'slow'
  /** The network takes less than the camera gives. */
  | 'narrow'
  /** The server sees trouble that the browser does not. */
  | 'unstable'
  /** The computer cannot keep up. */
  | 'busy'
  /** The network blocks UDP. */
  | 'detour';

/** 0: not at all; 1: pictures suffer, or it is only worth knowing; 2: voices suffer. */
type Severity = 0 | 1 | 2;

/** From which value on a cause is felt, and from which on it hurts. */
const THRESHOLDS: Record<Exclude<Cause, 'unstable' | 'detour'>, readonly [number, number]> = {
  sending: [0.04, 0.1],
  // Concealment hides a few per cent of lost voice packets.
  hearing: [0.04, 0.1],
  seeing: [0.1, Number.POSITIVE_INFINITY],
  slow: [350, 1_000],
  narrow: [0.5, Number.POSITIVE_INFINITY],
  busy: [0.5, Number.POSITIVE_INFINITY],
};

/** The order in which causes are told: what can be heard first. */
export const CAUSES: readonly Cause[] = [
  'sending',
  'hearing',
  'unstable',
  'slow',
  'seeing',
  'narrow',
  'busy',
  'detour',
];

/** These are worth knowing and say nothing of the connection's quality. */
const REMARKS: ReadonlySet<Cause> = new Set(['busy', 'detour']);

/** A cause is told when it was there in this many samples on end… */
const WORSE_SAMPLES = 2;
/** …and forgotten when it was absent from this many. */
const BETTER_SAMPLES = 5;

export interface Verdict {
  quality: Quality;
  /** In the order of `CAUSES`. */
  causes: readonly Cause[];
  /** Severities of each cause in the last samples, the latest last, and the one that is told. */
  memory: ReadonlyMap<Cause, { recent: readonly Severity[]; told: Severity }>;
}

export const NO_VERDICT: Verdict = { quality: 'good', causes: [], memory: new Map() };

/** What to say after this sample. `server` is the quality that the server tells of oneself. */
export function verdictAfter(before: Verdict, sample: Sample, server: Quality = 'good'): Verdict {
  const memory = new Map(
    CAUSES.map((cause) => {
      const { recent = [], told = 0 } = before.memory.get(cause) ?? {};
      const now = [...recent, severity(cause, sample, server)].slice(-BETTER_SAMPLES);
      return [cause, { recent: now, told: toldAfter(told, now) }];
    }),
  );
  const told = (cause: Cause) => memory.get(cause)?.told ?? 0;
  const named = CAUSES.filter((cause) => told(cause) > 0);
  // Where the browser knows why, what the server sees needs no words of its own.
  const explained = named.some((cause) => cause !== 'unstable' && !REMARKS.has(cause));
  const worst = Math.max(0, ...named.filter((cause) => !REMARKS.has(cause)).map(told));
  return {
    quality: worst === 2 ? 'poor' : worst === 1 ? 'fair' : 'good',
    causes: named.filter((cause) => cause !== 'unstable' || !explained),
    memory,
  };
}

/** Hysteresis: worse soon, better late. */
function toldAfter(told: Severity, recent: readonly Severity[]): Severity {
  const lately = recent.slice(-WORSE_SAMPLES);
  const lasting = lately.length < WORSE_SAMPLES ? 0 : (Math.min(...lately) as Severity);
  if (lasting > told) return lasting;
  const worst = Math.max(...recent) as Severity;
  return recent.length === BETTER_SAMPLES && worst < told ? worst : told;
}

function severity(cause: Cause, sample: Sample, server: Quality): Severity {
  switch (cause) {
    case 'unstable':
      return server === 'poor' ? 2 : server === 'fair' ? 1 : 0;
    case 'detour':
      return sample.path === 'tcp' || sample.path === 'relay_tcp' ? 1 : 0;
    case 'sending':
      return beyond(cause, sample.sentLoss);
    case 'hearing':
      return beyond(cause, sample.voiceLoss);
    case 'seeing':
      return beyond(cause, sample.frozen);
    case 'slow':
      return beyond(cause, sample.roundTripMs ?? 0);
    case 'narrow':
      return beyond(cause, sample.bandwidthLimited);
    case 'busy':
      return beyond(cause, sample.cpuLimited);
  }
}

function beyond(cause: keyof typeof THRESHOLDS, value: number): Severity {
  const [felt, hurts] = THRESHOLDS[cause];
  return value >= hurts ? 2 : value >= felt ? 1 : 0;
}

/** With a single click, what helps against a cause. */
export type Remedy = 'camera_off' | 'save_data' | 'audio_only';

export function remediesFor(
  causes: readonly Cause[],
  now: { camera: boolean; data: 'all' | 'saving' | 'audio' },
): Remedy[] {
  const has = (...some: Cause[]) => some.some((cause) => causes.includes(cause));
  const remedies: Remedy[] = [];
  if (now.camera && has('sending', 'narrow', 'unstable', 'slow', 'busy')) {
    remedies.push('camera_off');
  }
  if (now.data === 'all' && has('hearing', 'seeing', 'unstable', 'slow', 'busy')) {
    remedies.push('save_data');
  }
  if (now.data !== 'audio' && has('hearing', 'unstable')) remedies.push('audio_only');
  return remedies;
}

export function sampleBetween(before: Reading, after: Reading): Sample {
  const elapsedMs = Math.max(1, after.atMs - before.atMs);
  const share = (ms: number) => Math.min(1, Math.max(0, ms) / elapsedMs);
  // 8 bits a byte over milliseconds: kilobits a second.
  const kbps = (bytes: number) => Math.round((Math.max(0, bytes) * 8) / elapsedMs);
  return {
    path: after.path,
    roundTripMs: after.roundTripMs,
    voiceLoss: loss(before.voices, after.voices),
    pictureLoss: loss(before.pictures, after.pictures),
    sentLoss: loss(before.sent, after.sent),
    frozen: frozen(before.pictures.each, after.pictures.each, share),
    freezes: Math.max(0, after.pictures.freezes - before.pictures.freezes),
    bandwidthLimited: share(after.limitedMs.bandwidth - before.limitedMs.bandwidth),
    cpuLimited: share(after.limitedMs.cpu - before.limitedMs.cpu),
    sentKbps: kbps(after.sentBytes - before.sentBytes),
    receivedKbps: kbps(after.receivedBytes - before.receivedBytes),
    sending: after.sending,
  };
}

/**
 * Mean over the pictures that came: where a single one stands still, its sender is in trouble and not
 * this connection. Slots that carry nobody's picture do not count.
 */
function frozen(
  before: ReadonlyMap<string, Picture>,
  after: ReadonlyMap<string, Picture>,
  share: (ms: number) => number,
): number {
  const shares = [...after].flatMap(([id, { frames, frozenMs }]) => {
    const was = before.get(id) ?? { frames: 0, frozenMs: 0 };
    return frames > was.frames ? [share(frozenMs - was.frozenMs)] : [];
  });
  return shares.length === 0 ? 0 : shares.reduce((a, b) => a + b, 0) / shares.length;
}

/** Below this many packets a share of loss says nothing. */
const PACKETS_MIN = 20;

function loss(before: Streams, after: Streams): number {
  // A late packet takes back a loss, so that totals may fall.
  const lost = Math.max(0, after.lost - before.lost);
  const all = Math.max(0, after.packets - before.packets) + lost;
  return all < PACKETS_MIN ? 0 : lost / all;
}

/** The fields of W3C webrtc-stats that are read here; browsers leave out what they do not know. */
interface Report {
  id: string;
  type: string;
  kind?: string;
  state?: string;
  nominated?: boolean;
  selected?: boolean;
  selectedCandidatePairId?: string;
  localCandidateId?: string;
  localId?: string;
  codecId?: string;
  candidateType?: string;
  protocol?: string;
  relayProtocol?: string;
  mimeType?: string;
  currentRoundTripTime?: number;
  bytesSent?: number;
  bytesReceived?: number;
  packetsSent?: number;
  packetsReceived?: number;
  packetsLost?: number;
  framesDecoded?: number;
  freezeCount?: number;
  totalFreezesDuration?: number;
  frameWidth?: number;
  frameHeight?: number;
  framesPerSecond?: number;
  qualityLimitationDurations?: Record<string, number>;
}

export function readingOf(stats: Iterable<[string, unknown]>, atMs: number): Reading {
  const byId = new Map(stats as Iterable<[string, Report]>);
  const all = [...byId.values()];
  const of = (type: string, kind?: string) =>
    all.filter((report) => report.type === type && (kind === undefined || report.kind === kind));
  const pair = pairIn(byId, all);
  const local = byId.get(pair?.localCandidateId ?? '');
  const outgoing = of('outbound-rtp');
  const voices = of('inbound-rtp', 'audio');
  const pictures = of('inbound-rtp', 'video');
  const cameras = outgoing.filter(({ kind }) => kind === 'video');
  // One encoder serves the sizes of one picture: the times of all sizes say the same.
  const limitedMs = (reason: string) =>
    Math.max(0, ...cameras.map((one) => (one.qualityLimitationDurations?.[reason] ?? 0) * 1_000));
  const lostOut = sum(of('remote-inbound-rtp'), 'packetsLost');
  const roundTripS = pair?.currentRoundTripTime;
  return {
    atMs,
    path: local ? pathOf(local) : undefined,
    roundTripMs: roundTripS === undefined ? undefined : Math.round(roundTripS * 1_000),
    sentBytes: pair?.bytesSent ?? 0,
    receivedBytes: pair?.bytesReceived ?? 0,
    voices: { packets: sum(voices, 'packetsReceived'), lost: sum(voices, 'packetsLost') },
    pictures: {
      packets: sum(pictures, 'packetsReceived'),
      lost: sum(pictures, 'packetsLost'),
      freezes: sum(pictures, 'freezeCount'),
      each: new Map(
        pictures.map(({ id, framesDecoded = 0, totalFreezesDuration = 0 }) => [
          id,
          { frames: framesDecoded, frozenMs: totalFreezesDuration * 1_000 },
        ]),
      ),
    },
    sent: { packets: sum(outgoing, 'packetsSent') - lostOut, lost: lostOut },
    limitedMs: { bandwidth: limitedMs('bandwidth'), cpu: limitedMs('cpu') },
    sending: cameras
      .toSorted((a, b) => (b.frameWidth ?? 0) - (a.frameWidth ?? 0))
      .flatMap((one) => sendingOf(one, byId)),
  };
}

function pairIn(byId: ReadonlyMap<string, Report>, all: readonly Report[]): Report | undefined {
  const named = all.find(({ type }) => type === 'transport')?.selectedCandidatePairId;
  if (named !== undefined) return byId.get(named);
  // Firefox has no report of the transport.
  const pairs = all.filter(({ type }) => type === 'candidate-pair');
  return (
    pairs.find(({ selected }) => selected) ??
    pairs.find(({ nominated, state }) => nominated && state === 'succeeded')
  );
}

function pathOf({ candidateType, protocol, relayProtocol }: Report): Path {
  if (candidateType === 'relay') return relayProtocol === 'udp' ? 'relay_udp' : 'relay_tcp';
  return protocol === 'tcp' ? 'tcp' : 'udp';
}

function sendingOf(one: Report, byId: ReadonlyMap<string, Report>): string[] {
  if (!one.frameWidth || !one.frameHeight || !one.framesPerSecond) return [];
  const codec = byId.get(one.codecId ?? '')?.mimeType?.replace('video/', '') ?? '?';
  return [`${codec} ${one.frameWidth}×${one.frameHeight}, ${Math.round(one.framesPerSecond)}/s`];
}

type Counter = {
  [Key in keyof Report]-?: Report[Key] extends number | undefined ? Key : never;
}[keyof Report];

function sum(reports: readonly Report[], counter: Counter): number {
  return reports.reduce((total, report) => total + (report[counter] ?? 0), 0);
}
