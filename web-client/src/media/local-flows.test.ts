// What happens to one's devices while a meeting goes on, with a browser that the test plays.

import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { preferences } from '../preferences.svelte';
import type { Filters } from './filters';
import { LocalMedia } from './local.svelte';
import { DEFAULT_SOUND } from './sound';

class FakeTrack {
  readyState: 'live' | 'ended' = 'live';
  muted = false;
  enabled = true;
  contentHint = '';
  onended: (() => void) | null = null;
  onmute: (() => void) | null = null;
  onunmute: (() => void) | null = null;
  constructor(
    readonly kind: 'audio' | 'video',
    readonly deviceId: string,
    readonly constraints: MediaTrackConstraints,
  ) {}
  getSettings = () => ({ deviceId: this.deviceId, width: 320, height: 180 });
  stop = vi.fn(() => {
    this.readyState = 'ended';
  });
  /** What the system does, of which an event tells. */
  end(): void {
    this.readyState = 'ended';
    this.onended?.();
  }
}

const info = (kind: string, deviceId: string, groupId = '') =>
  ({ kind, deviceId, label: `the ${deviceId}`, groupId }) as MediaDeviceInfo;
const INNER = info('audioinput', 'inner', 'laptop');
const HEADSET = info('audioinput', 'headset', 'headset');
const EARS = info('audiooutput', 'ears', 'headset');
const CAMERA = info('videoinput', 'camera');

/** The browser: its devices, and every track that it gave. */
class FakeBrowser {
  devices = [INNER, HEADSET, CAMERA];
  given: FakeTrack[] = [];
  refuse: string | undefined;
  hidden = false;
  stored = new Map<string, string>();
  readonly #page = new EventTarget();
  readonly #media = new EventTarget();

  install(): void {
    const page = this.#page;
    vi.stubGlobal('navigator', {
      mediaDevices: Object.assign(this.#media, {
        enumerateDevices: async () => [...this.devices],
        getUserMedia: async (wanted: MediaStreamConstraints) => this.#give(wanted),
      }),
    });
    const isHidden = () => this.hidden;
    vi.stubGlobal('document', {
      addEventListener: page.addEventListener.bind(page),
      removeEventListener: page.removeEventListener.bind(page),
      get visibilityState() {
        return isHidden() ? 'hidden' : 'visible';
      },
    });
    vi.stubGlobal('addEventListener', page.addEventListener.bind(page));
    vi.stubGlobal('removeEventListener', page.removeEventListener.bind(page));
    vi.stubGlobal('localStorage', {
      getItem: (key: string) => this.stored.get(key) ?? null,
      setItem: (key: string, value: string) => this.stored.set(key, value),
    });
  }

  async change(devices: MediaDeviceInfo[]): Promise<void> {
    this.devices = devices;
    this.#media.dispatchEvent(new Event('devicechange'));
    await vi.advanceTimersByTimeAsync(0);
  }

  async hide(): Promise<void> {
    this.hidden = true;
    this.#page.dispatchEvent(new Event('visibilitychange'));
    await vi.advanceTimersByTimeAsync(0);
  }

  async show(): Promise<void> {
    this.hidden = false;
    this.#page.dispatchEvent(new Event('visibilitychange'));
    await vi.advanceTimersByTimeAsync(1_500);
  }

  get last(): FakeTrack {
    const track = this.given.at(-1);
    if (!track) throw new Error('no track was given');
    return track;
  }

  #give({ audio, video }: MediaStreamConstraints): { getTracks(): FakeTrack[] } {
    if (this.refuse) throw new DOMException('no', this.refuse);
    const constraints = (audio ?? video) as MediaTrackConstraints;
    const kind = audio ? 'audio' : 'video';
    const list = this.devices.filter((device) => device.kind === `${kind}input`);
    const exact = (constraints.deviceId as { exact?: string } | undefined)?.exact;
    const device = exact ? list.find(({ deviceId }) => deviceId === exact) : list[0];
    if (exact && !device) throw new DOMException('another', 'OverconstrainedError');
    if (!device) throw new DOMException('none', 'NotFoundError');
    const track = new FakeTrack(kind, device.deviceId, constraints);
    this.given.push(track);
    return { getTracks: () => [track] };
  }
}

let browser: FakeBrowser;
let filters: { blur: ReturnType<typeof vi.fn>; suppress: ReturnType<typeof vi.fn> };
let local: LocalMedia;

beforeEach(async () => {
  vi.useFakeTimers();
  vi.spyOn(console, 'info').mockImplementation(() => {});
  browser = new FakeBrowser();
  browser.install();
  filters = { blur: vi.fn(), suppress: vi.fn() };
  preferences.background = 'off';
  preferences.sound = DEFAULT_SOUND;
  browser.stored.clear();
  local = await opened();
});

afterEach(() => {
  local.close();
  vi.useRealTimers();
  vi.unstubAllGlobals();
  vi.restoreAllMocks();
});

async function opened(): Promise<LocalMedia> {
  const made = new LocalMedia({ width: 320, height: 180 }, filters as unknown as Filters);
  await vi.advanceTimersByTimeAsync(0);
  return made;
}

const kinds = () => local.notices.map(({ kind }) => kind);

describe('a chosen microphone', () => {
  it('is used at once, told to the meeting, and remembered', async () => {
    await local.turn('microphone', true);
    const [first] = browser.given;
    const told = vi.fn();
    local.onChange(told);
    await local.choose('microphone', 'headset');
    expect(first?.stop).toHaveBeenCalled();
    expect(local.track('microphone')).toBe(browser.last);
    expect(browser.last.deviceId).toBe('headset');
    expect(told).toHaveBeenCalledWith('microphone');

    const next = await opened();
    await next.turn('microphone', true);
    expect(browser.last.deviceId).toBe('headset');
    next.close();
  });

  it('is found by its name when the browser has changed its ids', async () => {
    await local.choose('microphone', 'headset');
    browser.devices = [INNER, { ...HEADSET, deviceId: 'changed' } as MediaDeviceInfo];
    const next = await opened();
    await next.turn('microphone', true);
    expect(browser.last.deviceId).toBe('changed');
    next.close();
  });

  it('is replaced when it is pulled out, and used again when it is back', async () => {
    await local.choose('microphone', 'headset');
    await local.turn('microphone', true);
    const pulled = browser.last;
    browser.devices = [INNER, CAMERA];
    pulled.end();
    await vi.advanceTimersByTimeAsync(0);
    expect(local.track('microphone')).toBe(browser.last);
    expect(browser.last.deviceId).toBe('inner');
    expect(local.notices).toMatchObject([{ kind: 'lost', label: 'the headset' }]);

    await browser.change([INNER, HEADSET, CAMERA]);
    expect(browser.last.deviceId).toBe('headset');
    expect(local.track('microphone')).toBe(browser.last);
    expect(kinds()).toEqual(['back']);
  });

  it('stays muted when it is pulled out while muted', async () => {
    await local.choose('microphone', 'headset');
    await local.turn('microphone', true);
    await local.turn('microphone', false);
    await browser.change([INNER, CAMERA]);
    expect(local.microphone.status).toBe('off');
    await local.turn('microphone', true);
    expect(browser.last.deviceId).toBe('inner');
  });
});

describe('a headset that is plugged in', () => {
  beforeEach(async () => {
    local.close();
    browser.devices = [INNER, CAMERA];
    local = await opened();
    await local.turn('microphone', true);
    await browser.change([INNER, HEADSET, EARS, CAMERA]);
  });

  it('is offered once, and used as both when it is accepted', async () => {
    const [offer] = local.notices;
    expect(local.notices).toHaveLength(1);
    if (offer?.kind !== 'offer') throw new Error('it was not offered');
    expect(browser.last.deviceId).toBe('inner');
    await local.accept(offer);
    expect(browser.last.deviceId).toBe('headset');
    expect(local.speaker).toBe('ears');
    expect(local.notices).toEqual([]);
  });

  it('is no longer offered when it is gone', async () => {
    await browser.change([INNER, CAMERA]);
    expect(local.notices).toEqual([]);
  });
});

it('plays through the speaker of the system when the chosen one is gone', async () => {
  await browser.change([INNER, EARS]);
  await local.choose('speaker', 'ears');
  expect(local.speaker).toBe('ears');
  await browser.change([INNER]);
  expect(local.speaker).toBe('');
  expect(kinds()).toContain('lost');
  await browser.change([INNER, EARS]);
  expect(local.speaker).toBe('ears');
});

describe('what a phone takes away', () => {
  it('is opened again when the page is back', async () => {
    await local.turn('camera', true);
    await browser.hide();
    browser.last.end();
    await vi.advanceTimersByTimeAsync(0);
    expect(local.track('camera')).toBeNull();
    expect(kinds()).toEqual(['interrupted']);
    expect(browser.given).toHaveLength(1);

    await browser.show();
    expect(browser.given).toHaveLength(2);
    expect(local.track('camera')).toBe(browser.last);
    expect(kinds()).toEqual([]);
  });

  it('is opened again when it stays silent, and not when it comes back by itself', async () => {
    await local.turn('microphone', true);
    browser.last.muted = true;
    browser.last.onmute?.();
    expect(kinds()).toEqual(['interrupted']);
    browser.last.muted = false;
    browser.last.onunmute?.();
    expect(kinds()).toEqual([]);
    await browser.hide();
    await browser.show();
    expect(browser.given).toHaveLength(1);

    browser.last.muted = true;
    await browser.hide();
    await browser.show();
    expect(browser.given).toHaveLength(2);
  });

  it('is tried again for as long as a call holds it', async () => {
    await local.turn('microphone', true);
    browser.refuse = 'NotReadableError';
    browser.last.end();
    await vi.advanceTimersByTimeAsync(7_000);
    expect(local.microphone.status).toBe('starting');
    expect(kinds()).toEqual(['interrupted']);
    browser.refuse = undefined;
    await vi.advanceTimersByTimeAsync(3_000);
    expect(local.track('microphone')).toBe(browser.last);
    expect(kinds()).toEqual([]);
  });

  it('stays off when it was switched off meanwhile', async () => {
    await local.turn('camera', true);
    await browser.hide();
    browser.last.end();
    await vi.advanceTimersByTimeAsync(0);
    await local.turn('camera', false);
    await browser.show();
    expect(browser.given).toHaveLength(1);
    expect(local.camera.status).toBe('off');
  });

  it('is given up when it breaks again and again', async () => {
    await local.turn('camera', true);
    for (let time = 0; time < 4; time += 1) {
      browser.last.end();
      await vi.advanceTimersByTimeAsync(100);
    }
    expect(browser.given).toHaveLength(4);
    expect(local.camera).toMatchObject({ status: 'off', problem: 'missing' });
  });

  it('says so when the permission is gone', async () => {
    await local.turn('camera', true);
    browser.refuse = 'NotAllowedError';
    browser.last.end();
    await vi.advanceTimersByTimeAsync(0);
    expect(local.camera).toMatchObject({ status: 'off', problem: 'refused' });
  });
});

describe('the background', () => {
  const blurred = () => ({ track: { blurred: true }, set: vi.fn(), stop: vi.fn() });

  it('is blurred while the camera runs, without another camera', async () => {
    const made = blurred();
    filters.blur.mockResolvedValue(made);
    await local.turn('camera', true);
    const camera = browser.last;
    await local.setBackground('light');
    expect(local.track('camera')).toBe(made.track);
    await local.setBackground('strong');
    expect(made.set).toHaveBeenLastCalledWith('strong');
    expect(filters.blur).toHaveBeenCalledOnce();
    await local.setBackground('off');
    expect(local.track('camera')).toBe(camera);
    expect(made.stop).toHaveBeenCalledOnce();
    expect(browser.given).toHaveLength(1);
  });

  it('costs nothing while the camera is off, and is there when it is on again', async () => {
    const made = [blurred(), blurred()];
    filters.blur.mockResolvedValueOnce(made[0]).mockResolvedValueOnce(made[1]);
    await local.setBackground('light');
    expect(filters.blur).not.toHaveBeenCalled();
    await local.turn('camera', true);
    await local.turn('camera', false);
    expect(made[0]?.stop).toHaveBeenCalledOnce();
    await local.turn('camera', true);
    expect(local.track('camera')).toBe(made[1]?.track);
  });

  it('becomes sharp with a notice when the machine is too slow', async () => {
    const made = blurred();
    filters.blur.mockResolvedValue(made);
    await local.turn('camera', true);
    await local.setBackground('light');
    const [, options] = filters.blur.mock.calls[0] ?? [];
    const { onFrame } = options as { onFrame(ms: number): void };
    for (let frame = 0; frame < 100; frame += 1) onFrame(300);
    await vi.advanceTimersByTimeAsync(0);
    expect(local.track('camera')).toBe(browser.last);
    expect(local.background).toBe('off');
    expect(kinds()).toEqual(['blur_slow']);
    expect(made.stop).toHaveBeenCalledOnce();
  });

  it('stays sharp with a notice when the blur does not load', async () => {
    filters.blur.mockRejectedValue(new Error('no WebGL'));
    await local.setBackground('strong');
    await local.turn('camera', true);
    expect(local.track('camera')).toBe(browser.last);
    expect(kinds()).toEqual(['blur_failed']);
  });

  it('does not come after all when it was switched off while it loaded', async () => {
    const made = blurred();
    let load = (_: unknown) => {};
    filters.blur.mockReturnValue(new Promise((resolve) => (load = resolve)));
    await local.turn('camera', true);
    const setting = local.setBackground('light');
    await local.setBackground('off');
    load(made);
    await setting;
    expect(local.track('camera')).toBe(browser.last);
    expect(made.stop).toHaveBeenCalledOnce();
  });
});

describe('the sound', () => {
  it('passes the strong filter, which ends with it', async () => {
    const filter = { track: { enabled: true }, stop: vi.fn() };
    filters.suppress.mockResolvedValue(filter);
    await local.turn('microphone', true);
    await local.setSound({ ...DEFAULT_SOUND, suppression: 'strong' });
    expect(browser.last.constraints.noiseSuppression).toBe(false);
    expect(local.track('microphone')).toBe(filter.track);
    await local.turn('microphone', false);
    expect(filter.track.enabled).toBe(false);
    await local.setSound(DEFAULT_SOUND);
    expect(filter.stop).toHaveBeenCalledOnce();
    expect(local.microphone.status).toBe('off');
  });

  it('goes on unfiltered with a notice when the filter does not load', async () => {
    filters.suppress.mockRejectedValue(new Error('no worklet'));
    await local.setSound({ ...DEFAULT_SOUND, suppression: 'strong' });
    await local.turn('microphone', true);
    expect(local.track('microphone')).toBe(browser.last);
    expect(kinds()).toEqual(['suppression_failed']);
  });
});
