// The messages of PROTOCOL.md, version 1, as types. `parse.ts` turns text into them.

export const VERSION = 1;

export type ParticipantId = string;
export type Role = 'viewer' | 'guest' | 'participant' | 'moderator';
export type ParticipantKind = 'browser' | 'sip' | 'h323' | 'whip';
export type Source = 'microphone' | 'camera' | 'screen' | 'screen_audio';
export type VideoCodec = 'h264' | 'vp8' | 'vp9' | 'av1';
export type MediaKind = 'audio' | 'video';
export type MediaState = 'connecting' | 'connected' | 'disconnected';

export type ErrorCode =
  | 'malformed'
  | 'version'
  | 'state'
  | 'not_admitted'
  | 'not_resumable'
  | 'forbidden'
  | 'invalid'
  | 'limit'
  | 'unavailable'
  | 'internal';

export type ClosedReason =
  | 'left'
  | 'room_ended'
  | 'removed'
  | 'replaced'
  | 'protocol'
  | 'restarting';

/** What is left out is off. */
export type Publishing = Partial<Record<Source, boolean>>;

export interface Participant {
  id: ParticipantId;
  name: string;
  kind: ParticipantKind;
  role: Role;
  publishing: Publishing;
  connected: boolean;
}

export interface SlotSource {
  participant: ParticipantId;
  source: Source;
}

export interface Slot {
  mid: string;
  shows: SlotSource | null;
}

export interface Speaker {
  participant: ParticipantId;
  /** 0 is the loudest, 127 silence, in -dBov (RFC 6464). */
  level: number;
}

export interface RoomInfo {
  id: string;
  code: string;
  title: string;
  video_codec: VideoCodec;
  url: string;
}

export interface Limits {
  audio_slots_max: number;
  video_slots_max: number;
  message_bytes_max: number;
}

export interface IceServer {
  urls: string[];
  username?: string;
  credential?: string;
}

export interface Joined {
  type: 'joined';
  version: number;
  you: ParticipantId;
  resume: string;
  resume_s: number;
  room: RoomInfo;
  participants: Participant[];
  slots: Slot[];
  limits: Limits;
  ice_servers: IceServer[];
  media: boolean;
}

/** What comes without having been asked for. */
export type ServerEvent =
  | { type: 'participant_joined'; participant: Participant }
  | { type: 'participant_changed'; participant: Participant }
  | { type: 'participant_left'; participant: ParticipantId }
  | { type: 'slots'; slots: Slot[] }
  | { type: 'speakers'; speakers: Speaker[] }
  | { type: 'video_codec'; codec: VideoCodec }
  | { type: 'media'; state: MediaState }
  | { type: 'offer_needed' }
  | { type: 'closed'; reason: ClosedReason };

export type ServerReply =
  | Joined
  | { type: 'answer'; sdp: string }
  | { type: 'ok' }
  | { type: 'pong' }
  | { type: 'error'; code: ErrorCode; field?: string; message: string };

export type ServerMessage = ServerEvent | ServerReply;
export type ServerFrame = ServerMessage & { reply_to?: number };

export interface SendSlot {
  mid: string;
  source: Source;
}

export interface ReceiveSlot {
  mid: string;
  kind: MediaKind;
}

export type Show =
  | { type: 'off' }
  | { type: 'participant'; participant: ParticipantId; source: Source }
  | { type: 'speaker' };

export interface ViewSlot {
  mid: string;
  show: Show;
  /** In device pixels. */
  width?: number;
  height?: number;
}

export type Join = {
  type: 'join';
  version: number;
  room?: string;
  token?: string;
  name?: string;
};

export type ClientMessage =
  | Join
  | { type: 'resume'; version: number; resume: string }
  | { type: 'offer'; sdp: string; fresh: boolean; send: SendSlot[]; receive: ReceiveSlot[] }
  | { type: 'publish'; publishing: Publishing }
  | { type: 'view'; slots: ViewSlot[] }
  | { type: 'leave' }
  | { type: 'ping' };

export type ClientFrame = ClientMessage & { id: number };
