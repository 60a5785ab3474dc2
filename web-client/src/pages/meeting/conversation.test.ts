import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { ChatMessage, ClientMessage } from '../../protocol/messages';
import { SessionError } from '../../protocol/session';
import { joined, joinedRoom, person } from '../../room/examples';
import { roomAfter } from '../../room/room';
import { CHAT_CHARS_MAX, Conversation } from './conversation.svelte';

const room = joinedRoom([person('me', { name: 'Bo' }), person('a', { name: 'Ada' })]);
const JOINED = { type: 'joined', joined: joined([...room.participants]), resumed: true } as const;
const NOT_OPEN = new SessionError('disconnected', 'not open', undefined, false);
const BROKE = new SessionError('disconnected', 'broke');

const ask = vi.fn<(message: ClientMessage) => Promise<unknown>>();

beforeEach(() => {
  vi.useFakeTimers();
  ask.mockReset().mockResolvedValue({ type: 'ok' });
});

afterEach(() => {
  vi.useRealTimers();
});

function opened(): Conversation {
  const conversation = new Conversation(ask);
  conversation.handle(JOINED, room);
  return conversation;
}

async function sent(conversation: Conversation, text: string): Promise<void> {
  conversation.draft = text;
  conversation.sendDraft();
  await vi.advanceTimersByTimeAsync(0);
}

function lines(): unknown[] {
  return ask.mock.calls.flatMap(([message]) =>
    message.type === 'text' ? [message.done ? `${message.text}.` : message.text] : [],
  );
}

const states = (conversation: Conversation) => conversation.unsent.map(({ state }) => state);

function told(serial: number, more: Partial<ChatMessage> = {}) {
  const message = { serial, participant: 'a', name: 'Ada', text: 'Hello', at_ms: 0, ...more };
  return { type: 'chat_message', ...message } as const;
}

it('sends what was typed, to everyone or to one', async () => {
  const conversation = opened();
  await sent(conversation, '  Good day\n');
  conversation.to = 'a';
  await sent(conversation, 'A secret');
  expect(ask.mock.calls).toEqual([
    [{ type: 'chat', text: 'Good day' }],
    [{ type: 'chat', text: 'A secret', to: 'a' }],
  ]);
  expect(conversation.unsent).toEqual([]);
  expect(conversation.draft).toBe('');
});

it('keeps a draft that is empty or too long', () => {
  const conversation = opened();
  conversation.draft = ' \n ';
  expect(conversation.sendDraft()).toBe(false);
  // The server counts characters, of which an emoji is one.
  conversation.draft = '😀'.repeat(CHAT_CHARS_MAX);
  expect(conversation.sendDraft()).toBe(true);
  conversation.draft = '😀'.repeat(CHAT_CHARS_MAX + 1);
  expect(conversation.sendDraft()).toBe(false);
  expect(conversation.draft).not.toBe('');
});

it('sends what was typed without a connection when it is back', async () => {
  const conversation = opened();
  ask.mockRejectedValueOnce(NOT_OPEN);
  await sent(conversation, 'Later');
  expect(states(conversation)).toEqual(['unsent']);
  conversation.handle(JOINED, room);
  await vi.advanceTimersByTimeAsync(0);
  expect(ask).toHaveBeenCalledTimes(2);
  expect(conversation.unsent).toEqual([]);
});

it('does not repeat by itself what may have arrived', async () => {
  const conversation = opened();
  ask.mockRejectedValueOnce(BROKE);
  await sent(conversation, 'Once');
  conversation.handle(JOINED, room);
  await vi.advanceTimersByTimeAsync(0);
  expect(states(conversation)).toEqual(['uncertain']);
  expect(ask).toHaveBeenCalledTimes(1);
  // Somebody else wrote the same; then the server tells it again as one's own.
  conversation.handle(told(1, { text: 'Once' }), room);
  expect(states(conversation)).toEqual(['uncertain']);
  conversation.handle(told(2, { text: 'Once', participant: 'me' }), room);
  expect(conversation.unsent).toEqual([]);
});

it('keeps what was refused until one sends it again or discards it', async () => {
  const conversation = opened();
  ask.mockRejectedValue(new SessionError('forbidden', 'no'));
  await sent(conversation, 'One');
  await sent(conversation, 'Two');
  expect(states(conversation)).toEqual(['refused', 'refused']);
  ask.mockResolvedValue({ type: 'ok' });
  const [one, two] = conversation.unsent;
  conversation.again(one?.key ?? 0);
  conversation.discard(two?.key ?? 0);
  await vi.advanceTimersByTimeAsync(0);
  expect(conversation.unsent).toEqual([]);
  expect(ask).toHaveBeenCalledTimes(3);
});

it('counts what others wrote since one looked', () => {
  const conversation = opened();
  let now = room;
  for (const event of [told(1), told(2, { participant: 'me' }), told(3)]) {
    now = roomAfter(now, event);
  }
  expect(conversation.unread(now)).toBe(2);
  conversation.markRead(now);
  expect(conversation.unread(now)).toBe(0);
  expect(conversation.unread(roomAfter(now, told(4)))).toBe(1);
});

it('shows a line as it grows, five times a second at most', async () => {
  const conversation = opened();
  for (const text of ['I', 'I a', 'I ag', 'I agr']) conversation.type(text);
  expect(lines()).toEqual(['I']);
  await vi.advanceTimersByTimeAsync(199);
  expect(lines()).toEqual(['I']);
  await vi.advanceTimersByTimeAsync(1);
  expect(lines()).toEqual(['I', 'I agr']);
  conversation.type('I agree');
  conversation.finishLine();
  conversation.type('And');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lines()).toEqual(['I', 'I agr', 'I agree.', 'And']);
  expect(conversation.transcript).toMatchObject([
    { participant: 'me', name: 'Bo', text: 'I agree' },
  ]);
});

it('takes a line back that was deleted, and finishes no empty one', async () => {
  const conversation = opened();
  conversation.type('Oops');
  conversation.type('');
  conversation.finishLine();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lines()).toEqual(['Oops', '']);
  expect(conversation.transcript).toEqual([]);
});

it('loses no line without a connection', async () => {
  const conversation = opened();
  conversation.handle({ type: 'reconnecting' }, room);
  conversation.type('One');
  conversation.finishLine();
  conversation.type('Tw');
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lines()).toEqual([]);
  conversation.handle(JOINED, room);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lines()).toEqual(['One.', 'Tw']);
});

it('tells a finished line again whose connection broke under it', async () => {
  const conversation = opened();
  ask.mockRejectedValueOnce(BROKE);
  conversation.type('One');
  await vi.advanceTimersByTimeAsync(200);
  ask.mockRejectedValueOnce(BROKE);
  conversation.finishLine();
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lines()).toEqual(['One', 'One.']);
  conversation.handle(JOINED, room);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(lines()).toEqual(['One', 'One.', 'One.']);
});

it('writes the lines of others down under the names they had', () => {
  const conversation = opened();
  const line = (text: string, done: boolean) =>
    ({ type: 'text_line', participant: 'a', text, done }) as const;
  conversation.handle(line('Good d', false), room);
  conversation.handle(line('Good day', true), room);
  conversation.handle(line('', true), room);
  expect(conversation.transcript).toMatchObject([{ name: 'Ada', text: 'Good day' }]);
});
