// When a page is in front of its person again: after a call, a locked screen, another tab.

/** Calls `listener` each time the page comes back. */
export function onReturn(listener: () => void): () => void {
  if (typeof document === 'undefined') return () => {};
  const onVisibility = () => {
    if (document.visibilityState === 'visible') listener();
  };
  document.addEventListener('visibilitychange', onVisibility);
  // Safari brings a page back from its cache without a change of visibility.
  addEventListener('pageshow', listener);
  return () => {
    document.removeEventListener('visibilitychange', onVisibility);
    removeEventListener('pageshow', listener);
  };
}

export function isHidden(): boolean {
  return typeof document !== 'undefined' && document.visibilityState === 'hidden';
}

/** Calls `listener` after a phone was turned, when its camera has turned too. */
export function onRotate(listener: () => void): () => void {
  const orientation = typeof screen === 'undefined' ? undefined : screen.orientation;
  // Safari before 16.4 has no `screen.orientation` that can be listened to.
  if (!orientation?.addEventListener) return () => {};
  let timer: ReturnType<typeof setTimeout> | undefined;
  const later = () => {
    clearTimeout(timer);
    timer = setTimeout(listener, ROTATED_MS);
  };
  orientation.addEventListener('change', later);
  return () => {
    clearTimeout(timer);
    orientation.removeEventListener('change', later);
  };
}

/** The camera's new size is known only after the screen has turned. */
const ROTATED_MS = 500;
