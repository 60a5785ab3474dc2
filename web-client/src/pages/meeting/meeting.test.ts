import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { LocalMedia } from '../../media/local.svelte';
import type { PeerOptions, ReceivingSlot } from '../../media/peer';
import { createPeer } from '../../media/peer';
import type { Allowed, ClientMessage, Joined, Role, ServerReply } from '../../protocol/messages';
import type { SessionOptions } from '../../protocol/session';
import { openSession, SessionError } from '../../protocol/session';
import type { News } from '../../room/news';
import { Meeting } from './meeting.svelte';

vi.mock('../../media/peer');
vi.mock('../../protocol/session', async (original) => ({
  ...(await original<typeof import('../../protocol/session')>()),
  openSession: vi.fn(),
}));

const request = vi.fn<(message: ClientMessage) => Promise<ServerReply>>();

beforeEach(() => {
  vi.useFakeTimers();
  vi.spyOn(console, 'info').mockImplementation(() => {});
  vi.stubGlobal('location', { protocol: 'https:', host: 'meet.example' });
  request.mockReset().mockResolvedValue({ type: 'ok' });
  vi.mocked(openSession).mockReturnValue({ request, leave: () => {} });
  vi.mocked(createPeer).mockReturnValue({
    setTrack: async () => {},
    growPool: () => {},
    setVideoCodec: async () => {},
    setDemand: async () => {},
    setScreenHint: async () => {},
    receiverOf: () => undefined,
    resume: () => {},
    stats: async () => new Map() as RTCStatsReport,
    close: () => {},
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A meeting that has been joined, and whose first offer has been answered. */
function meetingOf(role: Role, allowed: Partial<Allowed> = {}) {
  const on = { status: 'on' };
  const local = {
    onChange: () => () => {},
    track: () => null,
    close: vi.fn(),
    turn: vi.fn(),
    stopScreen: vi.fn(),
    microphone: on,
    camera: on,
    screen: on,
  };
  const news: News[] = [];
  const meeting = new Meeting({
    code: '123456789',
    name: 'Ada',
    token: undefined,
    local: local as unknown as LocalMedia,
    page: {
      sendCodecs: ['vp8'],
      receiveCodecs: ['vp8'],
      camera: { width: 1280, height: 720 },
      iceTransportPolicy: 'all',
    },
    onNews: (one) => news.push(one),
  });
  const session = vi.mocked(openSession).mock.lastCall?.[0] as SessionOptions;
  session.onEvent({ type: 'joined', joined: joinedAs(role, allowed), resumed: false });
  const peer = vi.mocked(createPeer).mock.lastCall?.[0] as PeerOptions;
  peer.onSlots(['2', '3'].map((mid) => ({ mid, kind: 'video' }) as ReceivingSlot));
  return { meeting, local, news, tell: session.onEvent };
}

function joinedAs(role: Role, allowed: Partial<Allowed>): Joined {
  return {
    type: 'joined',
    version: 1,
    you: 'a',
    resume: 'secret',
    resume_s: 60,
    room: {
      id: 'r',
      code: '123456789',
      title: '',
      video_codec: 'vp8',
      url: '',
      lobby: 'off',
      locked: false,
      allowed: { microphone: true, camera: true, screen: true, chat: true, ...allowed },
      spotlight: [],
    },
    participants: [
      { id: 'a', name: 'Ada', kind: 'browser', role, publishing: {}, connected: true },
    ],
    slots: [],
    limits: { audio_slots_max: 4, video_slots_max: 16, message_bytes_max: 65_536 },
    ice_servers: [],
    media: false,
  };
}

it.each([
  ['viewer', 1],
  ['guest', 0],
] as const)('decides for a %s whether the devices stay open', (role, closed) => {
  const { local } = meetingOf(role);
  expect(local.close).toHaveBeenCalledTimes(closed);
});

const views = () =>
  request.mock.calls.flatMap(([message]) => (message.type === 'view' ? [message.slots] : []));

const camera = { participant: 'b', source: 'camera', width: 640, height: 360 } as const;

it('tells a view that was refused again, and only its slots', async () => {
  const { meeting } = meetingOf('guest');
  await vi.advanceTimersByTimeAsync(0);
  expect(views()).toHaveLength(1);
  request.mockRejectedValueOnce(new SessionError('state', 'not now'));
  meeting.show([camera]);
  await vi.advanceTimersByTimeAsync(150);
  expect(views()).toHaveLength(2);
  await vi.advanceTimersByTimeAsync(1_000);
  expect(views()[2]).toEqual(views()[1]);
  expect(views()[2]).toMatchObject([{ mid: '2', show: { participant: 'b' } }]);
  await vi.advanceTimersByTimeAsync(60_000);
  expect(views()).toHaveLength(3);
});

it('does not tell a view for ever that is always refused', async () => {
  const { meeting } = meetingOf('guest');
  await vi.advanceTimersByTimeAsync(0);
  request.mockRejectedValue(new SessionError('invalid', 'never'));
  meeting.show([camera]);
  await vi.advanceTimersByTimeAsync(10 * 60_000);
  expect(views()).toHaveLength(1 + 1 + 5);
});

const told = (meeting: Meeting) => meeting.notices.map(({ text, name }) => `${text} ${name}`);

it('switches off what a moderator muted, and says who it was', () => {
  const { meeting, local, tell } = meetingOf('guest');
  const ada = { id: 'm', name: 'Ada', kind: 'browser', role: 'moderator', publishing: {} } as const;
  tell({ type: 'participant_joined', participant: { ...ada, connected: true } });
  tell({ type: 'muted', by: 'm', sources: ['microphone', 'screen', 'screen_audio'] });
  expect(local.turn.mock.calls).toEqual([['microphone', false]]);
  expect(local.stopScreen).toHaveBeenCalledTimes(1);
  expect(told(meeting)).toEqual(['moderation.muted Ada', 'moderation.share_stopped Ada']);
  vi.advanceTimersByTime(60_000);
  expect(told(meeting)).toEqual([]);
});

it('switches off on arrival what the room does not allow', () => {
  const guest = meetingOf('guest', { microphone: false });
  expect(guest.local.turn.mock.calls).toEqual([['microphone', false]]);
  expect(told(guest.meeting)).toEqual(['moderation.not_allowed_microphone ']);
  const moderator = meetingOf('moderator', { microphone: false, camera: false });
  expect(moderator.local.turn).not.toHaveBeenCalled();
});

it('shows a reaction for a moment, and the last one for the whole of it', () => {
  const { meeting, news, tell } = meetingOf('guest');
  const react = (reaction: 'heart' | 'laugh') =>
    tell({ type: 'reaction', participant: 'a', reaction });
  react('heart');
  vi.advanceTimersByTime(4_000);
  react('laugh');
  vi.advanceTimersByTime(4_000);
  expect([...meeting.reactions]).toEqual([['a', 'laugh']]);
  vi.advanceTimersByTime(1_000);
  expect(meeting.reactions.size).toBe(0);
  // One's own is not announced to oneself.
  expect(news).toEqual([]);
  tell({ type: 'reaction', participant: 'b', reaction: 'heart' });
  expect(news).toMatchObject([{ kind: 'react_heart' }]);
});

it.each([
  ['forbidden', 'refusals.forbidden'],
  ['limit', 'refusals.limit'],
  ['disconnected', 'refusals.disconnected'],
  ['timeout', 'refusals.disconnected'],
  ['internal', 'refusals.failed'],
] as const)('tells in words that a wish met %s', async (code, text) => {
  const { meeting } = meetingOf('moderator');
  request.mockRejectedValueOnce(new SessionError(code, ''));
  expect(await meeting.mute(['b'], ['microphone'])).toBe(false);
  expect(await meeting.mute(['b'], ['microphone'])).toBe(true);
  expect(told(meeting)).toEqual([`${text} `]);
});

it('hands what is seen of one’s own pictures to the media connection', () => {
  const setDemand = vi.fn();
  vi.mocked(createPeer).mockReturnValueOnce({
    setTrack: async () => {},
    growPool: () => {},
    setVideoCodec: async () => {},
    setScreenHint: async () => {},
    receiverOf: () => undefined,
    stats: async () => new Map(),
    setDemand,
    resume: () => {},
    close: () => {},
  });
  const { tell } = meetingOf('guest');
  tell({ type: 'demand', source: 'camera', layers: [0, 1] });
  expect(setDemand).toHaveBeenCalledWith('camera', [0, 1]);
});
