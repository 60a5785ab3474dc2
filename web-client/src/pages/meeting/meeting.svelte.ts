// One participation in a room: ties the session, the media connection and one's own devices to the
// state that the pages show.

import type { TextKey } from '../../i18n/texts';
import type { LocalMedia } from '../../media/local.svelte';
import type { Peer, ReceivingSlot } from '../../media/peer';
import { createPeer } from '../../media/peer';
import type { SyncSlot } from '../../media/sync';
import { keepInSync } from '../../media/sync';
import type { PageOptions } from '../../options';
import { preferences } from '../../preferences.svelte';
import type {
  Allowed,
  ClientMessage,
  IceServer,
  Lobby,
  ParticipantId,
  Publishing,
  Reaction,
  Role,
  Source,
  VideoCodec,
  ViewSlot,
} from '../../protocol/messages';
import type { Session, SessionEvent } from '../../protocol/session';
import { openSession, SessionError, sessionUrl } from '../../protocol/session';
import type { DataMode } from '../../room/data';
import { dataModeOf, limited } from '../../room/data';
import type { News } from '../../room/news';
import { newsBetween } from '../../room/news';
import { maySend } from '../../room/rights';
import type { Room } from '../../room/room';
import { NO_ROOM, participantOf, roomAfter } from '../../room/room';
import type { View, Wanted } from '../../room/stage';
import { isSameStream, viewAfter, viewChanges } from '../../room/stage';
import { remember, remembered } from '../../storage';
import { Conversation } from './conversation.svelte';

const AUDIO_SLOTS = 4;
/** Video slots are added in steps of this many, so that a re-offer serves several newcomers. */
const VIDEO_SLOTS_STEP = 4;
/** Sizes change at every step of a window being dragged: they are told when it rests. */
const VIEW_DELAY_MS = 150;
/** After a view was refused, the next try waits this long, doubled each time. */
const VIEW_RETRY_MS = 1_000;
const VIEW_RETRIES_MAX = 5;
/** How long a reaction is seen. */
const REACTION_MS = 5_000;
/** How long a notice stays that nobody puts away. */
const NOTICE_MS = 12_000;
const NOTICES_MAX = 3;
const SOURCES: readonly Source[] = ['microphone', 'camera', 'screen', 'screen_audio'];

export interface MeetingOptions {
  code: string;
  name: string;
  token: string | undefined;
  local: LocalMedia;
  page: PageOptions;
  onNews(news: News): void;
}

/** Something that the page tells for a while: what a moderator did, or what was refused. */
export interface Notice {
  id: number;
  text: TextKey;
  name: string;
}

export class Meeting {
  room = $state.raw<Room>(NO_ROOM);
  /** Who reacts, for a moment. */
  reactions = $state.raw<ReadonlyMap<ParticipantId, Reaction>>(new Map());
  notices = $state.raw<readonly Notice[]>([]);
  readonly conversation: Conversation;
  slots = $state.raw<ReceivingSlot[]>([]);
  media = $state<'connecting' | 'connected' | 'disconnected' | 'failed'>('connecting');
  audioBlocked = $state(false);
  dataMode = $state<DataMode>(dataModeOf(remembered('data')));

  readonly #options: MeetingOptions;
  readonly #session: Session;
  readonly #stopListening: () => void;
  readonly #stopSyncing: () => void;
  readonly #audio = new Set<HTMLMediaElement>();
  #peer: Peer | undefined;
  #iceServers: IceServer[] = [];
  /** What the stage would show, and what of it is asked for. */
  #shown: readonly Wanted[] = [];
  #wanted: readonly Wanted[] = [];
  #view: View = new Map();
  #viewFailures = 0;
  #viewTimer: ReturnType<typeof setTimeout> | undefined;
  readonly #reactionTimers = new Map<ParticipantId, ReturnType<typeof setTimeout>>();
  readonly #noticeTimers = new Set<ReturnType<typeof setTimeout>>();
  #lastNotice = 0;

  constructor(options: MeetingOptions) {
    this.#options = options;
    const { code, name, token, local } = options;
    this.#stopListening = local.onChange((source) => this.#sourceChanged(source));
    this.#stopSyncing = keepInSync(
      () => this.#playing(),
      (mid) => this.#peer?.receiverOf(mid),
    );
    this.#session = openSession({
      url: sessionUrl(location),
      join: token === undefined ? { room: code, name } : { token, name },
      onEvent: (event) => this.#handle(event),
    });
    this.conversation = new Conversation((message) => this.#session.request(message));
  }

  /** Sees and hears, and sends nothing. */
  get viewer(): boolean {
    return participantOf(this.room, this.room.you)?.role === 'viewer';
  }

  /** The stream that shows or plays a source of a participant, once the server sends it. */
  slotOf(participant: ParticipantId, source: Source): ReceivingSlot | undefined {
    for (const [mid, shows] of this.room.slots) {
      if (shows.participant === participant && shows.source === source) {
        return this.slots.find((slot) => slot.mid === mid);
      }
    }
    return undefined;
  }

  /** Asks for these video streams and no others. */
  show(wanted: readonly Wanted[]): void {
    this.#shown = wanted;
    this.#limit();
    this.#growPool();
    // Somebody new is waited for; another size of somebody shown can rest a moment.
    const shown = [...this.#view.values()];
    const isShown = (want: Wanted) => shown.some((one) => one && isSameStream(one, want));
    this.#sendViewIn(wanted.every(isShown) ? VIEW_DELAY_MS : 0);
  }

  setDataMode(mode: DataMode): void {
    this.dataMode = mode;
    remember('data', mode);
    this.show(this.#shown);
  }

  /** Of the media connection, while there is one. */
  async stats(): Promise<RTCStatsReport | undefined> {
    return this.#peer?.stats();
  }

  /** A new media connection, after the old one failed for good. */
  reconnectMedia(): void {
    this.#peer?.close();
    this.#view = new Map();
    this.media = 'connecting';
    // Its slots begin empty, also where nobody but this page knows that a new one is needed.
    this.room = roomAfter(this.room, { type: 'offer_needed' });
    const { page, local } = this.#options;
    const { limits, videoCodec, participants } = this.room;
    const peer = createPeer({
      iceServers: this.#iceServers,
      iceTransportPolicy: page.iceTransportPolicy,
      pool: {
        audio: Math.min(AUDIO_SLOTS, limits.audio_slots_max),
        video: this.#videoSlots(participants.length),
      },
      sources: this.viewer ? [] : SOURCES,
      codecs: { send: page.sendCodecs, receive: page.receiveCodecs, first: videoCodec },
      request: (message) => this.#session.request(message),
      onSlots: (slots) => {
        if (this.#peer !== peer) return;
        this.slots = slots;
        this.#sendView();
      },
      onState: (state) => {
        if (this.#peer === peer) this.media = state;
      },
      onFailed: (error) => {
        console.warn('the server refuses the media connection:', error);
        if (this.#peer === peer) this.media = 'failed';
      },
    });
    this.#peer = peer;
    void peer.setScreenHint(preferences.screenHint);
    for (const source of SOURCES) void peer.setTrack(source, local.track(source));
  }

  /** For each element that plays a remote voice: Svelte calls it when the element comes and goes. */
  registerAudio = (element: HTMLMediaElement): (() => void) => {
    this.#audio.add(element);
    return () => this.#audio.delete(element);
  };

  /** After a click, which is what browsers wait for. */
  async playAudio(): Promise<void> {
    const played = await Promise.allSettled([...this.#audio].map((element) => element.play()));
    this.audioBlocked = played.some(({ status }) => status === 'rejected');
  }

  leave(): void {
    this.#session.leave();
  }

  /** These tell the page when the server refuses; the promise says whether it was done. */
  raiseHand(raised: boolean): Promise<boolean> {
    return this.#ask({ type: 'hand', raised });
  }

  lowerHand(participant: ParticipantId): Promise<boolean> {
    return this.#ask({ type: 'hand', raised: false, participant });
  }

  react(reaction: Reaction): Promise<boolean> {
    return this.#ask({ type: 'react', reaction });
  }

  admit(waiting: ParticipantId[]): Promise<boolean> {
    return this.#ask({ type: 'admit', waiting });
  }

  refuse(waiting: ParticipantId[]): Promise<boolean> {
    return this.#ask({ type: 'refuse', waiting });
  }

  mute(participants: ParticipantId[], sources: Source[]): Promise<boolean> {
    return this.#ask({ type: 'mute', participants, sources });
  }

  removeParticipant(participant: ParticipantId): Promise<boolean> {
    return this.#ask({ type: 'remove_participant', participant });
  }

  setRole(participant: ParticipantId, role: Role): Promise<boolean> {
    return this.#ask({ type: 'set_role', participant, role });
  }

  spotlight(participants: ParticipantId[]): Promise<boolean> {
    return this.#ask({ type: 'spotlight', participants });
  }

  setRoom(changes: { lobby?: Lobby; locked?: boolean; allowed?: Allowed }): Promise<boolean> {
    return this.#ask({ type: 'set_room', ...changes });
  }

  dismiss(notice: number): void {
    this.notices = this.notices.filter(({ id }) => id !== notice);
  }

  #handle(event: SessionEvent): void {
    const before = this.room;
    this.room = roomAfter(before, event);
    for (const news of newsBetween(before, this.room)) this.#options.onNews(news);
    this.conversation.handle(event, this.room);
    switch (event.type) {
      case 'joined':
        this.#iceServers = event.joined.ice_servers;
        // Nothing of a viewer is sent, and the page has no buttons to switch it off.
        if (this.viewer) this.#options.local.close();
        else this.#switchOffForbidden();
        this.#publish();
        if (!event.joined.media || !this.#peer) return this.reconnectMedia();
        this.#sendView('all');
        return this.#peer.resume();
      case 'offer_needed':
        return this.reconnectMedia();
      case 'speakers':
        // The one picture of a narrow connection is that of whoever speaks.
        return this.dataMode === 'saving' ? this.show(this.#shown) : undefined;
      case 'video_codec':
        return this.#useCodec(event.codec);
      case 'muted':
        return this.#muted(event.by, event.sources);
      case 'reaction':
        return this.#reacted(event.participant, event.reaction);
      case 'demand':
        void this.#peer?.setDemand(event.source, event.layers);
        return;
      case 'ended':
        return this.#close();
      default:
        return;
    }
  }

  #useCodec(codec: VideoCodec): void {
    void this.#peer?.setVideoCodec(codec);
  }

  #sourceChanged(source: Source): void {
    // Not waited for: a connection that is closed meanwhile would keep the others from being told.
    const { local } = this.#options;
    if (source === 'screen') void this.#peer?.setScreenHint(preferences.screenHint);
    void this.#peer?.setTrack(source, local.track(source));
    this.#publish();
  }

  /** What is lost with a broken WebSocket is told again after the next `joined`. */
  #publish(): void {
    const { local } = this.#options;
    const publishing: Publishing = {};
    for (const source of SOURCES) publishing[source] = local.track(source) !== null;
    this.#session.request({ type: 'publish', publishing }).catch((error: Error) => {
      console.info(`publish: ${error.message}`);
      if (error instanceof SessionError && error.code === 'forbidden') this.#switchOffForbidden();
    });
  }

  /** What came on before the room was known, and may not be on in it. */
  #switchOffForbidden(): void {
    const on = participantOf(this.room, this.room.you)?.publishing ?? {};
    for (const source of ['microphone', 'camera', 'screen'] as const) {
      if (maySend(this.room, source) || on[source]) continue;
      if (this.#options.local[source].status === 'off') continue;
      this.#switchOff(source);
      this.#notify(`moderation.not_allowed_${source}`);
    }
  }

  #muted(by: ParticipantId, sources: readonly Source[]): void {
    const name = participantOf(this.room, by)?.name ?? '';
    for (const source of sources) {
      if (source === 'screen_audio') continue;
      if (this.#options.local[source].status === 'off') continue;
      this.#switchOff(source);
      this.#notify(MUTED[source], name);
    }
  }

  #switchOff(source: Exclude<Source, 'screen_audio'>): void {
    if (source === 'screen') this.#options.local.stopScreen();
    else void this.#options.local.turn(source, false);
  }

  #reacted(participant: ParticipantId, reaction: Reaction): void {
    this.reactions = new Map(this.reactions).set(participant, reaction);
    const name = participantOf(this.room, participant)?.name ?? '';
    if (participant !== this.room.you) {
      this.#options.onNews({ kind: `react_${reaction}`, name, count: 1 });
    }
    clearTimeout(this.#reactionTimers.get(participant));
    const timer = setTimeout(() => {
      this.#reactionTimers.delete(participant);
      const reactions = new Map(this.reactions);
      reactions.delete(participant);
      this.reactions = reactions;
    }, REACTION_MS);
    this.#reactionTimers.set(participant, timer);
  }

  async #ask(message: ClientMessage): Promise<boolean> {
    try {
      await this.#session.request(message);
      return true;
    } catch (error) {
      this.#notify(refusalOf(error));
      return false;
    }
  }

  #notify(text: TextKey, name = ''): void {
    this.#lastNotice += 1;
    const id = this.#lastNotice;
    // What is said already is not said twice.
    const others = this.notices.filter((notice) => notice.text !== text);
    this.notices = [...others, { id, text, name }].slice(-NOTICES_MAX);
    const timer = setTimeout(() => {
      this.#noticeTimers.delete(timer);
      this.dismiss(id);
    }, NOTICE_MS);
    this.#noticeTimers.add(timer);
  }

  /** `all`: slots that did not change are named too, since the last message may have been lost. */
  #sendView(named: 'changed' | 'all' = 'changed'): void {
    const mids = this.slots.filter(({ kind }) => kind === 'video').map(({ mid }) => mid);
    const view = viewAfter(this.#view, mids, this.#wanted);
    const slots = viewChanges(named === 'all' ? new Map() : this.#view, view);
    if (slots.length === 0 || this.room.connection !== 'joined') return;
    this.#view = view;
    this.#session.request({ type: 'view', slots }).then(
      () => {
        this.#viewFailures = 0;
      },
      (error: Error) => this.#viewFailed(slots, error),
    );
  }

  /** What these slots were told is forgotten, so that the next view names them again. */
  #viewFailed(slots: readonly ViewSlot[], error: Error): void {
    console.info(`view: ${error.message}`);
    const failed = new Set(slots.map(({ mid }) => mid));
    this.#view = new Map([...this.#view].filter(([mid]) => !failed.has(mid)));
    if (this.#viewFailures >= VIEW_RETRIES_MAX || !this.#peer) return;
    this.#sendViewIn(VIEW_RETRY_MS * 2 ** this.#viewFailures);
    this.#viewFailures += 1;
  }

  #sendViewIn(delayMs: number): void {
    clearTimeout(this.#viewTimer);
    this.#viewTimer = setTimeout(() => this.#sendView(), delayMs);
  }

  #limit(): void {
    const { spoke, speaking } = this.room;
    this.#wanted = limited(this.#shown, this.dataMode, spoke, this.#wanted, speaking);
  }

  /** What each slot plays. */
  #playing(): SyncSlot[] {
    return this.slots.flatMap(({ mid, kind }) => {
      const shows = this.room.slots.get(mid);
      return shows ? [{ mid, kind, ...shows }] : [];
    });
  }

  #growPool(): void {
    this.#peer?.growPool({ audio: 0, video: this.#videoSlots(this.#wanted.length) });
  }

  #videoSlots(needed: number): number {
    const steps = Math.max(1, Math.ceil(needed / VIDEO_SLOTS_STEP));
    return Math.min(steps * VIDEO_SLOTS_STEP, this.room.limits.video_slots_max);
  }

  #close(): void {
    this.#stopListening();
    this.#stopSyncing();
    clearTimeout(this.#viewTimer);
    for (const timer of [...this.#reactionTimers.values(), ...this.#noticeTimers]) {
      clearTimeout(timer);
    }
    this.#peer?.close();
    this.#peer = undefined;
    this.slots = [];
  }
}

const MUTED = {
  microphone: 'moderation.muted',
  camera: 'moderation.video_stopped',
  screen: 'moderation.share_stopped',
} as const;

function refusalOf(error: unknown): TextKey {
  if (!(error instanceof SessionError)) return 'refusals.failed';
  switch (error.code) {
    case 'forbidden':
    case 'limit':
      return `refusals.${error.code}`;
    case 'disconnected':
    case 'timeout':
      return 'refusals.disconnected';
    default:
      return 'refusals.failed';
  }
}
