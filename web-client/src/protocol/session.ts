// The client's end of `/api/v1/session`, and the only file that uses WebSocket. A session outlives
// its WebSockets: when one breaks, the next one resumes the participant, and the media goes on
// meanwhile.

import type {
  ClientMessage,
  ClosedReason,
  ErrorCode,
  Join,
  Joined,
  ServerEvent,
  ServerReply,
} from './messages';
import { VERSION } from './messages';
import { parseServerFrame } from './parse';

const PING_MS = 20_000;
const REPLY_MS_MAX = 15_000;
const RETRY_MS_FIRST = 400;
const RETRY_MS_MAX = 8_000;
/** After this long without the server the session gives up. */
const RECONNECT_MS_MAX = 10 * 60_000;

export type SessionEvent =
  /** A moderator must admit first. */
  | { type: 'waiting' }
  | { type: 'joined'; joined: Joined; resumed: boolean }
  | { type: 'reconnecting' }
  | { type: 'ended'; reason: EndReason }
  | ServerEvent;

export type EndReason = ClosedReason | 'not_admitted' | 'version' | 'not_served' | 'lost';

/** What the server refused, or `disconnected` when the WebSocket broke before the reply. */
export class SessionError extends Error {
  constructor(
    readonly code: ErrorCode | 'disconnected' | 'timeout',
    message: string,
    readonly field?: string,
    /** Whether the message may have reached the server. */
    readonly sent = true,
  ) {
    super(message);
  }
}

export interface Session {
  request(message: ClientMessage): Promise<ServerReply>;
  /** Says goodbye where that is still possible, and ends the session. */
  leave(): void;
}

export interface SessionOptions {
  url: string;
  join: Omit<Join, 'type' | 'version'>;
  onEvent(event: SessionEvent): void;
  /** Replaced in tests. */
  connect?(url: string): WebSocket;
  random?(): number;
}

interface Pending {
  resolve(reply: ServerReply): void;
  reject(error: SessionError): void;
  timer: ReturnType<typeof setTimeout>;
}

/** Full jitter, so that clients that lost the same server do not come back at the same instant. */
export function retryDelayMs(attempt: number, random: number): number {
  const ceiling = Math.min(RETRY_MS_MAX, RETRY_MS_FIRST * 2 ** Math.min(attempt, 10));
  return Math.round(ceiling * (0.25 + 0.75 * random));
}

export function openSession(options: SessionOptions): Session {
  const connect = options.connect ?? ((url) => new WebSocket(url));
  const random = options.random ?? Math.random;
  const pending = new Map<number, Pending>();
  let socket: WebSocket | undefined;
  let lastId = 0;
  let resume: string | undefined;
  /** Of the last chat message, so that those missed are told again. */
  let chatSerial: number | undefined;
  let everJoined = false;
  let lostAt: number | undefined;
  let attempt = 0;
  let pingTimer: ReturnType<typeof setInterval> | undefined;
  let retryTimer: ReturnType<typeof setTimeout> | undefined;
  let ended = false;

  function open(): void {
    const opening = connect(options.url);
    socket = opening;
    lastId = 0;
    opening.onopen = () => void introduce(opening);
    opening.onmessage = (event) => {
      if (socket === opening && typeof event.data === 'string') receive(event.data);
    };
    opening.onclose = () => {
      if (socket === opening) lost();
    };
  }

  async function introduce(opened: WebSocket): Promise<void> {
    const resuming = resume !== undefined;
    const message: ClientMessage =
      resume !== undefined
        ? { type: 'resume', version: VERSION, resume, chat_after: chatSerial }
        : { type: 'join', version: VERSION, ...options.join };
    try {
      const reply = await request(message);
      lostAt = undefined;
      pingTimer = setInterval(() => void ping(opened), PING_MS);
      if (reply.type === 'waiting') return options.onEvent({ type: 'waiting' });
      if (reply.type !== 'joined') throw new SessionError('malformed', 'expected joined');
      joined(reply, resuming);
    } catch (error) {
      if (ended || socket !== opened || !(error instanceof SessionError)) return;
      refused(error);
    }
  }

  function joined(message: Joined, resumed: boolean): void {
    resume = message.resume;
    everJoined = true;
    options.onEvent({ type: 'joined', joined: message, resumed });
  }

  function refused(error: SessionError): void {
    switch (error.code) {
      case 'not_resumable':
        resume = undefined;
        return dropSocket();
      case 'not_admitted':
      case 'version':
        return end(error.code);
      case 'limit':
        // The room is full, or too many came from this address: whoever was in the meeting a
        // moment ago goes on trying.
        return everJoined ? dropSocket() : end('not_served');
      case 'unavailable':
      case 'disconnected':
      case 'timeout':
      case 'internal':
        return dropSocket();
      default:
        return end('not_served');
    }
  }

  async function ping(opened: WebSocket): Promise<void> {
    try {
      await request({ type: 'ping' });
      // Only what lasts counts as success, or a WebSocket that always breaks would be opened anew
      // without a pause.
      attempt = 0;
    } catch {
      if (socket === opened) dropSocket();
    }
  }

  function receive(text: string): void {
    let frame: ReturnType<typeof parseServerFrame>;
    try {
      frame = parseServerFrame(text);
    } catch (error) {
      console.warn('signaling sent a message that cannot be read:', error);
      return;
    }
    if (!frame) return;
    switch (frame.type) {
      case 'joined':
        // A moderator admitted the one who waited.
        if (frame.reply_to === undefined) return joined(frame, false);
        return settle(frame.reply_to, frame);
      case 'waiting':
      case 'answer':
      case 'ok':
      case 'pong':
      case 'error':
        return settle(frame.reply_to, frame);
      case 'closed':
        // After these the client may resume: they are broken WebSockets like any other.
        if (frame.reason === 'restarting' || frame.reason === 'protocol') return dropSocket();
        return end(frame.reason);
      case 'chat_message':
        chatSerial = Math.max(chatSerial ?? 0, frame.serial);
        return options.onEvent(frame);
      default:
        options.onEvent(frame);
    }
  }

  function settle(id: number | undefined, reply: ServerReply): void {
    const waiting = id === undefined ? undefined : pending.get(id);
    if (!waiting || id === undefined) {
      if (reply.type === 'error') console.warn(`signaling: ${reply.code}: ${reply.message}`);
      return;
    }
    pending.delete(id);
    clearTimeout(waiting.timer);
    if (reply.type === 'error') {
      waiting.reject(new SessionError(reply.code, reply.message, reply.field));
    } else {
      waiting.resolve(reply);
    }
  }

  function request(message: ClientMessage): Promise<ServerReply> {
    const open = socket;
    if (!open || open.readyState !== WebSocket.OPEN) {
      const message = 'the WebSocket is not open';
      return Promise.reject(new SessionError('disconnected', message, undefined, false));
    }
    lastId += 1;
    const id = lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        pending.delete(id);
        reject(new SessionError('timeout', `no reply to ${message.type}`));
      }, REPLY_MS_MAX);
      pending.set(id, { resolve, reject, timer });
      open.send(JSON.stringify({ id, ...message }));
    });
  }

  function dropSocket(): void {
    const dropped = socket;
    lost();
    dropped?.close();
  }

  function lost(): void {
    if (ended) return;
    socket = undefined;
    clearInterval(pingTimer);
    rejectPending();
    const now = Date.now();
    if (lostAt === undefined) {
      lostAt = now;
      if (everJoined) options.onEvent({ type: 'reconnecting' });
    }
    if (now - lostAt > RECONNECT_MS_MAX) return end('lost');
    clearTimeout(retryTimer);
    retryTimer = setTimeout(open, retryDelayMs(attempt, random()));
    attempt += 1;
  }

  function rejectPending(): void {
    for (const waiting of pending.values()) {
      clearTimeout(waiting.timer);
      waiting.reject(new SessionError('disconnected', 'the WebSocket broke'));
    }
    pending.clear();
  }

  function end(reason: EndReason): void {
    if (ended) return;
    ended = true;
    clearTimeout(retryTimer);
    clearInterval(pingTimer);
    rejectPending();
    const closing = socket;
    socket = undefined;
    closing?.close();
    options.onEvent({ type: 'ended', reason });
  }

  function leave(): void {
    if (ended) return;
    if (socket?.readyState === WebSocket.OPEN) {
      lastId += 1;
      socket.send(JSON.stringify({ id: lastId, type: 'leave' }));
    }
    end('left');
  }

  open();
  return { request, leave };
}

/** The session's address on the host that served the page. */
export function sessionUrl(location: { protocol: string; host: string }): string {
  const scheme = location.protocol === 'https:' ? 'wss' : 'ws';
  return `${scheme}://${location.host}/api/v1/session`;
}
