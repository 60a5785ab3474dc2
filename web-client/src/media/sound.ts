// How a microphone is treated before it is sent. Pure.

/** `strong` is a filter of our own for loud surroundings; `browser` what the browser does. */
export type Suppression = 'browser' | 'strong' | 'off';

export interface Sound {
  suppression: Suppression;
  echoCancellation: boolean;
  autoGain: boolean;
  /** An instrument instead of a voice: nothing is filtered, and two channels are taken. */
  music: boolean;
}

export const DEFAULT_SOUND: Sound = {
  suppression: 'browser',
  echoCancellation: true,
  autoGain: true,
  music: false,
};

export function microphoneConstraints(sound: Sound, deviceId?: string): MediaTrackConstraints {
  const { suppression, echoCancellation, autoGain, music } = sound;
  return {
    echoCancellation: echoCancellation && !music,
    // Two filters in a row make voices hollow.
    noiseSuppression: suppression === 'browser' && !music,
    autoGainControl: autoGain && !music,
    ...(music && { channelCount: { ideal: 2 } }),
    ...(deviceId && { deviceId: { exact: deviceId } }),
  };
}

export function filtersStrongly({ suppression, music }: Sound): boolean {
  return suppression === 'strong' && !music;
}

export function writtenSound(sound: Sound): string {
  return JSON.stringify(sound);
}

export function readSound(text: string | undefined): Sound {
  try {
    const value = JSON.parse(text ?? '{}') as Partial<Record<keyof Sound, unknown>>;
    const flag = (key: 'echoCancellation' | 'autoGain' | 'music') =>
      typeof value[key] === 'boolean' ? value[key] : DEFAULT_SOUND[key];
    const { suppression } = value;
    return {
      suppression:
        suppression === 'browser' || suppression === 'strong' || suppression === 'off'
          ? suppression
          : DEFAULT_SOUND.suppression,
      echoCancellation: flag('echoCancellation'),
      autoGain: flag('autoGain'),
      music: flag('music'),
    };
  } catch {
    return DEFAULT_SOUND;
  }
}
