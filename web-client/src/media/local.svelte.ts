// One's own microphone, camera and screen: what is on, what went wrong, and which device is used.

import type { Source } from '../protocol/messages';
import { remember, remembered } from '../storage';
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

export interface Capture {
  status: 'off' | 'starting' | 'on';
  track?: MediaStreamTrack;
  problem?: DeviceProblem;
}

export type DeviceSource = 'microphone' | 'camera';

const OFF: Capture = { status: 'off' };

export class LocalMedia {
  microphone = $state.raw<Capture>(OFF);
  camera = $state.raw<Capture>(OFF);
  screen = $state.raw<Capture>(OFF);
  screenAudio = $state.raw<Capture>(OFF);
  screenHint = $state.raw<ScreenHint>('detail');
  devices = $state.raw<Devices>({ microphones: [], cameras: [] });
  chosen = $state<Record<DeviceSource, string | undefined>>({
    microphone: remembered('microphone'),
    camera: remembered('camera'),
  });
  readonly #size: CaptureSize;
  readonly #listeners = new Set<(source: Source) => void>();
  readonly #stopWatching: () => void;

  constructor(size: CaptureSize) {
    this.#size = size;
    this.#stopWatching = onDevicesChange(() => void this.#list());
    void this.#list();
  }

  /** The track to send, while its source is on. */
  track(source: Source): MediaStreamTrack | null {
    const capture = this.#capture(source);
    return capture.status === 'on' ? (capture.track ?? null) : null;
  }

  onChange(listener: (source: Source) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async turn(source: DeviceSource, on: boolean): Promise<void> {
    const { status, track } = this[source];
    if (on === (status !== 'off')) return;
    if (!on) return this.#turnOff(source);
    if (track?.readyState === 'live') {
      track.enabled = true;
      return this.#set(source, { status: 'on', track });
    }
    await this.#open(source);
  }

  async choose(source: DeviceSource, deviceId: string): Promise<void> {
    this.chosen[source] = deviceId;
    remember(source, deviceId);
    const before = this[source];
    before.track?.stop();
    if (before.status === 'off') this.#set(source, OFF);
    else await this.#open(source);
  }

  async shareScreen(): Promise<void> {
    if (this.screen.status !== 'off') return;
    const starting: Capture = { status: 'starting' };
    this.#set('screen', starting);
    try {
      const tracks = await openScreen(this.screenHint);
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

  /** Whether the shared screen, or the next one, is to be sharp or to move smoothly. */
  setScreenHint(hint: ScreenHint): void {
    if (this.screenHint === hint) return;
    this.screenHint = hint;
    if (this.screen.track) hintScreen(this.screen.track, hint);
    for (const listener of this.#listeners) listener('screen');
  }

  stopScreen(): void {
    this.screen.track?.stop();
    this.screenAudio.track?.stop();
    this.#set('screen_audio', OFF);
    this.#set('screen', OFF);
  }

  /** What went wrong was read, or is no longer of interest. */
  forgetProblem(source: DeviceSource | 'screen'): void {
    const { problem, ...rest } = this[source];
    // Without one nothing changes: a capture that is starting is known by its identity.
    if (problem !== undefined) this[source] = rest;
  }

  close(): void {
    this.#stopWatching();
    this.#listeners.clear();
    for (const { track } of [this.microphone, this.camera, this.screen, this.screenAudio]) {
      track?.stop();
    }
    this.microphone = OFF;
    this.camera = OFF;
    this.screen = OFF;
    this.screenAudio = OFF;
  }

  async #open(source: DeviceSource): Promise<void> {
    const starting: Capture = { status: 'starting' };
    this.#set(source, starting);
    try {
      const deviceId = this.chosen[source];
      const track =
        source === 'microphone'
          ? await openMicrophone(deviceId)
          : await openCamera(deviceId, this.#size);
      // It was switched off again, or another device was chosen, while the browser asked.
      if (this[source] !== starting) return track.stop();
      track.onended = () => {
        if (this[source].track === track) this.#set(source, { status: 'off', problem: 'missing' });
      };
      this.#set(source, { status: 'on', track });
      void this.#list();
    } catch (error) {
      if (this[source] === starting) this.#set(source, failed(error));
    }
  }

  #turnOff(source: DeviceSource): void {
    const { track } = this[source];
    if (source === 'microphone' && track) {
      // A muted microphone stays open, so that it is back at once.
      track.enabled = false;
      return this.#set(source, { status: 'off', track });
    }
    track?.stop();
    this.#set(source, OFF);
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
    for (const listener of this.#listeners) listener(source);
  }

  #capture(source: Source): Capture {
    return source === 'screen_audio' ? this.screenAudio : this[source];
  }

  async #list(): Promise<void> {
    try {
      this.devices = await listDevices();
    } catch (error) {
      console.info('the browser does not list its devices:', error);
    }
  }
}

function failed(error: unknown): Capture {
  return { status: 'off', problem: error instanceof DeviceError ? error.problem : 'busy' };
}
