// The examples that the server's own tests read too, so that both sides mean the same messages.

import { readdirSync, readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { ClientFrame } from './messages';
import { VERSION } from './messages';
import { parseServerFrame } from './parse';

const EXAMPLES = new URL('../../../signaling/protocol/examples/', import.meta.url);

function names(folder: string): string[] {
  return readdirSync(new URL(`${folder}/`, EXAMPLES)).filter((name) => name.endsWith('.json'));
}

function text(path: string): string {
  return readFileSync(new URL(path, EXAMPLES), 'utf8');
}

const SDP = 'v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=-\r\nt=0 0\r\n';

/** Every message that this client can say, as it says it. */
const SAID: Record<string, ClientFrame> = {
  'join.json': { id: 1, type: 'join', version: VERSION, room: '204117935', name: 'Bo Rossi' },
  'join-token.json': {
    id: 1,
    type: 'join',
    version: VERSION,
    token: 'eyJhbGciOiJFZERTQSJ9.e30.c2ln',
  },
  'resume.json': {
    id: 1,
    type: 'resume',
    version: VERSION,
    resume: 'k5ql3vdmhnf6y4bqv2zjw7x3ae5gtr6p',
  },
  'offer.json': {
    id: 2,
    type: 'offer',
    sdp: SDP,
    fresh: true,
    send: [
      { mid: '0', source: 'microphone' },
      { mid: '1', source: 'camera' },
    ],
    receive: [
      { mid: '2', kind: 'audio' },
      { mid: '3', kind: 'video' },
    ],
  },
  'publish.json': {
    id: 3,
    type: 'publish',
    publishing: { microphone: true, camera: true, screen: false, screen_audio: false },
  },
  'view.json': {
    id: 4,
    type: 'view',
    slots: [
      {
        mid: '3',
        show: { type: 'participant', participant: '3.11', source: 'screen' },
        width: 1280,
        height: 720,
      },
      { mid: '4', show: { type: 'speaker' }, width: 320, height: 180 },
      { mid: '5', show: { type: 'off' } },
    ],
  },
  'resume-chat.json': {
    id: 1,
    type: 'resume',
    version: VERSION,
    resume: 'k5ql3vdmhnf6y4bqv2zjw7x3ae5gtr6p',
    chat_after: 41,
  },
  'hand.json': { id: 7, type: 'hand', raised: false, participant: '3.11' },
  'react.json': { id: 8, type: 'react', reaction: 'applause' },
  'chat.json': {
    id: 9,
    type: 'chat',
    text: 'The minutes are at https://example.org/minutes',
    to: '3.11',
  },
  'text.json': { id: 10, type: 'text', text: 'I agree with the propos', done: false },
  'admit.json': { id: 11, type: 'admit', waiting: ['3.21', '3.22'] },
  'refuse.json': { id: 12, type: 'refuse', waiting: ['3.23'] },
  'mute.json': {
    id: 13,
    type: 'mute',
    participants: ['3.15', '3.16'],
    sources: ['microphone'],
  },
  'remove_participant.json': { id: 14, type: 'remove_participant', participant: '3.15' },
  'set_role.json': { id: 15, type: 'set_role', participant: '3.15', role: 'moderator' },
  'spotlight.json': { id: 16, type: 'spotlight', participants: ['3.11'] },
  'set_room.json': {
    id: 17,
    type: 'set_room',
    lobby: 'guests',
    locked: false,
    allowed: { microphone: true, camera: true, screen: false, chat: true },
  },
  'leave.json': { id: 5, type: 'leave' },
  'ping.json': { id: 6, type: 'ping' },
};

describe('the examples of the protocol', () => {
  it.each(names('server'))('server/%s is understood', (name) => {
    const frame = parseServerFrame(text(`server/${name}`));
    expect(frame).toEqual(JSON.parse(text(`server/${name}`)));
    expect(frame?.type).toBe(name.replace('.json', ''));
  });

  it.each(names('client'))('client/%s is what this client says', (name) => {
    expect(JSON.parse(JSON.stringify(SAID[name]))).toEqual(JSON.parse(text(`client/${name}`)));
  });
});
