// How far the stage is scrolled, and which tiles of its track can be seen then.

import type { Attachment } from 'svelte/attachments';
import { type Layout, pageStep, scrollMax, visibleTiles } from '../../layout/layout';

/** Tiles of a strip this near to what is seen are in the page already, so that none is missing while
 * it moves. Pages come whole, when they begin to be seen. */
const NEAR_PX = 240;
/** A tile of which less is seen counts as not seen. */
const SLIVER_PX = 12;
/** Streams are asked for when it rests. */
const REST_MS = 120;
/** One gesture at a wheel turns one page, though it comes as many events. */
const WHEEL_MS = 350;

export class Scrolling {
  readonly #layout: () => Layout;
  #offset = $state(0);
  #rested = $state(0);
  #element: HTMLElement | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #wheeledAt = 0;

  /** How far it can be scrolled, in pixels. */
  readonly max = $derived.by(() => scrollMax(this.#layout().track));
  // Single numbers, so that a step that changes no tile changes nothing.
  readonly #nearFrom = $derived.by(() => this.#near()[0]);
  readonly #nearTo = $derived.by(() => this.#near()[1]);
  readonly #seenFrom = $derived.by(() => this.#seen()[0]);
  readonly #seenTo = $derived.by(() => this.#seen()[1]);
  /** The tiles to have in the page: from the first up to one before the last. */
  readonly near = $derived.by((): [number, number] => [this.#nearFrom, this.#nearTo]);
  /** The tiles that are seen since it rests. */
  readonly seen = $derived.by((): [number, number] => [this.#seenFrom, this.#seenTo]);
  readonly atStart = $derived.by(() => this.#offset <= 1);
  readonly atEnd = $derived.by(() => this.#offset >= this.max - 1);

  constructor(layout: () => Layout) {
    this.#layout = layout;
  }

  attach: Attachment<HTMLElement> = (element) => {
    this.#element = element;
    const onScroll = () => this.#moved();
    const onWheel = (event: WheelEvent) => this.#wheel(event);
    element.addEventListener('scroll', onScroll, { passive: true });
    element.addEventListener('wheel', onWheel, { passive: false });
    return () => {
      element.removeEventListener('scroll', onScroll);
      element.removeEventListener('wheel', onWheel);
      clearTimeout(this.#timer);
      this.#element = undefined;
    };
  };

  /** One page on or back. False: there is none. */
  turn(direction: 1 | -1): boolean {
    const { track } = this.#layout();
    const step = pageStep(track);
    const from = Math.min(this.#offset, this.max);
    if (!this.#element || step === 0 || (direction < 0 ? this.atStart : this.atEnd)) return false;
    // From wherever it is to a whole number of groups, so that no tile is cut at the beginning.
    const groups = direction < 0 ? Math.ceil(from / track.pitch) : Math.floor(from / track.pitch);
    const to = Math.max(0, Math.min(this.max, groups * track.pitch + direction * step));
    const still = matchMedia('(prefers-reduced-motion: reduce)').matches;
    this.#element.scrollTo({
      [track.axis === 'x' ? 'left' : 'top']: to,
      behavior: still ? 'instant' : 'smooth',
    });
    return true;
  }

  /** Back to the beginning, when the layout is another one. */
  reset(): void {
    clearTimeout(this.#timer);
    this.#element?.scrollTo({ left: 0, top: 0, behavior: 'instant' });
    this.#offset = 0;
    this.#rested = 0;
  }

  #moved(): void {
    if (!this.#element) return;
    const { scrollLeft, scrollTop } = this.#element;
    this.#offset = this.#layout().track.axis === 'x' ? scrollLeft : scrollTop;
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#rested = this.#offset;
    }, REST_MS);
  }

  /** A wheel that turns up and down moves what goes left and right too. */
  #wheel(event: WheelEvent): void {
    const { track, pager } = this.#layout();
    if (track.axis === 'y' || this.max === 0 || event.ctrlKey) return;
    if (Math.abs(event.deltaX) >= Math.abs(event.deltaY)) return;
    event.preventDefault();
    if (!pager) {
      this.#element?.scrollBy({ left: event.deltaY, behavior: 'instant' });
      return;
    }
    if (event.timeStamp - this.#wheeledAt < WHEEL_MS) return;
    this.#wheeledAt = event.timeStamp;
    this.turn(event.deltaY > 0 ? 1 : -1);
  }

  #near(): [number, number] {
    const { track, pager } = this.#layout();
    return visibleTiles(track, Math.min(this.#offset, this.max), pager ? 0 : NEAR_PX);
  }

  #seen(): [number, number] {
    return visibleTiles(this.#layout().track, Math.min(this.#rested, this.max), -SLIVER_PX);
  }
}
