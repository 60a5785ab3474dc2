// Watches the quality of one's own connection while a meeting lasts.

import type { Quality } from '../protocol/messages';
import type { Reading, Sample, Verdict } from './quality';
import { NO_VERDICT, READING_MS, readingOf, sampleBetween, verdictAfter } from './quality';

export interface QualitySource {
  /** Undefined while there is no connection. */
  stats(): Promise<Iterable<[string, unknown]> | undefined>;
  /** What the server tells of oneself. */
  server(): Quality | undefined;
}

export class QualityWatch {
  verdict = $state.raw<Verdict>(NO_VERDICT);
  /** The latest figures, for support. */
  sample = $state.raw<Sample>();
  readonly #source: QualitySource;
  readonly #timer: ReturnType<typeof setInterval>;
  #before: Reading | undefined;
  #reading = false;

  constructor(source: QualitySource) {
    this.#source = source;
    this.#timer = setInterval(() => void this.#read(), READING_MS);
  }

  close(): void {
    clearInterval(this.#timer);
  }

  async #read(): Promise<void> {
    // A busy browser may take longer than the interval.
    if (this.#reading) return;
    this.#reading = true;
    try {
      const stats = await this.#source.stats();
      this.#take(stats && readingOf(stats, performance.now()));
    } catch (error) {
      console.info('the browser gives no statistics:', error);
    } finally {
      this.#reading = false;
    }
  }

  #take(reading: Reading | undefined): void {
    const before = this.#before;
    this.#before = reading;
    // A new connection counts from zero again.
    if (!reading || !before || reading.receivedBytes < before.receivedBytes) return;
    this.sample = sampleBetween(before, reading);
    this.verdict = verdictAfter(this.verdict, this.sample, this.#source.server());
  }
}
