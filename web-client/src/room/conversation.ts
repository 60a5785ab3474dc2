// How messages are grouped for reading. Pure.

import type { ChatMessage, ParticipantId } from '../protocol/messages';

/** Messages of one sender to the same people, soon after each other. */
export interface ChatGroup {
  /** Of its first message, which stays the same while it grows. */
  key: number;
  participant: ParticipantId;
  name: string;
  to: ParticipantId | undefined;
  atMs: number;
  messages: readonly ChatMessage[];
}

const GROUP_MS_MAX = 3 * 60_000;

export function chatGroups(chat: readonly ChatMessage[]): ChatGroup[] {
  const groups: ChatGroup[] = [];
  for (const message of chat) {
    const last = groups.at(-1);
    if (
      last &&
      last.participant === message.participant &&
      last.to === message.to &&
      message.at_ms - last.atMs < GROUP_MS_MAX
    ) {
      last.messages = [...last.messages, message];
      continue;
    }
    const { serial: key, participant, name, to, at_ms: atMs } = message;
    groups.push({ key, participant, name, to, atMs, messages: [message] });
  }
  return groups;
}
