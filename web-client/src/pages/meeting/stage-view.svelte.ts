// How one looks at a meeting: the chosen layout, who is pinned, whose picture is large. Others do not
// know of it.

import type { ParticipantId } from '../../protocol/messages';
import { type Choice, choiceOf, type Item } from '../../room/arrangement';
import type { Room } from '../../room/room';
import { type Following, followed, followingDue, NOBODY } from '../../room/speaker';
import { remember, remembered } from '../../storage';
import { PictureInPicture } from './picture-in-picture.svelte';

/** Each pinned picture takes its share of the stage. */
const PINS_MAX = 16;

export class StageView {
  choice = $state<Choice>(choiceOf(remembered('layout')));
  self = $state(remembered('self_view') !== 'off');
  pins = $state.raw<readonly ParticipantId[]>([]);
  /** Whose shared screen is to be in front; the latest one if nothing was chosen. */
  screen = $state<ParticipantId>();
  /** What is the large picture, or would be if there were one. */
  large = $state.raw<Item>();
  readonly picture = new PictureInPicture();

  #following = $state.raw<Following>(NOBODY);
  #timer: ReturnType<typeof setTimeout> | undefined;

  get speaker(): ParticipantId | undefined {
    return this.#following.large;
  }

  /** Who may be the next speaker: his stream is kept ready. */
  get nextSpeaker(): ParticipantId | undefined {
    return this.#following.challenger?.id;
  }

  choose(choice: Choice): void {
    this.choice = choice;
    remember('layout', choice);
  }

  showSelf(shown: boolean): void {
    this.self = shown;
    remember('self_view', shown ? 'on' : 'off');
  }

  togglePin(id: ParticipantId): void {
    const others = this.pins.filter((pinned) => pinned !== id);
    this.pins = others.length < this.pins.length ? others : [...others, id].slice(-PINS_MAX);
  }

  /** To be called whenever the room has changed. */
  follow(room: Room): void {
    clearTimeout(this.#timer);
    const now = performance.now();
    this.#following = followed(this.#following, room, now);
    const due = followingDue(this.#following);
    if (due === undefined) return;
    this.#timer = setTimeout(() => this.follow(room), Math.max(0, due - now));
  }

  close(): void {
    clearTimeout(this.#timer);
    this.picture.close();
  }
}
