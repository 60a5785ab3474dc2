// Which layout a meeting has now, and who is in front of it. Pure.

import type { LayoutKind } from '../layout/layout';
import type { ParticipantId, Source } from '../protocol/messages';
import type { Room } from './room';

export const CHOICES = ['auto', 'grid', 'speaker', 'sidebar', 'presentation'] as const;
/** What one chose in the menu. */
export type Choice = (typeof CHOICES)[number];

export function choiceOf(text: string | undefined): Choice {
  return CHOICES.find((choice) => choice === text) ?? 'auto';
}

/** What has a tile. */
export interface Item {
  participant: ParticipantId;
  source: Source & ('camera' | 'screen');
}

export interface Wishes {
  choice: Choice;
  /** Show one's own picture. */
  self: boolean;
  pins: readonly ParticipantId[];
  /** Whose shared screen is to be in front. */
  screen: ParticipantId | undefined;
}

export interface Arrangement {
  kind: LayoutKind;
  /** Everybody who has a tile, but not oneself. */
  others: readonly ParticipantId[];
  /** Oneself, if one's own picture is shown. */
  own: ParticipantId | undefined;
  /** Whose shared screen is large. */
  screen: ParticipantId | undefined;
  /** Other shared screens; they come before the cameras. */
  screens: readonly ParticipantId[];
  /** Who is never dropped and has the first places: spotlight, then own pins; else the speaker. */
  held: readonly ParticipantId[];
  /** `held` is in front, whatever scrolls. */
  heldInFront: boolean;
}

export function arrange(
  room: Room,
  wishes: Wishes,
  speaker: ParticipantId | undefined,
): Arrangement {
  const others = room.participants.map(({ id }) => id).filter((id) => id !== room.you);
  const present = others.length < room.participants.length;
  const own = present && (wishes.self || others.length === 0) ? room.you : undefined;
  const shown = new Set(own === undefined ? others : [...others, own]);
  const all = room.sharing.filter((id) => id !== room.you);
  const chosen = all.find((id) => id === wishes.screen) ?? all[0];
  const pinned = new Set([...(room.info?.spotlight ?? []), ...wishes.pins]);
  const holds = [...pinned].filter((id) => shown.has(id));
  const kind = kindOf(wishes.choice, all.length, holds.length, others.length, own !== undefined);

  const screen = kind === 'presentation' ? chosen : undefined;
  const large = kind === 'speaker' || kind === 'sidebar';
  const [only] = others;
  const following = speaker !== undefined && shown.has(speaker) ? speaker : (only ?? own);
  const held =
    kind === 'duo'
      ? []
      : holds.length > 0 || !large || following === undefined
        ? holds
        : [following];
  return {
    kind,
    others,
    own,
    screen,
    screens: all.filter((id) => id !== screen),
    held,
    heldInFront: kind === 'grid' || large,
  };
}

function kindOf(
  choice: Choice,
  screens: number,
  holds: number,
  others: number,
  own: boolean,
): LayoutKind {
  if (others === 0) return screens > 0 ? 'presentation' : 'grid';
  const automatic = choice === 'auto' || choice === 'presentation';
  if (automatic && screens > 0) return 'presentation';
  if (choice === 'grid') return 'grid';
  if (others === 1 && own && screens === 0 && choice !== 'sidebar') return 'duo';
  if (choice === 'presentation') return 'speaker';
  if (choice === 'auto') return holds > 0 || others === 1 ? 'speaker' : 'grid';
  return choice;
}

/** The number of each raised hand, 1 for the one that was raised first. */
export function handsInOrder(room: Room): Map<ParticipantId, number> {
  const raised = room.participants.flatMap(({ id, hand }) =>
    hand === undefined ? [] : [{ id, hand }],
  );
  raised.sort((a, b) => a.hand - b.hand);
  return new Map(raised.map(({ id }, index) => [id, index + 1]));
}
