// One's own microphone, camera and screen: what is on, what went wrong, and which device is used.

import { type Background, preferences } from '../preferences.svelte';
import type { Source } from '../protocol/messages';
import { remember, remembered } from '../storage';
import type { Processed } from './background/background';
import type { Strength } from './background/wire';
import type { CaptureSize, DeviceProblem, Devices, ScreenHint } from './devices';
import {
  DeviceError,
  hintScreen,
  listDevices,
  onDevicesChange,
  openCamera,
  openMicrophone,
  openScreen,
} from './devices';
import { FILTERS, type Filters } from './filters';
import {
  type DeviceNotice,
  type ListedSource,
  offersOf,
  withNotice,
  withoutOffer,
  withoutTopic,
} from './notices';
import { FRESH_PACE, isTooSlow, paceAfter } from './pace';
import { recoveryOf } from './recovery';
import { isHidden, onReturn, onRotate } from './return';
import { filtersStrongly, type Sound } from './sound';
import { changeOf, found, type Listed, read, type Wish, written } from './wishes';

export interface Capture {
  status: 'off' | 'starting' | 'on';
  /** What is sent and shown. */
  track?: MediaStreamTrack;
  /** What comes from the device itself, before any filter. */
  raw?: MediaStreamTrack;
  problem?: DeviceProblem;
}

export type DeviceSource = 'microphone' | 'camera';

const OFF: Capture = { status: 'off' };
/** The system gives a track back a moment after the page is seen again, or not at all. */
const RETURN_MS = 1_000;
/** How long to wait for a device that a call or another program holds, and how often. */
const BUSY_MS = 3_000;
const BUSY_TRIES_MAX = 40;

/** An open device, with what filters it. */
interface Input {
  raw: MediaStreamTrack;
  track: MediaStreamTrack;
  blur?: Processed<Strength>;
  stopFilter?: () => void;
}

const LISTS = { microphone: 'microphones', camera: 'cameras', speaker: 'speakers' } as const;
const LISTED: readonly ListedSource[] = ['microphone', 'camera', 'speaker'];
const SOURCES: readonly DeviceSource[] = ['microphone', 'camera'];

export class LocalMedia {
  microphone = $state.raw<Capture>(OFF);
  camera = $state.raw<Capture>(OFF);
  screen = $state.raw<Capture>(OFF);
  screenAudio = $state.raw<Capture>(OFF);
  devices = $state.raw<Devices>({ microphones: [], cameras: [], speakers: [] });
  chosen = $state.raw<Record<ListedSource, Wish | undefined>>({
    microphone: read(remembered('microphone')),
    camera: read(remembered('camera')),
    speaker: read(remembered('speaker')),
  });
  notices = $state.raw<readonly DeviceNotice[]>([]);
  /** The background as it is now: off where this machine is too slow for what was wished. */
  background = $state<Background>(preferences.background);
  readonly #size: CaptureSize;
  readonly #filters: Filters;
  readonly #listeners = new Set<(source: Source) => void>();
  readonly #stopWatching: (() => void)[];
  readonly #inputs = new Map<DeviceSource, Input>();
  readonly #reopened_ms = new Map<DeviceSource, number[]>();
  #closed = false;

  constructor(size: CaptureSize, filters: Filters = FILTERS) {
    this.#size = size;
    this.#filters = filters;
    this.#stopWatching = [
      onDevicesChange(() => void this.#list()),
      onReturn(() => this.#returned()),
      onRotate(() => this.#tell('camera')),
    ];
    void this.#list();
  }

  /** The track to send, while its source is on. */
  track(source: Source): MediaStreamTrack | null {
    const capture = this.#capture(source);
    return capture.status === 'on' ? (capture.track ?? null) : null;
  }

  /** Id of the speaker to play through; '' is the system's own choice. */
  get speaker(): string {
    return found(this.chosen.speaker, this.devices.speakers)?.deviceId ?? '';
  }

  onChange(listener: (source: Source) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async turn(source: DeviceSource, on: boolean): Promise<void> {
    if (on === (this[source].status !== 'off')) return;
    if (!on) return this.#turnOff(source);
    const input = this.#inputs.get(source);
    if (input?.raw.readyState === 'live') {
      input.track.enabled = true;
      return this.#set(source, { status: 'on', track: input.track, raw: input.raw });
    }
    await this.#open(source);
  }

  async choose(source: ListedSource, deviceId: string): Promise<void> {
    const devices: readonly Listed[] = this.devices[LISTS[source]];
    const device = devices.find((device) => device.deviceId === deviceId);
    const wish = { id: deviceId, label: device?.label ?? '' };
    this.chosen = { ...this.chosen, [source]: wish };
    remember(source, written(wish));
    this.notices = withoutOffer(this.notices, deviceId);
    if (source !== 'speaker') await this.#reopen(source);
  }

  /** A speaker that the browser's own dialog gave, which its list may not have yet. */
  chooseSpeaker(device: MediaDeviceInfo): void {
    const { speakers } = this.devices;
    if (!speakers.some(({ deviceId }) => deviceId === device.deviceId)) {
      this.devices = { ...this.devices, speakers: [...speakers, device] };
    }
    void this.choose('speaker', device.deviceId);
  }

  async accept(offer: Extract<DeviceNotice, { kind: 'offer' }>): Promise<void> {
    this.dismiss(offer);
    if (offer.speaker) await this.choose('speaker', offer.speaker.deviceId);
    await this.choose(offer.source, offer.device.deviceId);
  }

  dismiss(notice: DeviceNotice): void {
    this.notices = withoutTopic(this.notices, notice);
  }

  async setSound(sound: Sound): Promise<void> {
    preferences.sound = sound;
    await this.#reopen('microphone');
  }

  async setBackground(background: Background): Promise<void> {
    preferences.background = background;
    this.background = background;
    const input = this.#inputs.get('camera');
    if (!input || this.camera.status !== 'on') return;
    if (input.blur && background !== 'off') return input.blur.set(background);
    await this.#refilterCamera(input);
  }

  async shareScreen(): Promise<void> {
    if (this.screen.status !== 'off') return;
    const starting: Capture = { status: 'starting' };
    this.#set('screen', starting);
    try {
      const { screenHint: hint, screenSound: sound } = preferences;
      const tracks = await openScreen({ hint, sound });
      // The meeting ended while the browser asked.
      if (this.screen !== starting) {
        tracks?.video.stop();
        tracks?.audio?.stop();
        return;
      }
      if (!tracks) return this.#set('screen', OFF);
      tracks.video.onended = () => this.stopScreen();
      if (tracks.audio) this.#set('screen_audio', { status: 'on', track: tracks.audio });
      this.#set('screen', { status: 'on', track: tracks.video });
    } catch (error) {
      if (this.screen === starting) this.#set('screen', failed(error));
    }
  }

  stopScreen(): void {
    this.screen.track?.stop();
    this.screenAudio.track?.stop();
    this.#set('screen_audio', OFF);
    this.#set('screen', OFF);
  }

  /** Whether the shared screen, or the next one, is to be sharp or to move smoothly. */
  setScreenHint(hint: ScreenHint): void {
    if (preferences.screenHint === hint) return;
    preferences.screenHint = hint;
    if (this.screen.track) hintScreen(this.screen.track, hint);
    for (const listener of this.#listeners) listener('screen');
  }

  /** What went wrong was read, or is no longer of interest. */
  forgetProblem(source: DeviceSource | 'screen'): void {
    const { problem, ...rest } = this[source];
    // Without one nothing changes: a capture that is starting is known by its identity.
    if (problem !== undefined) this[source] = rest;
  }

  close(): void {
    this.#closed = true;
    for (const stop of this.#stopWatching) stop();
    this.#listeners.clear();
    for (const source of SOURCES) this.#drop(source);
    this.screen.track?.stop();
    this.screenAudio.track?.stop();
    this.microphone = OFF;
    this.camera = OFF;
    this.screen = OFF;
    this.screenAudio = OFF;
    this.notices = [];
  }

  /** `tries`: how often it has been tried to get back a device that something else holds. */
  async #open(source: DeviceSource, tries?: number): Promise<void> {
    this.#drop(source);
    const starting: Capture = { status: 'starting' };
    this.#set(source, starting);
    try {
      const wish = this.chosen[source];
      const deviceId = found(wish, this.devices[LISTS[source]])?.deviceId ?? this.#unlisted(source);
      const raw =
        source === 'microphone'
          ? await openMicrophone(deviceId, preferences.sound)
          : await openCamera(deviceId, this.#size);
      // It was switched off again, or another device was chosen, while the browser asked.
      if (this[source] !== starting) return raw.stop();
      const input = await this.#filtered(source, raw);
      if (this[source] !== starting) return stop(input);
      this.#watch(source, raw);
      this.#inputs.set(source, input);
      this.#set(source, { status: 'on', track: input.track, raw });
      this.notices = withoutTopic(this.notices, { kind: 'interrupted', source });
      // It was switched on while the camera started.
      if (source === 'camera' && this.background !== 'off' && !input.blur) {
        void this.#refilterCamera(input);
      }
      void this.#list();
    } catch (error) {
      if (this[source] !== starting) return;
      const after = failed(error);
      if (tries === undefined || after.problem !== 'busy' || tries >= BUSY_TRIES_MAX) {
        this.notices = withoutTopic(this.notices, { kind: 'interrupted', source });
        return this.#set(source, after);
      }
      this.#notice({ kind: 'interrupted', source });
      setTimeout(() => {
        if (this[source] === starting) void this.#open(source, tries + 1);
      }, BUSY_MS);
    }
  }

  /** Before a permission there is no list to look a wish up in: the browser may know its id. */
  #unlisted(source: DeviceSource): string | undefined {
    const listed = this.devices[LISTS[source]].some(({ label }) => label !== '');
    return listed ? undefined : this.chosen[source]?.id;
  }

  async #reopen(source: DeviceSource): Promise<void> {
    if (this[source].status !== 'off') return this.#open(source);
    this.#drop(source);
    this.#set(source, OFF);
  }

  async #filtered(source: DeviceSource, raw: MediaStreamTrack): Promise<Input> {
    if (source === 'camera') return this.#blurred(raw);
    if (!filtersStrongly(preferences.sound)) return { raw, track: raw };
    try {
      const { track, stop } = await this.#filters.suppress(raw);
      return { raw, track, stopFilter: stop };
    } catch (error) {
      console.info('noise suppression does not run here:', error);
      this.#notice({ kind: 'suppression_failed' });
      return { raw, track: raw };
    }
  }

  async #blurred(raw: MediaStreamTrack): Promise<Input> {
    const strength = this.background;
    if (strength === 'off') return { raw, track: raw };
    let pace = FRESH_PACE;
    const giveUp = (kind: 'blur_slow' | 'blur_failed') => {
      const input = this.#inputs.get('camera');
      if (input?.raw !== raw || !input.blur) return;
      this.background = 'off';
      this.#notice({ kind });
      void this.#refilterCamera(input);
    };
    try {
      const blur = await this.#filters.blur(raw, {
        strength,
        onFrame(ms) {
          pace = paceAfter(pace, ms);
          if (isTooSlow(pace)) giveUp('blur_slow');
        },
        onFailed(reason) {
          console.info('the background blur broke:', reason);
          giveUp('blur_failed');
        },
      });
      // It was chosen otherwise while it loaded.
      if (this.background === 'off') {
        blur.stop();
        return { raw, track: raw };
      }
      blur.set(this.background);
      return { raw, track: blur.track, blur, stopFilter: () => blur.stop() };
    } catch (error) {
      console.info('the background blur does not run here:', error);
      this.background = 'off';
      this.#notice({ kind: 'blur_failed' });
      return { raw, track: raw };
    }
  }

  /** The camera goes on as it is until its new picture is ready. */
  async #refilterCamera(input: Input): Promise<void> {
    const next = await this.#blurred(input.raw);
    if (this.#inputs.get('camera') !== input) return next.stopFilter?.();
    this.#inputs.set('camera', next);
    this.#set('camera', { status: 'on', track: next.track, raw: next.raw });
    input.stopFilter?.();
  }

  #turnOff(source: DeviceSource): void {
    const input = this.#inputs.get(source);
    this.notices = withoutTopic(this.notices, { kind: 'interrupted', source });
    if (source === 'microphone' && input) {
      // A muted microphone stays open, so that it is back at once.
      input.track.enabled = false;
      return this.#set(source, { status: 'off', track: input.track, raw: input.raw });
    }
    this.#drop(source);
    this.#set(source, OFF);
  }

  #drop(source: DeviceSource): void {
    const input = this.#inputs.get(source);
    this.#inputs.delete(source);
    if (input) stop(input);
  }

  #watch(source: DeviceSource, raw: MediaStreamTrack): void {
    raw.onended = async () => {
      // If it was pulled out, the list says so and another one is opened.
      await this.#list();
      if (this.#inputs.get(source)?.raw === raw) this.#recover(source, raw);
    };
    // Phones silence a track for as long as a call rings or lasts.
    raw.onmute = () => {
      if (this[source].raw === raw && this[source].status === 'on' && !isHidden()) {
        this.#notice({ kind: 'interrupted', source });
      }
    };
    raw.onunmute = () => {
      this.notices = withoutTopic(this.notices, { kind: 'interrupted', source });
      if (this[source].raw === raw) this.#tell(source);
    };
  }

  /** The page is in front again: what the system took away meanwhile is opened again. */
  #returned(): void {
    setTimeout(() => {
      if (this.#closed) return;
      for (const source of SOURCES) {
        const raw = this.#inputs.get(source)?.raw;
        if (raw) this.#recover(source, raw);
        else if (this.notices.some((n) => n.kind === 'interrupted' && n.source === source)) {
          void this.#open(source, 0);
        }
      }
      void this.#list();
    }, RETURN_MS);
  }

  #recover(source: DeviceSource, raw: MediaStreamTrack): void {
    const track = raw.readyState === 'ended' ? 'ended' : raw.muted ? 'muted' : 'live';
    const now_ms = Date.now();
    const reopened_ms = this.#reopened_ms.get(source) ?? [];
    const wanted = this[source].status !== 'off';
    switch (recoveryOf({ wanted, track, hidden: isHidden(), reopened_ms, now_ms })) {
      case 'reopen':
        this.#reopened_ms.set(source, [...reopened_ms.slice(-9), now_ms]);
        return void this.#open(source, 0);
      case 'wait':
        if (track !== 'ended') return;
        this.#drop(source);
        // The others see that it is off rather than a picture that stands still.
        this.#set(source, { status: 'starting' });
        return this.#notice({ kind: 'interrupted', source });
      case 'give_up':
        this.#drop(source);
        return this.#set(source, { status: 'off', problem: 'missing' });
      case 'keep':
        // A muted microphone that is gone is opened afresh when it is switched on.
        if (track === 'ended') {
          this.#drop(source);
          this.#set(source, OFF);
        }
    }
  }

  #notice(notice: DeviceNotice): void {
    this.notices = withNotice(this.notices, notice);
  }

  #set(source: Source, capture: Capture): void {
    switch (source) {
      case 'microphone':
        this.microphone = capture;
        break;
      case 'camera':
        this.camera = capture;
        break;
      case 'screen':
        this.screen = capture;
        break;
      case 'screen_audio':
        this.screenAudio = capture;
        break;
    }
    this.#tell(source);
  }

  #tell(source: Source): void {
    for (const listener of this.#listeners) listener(source);
  }

  #capture(source: Source): Capture {
    return source === 'screen_audio' ? this.screenAudio : this[source];
  }

  async #list(): Promise<void> {
    const before = this.devices;
    let now: Devices;
    try {
      now = await listDevices();
    } catch (error) {
      console.info('the browser does not list its devices:', error);
      return;
    }
    // Another change came in between, or the meeting ended.
    if (this.#closed || this.devices !== before) return;
    const used = Object.fromEntries(LISTED.map((source) => [source, this.#used(source)]));
    this.devices = now;
    const named = LISTED.some((source) => before[LISTS[source]].some(({ label }) => label !== ''));
    const offered: { source: ListedSource; device: Listed }[] = [];
    for (const source of LISTED) {
      const list = LISTS[source];
      const wish = this.chosen[source];
      const change = changeOf(before[list], now[list], wish, used[source], named);
      if (change?.kind === 'offer') offered.push({ source, device: change.device });
      else if (change) this.#moved(source, change);
    }
    for (const offer of offersOf(offered)) this.#notice(offer);
    for (const { deviceId } of LISTED.flatMap((source): Listed[] => before[LISTS[source]])) {
      const isThere = LISTED.some((source) =>
        now[LISTS[source]].some((device) => device.deviceId === deviceId),
      );
      if (!isThere) this.notices = withoutOffer(this.notices, deviceId);
    }
  }

  /** What is in use has been pulled out, or what was chosen is there again. */
  #moved(source: ListedSource, { kind, label }: { kind: 'lost' | 'back'; label: string }): void {
    this.#notice({ kind, source, label });
    if (source !== 'speaker') void this.#reopen(source);
  }

  #used(source: ListedSource): string | undefined {
    if (source === 'speaker') return this.speaker;
    return this.#inputs.get(source)?.raw.getSettings().deviceId;
  }
}

function stop(input: Input): void {
  input.raw.onended = null;
  input.raw.onmute = null;
  input.raw.onunmute = null;
  input.stopFilter?.();
  input.raw.stop();
}

function failed(error: unknown): Capture {
  return { status: 'off', problem: error instanceof DeviceError ? error.problem : 'busy' };
}
