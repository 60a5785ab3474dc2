// The messages of PROTOCOL.md, version 1, as types. `parse.ts` turns text into them.

export const VERSION = 1;

export type ParticipantId = string;
export type Role = 'viewer' | 'guest' | 'participant' | 'moderator';
export type ParticipantKind = 'browser' | 'sip' | 'h323' | 'whip' | 'whep';
export type Source = 'microphone' | 'camera' | 'screen' | 'screen_audio';
export type VideoCodec = 'h264' | 'vp8' | 'vp9' | 'av1';
export type MediaKind = 'audio' | 'video';
export type Quality = 'good' | 'fair' | 'poor';
export const REACTIONS = [
  'applause',
  'thumbs_up',
  'thumbs_down',
  'heart',
  'laugh',
  'surprise',
  'celebrate',
] as const;
export type Reaction = (typeof REACTIONS)[number];
export type Lobby = 'off' | 'guests' | 'everyone';
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
  | 'refused'
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
  /** The hand is raised; the lower, the longer ago. */
  hand?: number;
  /** Left out until it is known. */
  quality?: Quality;
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
  lobby: Lobby;
  /** Everybody but moderators waits, whatever `lobby` says. */
  locked: boolean;
  allowed: Allowed;
  /** Whom a moderator put in front for everyone, first to last. */
  spotlight: ParticipantId[];
}

/** What those who are no moderators may do. */
export interface Allowed {
  microphone: boolean;
  camera: boolean;
  screen: boolean;
  chat: boolean;
}

/** Somebody in the lobby. */
export interface Waiting {
  /** Becomes the participant's id. */
  id: ParticipantId;
  name: string;
  kind: ParticipantKind;
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
  /** Of the lobby, for moderators only. */
  waiting?: Waiting[];
}

export interface ChatMessage {
  /** Rises with each message of the room; the same one may come twice after a `resume`. */
  serial: number;
  participant: ParticipantId;
  name: string;
  text: string;
  at_ms: number;
  /** The only other one who got it; left out: everyone did. */
  to?: ParticipantId;
}

/** What comes without having been asked for. */
export type ServerEvent =
  | { type: 'participant_joined'; participant: Participant }
  | { type: 'participant_changed'; participant: Participant }
  | { type: 'participant_left'; participant: ParticipantId }
  | { type: 'slots'; slots: Slot[] }
  | { type: 'speakers'; speakers: Speaker[] }
  | { type: 'video_codec'; codec: VideoCodec }
  | { type: 'room_changed'; room: RoomInfo }
  | { type: 'lobby'; waiting: Waiting[] }
  | { type: 'muted'; by: ParticipantId; sources: Source[] }
  | { type: 'reaction'; participant: ParticipantId; reaction: Reaction }
  | ({ type: 'chat_message' } & ChatMessage)
  | { type: 'text_line'; participant: ParticipantId; text: string; done: boolean }
  | { type: 'quality'; qualities: { participant: ParticipantId; quality: Quality }[] }
  | { type: 'demand'; source: Source; layers: number[] }
  | { type: 'media'; state: MediaState }
  | { type: 'offer_needed' }
  | { type: 'closed'; reason: ClosedReason };

export type ServerReply =
  | Joined
  | { type: 'waiting' }
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
  | { type: 'resume'; version: number; resume: string; chat_after?: number | undefined }
  | { type: 'offer'; sdp: string; fresh: boolean; send: SendSlot[]; receive: ReceiveSlot[] }
  | { type: 'publish'; publishing: Publishing }
  | { type: 'view'; slots: ViewSlot[] }
  | { type: 'text'; text: string; done: boolean }
  | { type: 'hand'; raised: boolean; participant?: ParticipantId }
  | { type: 'react'; reaction: Reaction }
  | { type: 'chat'; text: string; to?: ParticipantId }
  | { type: 'admit'; waiting: ParticipantId[] }
  | { type: 'refuse'; waiting: ParticipantId[] }
  | { type: 'mute'; participants: ParticipantId[]; sources: Source[] }
  | { type: 'remove_participant'; participant: ParticipantId }
  | { type: 'set_role'; participant: ParticipantId; role: Role }
  | { type: 'spotlight'; participants: ParticipantId[] }
  | { type: 'set_room'; lobby?: Lobby; locked?: boolean; allowed?: Allowed }
  | { type: 'leave' }
  | { type: 'ping' };

export type ClientFrame = ClientMessage & { id: number };
