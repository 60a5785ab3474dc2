// Keeps the screen on during a meeting, where the browser can.

import { isHidden, onReturn } from './return';

/** Until the returned function is called. */
export function keepAwake(): () => void {
  const wakeLock = navigator.wakeLock as WakeLock | undefined;
  if (!wakeLock) return () => {};
  let lock: WakeLockSentinel | undefined;
  let ended = false;

  const ask = async () => {
    if (ended || isHidden() || (lock && !lock.released)) return;
    try {
      const granted = await wakeLock.request('screen');
      if (ended) return void granted.release();
      lock = granted;
    } catch {
      // The battery is low: the system decides.
    }
  };
  // The lock is lost whenever the page is hidden.
  const stopListening = onReturn(() => void ask());
  void ask();
  return () => {
    ended = true;
    stopListening();
    void lock?.release();
  };
}
