// The steps of the guided tour. Each stands at the first of its anchors (`data-tour`) that is on the
// page; a step without one is left out, so that the tour outlives changes of the toolbar. Pure.

export type TourStep = 'microphone' | 'camera' | 'screen' | 'people' | 'quality' | 'more' | 'leave';

export const TOUR: readonly { step: TourStep; anchors: readonly string[] }[] = [
  { step: 'microphone', anchors: ['toggle-microphone'] },
  { step: 'camera', anchors: ['toggle-camera'] },
  { step: 'screen', anchors: ['toggle-screen'] },
  { step: 'people', anchors: ['toggle-people'] },
  { step: 'quality', anchors: ['quality'] },
  { step: 'more', anchors: ['more'] },
  { step: 'leave', anchors: ['leave'] },
];

export interface Stop {
  step: TourStep;
  anchor: string;
}

export function stopsOn(isThere: (anchor: string) => boolean): Stop[] {
  return TOUR.flatMap(({ step, anchors }) => {
    const anchor = anchors.find(isThere);
    return anchor === undefined ? [] : [{ step, anchor }];
  });
}

export interface Box {
  x: number;
  y: number;
  width: number;
  height: number;
}

const MARGIN = 8;
const GAP = 14;

/** Where a card of this size stands beside what it speaks of: above or below, and inside the window. */
export function cardAt(
  anchor: Box,
  card: { width: number; height: number },
  window: { width: number; height: number },
): { x: number; y: number } {
  const above = anchor.y - GAP - card.height;
  const below = anchor.y + anchor.height + GAP;
  const inside = (at: number, size: number, room: number) =>
    Math.max(MARGIN, Math.min(at, room - size - MARGIN));
  return {
    x: inside(anchor.x + anchor.width / 2 - card.width / 2, card.width, window.width),
    y: inside(above >= MARGIN ? above : below, card.height, window.height),
  };
}
