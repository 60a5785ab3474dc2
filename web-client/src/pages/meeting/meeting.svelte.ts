// One participation in a room: ties the session, the media connection and one's own devices to the
// state that the pages show.

import type { LocalMedia } from '../../media/local.svelte';
import type { Peer, ReceivingSlot } from '../../media/peer';
import { createPeer } from '../../media/peer';
import type { SyncSlot } from '../../media/sync';
import { keepInSync } from '../../media/sync';
import type { PageOptions } from '../../options';
import type {
  IceServer,
  ParticipantId,
  Publishing,
  Source,
  VideoCodec,
  ViewSlot,
} from '../../protocol/messages';
import type { Session, SessionEvent } from '../../protocol/session';
import { openSession, sessionUrl } from '../../protocol/session';
import type { News } from '../../room/news';
import { newsBetween } from '../../room/news';
import type { Room } from '../../room/room';
import { NO_ROOM, participantOf, roomAfter } from '../../room/room';
import type { View, Wanted } from '../../room/stage';
import { isSameStream, viewAfter, viewChanges } from '../../room/stage';

const AUDIO_SLOTS = 4;
/** Video slots are added in steps of this many, so that a re-offer serves several newcomers. */
const VIDEO_SLOTS_STEP = 4;
/** Sizes change at every step of a window being dragged: they are told when it rests. */
const VIEW_DELAY_MS = 150;
/** After a view was refused, the next try waits this long, doubled each time. */
const VIEW_RETRY_MS = 1_000;
const VIEW_RETRIES_MAX = 5;
const SOURCES: readonly Source[] = ['microphone', 'camera', 'screen', 'screen_audio'];

export interface MeetingOptions {
  code: string;
  name: string;
  token: string | undefined;
  local: LocalMedia;
  page: PageOptions;
  onNews(news: News): void;
}

export class Meeting {
  room = $state.raw<Room>(NO_ROOM);
  slots = $state.raw<ReceivingSlot[]>([]);
  media = $state<'connecting' | 'connected' | 'disconnected' | 'failed'>('connecting');
  audioBlocked = $state(false);

  readonly #options: MeetingOptions;
  readonly #session: Session;
  readonly #stopListening: () => void;
  readonly #stopSyncing: () => void;
  readonly #audio = new Set<HTMLMediaElement>();
  #peer: Peer | undefined;
  #iceServers: IceServer[] = [];
  #wanted: readonly Wanted[] = [];
  #view: View = new Map();
  #viewFailures = 0;
  #viewTimer: ReturnType<typeof setTimeout> | undefined;

  constructor(options: MeetingOptions) {
    this.#options = options;
    const { code, name, token, local } = options;
    this.#stopListening = local.onChange((source) => this.#sourceChanged(source));
    this.#stopSyncing = keepInSync(
      () => this.#shown(),
      (mid) => this.#peer?.receiverOf(mid),
    );
    this.#session = openSession({
      url: sessionUrl(location),
      join: token === undefined ? { room: code, name } : { token, name },
      onEvent: (event) => this.#handle(event),
    });
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
    this.#wanted = wanted;
    this.#growPool();
    // Somebody new is waited for; another size of somebody shown can rest a moment.
    const shown = [...this.#view.values()];
    const isShown = (want: Wanted) => shown.some((one) => one && isSameStream(one, want));
    this.#sendViewIn(wanted.every(isShown) ? VIEW_DELAY_MS : 0);
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
    void peer.setScreenHint(local.screenHint);
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

  #handle(event: SessionEvent): void {
    const before = this.room;
    this.room = roomAfter(before, event);
    for (const news of newsBetween(before, this.room)) this.#options.onNews(news);
    switch (event.type) {
      case 'joined':
        this.#iceServers = event.joined.ice_servers;
        // Nothing of a viewer is sent, and the page has no buttons to switch it off.
        if (this.viewer) this.#options.local.close();
        this.#publish();
        if (!event.joined.media || !this.#peer) return this.reconnectMedia();
        this.#sendView('all');
        return this.#peer.resume();
      case 'offer_needed':
        return this.reconnectMedia();
      case 'demand':
        void this.#peer?.setDemand(event.source, event.layers);
        return;
      case 'video_codec':
        return this.#useCodec(event.codec);
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
    if (source === 'screen') void this.#peer?.setScreenHint(local.screenHint);
    void this.#peer?.setTrack(source, local.track(source));
    this.#publish();
  }

  #publish(): void {
    const { local } = this.#options;
    const publishing: Publishing = {};
    for (const source of SOURCES) publishing[source] = local.track(source) !== null;
    this.#tell({ type: 'publish', publishing });
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

  /** What is lost with a broken WebSocket is told again after the next `joined`. */
  #tell(message: Parameters<Session['request']>[0]): void {
    this.#session.request(message).catch((error: Error) => {
      console.info(`${message.type}: ${error.message}`);
    });
  }

  /** What each slot plays. */
  #shown(): SyncSlot[] {
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
    this.#peer?.close();
    this.#peer = undefined;
    this.slots = [];
  }
}
