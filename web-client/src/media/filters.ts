// What may stand between a device and what is sent of it. Each part is loaded when it is wanted, so
// that the page itself stays small.

import type { BlurOptions, Processed } from './background/background';
import type { Strength } from './background/wire';
import type { Suppressed } from './suppression/suppression';

export interface Filters {
  blur(camera: MediaStreamTrack, options: BlurOptions): Promise<Processed<Strength>>;
  suppress(microphone: MediaStreamTrack): Promise<Suppressed>;
}

export const FILTERS: Filters = {
  async blur(camera, options) {
    const { blur } = await import('./background/background');
    return blur(camera, options);
  },
  async suppress(microphone) {
    const { suppress } = await import('./suppression/suppression');
    return suppress(microphone);
  },
};

/** What the blur cannot do without, as far as that can be known without trying. */
export function canBlur(): boolean {
  return typeof OffscreenCanvas === 'function' && typeof Worker === 'function';
}
