// What is to be told about devices while a meeting goes on. Pure.

import type { Listed } from './wishes';

export type ListedSource = 'microphone' | 'camera' | 'speaker';

export type DeviceNotice =
  /** It was pulled out, and another one is used. */
  | { kind: 'lost'; source: ListedSource; label: string }
  /** It is there again and is used again. */
  | { kind: 'back'; source: ListedSource; label: string }
  /** It was plugged in; a headset comes as a microphone with its speaker. */
  | { kind: 'offer'; source: ListedSource; label: string; device: Listed; speaker?: Listed }
  /** A call or another program has taken it; it comes back by itself. */
  | { kind: 'interrupted'; source: 'microphone' | 'camera' }
  | { kind: 'blur_slow' | 'blur_failed' | 'suppression_failed' };

/** With one more, which takes the place of an older one about the same. */
export function withNotice(
  notices: readonly DeviceNotice[],
  notice: DeviceNotice,
): readonly DeviceNotice[] {
  return [...notices.filter((other) => topic(other) !== topic(notice)), notice];
}

/** Without those about a device that is gone again, or that has been chosen otherwise since. */
export function withoutOffer(
  notices: readonly DeviceNotice[],
  deviceId: string,
): readonly DeviceNotice[] {
  return notices.filter((notice) => notice.kind !== 'offer' || !isAbout(notice, deviceId));
}

export function withoutTopic(
  notices: readonly DeviceNotice[],
  notice: DeviceNotice,
): readonly DeviceNotice[] {
  return notices.filter((other) => topic(other) !== topic(notice));
}

/** The offers of one change, a headset as one. */
export function offersOf(
  devices: readonly { source: ListedSource; device: Listed }[],
): Extract<DeviceNotice, { kind: 'offer' }>[] {
  const speaker = devices.find(({ source }) => source === 'speaker')?.device;
  const microphone = devices.find(({ source }) => source === 'microphone')?.device;
  const isHeadset =
    speaker !== undefined &&
    microphone !== undefined &&
    microphone.groupId !== '' &&
    microphone.groupId === speaker.groupId;
  return devices.flatMap(({ source, device }) => {
    if (isHeadset && source === 'speaker') return [];
    const offer = { kind: 'offer' as const, source, label: device.label, device };
    return [isHeadset && source === 'microphone' ? { ...offer, speaker } : offer];
  });
}

/** Of what follows this: of a device there is one thing to say at a time. */
export function topic(notice: DeviceNotice): string {
  switch (notice.kind) {
    case 'lost':
    case 'back':
      return `use ${notice.source}`;
    case 'offer':
    case 'interrupted':
      return `${notice.kind} ${notice.source}`;
    case 'blur_slow':
    case 'blur_failed':
      return 'blur';
    case 'suppression_failed':
      return 'suppression';
  }
}

function isAbout(notice: Extract<DeviceNotice, { kind: 'offer' }>, deviceId: string): boolean {
  return notice.device.deviceId === deviceId || notice.speaker?.deviceId === deviceId;
}
