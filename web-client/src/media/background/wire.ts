// What the page and the worker of the background blur say to each other.

export type Strength = 'light' | 'strong';

export type ToWorker =
  | { type: 'strength'; strength: Strength }
  | {
      type: 'streams';
      readable: ReadableStream<VideoFrame>;
      writable: WritableStream<VideoFrame>;
    }
  | { type: 'frame'; frame: ImageBitmap };

export type FromWorker =
  | { type: 'ready' }
  | { type: 'failed'; reason: string }
  /** How long a frame took. */
  | { type: 'took'; ms: number }
  | { type: 'frame'; frame: ImageBitmap };
