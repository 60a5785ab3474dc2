// From the text of a WebSocket message to a ServerFrame. What is read here is trusted nowhere
// else to be checked again; fields that this version does not know are ignored.

import { REACTIONS, type ServerFrame, type ServerMessage } from './messages';

export class ParseError extends Error {}

/** Describes what is wrong with `value`, or returns undefined if it has the right shape. */
type Check = (value: unknown, path: string) => string | undefined;

const typed =
  (type: 'string' | 'number' | 'boolean'): Check =>
  (value, path) =>
    typeof value === type ? undefined : `${path}: expected a ${type}, got ${typeof value}`;

const string = typed('string');
const number = typed('number');
const boolean = typed('boolean');

const word =
  (...words: string[]): Check =>
  (value, path) =>
    words.includes(value as string)
      ? undefined
      : `${path}: expected one of ${words.join(', ')}, got ${JSON.stringify(value)}`;

const optional =
  (check: Check): Check =>
  (value, path) =>
    value === undefined || value === null ? undefined : check(value, path);

const list =
  (check: Check): Check =>
  (value, path) => {
    if (!Array.isArray(value)) return `${path}: expected a list`;
    for (const [index, item] of value.entries()) {
      const wrong = check(item, `${path}[${index}]`);
      if (wrong) return wrong;
    }
    return undefined;
  };

const object =
  (fields: Record<string, Check>): Check =>
  (value, path) => {
    if (typeof value !== 'object' || value === null) return `${path}: expected an object`;
    for (const [name, check] of Object.entries(fields)) {
      const wrong = check((value as Record<string, unknown>)[name], `${path}.${name}`);
      if (wrong) return wrong;
    }
    return undefined;
  };

const source = word('microphone', 'camera', 'screen', 'screen_audio');
const codec = word('h264', 'vp8', 'vp9', 'av1');
const quality = word('good', 'fair', 'poor');
const participant = object({
  id: string,
  name: string,
  kind: string,
  role: word('viewer', 'guest', 'participant', 'moderator'),
  publishing: object({
    microphone: optional(boolean),
    camera: optional(boolean),
    screen: optional(boolean),
    screen_audio: optional(boolean),
  }),
  connected: boolean,
  hand: optional(number),
  quality: optional(quality),
});
const room = object({
  id: string,
  code: string,
  title: string,
  video_codec: codec,
  url: string,
  lobby: word('off', 'guests', 'everyone'),
  locked: boolean,
  allowed: object({ microphone: boolean, camera: boolean, screen: boolean, chat: boolean }),
  spotlight: list(string),
});
const waiting = list(object({ id: string, name: string, kind: string }));
const slots = list(
  object({ mid: string, shows: optional(object({ participant: string, source })) }),
);

const MESSAGES: Record<ServerMessage['type'], Check> = {
  joined: object({
    version: number,
    you: string,
    resume: string,
    resume_s: number,
    room,
    participants: list(participant),
    slots,
    limits: object({ audio_slots_max: number, video_slots_max: number, message_bytes_max: number }),
    ice_servers: list(
      object({ urls: list(string), username: optional(string), credential: optional(string) }),
    ),
    media: boolean,
    waiting: optional(waiting),
  }),
  waiting: object({}),
  answer: object({ sdp: string }),
  ok: object({}),
  pong: object({}),
  error: object({ code: string, field: optional(string), message: string }),
  participant_joined: object({ participant }),
  participant_changed: object({ participant }),
  participant_left: object({ participant: string }),
  slots: object({ slots }),
  speakers: object({ speakers: list(object({ participant: string, level: number })) }),
  video_codec: object({ codec }),
  room_changed: object({ room }),
  lobby: object({ waiting }),
  muted: object({ by: string, sources: list(source) }),
  reaction: object({ participant: string, reaction: word(...REACTIONS) }),
  chat_message: object({
    serial: number,
    participant: string,
    name: string,
    text: string,
    at_ms: number,
    to: optional(string),
  }),
  text_line: object({ participant: string, text: string, done: boolean }),
  quality: object({ qualities: list(object({ participant: string, quality })) }),
  demand: object({ source, layers: list(number) }),
  media: object({ state: word('connecting', 'connected', 'disconnected') }),
  offer_needed: object({}),
  closed: object({ reason: string }),
};

/** Undefined for a message type that this version does not know: a newer server may send it. */
export function parseServerFrame(text: string): ServerFrame | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new ParseError('not a JSON message');
  }
  const shape = object({ type: string, reply_to: optional(number) });
  const wrong = shape(value, 'message');
  if (wrong) throw new ParseError(wrong);
  const { type } = value as { type: string };
  if (!Object.hasOwn(MESSAGES, type)) return undefined;
  const wrongField = MESSAGES[type as ServerMessage['type']](value, type);
  if (wrongField) throw new ParseError(wrongField);
  return value as ServerFrame;
}
