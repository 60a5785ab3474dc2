// Gives a media element the stream to play, tells when the browser does not let it play, and plays
// on after a call, a locked screen or an unplugged headset has paused it.

import type { Attachment } from 'svelte/attachments';
import { isHidden, onReturn } from './return';

/** What is paused again so soon is paused for a reason. */
const PAUSED_AGAIN_MS = 1_000;

export function playing(
  stream: MediaStream | null,
  onBlocked?: () => void,
): Attachment<HTMLMediaElement> {
  return (element) => {
    element.srcObject = stream;
    if (!stream) return;
    const play = () => {
      element.play().catch((error: DOMException) => {
        // An interrupted start is not a refusal: another one follows it.
        if (error.name === 'NotAllowedError') onBlocked?.();
      });
    };
    const resume = () => {
      if (element.paused) play();
    };
    // Nobody but the system pauses these elements. In the background it would pause them again.
    let played_ms = 0;
    const onPause = () => {
      const now_ms = performance.now();
      if (isHidden() || element.srcObject !== stream || now_ms - played_ms < PAUSED_AGAIN_MS)
        return;
      played_ms = now_ms;
      play();
    };
    element.addEventListener('pause', onPause);
    const stopReturning = onReturn(resume);
    play();
    return () => {
      element.removeEventListener('pause', onPause);
      stopReturning();
      element.srcObject = null;
    };
  };
}

/** Plays an element through this speaker; '' is the system's own choice. */
export function through(speaker: string): Attachment<HTMLMediaElement> {
  return (element) => {
    if (!canChooseSpeaker() || (element.sinkId ?? '') === speaker) return;
    element.setSinkId(speaker).catch((error: DOMException) => {
      // It was pulled out just now: the list of devices says so too.
      console.info('the browser does not play through this speaker:', error.name);
    });
  };
}

export function canChooseSpeaker(): boolean {
  return (
    typeof HTMLMediaElement === 'function' &&
    typeof HTMLMediaElement.prototype.setSinkId === 'function'
  );
}
