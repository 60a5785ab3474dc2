import { describe, expect, it } from 'vitest';
import { type DeviceNotice, offersOf, withNotice, withoutOffer } from './notices';
import { FRESH_PACE, isTooSlow, paceAfter } from './pace';
import { recoveryOf } from './recovery';
import { DEFAULT_SOUND, filtersStrongly, microphoneConstraints, readSound } from './sound';
import { REPEAT_MS, SILENCE, type Speech, speechAfter } from './speech';
import { IDLE, type TalkEvent, talkAfter } from './talk';
import { changeOf, found, type Listed, read, withoutAliases, written } from './wishes';

const device = (deviceId: string, label = deviceId, groupId = ''): Listed => ({
  deviceId,
  label,
  groupId,
});
const [inner, headset, alias] = [device('inner'), device('headset'), device('default')];

describe('a wish', () => {
  it.each([
    ['its id', { id: 'headset', label: '' }, 'headset'],
    ['its name, when the id has changed', { id: 'old', label: 'headset' }, 'headset'],
    ['nothing, when it is not there', { id: 'old', label: 'other' }, undefined],
    ['nothing, when its name is not known', { id: 'old', label: '' }, undefined],
    ['nothing, when there is none', undefined, undefined],
  ])('is found by %s', (_, wish, id) => {
    expect(found(wish, [inner, headset, device('nameless', '')])?.deviceId).toBe(id);
  });

  it('survives being written, and an earlier version that wrote the id alone', () => {
    const wish = { id: 'a"b', label: 'Cuffie' };
    expect(read(written(wish))).toEqual(wish);
    expect(read('abc123')).toEqual({ id: 'abc123', label: '' });
    expect(read('12')).toEqual({ id: '12', label: '' });
    expect(read(undefined)).toBeUndefined();
    expect(read('{"id":1}')).toBeUndefined();
  });
});

describe('changeOf', () => {
  const wish = { id: 'headset', label: 'headset' };
  it.each([
    ['nothing changed', [inner], [inner], undefined, 'inner', undefined],
    ['the first list', [], [inner, headset], undefined, 'inner', undefined],
    [
      'names after a permission',
      [device('inner', '')],
      [inner, headset],
      undefined,
      'inner',
      undefined,
    ],
    ['used one gone', [inner, headset], [inner], undefined, 'headset', 'lost'],
    ['another one gone', [inner, headset], [inner], undefined, 'inner', undefined],
    ['chosen one back', [inner], [inner, headset], wish, 'inner', 'back'],
    ['chosen one back, nothing open', [inner], [inner, headset], wish, undefined, 'offer'],
    ['chosen one there all the time', [inner, headset], [inner, headset], wish, 'inner', undefined],
    ['a new one', [inner], [inner, headset], undefined, 'inner', 'offer'],
    ['a new alias alone', [inner], [inner, alias], undefined, 'inner', undefined],
    ['swapped at once', [inner, headset], [inner, device('new')], undefined, 'headset', 'lost'],
  ])('of %s', (_, before, now, wish, used, kind) => {
    expect(changeOf(before, now, wish, used)?.kind).toBe(kind);
  });

  it('leaves aliases out unless there is nothing else', () => {
    expect(withoutAliases([alias, inner])).toEqual([inner]);
    expect(withoutAliases([alias])).toEqual([alias]);
  });
});

describe('notices', () => {
  it('offer a headset once, and two strangers twice', () => {
    const [microphone, speaker] = [device('m', 'Cuffie', 'g'), device('s', 'Cuffie', 'g')];
    const both = [
      { source: 'microphone' as const, device: microphone },
      { source: 'speaker' as const, device: speaker },
    ];
    expect(offersOf(both)).toMatchObject([{ source: 'microphone', speaker: { deviceId: 's' } }]);
    const strangers = both.map((one, i) => ({
      ...one,
      device: { ...one.device, groupId: `${i}` },
    }));
    expect(offersOf(strangers).map(({ source }) => source)).toEqual(['microphone', 'speaker']);
  });

  it('say the latest about each thing', () => {
    const lost: DeviceNotice = { kind: 'lost', source: 'camera', label: 'a' };
    const back: DeviceNotice = { kind: 'back', source: 'camera', label: 'a' };
    expect(withNotice([lost, { kind: 'blur_slow' }], back)).toEqual([{ kind: 'blur_slow' }, back]);
  });

  it('take an offer back when its device is gone', () => {
    const offers = offersOf([{ source: 'camera', device: headset }]);
    expect(withoutOffer(offers, 'headset')).toEqual([]);
    expect(withoutOffer(offers, 'inner')).toEqual(offers);
  });
});

describe('the sound of a microphone', () => {
  it.each([
    ['by default', {}, [true, true, true]],
    ['with the strong filter', { suppression: 'strong' as const }, [true, false, true]],
    ['unfiltered', { suppression: 'off' as const, autoGain: false }, [true, false, false]],
    ['with headphones', { echoCancellation: false }, [false, true, true]],
    ['as music', { music: true, suppression: 'strong' as const }, [false, false, false]],
  ])('%s', (_, changed, expected) => {
    const { echoCancellation, noiseSuppression, autoGainControl, channelCount } =
      microphoneConstraints({ ...DEFAULT_SOUND, ...changed });
    expect([echoCancellation, noiseSuppression, autoGainControl]).toEqual(expected);
    expect(channelCount).toEqual('music' in changed ? { ideal: 2 } : undefined);
  });

  it('as music has no strong filter either', () => {
    expect(filtersStrongly({ ...DEFAULT_SOUND, suppression: 'strong' })).toBe(true);
    expect(filtersStrongly({ ...DEFAULT_SOUND, suppression: 'strong', music: true })).toBe(false);
  });

  it.each([undefined, 'nonsense', '{"suppression":"loud","music":"yes"}', 'null'])(
    'is the default when %s is remembered',
    (text) => expect(readSound(text)).toEqual(DEFAULT_SOUND),
  );
});

describe('the pace of the blur', () => {
  const after = (...times: [count: number, ms: number][]) =>
    times
      .flatMap(([count, ms]) => Array.from({ length: count }, () => ms))
      .reduce(paceAfter, FRESH_PACE);
  it.each<[string, boolean, [number, number][]]>([
    ['quick frames', false, [[200, 25]]],
    [
      'a slow start',
      false,
      [
        [15, 900],
        [200, 25],
      ],
    ],
    [
      'one long hiccup',
      false,
      [
        [60, 25],
        [10, 2_000],
        [10, 25],
      ],
    ],
    ['slow frames, too few to tell', false, [[40, 200]]],
    ['slow frames', true, [[60, 200]]],
    [
      'mostly slow frames',
      true,
      [
        [15, 25],
        [18, 25],
        [27, 200],
      ],
    ],
  ])('of %s', (_, tooSlow, times) => {
    expect(isTooSlow(after(...times))).toBe(tooSlow);
  });
});

describe('speech into a muted microphone', () => {
  /** Levels each 80 ms; gives when it was said, in ms. */
  function said(levels: readonly number[], speech: Speech = SILENCE): number[] {
    const times: number[] = [];
    let state = speech;
    levels.forEach((level, index) => {
      state = speechAfter(state, level, index * 80);
      if (state.speaks) times.push(index * 80);
    });
    return times;
  }
  const for_s = (seconds: number, ...pattern: number[]) =>
    Array.from({ length: Math.round(seconds / 0.08) }, (_, i) => pattern[i % pattern.length] ?? 0);

  it.each([
    ['silence', for_s(30, 0.05), 0],
    ['a loud fan', [...for_s(5, 0.35), ...for_s(30, 0.38)], 0],
    ['a cough', [...for_s(5, 0.1), ...for_s(0.5, 0.9), ...for_s(5, 0.1)], 0],
    ['a keyboard', for_s(30, 0.7, 0.1, 0.1, 0.1), 0],
    ['words with pauses', for_s(4, 0.7, 0.7, 0.7, 0.2), 1],
    ['a long speech', for_s(59, 0.7, 0.6, 0.2), 1],
  ])('%s', (_, levels, times) => {
    expect(said(levels)).toHaveLength(times);
  });

  it('is said again after a minute, and not before', () => {
    const [first = 0, second = 0] = said(for_s(70, 0.7, 0.6, 0.2));
    expect(second - first).toBeGreaterThanOrEqual(REPEAT_MS);
  });
});

describe('recoveryOf', () => {
  it.each([
    ['a live track', { track: 'live' }, 'keep'],
    ['one that nobody wants', { track: 'ended', wanted: false }, 'keep'],
    ['one that ended', { track: 'ended' }, 'reopen'],
    ['one that is silenced', { track: 'muted' }, 'reopen'],
    ['one that ended behind a locked screen', { track: 'ended', hidden: true }, 'wait'],
    ['one that breaks again and again', { track: 'ended', reopened_ms: [90, 91, 92] }, 'give_up'],
    ['one that stays silent', { track: 'muted', reopened_ms: [90, 91, 92] }, 'wait'],
    [
      'one that broke long ago',
      { track: 'ended', reopened_ms: [90, 91, 92], now_ms: 20_000 },
      'reopen',
    ],
  ] as const)('of %s', (_, trouble, expected) => {
    const usual = { wanted: true, hidden: false, reopened_ms: [], now_ms: 100 };
    expect(recoveryOf({ ...usual, ...trouble })).toBe(expected);
  });
});

describe('push to talk', () => {
  const down = { type: 'down', repeat: false, modified: false, taken: false, muted: true } as const;
  const held = talkAfter(IDLE, down).talk;
  it.each<[string, typeof IDLE, TalkEvent, string, boolean]>([
    ['a press while muted', IDLE, down, 'on', true],
    ['a press while typing', IDLE, { ...down, taken: true }, 'keep', false],
    ['a press with another key', IDLE, { ...down, modified: true }, 'keep', false],
    ['a press while the microphone is on', IDLE, { ...down, muted: false }, 'keep', false],
    ['a press that began elsewhere', IDLE, { ...down, repeat: true }, 'keep', false],
    ['the repetition of a held key', held, { ...down, repeat: true, muted: false }, 'keep', true],
    ['the release', held, { type: 'up' }, 'off', true],
    ['the release of a key that did nothing', IDLE, { type: 'up' }, 'keep', false],
    ['a window that loses the focus', held, { type: 'away' }, 'off', false],
    ['the same without a held key', IDLE, { type: 'away' }, 'keep', false],
  ])('on %s', (_, talk, event, turn, consumed) => {
    expect(talkAfter(talk, event)).toMatchObject({ turn, consumed });
  });
});
