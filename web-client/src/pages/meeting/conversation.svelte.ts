// What one writes: messages that are kept until the server has them, and the line of real-time
// text that others see grow. Neither is lost when the WebSocket breaks or a panel is closed.

import type { ChatMessage, ClientMessage, ParticipantId } from '../../protocol/messages';
import type { SessionEvent } from '../../protocol/session';
import { SessionError } from '../../protocol/session';
import { participantOf, type Room } from '../../room/room';

export const CHAT_CHARS_MAX = 2_000;
export const LINE_CHARS_MAX = 500;
/** PROTOCOL.md asks for no more than this. */
const LINE_MS_MIN = 200;
/** Finished lines that wait for the connection. */
const LINES_PENDING_MAX = 50;
const TRANSCRIPT_MAX = 1_000;

/** A message that the server has not confirmed. */
export interface Unsent {
  key: number;
  text: string;
  to: ParticipantId | undefined;
  /** `unsent` goes out by itself when the connection is back; `uncertain` may have arrived. */
  state: 'sending' | 'unsent' | 'uncertain' | 'refused';
}

/** A finished line of real-time text. */
export interface SpokenLine {
  key: number;
  participant: ParticipantId;
  name: string;
  text: string;
  atMs: number;
}

type Ask = (message: ClientMessage) => Promise<unknown>;

export class Conversation {
  draft = $state('');
  /** To whom the draft goes; undefined: everyone. */
  to = $state<ParticipantId>();
  unsent = $state.raw<readonly Unsent[]>([]);
  /** The line of real-time text that is being typed. */
  line = $state('');
  transcript = $state.raw<readonly SpokenLine[]>([]);
  #readSerial = $state(0);

  readonly #ask: Ask;
  readonly #now: () => number;
  #lastKey = 0;
  #own: { id: ParticipantId; name: string } = { id: '', name: '' };
  #pending: { text: string; done: boolean }[] = [];
  #lineTimer: ReturnType<typeof setTimeout> | undefined;
  #lineSentAt = Number.NEGATIVE_INFINITY;
  #offline = false;

  constructor(ask: Ask, now: () => number = Date.now) {
    this.#ask = ask;
    this.#now = now;
  }

  /** Messages of others that were not on the screen yet. */
  unread(room: Room): number {
    return room.chat.filter(
      ({ serial, participant }) => serial > this.#readSerial && participant !== room.you,
    ).length;
  }

  markRead(room: Room): void {
    this.#readSerial = Math.max(this.#readSerial, room.chat.at(-1)?.serial ?? 0);
  }

  /** Sends the draft, unless it is empty or too long. */
  sendDraft(): boolean {
    const text = this.draft.trim();
    if (text === '' || charsOf(text) > CHAT_CHARS_MAX) return false;
    this.#lastKey += 1;
    const message: Unsent = { key: this.#lastKey, text, to: this.to, state: 'sending' };
    this.unsent = [...this.unsent, message];
    this.draft = '';
    void this.#send(message);
    return true;
  }

  again(key: number): void {
    const message = this.unsent.find((one) => one.key === key);
    if (message) void this.#send(message);
  }

  discard(key: number): void {
    this.unsent = this.unsent.filter((one) => one.key !== key);
  }

  /** The line of real-time text as it stands now. */
  type(text: string): void {
    this.line = text;
    this.#queueLine(text, false);
  }

  finishLine(): void {
    const text = this.line.trim();
    if (text === '' || this.#pending.length >= LINES_PENDING_MAX) return;
    this.line = '';
    this.#queueLine(text, true);
    this.#addToTranscript(this.#own.id, this.#own.name, text);
  }

  /** `room` is what is known after the event. */
  handle(event: SessionEvent, room: Room): void {
    switch (event.type) {
      case 'joined': {
        const you = participantOf(room, room.you);
        this.#own = { id: room.you, name: you?.name ?? '' };
        // Who came back under another id has missed who was spoken to.
        if (this.to !== undefined && !participantOf(room, this.to)) this.to = undefined;
        return this.#online();
      }
      case 'reconnecting':
        this.#offline = true;
        return;
      case 'chat_message':
        if (event.participant === room.you) this.#arrived(event);
        return;
      case 'text_line':
        if (!event.done || event.text === '' || event.participant === room.you) return;
        return this.#addToTranscript(
          event.participant,
          participantOf(room, event.participant)?.name ?? '',
          event.text,
        );
      case 'ended':
        clearTimeout(this.#lineTimer);
        return;
      default:
        return;
    }
  }

  async #send({ key, text, to }: Unsent): Promise<void> {
    this.#set(key, 'sending');
    try {
      await this.#ask(to === undefined ? { type: 'chat', text } : { type: 'chat', text, to });
      this.discard(key);
    } catch (error) {
      this.#set(key, stateAfter(error));
    }
  }

  #set(key: number, state: Unsent['state']): void {
    this.unsent = this.unsent.map((one) => (one.key === key ? { ...one, state } : one));
  }

  /** The server tells one's own message again: the reply to it was lost. */
  #arrived(message: ChatMessage): void {
    const index = this.unsent.findIndex(
      ({ text, to, state }) => state === 'uncertain' && text === message.text && to === message.to,
    );
    if (index >= 0) this.unsent = this.unsent.filter((_, other) => other !== index);
  }

  #online(): void {
    this.#offline = false;
    for (const message of this.unsent) {
      if (message.state === 'unsent') void this.#send(message);
    }
    if (this.line !== '') this.#queueLine(this.line, false);
    this.#pump();
  }

  /** What was not sent of the line before is superseded. */
  #queueLine(text: string, done: boolean): void {
    if (this.#pending.at(-1)?.done === false) this.#pending.pop();
    this.#pending.push({ text, done });
    this.#pump();
  }

  #pump(): void {
    if (this.#offline || this.#pending.length === 0 || this.#lineTimer !== undefined) return;
    const wait = this.#lineSentAt + LINE_MS_MIN - this.#now();
    if (wait > 0) {
      this.#lineTimer = setTimeout(() => {
        this.#lineTimer = undefined;
        this.#pump();
      }, wait);
      return;
    }
    const line = this.#pending.shift();
    if (!line) return;
    this.#lineSentAt = this.#now();
    this.#ask({ type: 'text', ...line }).catch((error: unknown) => {
      // An unfinished line is told again by what is typed next.
      const lost = error instanceof SessionError && error.code === 'disconnected';
      if (!lost || !line.done) return;
      this.#offline = true;
      this.#pending.unshift(line);
    });
    this.#pump();
  }

  #addToTranscript(participant: ParticipantId, name: string, text: string): void {
    this.#lastKey += 1;
    const line = { key: this.#lastKey, participant, name, text, atMs: this.#now() };
    this.transcript = [...this.transcript, line].slice(-TRANSCRIPT_MAX);
  }
}

/** As the server counts them. */
export function charsOf(text: string): number {
  return [...text].length;
}

function stateAfter(error: unknown): Unsent['state'] {
  if (!(error instanceof SessionError)) return 'refused';
  switch (error.code) {
    case 'disconnected':
      return error.sent ? 'uncertain' : 'unsent';
    case 'timeout':
      return 'uncertain';
    default:
      return 'refused';
  }
}
