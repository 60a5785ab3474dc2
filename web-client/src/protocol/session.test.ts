import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { openSession, retryDelayMs, type SessionEvent, sessionUrl } from './session';

/** The server's end of each WebSocket that the session opens. */
class FakeSocket {
  readyState = 0;
  sent: Record<string, unknown>[] = [];
  onopen: (() => void) | null = null;
  onclose: (() => void) | null = null;
  onmessage: ((event: { data: string }) => void) | null = null;

  send(text: string): void {
    this.sent.push(JSON.parse(text));
  }

  close(): void {
    this.readyState = 3;
  }

  accept(): void {
    this.readyState = 1;
    this.onopen?.();
  }

  break(): void {
    this.readyState = 3;
    this.onclose?.();
  }

  async say(message: Record<string, unknown>): Promise<void> {
    this.onmessage?.({ data: JSON.stringify(message) });
    await vi.advanceTimersByTimeAsync(0);
  }
}

const JOINED = {
  type: 'joined',
  version: 1,
  you: '1.1',
  resume: 'secret-1',
  resume_s: 30,
  room: {
    id: 'r',
    code: '1',
    title: '',
    video_codec: 'h264',
    url: '',
    lobby: 'off',
    locked: false,
    allowed: { microphone: true, camera: true, screen: true, chat: true },
    spotlight: [],
  },
  participants: [],
  slots: [],
  limits: { audio_slots_max: 4, video_slots_max: 16, message_bytes_max: 65536 },
  ice_servers: [],
  media: false,
};

function start() {
  const sockets: FakeSocket[] = [];
  const events: SessionEvent[] = [];
  const session = openSession({
    url: 'ws://test/api/v1/session',
    join: { room: '204117935', name: 'Bo' },
    onEvent: (event) => events.push(event),
    random: () => 0.5,
    connect: () => {
      const socket = new FakeSocket();
      sockets.push(socket);
      return socket as unknown as WebSocket;
    },
  });
  const latest = () => sockets.at(-1) ?? expect.fail('no WebSocket was opened');
  return { session, sockets, events, latest };
}

async function joined() {
  const all = start();
  all.latest().accept();
  await all.latest().say({ reply_to: 1, ...JOINED });
  return all;
}

beforeEach(() => {
  vi.stubGlobal('WebSocket', { OPEN: 1 });
  vi.useFakeTimers();
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
});

describe('a session', () => {
  it('joins, and matches replies with requests by id', async () => {
    const { session, latest, events } = await joined();
    expect(latest().sent[0]).toEqual({
      id: 1,
      type: 'join',
      version: 1,
      room: '204117935',
      name: 'Bo',
    });
    expect(events[0]).toMatchObject({ type: 'joined', resumed: false });

    const first = session.request({ type: 'publish', publishing: {} });
    const second = session.request({ type: 'view', slots: [] });
    const refused = expect(first).rejects.toMatchObject({ code: 'forbidden' });
    await latest().say({ reply_to: 3, type: 'ok' });
    await latest().say({ reply_to: 2, type: 'error', code: 'forbidden', message: 'no' });
    await expect(second).resolves.toMatchObject({ type: 'ok' });
    await refused;
  });

  it('resumes with the secret of the last joined, and counts ids from 1 again', async () => {
    const { session, sockets, latest, events } = await joined();
    const lost = session.request({ type: 'view', slots: [] });
    const broken = expect(lost).rejects.toMatchObject({ code: 'disconnected' });
    latest().break();
    await broken;
    expect(events.at(-1)).toEqual({ type: 'reconnecting' });

    await vi.advanceTimersByTimeAsync(400);
    expect(sockets).toHaveLength(2);
    latest().accept();
    expect(latest().sent[0]).toEqual({ id: 1, type: 'resume', version: 1, resume: 'secret-1' });
    await latest().say({ reply_to: 1, ...JOINED, resume: 'secret-2', media: true });
    expect(events.at(-1)).toMatchObject({ type: 'joined', resumed: true });

    latest().break();
    await vi.advanceTimersByTimeAsync(800);
    latest().accept();
    expect(latest().sent[0]).toMatchObject({ resume: 'secret-2' });
  });

  it('joins again when it cannot resume', async () => {
    const { latest } = await joined();
    latest().break();
    await vi.advanceTimersByTimeAsync(400);
    latest().accept();
    await latest().say({ reply_to: 1, type: 'error', code: 'not_resumable', message: 'late' });
    await vi.advanceTimersByTimeAsync(1_000);
    latest().accept();
    expect(latest().sent[0]).toMatchObject({ type: 'join', room: '204117935' });
  });

  it('tries again when a limit keeps out who was in the meeting, and ends for a newcomer', async () => {
    const limit = { reply_to: 1, type: 'error', code: 'limit', message: 'too many' };
    const { latest, sockets, events } = await joined();
    latest().break();
    await vi.advanceTimersByTimeAsync(400);
    latest().accept();
    await latest().say(limit);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(sockets).toHaveLength(3);
    expect(events.at(-1)).toEqual({ type: 'reconnecting' });

    const newcomer = start();
    newcomer.latest().accept();
    await newcomer.latest().say(limit);
    expect(newcomer.events).toEqual([{ type: 'ended', reason: 'not_served' }]);
  });

  it('takes a WebSocket without pong as broken', async () => {
    const { latest, events, sockets } = await joined();
    await vi.advanceTimersByTimeAsync(20_000);
    expect(latest().sent.at(-1)).toEqual({ id: 2, type: 'ping' });
    await latest().say({ reply_to: 2, type: 'pong' });
    await vi.advanceTimersByTimeAsync(20_000);
    expect(latest().sent.at(-1)).toEqual({ id: 3, type: 'ping' });
    await vi.advanceTimersByTimeAsync(16_000);
    expect(events.at(-1)).toEqual({ type: 'reconnecting' });
    expect(sockets).toHaveLength(2);
  });

  it('comes back after a restart of the server, and ends when the room does', async () => {
    const { latest, sockets, events } = await joined();
    await latest().say({ type: 'closed', reason: 'restarting' });
    await vi.advanceTimersByTimeAsync(400);
    expect(sockets).toHaveLength(2);
    latest().accept();
    await latest().say({ reply_to: 1, ...JOINED });
    await latest().say({ type: 'closed', reason: 'room_ended' });
    expect(events.at(-1)).toEqual({ type: 'ended', reason: 'room_ended' });
    await vi.advanceTimersByTimeAsync(60_000);
    expect(sockets).toHaveLength(2);
  });

  it('ends when it is not admitted', async () => {
    const { latest, events } = start();
    latest().accept();
    await latest().say({ reply_to: 1, type: 'error', code: 'not_admitted', message: 'no' });
    expect(events).toEqual([{ type: 'ended', reason: 'not_admitted' }]);
  });

  it('says goodbye when it leaves', async () => {
    const { session, latest, events } = await joined();
    session.leave();
    expect(latest().sent.at(-1)).toEqual({ id: 2, type: 'leave' });
    expect(latest().readyState).toBe(3);
    expect(events.at(-1)).toEqual({ type: 'ended', reason: 'left' });
  });

  it('gives up after ten minutes without the server', async () => {
    const { latest, events } = await joined();
    latest().break();
    for (let minute = 0; minute < 11 * 60; minute += 1) {
      await vi.advanceTimersByTimeAsync(1_000);
      latest().break();
    }
    expect(events.at(-1)).toEqual({ type: 'ended', reason: 'lost' });
  });
});

describe('retryDelayMs', () => {
  it('lies between a quarter and the whole of a doubling time, at most 8 s', () => {
    expect(retryDelayMs(0, 0)).toBe(100);
    expect(retryDelayMs(0, 1)).toBe(400);
    expect(retryDelayMs(3, 1)).toBe(3_200);
    expect(retryDelayMs(100, 1)).toBe(8_000);
  });
});

describe('sessionUrl', () => {
  it('is secure where the page is', () => {
    expect(sessionUrl({ protocol: 'https:', host: 'a:8443' })).toBe('wss://a:8443/api/v1/session');
    expect(sessionUrl({ protocol: 'http:', host: 'a' })).toBe('ws://a/api/v1/session');
  });
});
