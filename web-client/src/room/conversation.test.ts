import { expect, it } from 'vitest';
import type { ChatMessage } from '../protocol/messages';
import { chatGroups } from './conversation';

function message(serial: number, more: Partial<ChatMessage> = {}): ChatMessage {
  return { serial, participant: 'a', name: 'Ada', text: `${serial}`, at_ms: 0, ...more };
}

function grouped(chat: ChatMessage[]): string[] {
  return chatGroups(chat).map(({ messages }) => messages.map(({ text }) => text).join(' '));
}

it('messages of one sender that follow each other are one group', () => {
  expect(grouped([message(1), message(2), message(3, { participant: 'b' }), message(4)])).toEqual([
    '1 2',
    '3',
    '4',
  ]);
});

it('what is private is never in a group with what is not', () => {
  expect(grouped([message(1), message(2, { to: 'b' }), message(3, { to: 'c' })])).toEqual([
    '1',
    '2',
    '3',
  ]);
});

it('a group ends after three minutes', () => {
  expect(
    grouped([message(1), message(2, { at_ms: 179_000 }), message(3, { at_ms: 180_000 })]),
  ).toEqual(['1 2', '3']);
});
