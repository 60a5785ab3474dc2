// Cameras, microphones, speakers and screens of this machine.

import { microphoneConstraints, type Sound } from './sound';

export type DeviceProblem = 'refused' | 'missing' | 'busy' | 'insecure';

export class DeviceError extends Error {
  constructor(readonly problem: DeviceProblem) {
    super(problem);
  }
}

export interface Devices {
  microphones: MediaDeviceInfo[];
  cameras: MediaDeviceInfo[];
  /** Empty where the browser does not list them. */
  speakers: MediaDeviceInfo[];
}

export interface CaptureSize {
  width: number;
  height: number;
}

const FRAMES_PER_S = 30;

export async function listDevices(): Promise<Devices> {
  const all = (await mediaDevices()?.enumerateDevices()) ?? [];
  // Before permission was given, browsers list devices without ids: there is nothing to choose.
  const named = (kind: MediaDeviceKind) =>
    all.filter((device) => device.kind === kind && device.deviceId !== '');
  return {
    microphones: named('audioinput'),
    cameras: named('videoinput'),
    speakers: named('audiooutput'),
  };
}

export function onDevicesChange(listener: () => void): () => void {
  const devices = mediaDevices();
  devices?.addEventListener('devicechange', listener);
  return () => devices?.removeEventListener('devicechange', listener);
}

export function openMicrophone(
  deviceId: string | undefined,
  sound: Sound,
): Promise<MediaStreamTrack> {
  return openChosen(deviceId, (id) => ({ audio: microphoneConstraints(sound, id) }));
}

export async function openCamera(
  deviceId: string | undefined,
  size: CaptureSize,
): Promise<MediaStreamTrack> {
  const video = {
    width: { ideal: size.width },
    height: { ideal: size.height },
    frameRate: { ideal: FRAMES_PER_S },
  };
  const track = await openChosen(deviceId, (id) => ({
    video: {
      ...video,
      ...(id === undefined ? { facingMode: 'user' } : { deviceId: { exact: id } }),
    },
  }));
  track.contentHint = 'motion';
  return track;
}

/** The browser's own dialog for speakers, where there is one; undefined when it was closed. */
export async function askForSpeaker(): Promise<MediaDeviceInfo | undefined> {
  try {
    return await mediaDevices()?.selectAudioOutput?.();
  } catch {
    return undefined;
  }
}

export function canAskForSpeaker(): boolean {
  return typeof mediaDevices()?.selectAudioOutput === 'function';
}

export interface ScreenTracks {
  video: MediaStreamTrack;
  audio: MediaStreamTrack | undefined;
}

/** What is shown on a screen: text that has to be sharp, or pictures that have to move. */
export type ScreenHint = 'detail' | 'motion';

export interface ScreenOptions {
  hint: ScreenHint;
  /** The sound of the tab or the system as well, where the browser offers it. */
  sound: boolean;
}

/** Text is still; a film needs all its frames. */
const SCREEN_FRAMES_PER_S: Record<ScreenHint, number> = { detail: 15, motion: 30 };

/** What a screen plays is music or a film: nothing that is made for voices may touch it. */
const SCREEN_AUDIO: MediaTrackConstraints = {
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
  channelCount: { ideal: 2 },
};

/** Tells the encoder what matters. */
export function hintScreen(track: MediaStreamTrack, hint: ScreenHint): void {
  track.contentHint = hint;
}

/** Undefined when the person closed the browser's dialog without choosing. */
export async function openScreen({
  hint,
  sound,
}: ScreenOptions): Promise<ScreenTracks | undefined> {
  const devices = mediaDevices();
  if (!devices?.getDisplayMedia) throw new DeviceError('missing');
  const options: DisplayMediaStreamOptions & Record<string, unknown> = {
    video: { frameRate: SCREEN_FRAMES_PER_S[hint] },
    audio: sound && SCREEN_AUDIO,
    // This meeting within itself would be an endless corridor.
    selfBrowserSurface: 'exclude',
    surfaceSwitching: 'include',
    systemAudio: sound ? 'include' : 'exclude',
  };
  let stream: MediaStream;
  try {
    stream = await devices.getDisplayMedia(options);
  } catch (error) {
    if ((error as DOMException).name === 'NotAllowedError') return undefined;
    throw new DeviceError(problemOf(error));
  }
  const [video] = stream.getVideoTracks();
  if (!video) throw new DeviceError('missing');
  hintScreen(video, hint);
  const [audio] = stream.getAudioTracks();
  if (audio) audio.contentHint = 'music';
  return { video, audio };
}

/** Phones have no screen to share. */
export function canShareScreen(): boolean {
  return typeof mediaDevices()?.getDisplayMedia === 'function';
}

/**
 * A device that was chosen is the one that is opened, even if another would give a better picture;
 * only where the browser does not know it any more, any other will do.
 */
async function openChosen(
  deviceId: string | undefined,
  constraints: (deviceId: string | undefined) => MediaStreamConstraints,
): Promise<MediaStreamTrack> {
  try {
    return await openTrack(constraints(deviceId));
  } catch (error) {
    if (deviceId === undefined || (error as DeviceError).problem !== 'missing') throw error;
    return openTrack(constraints(undefined));
  }
}

async function openTrack(constraints: MediaStreamConstraints): Promise<MediaStreamTrack> {
  const devices = mediaDevices();
  if (!devices) throw new DeviceError('insecure');
  try {
    const [track] = (await devices.getUserMedia(constraints)).getTracks();
    if (track) return track;
  } catch (error) {
    throw new DeviceError(problemOf(error));
  }
  throw new DeviceError('missing');
}

function problemOf(error: unknown): DeviceProblem {
  switch ((error as DOMException).name) {
    case 'NotAllowedError':
    case 'SecurityError':
      return 'refused';
    case 'NotFoundError':
    case 'OverconstrainedError':
      return 'missing';
    default:
      return 'busy';
  }
}

/** Absent on a page that is neither https nor localhost. The chooser of speakers is Firefox's. */
function mediaDevices():
  | (MediaDevices & { selectAudioOutput?(): Promise<MediaDeviceInfo> })
  | undefined {
  return (navigator as { mediaDevices?: MediaDevices }).mediaDevices;
}
