// Puts an element where the layout says.

import type { Attachment } from 'svelte/attachments';
import type { Rect } from '../../layout/layout';

export function placed({ x, y, width, height }: Rect): Attachment<HTMLElement> {
  return ({ style }) => {
    style.position = 'absolute';
    style.left = `${x}px`;
    style.top = `${y}px`;
    style.width = `${width}px`;
    style.height = `${height}px`;
  };
}
