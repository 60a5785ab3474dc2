// Participants and rooms for tests.

import type { Joined, Participant } from '../protocol/messages';
import { NO_ROOM, type Room, roomAfter } from './room';

export function person(id: string, more: Partial<Participant> = {}): Participant {
  return {
    id,
    name: `Name ${id}`,
    kind: 'browser',
    role: 'guest',
    publishing: { microphone: true, camera: true, screen: false, screen_audio: false },
    connected: true,
    ...more,
  };
}

export function joinedRoom(participants: Participant[]): Room {
  return roomAfter(NO_ROOM, { type: 'joined', joined: joined(participants), resumed: false });
}

export function joined(participants: Participant[], more: Partial<Joined> = {}): Joined {
  return {
    type: 'joined',
    version: 1,
    you: 'me',
    resume: '',
    resume_s: 30,
    room: {
      id: 'r',
      code: '204117935',
      title: 'Council',
      video_codec: 'h264',
      url: '',
      lobby: 'off',
      locked: false,
      allowed: { microphone: true, camera: true, screen: true, chat: true },
      spotlight: [],
    },
    participants,
    slots: [],
    limits: { audio_slots_max: 4, video_slots_max: 16, message_bytes_max: 65536 },
    ice_servers: [],
    media: false,
    ...more,
  };
}
