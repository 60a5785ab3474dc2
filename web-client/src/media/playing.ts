// Gives a media element the stream to play, and tells when the browser does not let it play.

import type { Attachment } from 'svelte/attachments';

export function playing(
  stream: MediaStream | null,
  onBlocked?: () => void,
): Attachment<HTMLMediaElement> {
  return (element) => {
    element.srcObject = stream;
    if (stream) {
      element.play().catch((error: DOMException) => {
        // An interrupted start is not a refusal: another one follows it.
        if (error.name === 'NotAllowedError') onBlocked?.();
      });
    }
    return () => {
      element.srcObject = null;
    };
  };
}
