// Puts the person of a frame sharply over a blurred copy of the same frame.

import type { Segmenter } from './segmenter';
import type { Strength } from './wire';

/** The person is looked for in a copy of this width: the model works on no more. */
const SEGMENT_WIDTH = 256;
/**
 * Blurring is shrinking and growing again, which every browser does quickly and Safari's canvas has
 * no filter for. So many pixels are left across the picture.
 */
const BLUR_WIDTH: Record<Strength, number> = { light: 56, strong: 20 };

type Compose = (
  frame: VideoFrame | ImageBitmap,
  width: number,
  height: number,
  strength: Strength,
) => OffscreenCanvas;

export function composer(segmenter: Segmenter): Compose {
  const small = surface();
  const soft = surface();
  const person = surface();
  const output = surface();
  return (frame, width, height, strength) => {
    fit(small, SEGMENT_WIDTH, Math.round((SEGMENT_WIDTH * height) / width));
    small.drawImage(frame, 0, 0, small.canvas.width, small.canvas.height);
    const mask = segmenter.mask(small.canvas, small.canvas.width, small.canvas.height);

    fit(person, width, height);
    person.globalCompositeOperation = 'copy';
    person.drawImage(mask, 0, 0, width, height);
    person.globalCompositeOperation = 'source-in';
    person.drawImage(frame, 0, 0, width, height);

    fit(output, width, height);
    blur(small.canvas, soft, output, BLUR_WIDTH[strength]);
    output.drawImage(person.canvas, 0, 0);
    return output.canvas;
  };
}

/** In steps of about a half, so that no pixel of the source is skipped. */
function blur(
  source: OffscreenCanvas,
  soft: OffscreenCanvasRenderingContext2D,
  output: OffscreenCanvasRenderingContext2D,
  width_min: number,
): void {
  fit(soft, source.width, source.height);
  let { width, height } = source;
  soft.globalCompositeOperation = 'copy';
  soft.drawImage(source, 0, 0);
  while (width > width_min) {
    const [w, h] = [Math.max(width_min, Math.ceil(width / 2)), Math.ceil(height / 2)];
    soft.drawImage(soft.canvas, 0, 0, width, height, 0, 0, w, h);
    [width, height] = [w, h];
  }
  // Growing in steps as well hides the grid of the few pixels.
  while (width < source.width / 2) {
    soft.drawImage(soft.canvas, 0, 0, width, height, 0, 0, width * 2, height * 2);
    [width, height] = [width * 2, height * 2];
  }
  const { width: w, height: h } = output.canvas;
  // The edges have been mixed with the nothing around: they are covered once before.
  output.drawImage(source, 0, 0, w, h);
  output.drawImage(soft.canvas, 0.5, 0.5, width - 1, height - 1, 0, 0, w, h);
}

function surface(): OffscreenCanvasRenderingContext2D {
  const context = new OffscreenCanvas(1, 1).getContext('2d');
  if (!context) throw new Error('there is no canvas here');
  context.imageSmoothingQuality = 'high';
  return context;
}

function fit(context: OffscreenCanvasRenderingContext2D, width: number, height: number): void {
  const { canvas } = context;
  if (canvas.width === width && canvas.height === height) return;
  canvas.width = width;
  canvas.height = height;
  // A new size resets the context.
  context.imageSmoothingEnabled = true;
}
