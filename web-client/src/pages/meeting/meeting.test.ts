import { afterEach, beforeEach, expect, it, vi } from 'vitest';
import type { LocalMedia } from '../../media/local.svelte';
import type { PeerOptions, ReceivingSlot } from '../../media/peer';
import { createPeer } from '../../media/peer';
import type { ClientMessage, Joined, Role, ServerReply } from '../../protocol/messages';
import type { SessionOptions } from '../../protocol/session';
import { openSession, SessionError } from '../../protocol/session';
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
    close: () => {},
  });
});

afterEach(() => {
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

/** A meeting that has been joined, and whose first offer has been answered. */
function meetingOf(role: Role) {
  const local = { onChange: () => () => {}, track: () => null, close: vi.fn() };
  const meeting = new Meeting({
    code: '123456789',
    name: 'Ada',
    token: undefined,
    local: local as unknown as LocalMedia,
    page: { sendCodecs: ['vp8'], receiveCodecs: ['vp8'], camera: { width: 1280, height: 720 } },
    onNews: () => {},
  });
  const session = vi.mocked(openSession).mock.lastCall?.[0] as SessionOptions;
  session.onEvent({ type: 'joined', joined: joinedAs(role), resumed: false });
  const peer = vi.mocked(createPeer).mock.lastCall?.[0] as PeerOptions;
  peer.onSlots(['2', '3'].map((mid) => ({ mid, kind: 'video' }) as ReceivingSlot));
  return { meeting, local };
}

function joinedAs(role: Role): Joined {
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
      allowed: { microphone: true, camera: true, screen: true, chat: true },
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
