// Push to talk: a muted microphone is on for as long as the space bar is held. Pure, but for what
// it asks of the focused element.

export interface Talk {
  /** `held`: the microphone is on because of the space bar alone. */
  state: 'idle' | 'held';
}

export type TalkEvent =
  | { type: 'down'; repeat: boolean; modified: boolean; taken: boolean; muted: boolean }
  | { type: 'up' }
  /** The window lost the focus, so that the release of the key will not be heard of. */
  | { type: 'away' };

export interface TalkStep {
  talk: Talk;
  /** What to do with the microphone. */
  turn: 'on' | 'off' | 'keep';
  /** The key was meant for this: the page must not scroll, and no button be pressed. */
  consumed: boolean;
}

export const IDLE: Talk = { state: 'idle' };

export function talkAfter(talk: Talk, event: TalkEvent): TalkStep {
  const keep = { talk, turn: 'keep', consumed: false } as const;
  switch (event.type) {
    case 'down':
      // While it is held the key repeats.
      if (talk.state === 'held') return { ...keep, consumed: true };
      if (event.repeat || event.modified || event.taken || !event.muted) return keep;
      return { talk: { state: 'held' }, turn: 'on', consumed: true };
    case 'up':
      if (talk.state === 'idle') return keep;
      return { talk: IDLE, turn: 'off', consumed: true };
    case 'away':
      return talk.state === 'idle' ? keep : { talk: IDLE, turn: 'off', consumed: false };
  }
}

const TEXT =
  'input, textarea, select, [contenteditable], [role="menu"], [role="dialog"], [role="listbox"]';
const PRESSED =
  'button, a, summary, [role="button"], [role="tab"], [role="menuitem"], [tabindex="0"]';

/**
 * Whether the space bar belongs to the focused element: to one that takes text always, to a button
 * only when the keyboard has led there. One that was `clicked` keeps the focus, too, but whoever
 * clicked it does not think of it any more.
 */
export function takesSpace(target: EventTarget | null, clicked: Element | undefined): boolean {
  if (!(target instanceof Element)) return false;
  if (target.closest(TEXT)) return true;
  const pressed = pressedBy(target);
  return pressed !== undefined && pressed !== clicked;
}

/** The button, or whatever else is pressed like one, that an event is about. */
export function pressedBy(target: EventTarget | null): Element | undefined {
  return target instanceof Element ? (target.closest(PRESSED) ?? undefined) : undefined;
}
