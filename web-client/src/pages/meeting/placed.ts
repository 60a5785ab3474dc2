// Puts an element where the layout says.

import type { Attachment } from 'svelte/attachments';
import type { Rect } from '../../layout/layout';

/** `held`: it stays there while what is around it scrolls. */
export function placed({ x, y, width, height }: Rect, held = false): Attachment<HTMLElement> {
  return ({ style }) => {
    style.position = held ? 'sticky' : 'absolute';
    style.left = `${x}px`;
    style.top = `${y}px`;
    style.width = `${width}px`;
    style.height = `${height}px`;
    // All that is held has the same cell of the stage's grid; this is where it begins.
    style.margin = held ? `${y}px 0 0 ${x}px` : '0';
  };
}
