// The media connection to the server, and the only file that uses RTCPeerConnection. The client is
// always the offerer. All m-lines that send are there from the start and are filled by
// replaceTrack; the pool of m-lines that receive grows by a new offer and never shrinks.

import type {
  ClientMessage,
  IceServer,
  MediaKind,
  ReceiveSlot,
  SendSlot,
  ServerReply,
  Source,
  VideoCodec,
} from '../protocol/messages';
import { audioCodecs, nameOf, negotiated, videoCodecs } from './codecs';
import type { ScreenHint } from './devices';
import {
  activeEncodings,
  cameraLayers,
  cameraWays,
  FILM_FRAMES_PER_S_MAX,
  SCREEN_BITRATE_BPS,
  SCREEN_FRAMES_PER_S_MAX,
} from './encodings';

/** A short gap often heals by itself; after this long in `disconnected` ICE is restarted. */
const DISCONNECTED_MS = 2_500;
/** While ICE stays down, it is restarted again at this interval. */
const RESTART_MS = 6_000;
/** When the server refuses an offer, the next try waits about this long, doubled each time. */
const RETRY_MS_FIRST = 1_000;
const RETRY_MS_MAX = 15_000;
/** What the same offer will not get over. */
const PERMANENT = new Set<unknown>(['invalid', 'forbidden', 'malformed']);
/** The browser itself may fail for good, which a new connection can heal. */
const BROWSER_FAILURES_MAX = 5;

/** The W3C extension that switches a running encoding to another codec; not in TypeScript's types. */
type Encoding = RTCRtpEncodingParameters & { codec?: RTCRtpCodec; scalabilityMode?: string };

const KINDS: Record<Source, MediaKind> = {
  microphone: 'audio',
  camera: 'video',
  screen: 'video',
  screen_audio: 'audio',
};
export interface ReceivingSlot extends ReceiveSlot {
  stream: MediaStream;
}

export interface Pool {
  audio: number;
  video: number;
}

export interface PeerOptions {
  iceServers: IceServer[];
  iceTransportPolicy: RTCIceTransportPolicy;
  pool: Pool;
  /** What may be sent: a viewer sends nothing. */
  sources: readonly Source[];
  /** Codecs to offer, and the one to send. */
  codecs: { send: readonly VideoCodec[]; receive: readonly VideoCodec[]; first: VideoCodec };
  request(message: ClientMessage): Promise<ServerReply>;
  /** The pool as negotiated, after each answer. */
  onSlots(slots: ReceivingSlot[]): void;
  onState(state: 'connecting' | 'connected' | 'disconnected'): void;
  /** This connection cannot come about: offers are no longer repeated. */
  onFailed(error: unknown): void;
}

export interface Peer {
  /** Fills or empties the m-line of a source. */
  setTrack(source: Source, track: MediaStreamTrack | null): Promise<void>;
  /** Sees to it that the pool has at least this many m-lines. */
  growPool(pool: Pool): void;
  setVideoCodec(codec: VideoCodec): Promise<void>;
  /** Which layers of a source somebody sees: the others are not sent. */
  setDemand(source: Source, layers: readonly number[]): Promise<void>;
  /** Whether a shared screen is to be sharp, or to move smoothly. */
  setScreenHint(hint: ScreenHint): Promise<void>;
  /** What plays an m-line of the pool. */
  receiverOf(mid: string): RTCRtpReceiver | undefined;
  /** After the session is back: repeats an offer that was lost with the WebSocket. */
  resume(): void;
  stats(): Promise<RTCStatsReport>;
  close(): void;
}

export function createPeer(options: PeerOptions): Peer {
  const connection = new RTCPeerConnection({
    iceServers: options.iceServers,
    iceTransportPolicy: options.iceTransportPolicy,
    bundlePolicy: 'max-bundle',
    rtcpMuxPolicy: 'require',
  });
  const senders = new Map<Source, RTCRtpTransceiver>();
  /** What each source was last told to send. */
  const tracks = new Map<Source, MediaStreamTrack | null>();
  const receivers: { kind: MediaKind; transceiver: RTCRtpTransceiver; stream: MediaStream }[] = [];
  let videoCodec = options.codecs.first;
  let cameraSize = { width: 1280, height: 720 };
  /** What the server asked for, by source; without an entry all is sent. */
  const demands = new Map<Source, readonly number[]>();
  let screenHint: ScreenHint = 'detail';
  let answered = false;
  let closed = false;
  let negotiation: 'idle' | 'running' | 'again' | 'waiting' = 'idle';
  let failures = 0;
  let browserFailures = 0;
  let editing: Promise<unknown> = Promise.resolve();
  let restartTimer: ReturnType<typeof setTimeout> | undefined;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;

  for (const source of options.sources) senders.set(source, addSender(source));
  addReceivers(options.pool);
  connection.oniceconnectionstatechange = watchIce;
  connection.onconnectionstatechange = () => {
    // Of ICE itself `watchIce` hears.
    const { connectionState, iceConnectionState } = connection;
    if (connectionState === 'failed' && iceConnectionState !== 'failed') restartIce();
  };
  negotiate();

  function addSender(source: Source): RTCRtpTransceiver {
    const transceiver = connection.addTransceiver(KINDS[source], {
      direction: 'sendonly',
      sendEncodings: initialEncodings(source),
    });
    preferCodecs(transceiver, KINDS[source], 'send');
    return transceiver;
  }

  function addReceivers(pool: Pool): boolean {
    let grown = false;
    for (const kind of ['audio', 'video'] as const) {
      const present = receivers.filter((receiver) => receiver.kind === kind).length;
      for (let count = present; count < pool[kind]; count += 1) {
        const transceiver = connection.addTransceiver(kind, { direction: 'recvonly' });
        preferCodecs(transceiver, kind, 'receive');
        const stream = new MediaStream([transceiver.receiver.track]);
        receivers.push({ kind, transceiver, stream });
        grown = true;
      }
    }
    return grown;
  }

  function preferCodecs(
    transceiver: RTCRtpTransceiver,
    kind: MediaKind,
    direction: 'send' | 'receive',
  ): void {
    const capabilities =
      direction === 'send'
        ? RTCRtpSender.getCapabilities(kind)
        : RTCRtpReceiver.getCapabilities(kind);
    const all = capabilities?.codecs ?? [];
    const preferred =
      kind === 'audio' ? audioCodecs(all) : videoCodecs(all, options.codecs[direction], videoCodec);
    if (preferred.length > 0) transceiver.setCodecPreferences(preferred);
  }

  function negotiate(): void {
    if (negotiation === 'running') {
      negotiation = 'again';
      return;
    }
    if (negotiation === 'again' || closed) return;
    clearTimeout(retryTimer);
    negotiation = 'running';
    void exchange();
  }

  async function exchange(): Promise<void> {
    try {
      await connection.setLocalDescription(await connection.createOffer());
      const sdp = connection.localDescription?.sdp ?? '';
      const reply = await options.request({
        type: 'offer',
        sdp,
        fresh: !answered,
        send: sendSlots(),
        receive: receiveSlots().map(({ mid, kind }) => ({ mid, kind })),
      });
      if (closed || reply.type !== 'answer') return;
      await connection.setRemoteDescription({ type: 'answer', sdp: reply.sdp });
    } catch (error) {
      return offerFailed(error);
    }
    failures = 0;
    browserFailures = 0;
    answered = true;
    options.onSlots(receiveSlots());
    // An answer that takes all the RIDs switches on those that were off.
    await shapeScreen();
    await useCodec();
    const again = negotiation === 'again';
    negotiation = 'idle';
    if (again) negotiate();
  }

  function offerFailed(error: unknown): void {
    if (closed) return;
    const { code } = error as { code?: unknown };
    negotiation = 'waiting';
    // Without a WebSocket there is nobody to offer to: `resume` repeats the offer.
    if (code === 'disconnected') return;
    if (typeof code !== 'string') browserFailures += 1;
    if (PERMANENT.has(code) || browserFailures > BROWSER_FAILURES_MAX) {
      return options.onFailed(error);
    }
    const ceiling = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** failures);
    failures += 1;
    // Jitter, so that those whom the same server refused do not come back at the same instant.
    retryTimer = setTimeout(resume, ceiling * (0.5 + 0.5 * Math.random()));
  }

  function resume(): void {
    if (negotiation !== 'waiting') return;
    negotiation = 'idle';
    negotiate();
  }

  function sendSlots(): SendSlot[] {
    return [...senders].flatMap(([source, { mid }]) => (mid === null ? [] : [{ mid, source }]));
  }

  function receiveSlots(): ReceivingSlot[] {
    return receivers.flatMap(({ kind, transceiver: { mid }, stream }) =>
      mid === null ? [] : [{ mid, kind, stream }],
    );
  }

  function watchIce(): void {
    switch (connection.iceConnectionState) {
      case 'connected':
      case 'completed':
        clearTimeout(restartTimer);
        restartTimer = undefined;
        return options.onState('connected');
      case 'disconnected':
        restartTimer ??= setTimeout(restartIce, DISCONNECTED_MS);
        return options.onState('disconnected');
      case 'failed':
        restartIce();
        return options.onState('disconnected');
      case 'new':
      case 'checking':
        return options.onState('connecting');
      case 'closed':
        return;
    }
  }

  function restartIce(): void {
    if (closed) return;
    clearTimeout(restartTimer);
    restartTimer = setTimeout(restartIce, RESTART_MS);
    connection.restartIce();
    negotiate();
  }

  async function setTrack(source: Source, track: MediaStreamTrack | null): Promise<void> {
    const sender = senders.get(source)?.sender;
    if (!sender) return;
    // A source that is switched on sends all that it has, until the server says what is seen.
    if (track && !tracks.get(source) && demands.delete(source) && source === 'screen') {
      await shapeScreen();
    }
    tracks.set(source, track);
    if (track && source === 'camera') {
      const { width = 1280, height = 720 } = track.getSettings();
      cameraSize = { width, height };
      await shapeCamera(sender);
    }
    // It was switched off again, or the connection closed, meanwhile.
    if (closed || tracks.get(source) !== track) return;
    await sender.replaceTrack(track);
  }

  /** Gives the camera the layers and the codec that fit each other: one without the other is refused. */
  async function shapeCamera(sender: RTCRtpSender): Promise<void> {
    const { codecs } = sender.getParameters();
    const codec = answered ? negotiated(codecs, videoCodec) : undefined;
    const name = codec ? videoCodec : codecs[0] && nameOf(codecs[0]);
    const { width, height } = cameraSize;
    for (const layers of cameraWays(width, height, name ?? 'vp8')) {
      const active = activeEncodings(
        layers.map((layer) => layer.active),
        demands.get('camera'),
      );
      const taken = await edit(sender, (encoding) => {
        const index = layers.findIndex(({ rid }) => rid === encoding.rid);
        Object.assign(encoding, layers[index], codec && { codec }, {
          active: active[index] ?? true,
        });
      });
      if (taken) return;
    }
  }

  async function shapeScreen(): Promise<void> {
    const sender = senders.get('screen')?.sender;
    if (!sender) return;
    const smooth = screenHint === 'motion';
    const [active = true] = activeEncodings([true], demands.get('screen'));
    await edit(
      sender,
      (encoding) => {
        encoding.active = active;
        encoding.maxFramerate = smooth ? FILM_FRAMES_PER_S_MAX : SCREEN_FRAMES_PER_S_MAX;
      },
      // What cannot be read is of no use, however smoothly it moves; a film is the other way round.
      smooth ? 'maintain-framerate' : 'maintain-resolution',
    );
  }

  async function setDemand(source: Source, wanted: readonly number[]): Promise<void> {
    demands.set(source, wanted);
    const camera = senders.get('camera')?.sender;
    if (source === 'camera' && camera) await shapeCamera(camera);
    if (source === 'screen') await shapeScreen();
  }

  async function setVideoCodec(codec: VideoCodec): Promise<void> {
    videoCodec = codec;
    // Before the first answer nothing can be switched yet: a second offer follows it.
    if (answered && (await useCodec())) return;
    for (const { kind, transceiver } of videoSenders()) preferCodecs(transceiver, kind, 'send');
    negotiate();
  }

  /** Switches what is sent to `videoCodec`. False: this browser can do so by a new offer only. */
  async function useCodec(): Promise<boolean> {
    let switched = true;
    for (const { transceiver } of videoSenders()) {
      const { codecs } = transceiver.sender.getParameters();
      const codec = negotiated(codecs, videoCodec);
      if (transceiver === senders.get('camera')) await shapeCamera(transceiver.sender);
      if (!codec) continue;
      if (transceiver !== senders.get('camera')) {
        await edit(transceiver.sender, (encoding) => {
          encoding.codec = codec;
        });
      }
      const [encoding]: Encoding[] = transceiver.sender.getParameters().encodings;
      const sends = encoding?.codec ?? codecs[0];
      if (!sends || !negotiated([sends], videoCodec)) switched = false;
    }
    return switched;
  }

  function videoSenders(): { kind: MediaKind; transceiver: RTCRtpTransceiver }[] {
    return [...senders]
      .map(([source, transceiver]) => ({ kind: KINDS[source], transceiver }))
      .filter(({ kind }) => kind === 'video');
  }

  /**
   * Changes the encodings of a sender. One change at a time: parameters that were read before
   * another change took effect are refused. False: the browser refused it.
   */
  function edit(
    sender: RTCRtpSender,
    change: (encoding: Encoding) => void,
    degradationPreference?: RTCDegradationPreference,
  ): Promise<boolean> {
    const edited = editing.then(async () => {
      const parameters = sender.getParameters();
      if (degradationPreference) Object.assign(parameters, { degradationPreference });
      for (const encoding of parameters.encodings) change(encoding);
      try {
        await sender.setParameters(parameters);
        return true;
      } catch (error) {
        console.info('the browser refused parameters of a sender:', error);
        return false;
      }
    });
    editing = edited;
    return edited;
  }

  function close(): void {
    closed = true;
    clearTimeout(restartTimer);
    clearTimeout(retryTimer);
    connection.close();
  }

  return {
    setTrack,
    growPool(pool) {
      if (addReceivers(pool)) negotiate();
    },
    setVideoCodec,
    setDemand,
    async setScreenHint(hint) {
      screenHint = hint;
      await shapeScreen();
    },
    receiverOf: (mid) =>
      receivers.find(({ transceiver }) => transceiver.mid === mid)?.transceiver.receiver,
    resume,
    stats: () => connection.getStats(),
    close,
  };
}

function initialEncodings(source: Source): RTCRtpEncodingParameters[] {
  switch (source) {
    case 'camera':
      return cameraLayers(1280, 720);
    case 'screen':
      return [{ maxBitrate: SCREEN_BITRATE_BPS, maxFramerate: SCREEN_FRAMES_PER_S_MAX }];
    case 'microphone':
    case 'screen_audio':
      return [{}];
  }
}
