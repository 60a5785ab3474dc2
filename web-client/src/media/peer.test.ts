import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ClientMessage, ServerReply, Source } from '../protocol/messages';
import { SessionError } from '../protocol/session';
import { createPeer } from './peer';

/** As much of the browser's connection as the offers need; every m-line has a mid at once. */
class FakeConnection {
  static latest: FakeConnection;
  connectionState = 'new';
  iceConnectionState = 'new';
  onconnectionstatechange: (() => void) | null = null;
  oniceconnectionstatechange: (() => void) | null = null;
  localDescription: { sdp: string } | null = null;
  restartIce = vi.fn();
  replaced = new Map<string, unknown>();
  preferred: string[] = [];
  #lines = 0;

  constructor() {
    FakeConnection.latest = this;
  }

  addTransceiver(_kind: string) {
    const mid = `${this.#lines++}`;
    const sender = {
      getParameters: () => ({ encodings: [], codecs: [] }),
      setParameters: async () => {},
      replaceTrack: async (track: unknown) => void this.replaced.set(mid, track),
    };
    const setCodecPreferences = (codecs: RTCRtpCodec[]) => {
      this.preferred = codecs.map(({ mimeType }) => mimeType);
    };
    return { mid, sender, receiver: { track: {} }, setCodecPreferences };
  }

  async createOffer() {
    return { sdp: 'offer' };
  }

  async setLocalDescription(description: { sdp: string }) {
    this.localDescription = description;
  }

  async setRemoteDescription() {}
  close() {}

  fail(): void {
    this.iceConnectionState = 'failed';
    this.oniceconnectionstatechange?.();
    this.connectionState = 'failed';
    this.onconnectionstatechange?.();
  }
}

function start(sources: readonly Source[], refuse: () => Error | undefined = () => undefined) {
  const offers: Extract<ClientMessage, { type: 'offer' }>[] = [];
  const onFailed = vi.fn();
  const peer = createPeer({
    iceServers: [],
    iceTransportPolicy: 'all',
    pool: { audio: 1, video: 1 },
    sources,
    codecs: { send: ['h264', 'vp8'], receive: ['h264'], first: 'h264' },
    request: async (message): Promise<ServerReply> => {
      if (message.type === 'offer') offers.push(message);
      const error = refuse();
      if (error) throw error;
      return { type: 'answer', sdp: 'answer' };
    },
    onSlots: () => {},
    onState: () => {},
    onFailed,
  });
  return { peer, offers, onFailed, connection: FakeConnection.latest };
}

beforeEach(() => {
  vi.useFakeTimers();
  vi.stubGlobal('RTCPeerConnection', FakeConnection);
  vi.stubGlobal('RTCRtpSender', { getCapabilities: () => null });
  vi.stubGlobal('RTCRtpReceiver', { getCapabilities: () => null });
  vi.stubGlobal('MediaStream', class {});
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

const settled = () => vi.advanceTimersByTimeAsync(0);

describe('a peer', () => {
  it('offers to send only what it may, and nothing for a viewer', async () => {
    const { offers } = start([]);
    await settled();
    expect(offers.map(({ send }) => send)).toEqual([[]]);
    expect(offers[0]?.receive).toHaveLength(2);
    const guest = start(['microphone', 'camera']);
    await settled();
    expect(guest.offers[0]?.send.map(({ source }) => source)).toEqual(['microphone', 'camera']);
  });

  it('sends no camera that was switched off while it was being switched on', async () => {
    const { peer, connection } = start(['camera']);
    const camera = { getSettings: () => ({}) } as MediaStreamTrack;
    void peer.setTrack('camera', camera);
    void peer.setTrack('camera', null);
    await settled();
    expect(connection.replaced.get('0')).toBeNull();
    await peer.setTrack('camera', camera);
    expect(connection.replaced.get('0')).toBe(camera);
  });

  it('offers again when the codec changes between the first offer and its answer', async () => {
    const codecs = ['video/H264', 'video/VP8'].map((mimeType) => ({ mimeType, clockRate: 90_000 }));
    vi.stubGlobal('RTCRtpSender', { getCapabilities: () => ({ codecs }) });
    const { peer, connection, offers } = start(['camera']);
    expect(connection.preferred).toEqual(['video/H264', 'video/VP8']);
    await peer.setVideoCodec('vp8');
    await settled();
    expect(connection.preferred).toEqual(['video/VP8', 'video/H264']);
    expect(offers.map(({ fresh }) => fresh)).toEqual([true, false]);
  });

  it.each(['unavailable', 'timeout', 'limit', 'state', 'internal'] as const)(
    'goes on offering for as long as the server answers %s',
    async (code) => {
      let refused: Error | undefined = new SessionError(code, 'not now');
      const { offers, onFailed } = start(['camera'], () => refused);
      await vi.advanceTimersByTimeAsync(10 * 60_000);
      // At most 15 s apart, and with jitter no less than half of that.
      expect(offers.length).toBeGreaterThan(40);
      expect(offers.length).toBeLessThan(90);
      refused = undefined;
      await vi.advanceTimersByTimeAsync(15_000);
      const answered = offers.length;
      await vi.advanceTimersByTimeAsync(60_000);
      expect(offers).toHaveLength(answered);
      expect(onFailed).not.toHaveBeenCalled();
    },
  );

  it.each(['invalid', 'forbidden'] as const)('gives up when an offer is %s', async (code) => {
    const { offers, onFailed } = start(['camera'], () => new SessionError(code, 'never'));
    await vi.advanceTimersByTimeAsync(60_000);
    expect(offers).toHaveLength(1);
    expect(onFailed).toHaveBeenCalledOnce();
  });

  it('waits for the session when the WebSocket broke, and offers at once when it is back', async () => {
    const broken = new SessionError('disconnected', 'the WebSocket broke');
    const { peer, offers } = start(['camera'], () => broken);
    await vi.advanceTimersByTimeAsync(60_000);
    expect(offers).toHaveLength(1);
    peer.resume();
    await settled();
    expect(offers).toHaveLength(2);
  });

  it('gives up on a browser that fails again and again', async () => {
    const { offers, onFailed } = start(['camera'], () => new DOMException('no', 'OperationError'));
    await vi.advanceTimersByTimeAsync(5 * 60_000);
    expect(offers).toHaveLength(6);
    expect(onFailed).toHaveBeenCalledOnce();
  });

  it('restarts ICE once when it failed, and again only when it stays so', async () => {
    const { connection, offers } = start(['camera']);
    await settled();
    connection.fail();
    await settled();
    expect(connection.restartIce).toHaveBeenCalledOnce();
    expect(offers).toHaveLength(2);
    await vi.advanceTimersByTimeAsync(6_000);
    expect(offers.map(({ fresh }) => fresh)).toEqual([true, false, false]);
  });
});
