// What a participant may do in a room. The server decides; pages show it before one tries. Pure.

import type { Allowed, Source } from '../protocol/messages';
import { participantOf, type Room } from './room';

export function isModerator(room: Room): boolean {
  return participantOf(room, room.you)?.role === 'moderator';
}

/** Whether a source may be switched on. What is on stays on until a moderator mutes it. */
export function maySend(room: Room, source: Source): boolean {
  return isModerator(room) || (room.info?.allowed[permissionOf(source)] ?? true);
}

export function mayChat(room: Room): boolean {
  return isModerator(room) || (room.info?.allowed.chat ?? true);
}

function permissionOf(source: Source): keyof Allowed {
  return source === 'screen_audio' ? 'screen' : source;
}
