// The one AudioContext for meters and tones. A phone call or a locked screen interrupts it, and
// before the first click browsers do not start it: it is started again whenever that may help.

import { onReturn } from './return';

let shared: AudioContext | undefined;

export function audioContext(): AudioContext {
  if (!shared) {
    shared = new AudioContext();
    keepRunning(shared);
  }
  return shared;
}

/** Until the context is closed. */
export function keepRunning(context: AudioContext): void {
  const resume = () => {
    // Safari's word for what a call does is `interrupted`, which TypeScript does not know.
    if (context.state === 'closed') return stop();
    if (context.state !== 'running') void context.resume().catch(() => {});
  };
  const stopReturning = onReturn(resume);
  for (const gesture of GESTURES) addEventListener(gesture, resume, { passive: true });
  context.addEventListener('statechange', resume);
  resume();

  function stop(): void {
    stopReturning();
    for (const gesture of GESTURES) removeEventListener(gesture, resume);
    context.removeEventListener('statechange', resume);
  }
}

const GESTURES = ['pointerdown', 'keydown', 'touchend'] as const;
