// Cameras, microphones and screens of this machine.

export type DeviceProblem = 'refused' | 'missing' | 'busy' | 'insecure';

export class DeviceError extends Error {
  constructor(readonly problem: DeviceProblem) {
    super(problem);
  }
}

export interface Devices {
  microphones: MediaDeviceInfo[];
  cameras: MediaDeviceInfo[];
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
  return { microphones: named('audioinput'), cameras: named('videoinput') };
}

export function onDevicesChange(listener: () => void): () => void {
  const devices = mediaDevices();
  devices?.addEventListener('devicechange', listener);
  return () => devices?.removeEventListener('devicechange', listener);
}

export function openMicrophone(deviceId: string | undefined): Promise<MediaStreamTrack> {
  const audio: MediaTrackConstraints = {
    echoCancellation: true,
    noiseSuppression: true,
    autoGainControl: true,
    ...(deviceId && { deviceId: { ideal: deviceId } }),
  };
  return openTrack({ audio });
}

export async function openCamera(
  deviceId: string | undefined,
  size: CaptureSize,
): Promise<MediaStreamTrack> {
  const video: MediaTrackConstraints = {
    width: { ideal: size.width },
    height: { ideal: size.height },
    frameRate: { ideal: FRAMES_PER_S },
    ...(deviceId ? { deviceId: { ideal: deviceId } } : { facingMode: 'user' }),
  };
  const track = await openTrack({ video });
  track.contentHint = 'motion';
  return track;
}

export interface ScreenTracks {
  video: MediaStreamTrack;
  audio: MediaStreamTrack | undefined;
}

/** What matters of a shared screen: that it can be read, or that it moves as a film does. */
export type ScreenHint = 'detail' | 'motion';

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
export async function openScreen(hint: ScreenHint): Promise<ScreenTracks | undefined> {
  const devices = mediaDevices();
  if (!devices?.getDisplayMedia) throw new DeviceError('missing');
  let stream: MediaStream;
  try {
    stream = await devices.getDisplayMedia({
      video: { frameRate: { ideal: FRAMES_PER_S } },
      audio: SCREEN_AUDIO,
    });
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

/** Absent on a page that is neither https nor localhost. */
function mediaDevices(): MediaDevices | undefined {
  return navigator.mediaDevices as MediaDevices | undefined;
}
