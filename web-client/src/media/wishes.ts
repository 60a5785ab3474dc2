// Which device is meant: the one that was chosen once, found again by its id or, since browsers
// change ids, by its name; and what a change in the list of devices means for it. Pure.

/** A device that was chosen. */
export interface Wish {
  id: string;
  label: string;
}

/** A device as the browser lists it, as much of it as matters here. */
export interface Listed {
  deviceId: string;
  label: string;
  groupId: string;
}

/** Chromium lists the device that the system prefers a second time under these. */
const ALIASES = ['default', 'communications'];

/** Undefined: it is not there, or none was chosen, and the browser's own choice stands. */
export function found<Device extends Listed>(
  wish: Wish | undefined,
  devices: readonly Device[],
): Device | undefined {
  if (!wish) return undefined;
  return (
    devices.find(({ deviceId }) => deviceId === wish.id) ??
    devices.find(({ label }) => label !== '' && label === wish.label)
  );
}

export type Change =
  /** What was in use is gone: use what is there. */
  | { kind: 'lost'; label: string }
  /** What was chosen once is there again: use it. */
  | { kind: 'back'; label: string }
  /** It was just plugged in, and may be wanted. */
  | { kind: 'offer'; device: Listed };

/**
 * What a change of the list means. `used` is the id of the device that is open now, undefined when
 * none is. The first list, and a list without names because nothing was allowed yet, are no news:
 * `named` says that the browser has told names before, of whatever kind.
 */
export function changeOf(
  before: readonly Listed[],
  now: readonly Listed[],
  wish: Wish | undefined,
  used: string | undefined,
  named = before.some(({ label }) => label !== ''),
): Change | undefined {
  const wished = found(wish, now);
  if (wished && used !== undefined && used !== wished.deviceId && !found(wish, before)) {
    return { kind: 'back', label: wished.label };
  }
  const lost = before.find(({ deviceId }) => deviceId === used);
  if (lost && !now.some(({ deviceId }) => deviceId === used)) {
    return { kind: 'lost', label: lost.label };
  }
  const known = new Set(before.map(({ deviceId }) => deviceId));
  const device = named
    ? now.find(
        ({ deviceId, label }) =>
          label !== '' && !known.has(deviceId) && !ALIASES.includes(deviceId),
      )
    : undefined;
  return device && device.deviceId !== used ? { kind: 'offer', device } : undefined;
}

/** Without the second mention of the same device. */
export function withoutAliases<Device extends Listed>(devices: readonly Device[]): Device[] {
  const real = devices.filter(({ deviceId }) => !ALIASES.includes(deviceId));
  return real.length > 0 ? real : [...devices];
}

export function written(wish: Wish): string {
  return JSON.stringify(wish);
}

/** An earlier version remembered the id alone. */
export function read(text: string | undefined): Wish | undefined {
  if (!text) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return { id: text, label: '' };
    const { id, label } = value as Record<string, unknown>;
    return typeof id === 'string' && typeof label === 'string' ? { id, label } : undefined;
  } catch {
    return { id: text, label: '' };
  }
}
