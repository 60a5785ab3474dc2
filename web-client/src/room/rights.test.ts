import { describe, expect, it } from 'vitest';
import type { Allowed, Role } from '../protocol/messages';
import { joined, person } from './examples';
import { isModerator, mayChat, maySend } from './rights';
import { NO_ROOM, type Room, roomAfter } from './room';

const NOTHING: Allowed = { microphone: false, camera: false, screen: false, chat: false };

function roomOf(role: Role, allowed: Partial<Allowed>): Room {
  const message = joined([person('me', { role })]);
  message.room.allowed = { ...message.room.allowed, ...allowed };
  return roomAfter(NO_ROOM, { type: 'joined', joined: message, resumed: false });
}

describe('rights', () => {
  it.each(['microphone', 'camera', 'screen'] as const)('go by source: %s', (source) => {
    expect(maySend(roomOf('guest', {}), source)).toBe(true);
    expect(maySend(roomOf('guest', { [source]: false }), source)).toBe(false);
    expect(maySend(roomOf('guest', { ...NOTHING, [source]: true }), source)).toBe(true);
  });

  it('of the sound of a screen are those of the screen', () => {
    expect(maySend(roomOf('guest', { screen: false }), 'screen_audio')).toBe(false);
    expect(maySend(roomOf('guest', { ...NOTHING, screen: true }), 'screen_audio')).toBe(true);
  });

  it('of moderators have no bounds', () => {
    const room = roomOf('moderator', NOTHING);
    expect(isModerator(room)).toBe(true);
    expect(maySend(room, 'microphone')).toBe(true);
    expect(mayChat(room)).toBe(true);
  });

  it('let everybody write unless the room says otherwise', () => {
    expect(isModerator(roomOf('guest', {}))).toBe(false);
    expect(mayChat(roomOf('guest', {}))).toBe(true);
    expect(mayChat(roomOf('participant', { chat: false }))).toBe(false);
  });
});
