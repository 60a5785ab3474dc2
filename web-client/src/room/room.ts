// What the client knows of the room it is in: a pure `(state, event) -> state`.

import type {
  ChatMessage,
  Limits,
  MediaState,
  Participant,
  ParticipantId,
  RoomInfo,
  Slot,
  SlotSource,
  VideoCodec,
  Waiting,
} from '../protocol/messages';
import type { EndReason, SessionEvent } from '../protocol/session';

/** How many of those who spoke last are remembered, to choose whom a full grid shows. */
const SPOKE_MAX = 50;
/** How much of the conversation in writing is kept. */
const CHAT_MAX = 1_000;

export interface Room {
  connection: 'joining' | 'waiting' | 'joined' | 'reconnecting' | 'ended';
  ended: EndReason | undefined;
  you: ParticipantId;
  info: RoomInfo | undefined;
  /** In order of arrival. */
  participants: readonly Participant[];
  /** Who is shown or heard in each slot of the pool, by mid. */
  slots: ReadonlyMap<string, SlotSource>;
  /** Who speaks now, loudest first. */
  speaking: readonly ParticipantId[];
  /** Who spoke, latest first. */
  spoke: readonly ParticipantId[];
  /** Who shares a screen, the latest first. */
  sharing: readonly ParticipantId[];
  media: MediaState;
  videoCodec: VideoCodec;
  limits: Limits;
  /** Who waits in the lobby; known to moderators only. */
  waiting: readonly Waiting[];
  /** In the order of their serials. */
  chat: readonly ChatMessage[];
  /** What participants are typing as real-time text, or typed last. */
  lines: ReadonlyMap<ParticipantId, TextLine>;
}

export interface TextLine {
  text: string;
  done: boolean;
}

export const NO_ROOM: Room = {
  connection: 'joining',
  ended: undefined,
  you: '',
  info: undefined,
  participants: [],
  slots: new Map(),
  speaking: [],
  spoke: [],
  sharing: [],
  media: 'connecting',
  videoCodec: 'h264',
  limits: { audio_slots_max: 0, video_slots_max: 0, message_bytes_max: 0 },
  waiting: [],
  chat: [],
  lines: new Map(),
};

export function roomAfter(room: Room, event: SessionEvent): Room {
  switch (event.type) {
    case 'joined': {
      const { you, room: info, participants, slots, limits, media } = event.joined;
      return withSharing({
        ...room,
        connection: 'joined',
        you,
        info,
        participants,
        // Slots that are not listed show what they showed, as long as the media went on.
        slots: withSlots(media ? present(room.slots, participants) : new Map(), slots),
        speaking: [],
        media: media ? room.media : 'connecting',
        videoCodec: info.video_codec,
        limits,
        waiting: event.joined.waiting ?? [],
      });
    }
    case 'waiting':
      return { ...room, connection: 'waiting' };
    case 'reconnecting':
      return { ...room, connection: 'reconnecting' };
    case 'ended':
      return { ...room, connection: 'ended', ended: event.reason };
    case 'participant_joined':
    case 'participant_changed':
      return withLobby(
        withSharing({ ...room, participants: replaced(room.participants, event.participant) }),
      );
    case 'participant_left':
      return withSharing(without(room, event.participant));
    case 'slots':
      return { ...room, slots: withSlots(room.slots, event.slots) };
    case 'speakers': {
      const speaking = event.speakers.map(({ participant }) => participant);
      const before = room.spoke.filter((id) => !speaking.includes(id));
      return { ...room, speaking, spoke: [...speaking, ...before].slice(0, SPOKE_MAX) };
    }
    case 'video_codec':
      return { ...room, videoCodec: event.codec };
    case 'media':
      return { ...room, media: event.state };
    case 'offer_needed':
      // The slots of the next connection begin empty, and may have the same mids.
      return { ...room, media: 'connecting', slots: new Map() };
    case 'room_changed':
      return { ...room, info: event.room };
    case 'lobby':
      return { ...room, waiting: event.waiting };
    case 'chat_message':
      return { ...room, chat: withMessage(room.chat, event) };
    case 'text_line': {
      const { participant, text, done } = event;
      return { ...room, lines: new Map(room.lines).set(participant, { text, done }) };
    }
    case 'quality': {
      const known = new Map(event.qualities.map((one) => [one.participant, one.quality]));
      const participants = room.participants.map((one) => {
        const quality = known.get(one.id);
        return quality === undefined ? one : { ...one, quality };
      });
      return { ...room, participants };
    }
    case 'muted':
    case 'reaction':
    case 'demand':
    case 'closed':
      return room;
  }
}

export function participantOf(room: Room, id: ParticipantId): Participant | undefined {
  return room.participants.find((participant) => participant.id === id);
}

function replaced(all: readonly Participant[], one: Participant): Participant[] {
  return all.some(({ id }) => id === one.id)
    ? all.map((participant) => (participant.id === one.id ? one : participant))
    : [...all, one];
}

/** Who is no longer a moderator is told of the lobby no more. */
function withLobby(room: Room): Room {
  const { waiting, you } = room;
  const moderator = participantOf(room, you)?.role === 'moderator';
  return moderator || waiting.length === 0 ? room : { ...room, waiting: [] };
}

function without(room: Room, id: ParticipantId): Room {
  const others = (ids: readonly ParticipantId[]) => ids.filter((other) => other !== id);
  return {
    ...room,
    participants: room.participants.filter((participant) => participant.id !== id),
    slots: new Map([...room.slots].filter(([, { participant }]) => participant !== id)),
    speaking: others(room.speaking),
    spoke: others(room.spoke),
    lines: new Map([...room.lines].filter(([participant]) => participant !== id)),
  };
}

/** What is told again after a resume may be known already. */
function withMessage(chat: readonly ChatMessage[], message: ChatMessage): readonly ChatMessage[] {
  if (chat.some(({ serial }) => serial === message.serial)) return chat;
  return [...chat, message].sort((a, b) => a.serial - b.serial).slice(-CHAT_MAX);
}

/** The slots that show somebody who is still there. */
function present(slots: Room['slots'], participants: readonly Participant[]): Room['slots'] {
  const ids = new Set(participants.map(({ id }) => id));
  return new Map([...slots].filter(([, { participant }]) => ids.has(participant)));
}

function withSlots(before: ReadonlyMap<string, SlotSource>, changed: readonly Slot[]) {
  const slots = new Map(before);
  for (const { mid, shows } of changed) {
    if (shows) slots.set(mid, shows);
    else slots.delete(mid);
  }
  return slots;
}

/** Keeps `sharing` in step with the participants; who starts to share comes first. */
function withSharing(room: Room): Room {
  const now = room.participants.filter(({ publishing }) => publishing.screen).map(({ id }) => id);
  const still = room.sharing.filter((id) => now.includes(id));
  const started = now.filter((id) => !still.includes(id)).reverse();
  return { ...room, sharing: [...started, ...still] };
}
