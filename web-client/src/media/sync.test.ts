import { describe, expect, it } from 'vitest';
import { evenOut, pairsOf, type SyncSlot, skewOf, type Targets } from './sync';

const playing = (kind: 'audio' | 'video', seconds: number, at: number) => ({
  kind,
  rtpTimestamp: Math.round(seconds * (kind === 'audio' ? 48_000 : 90_000)) % 2 ** 32,
  at,
});

describe('skewOf', () => {
  // The clock of voices starts anew after a day, that of pictures after half a day.
  it.each([5, 47_000, 47_800, 60_000, 89_400, 89_500, 143_000])('%i s after the start', (start) => {
    for (const skew of [0, 70, -130]) {
      const voice = playing('audio', start + 0.1, 1_100);
      const picture = playing('video', start, 1_000 + skew);
      expect(skewOf(voice, picture)).toBeCloseTo(skew, 0);
    }
  });
});

describe('evenOut', () => {
  const none = { voice: 0, picture: 0 };

  it('leaves alone what nobody notices, and what cannot be', () => {
    for (const skew of [0, 20, -20, 5_000]) {
      expect(evenOut([skew, skew, skew], none)).toBe(none);
    }
    expect(evenOut([-100, -100], none)).toBe(none);
  });

  it('makes the one that is ahead wait', () => {
    expect(evenOut([-45, -45, -45], none)).toEqual({ voice: 0, picture: 45 });
    expect(evenOut([40, 40, 40], none)).toEqual({ voice: 40, picture: 0 });
    // One measurement out of line does not count.
    expect(evenOut([-40, 300, -45], none)).toEqual({ voice: 0, picture: 40 });
  });

  it('takes back a wait before it asks for another', () => {
    expect(evenOut([50, 50, 50], { voice: 0, picture: 30 })).toEqual({ voice: 20, picture: 0 });
  });

  /** A pair whose buffers follow what they are told as slowly as a browser's. */
  function play(natural: Targets, jitterMs: number, rounds: number) {
    const random = (round: number) => Math.sin(round * 12.9898) * jitterMs;
    let targets: Targets = { voice: 0, picture: 0 };
    let skews: number[] = [];
    const delay = { ...natural };
    let changes = 0;
    let skew = 0;
    for (let round = 0; round < rounds; round += 1) {
      for (const which of ['voice', 'picture'] as const) {
        const goal = Math.max(natural[which], targets[which]);
        delay[which] += Math.max(-50, Math.min(50, goal - delay[which]));
      }
      skew = delay.picture - delay.voice;
      skews = [...skews, skew + random(round)].slice(-3);
      const next = evenOut(skews, targets);
      if (next === targets) continue;
      [targets, skews] = [next, []];
      changes += 1;
    }
    return { skew: Math.abs(skew), changes };
  }

  it.each([
    [{ voice: 200, picture: 20 }, 0],
    [{ voice: 200, picture: 20 }, 12],
    [{ voice: 60, picture: 260 }, 12],
    [{ voice: 90, picture: 80 }, 12],
  ])('comes to rest from %o with jitter of %i ms', (natural, jitterMs) => {
    const { skew, changes } = play(natural, jitterMs, 400);
    expect(skew).toBeLessThan(40);
    expect(changes).toBeLessThan(12);
  });
});

describe('pairsOf', () => {
  const slot = (mid: string, participant: string, source: SyncSlot['source']): SyncSlot => ({
    mid,
    participant,
    source,
    kind: source === 'camera' || source === 'screen' ? 'video' : 'audio',
  });

  it('finds the picture beside each voice', () => {
    const slots = [
      slot('4', '1.1', 'microphone'),
      slot('5', '1.2', 'microphone'),
      slot('6', '1.1', 'screen_audio'),
      slot('8', '1.1', 'screen'),
      slot('9', '1.1', 'camera'),
    ];
    const mids = pairsOf(slots).map(({ voice, picture }) => [voice.mid, picture.mid]);
    expect(mids).toEqual([
      ['4', '9'],
      ['6', '8'],
    ]);
  });
});
