// Where tiles go: a pure function of how many there are and how large the stage is.
//
// Some tiles stay where they are, in `front`: the large picture, or whoever was pinned. The others
// are in a track that scrolls: pages of a grid, a strip, or columns. A track knows only its cells and
// how far apart their groups are, so it costs the same for five people and for five hundred.

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

export type LayoutKind = 'grid' | 'speaker' | 'sidebar' | 'presentation' | 'duo';

export interface Layout {
  kind: LayoutKind;
  /** At most as many as were asked for; who has no place here goes into the track. */
  front: readonly Rect[];
  track: Track;
  /** Where the buttons go that turn the pages of a grid. */
  pager: Rect | undefined;
}

/**
 * Groups of cells, one after the other along the axis:
 *
 * ```text
 *  |<--- view --->|
 *  +------+ +------+ +------+
 *  | a  b | | e  f | | i    |     size 4, count 9, groups 3
 *  | c  d | | g  h | |      |
 *  +------+ +------+ +------+
 *  |<----->|  pitch
 * ```
 */
export interface Track {
  axis: 'x' | 'y';
  /** The part of the stage through which the groups pass. */
  area: Rect;
  count: number;
  /** Cells in a group. */
  size: number;
  groups: number;
  /** Pixels from the start of one group to that of the next. */
  pitch: number;
  /** How long a group is along the axis, in pixels. */
  extent: number;
  /** How many tiles can be seen whole at once. */
  places: number;
  /** Where those of the first group are. */
  cells: readonly Rect[];
}

export const GAP = 8;
/** Tiles smaller than this are not worth looking at. */
const TILE_WIDTH_MIN = 132;
const TILE_HEIGHT_MIN = 88;
/** A tile is never wider than a camera's picture. */
const ASPECT_MAX = 16 / 9;
/** Taller tiles cut away the sides of the picture: a little on wide stages, more on phones. */
const ASPECT_MIN_WIDE = 4 / 3;
const ASPECT_MIN_TALL = 3 / 4;
/** The share of the stage that small tiles keep beside a large picture. */
const STRIP_SHARE = 0.2;
const STRIP_MAX = 260;
const STRIP_MIN = 96;
/** A strip below the large picture leaves it too little on a stage lower than this. */
const STRIP_STAGE_HEIGHT_MIN = 420;
/** On a tall stage the sidebar is below the large picture, which keeps this share. */
const SIDEBAR_FRONT_SHARE = 0.56;
/** Large pictures side by side; more would not be large. */
const FRONT_MAX = 4;
/** Buttons of 44 px and some air. */
const PAGER_HEIGHT = 52;
/** One's own picture over that of the only other. */
const OWN_SHARE = 0.22;
const OWN_MIN = 112;
const OWN_MAX = 260;

/** Every grid that may be used, smallest first. Of those that hold all tiles, the one with the
 * largest tiles wins. */
const GRIDS: readonly { columns: number; rows: number }[] = [
  { columns: 1, rows: 1 },
  { columns: 1, rows: 2 },
  { columns: 2, rows: 1 },
  { columns: 1, rows: 3 },
  { columns: 3, rows: 1 },
  { columns: 2, rows: 2 },
  { columns: 4, rows: 1 },
  { columns: 2, rows: 3 },
  { columns: 3, rows: 2 },
  { columns: 2, rows: 4 },
  { columns: 4, rows: 2 },
  { columns: 3, rows: 3 },
  { columns: 4, rows: 3 },
  { columns: 3, rows: 4 },
  { columns: 4, rows: 4 },
  { columns: 5, rows: 4 },
  { columns: 5, rows: 5 },
];

/** How many tiles would be in front, and how many others there are. */
export interface Counts {
  front: number;
  others: number;
}

export function layOut(kind: LayoutKind, counts: Counts, width: number, height: number): Layout {
  const stage: Rect = { x: 0, y: 0, width, height };
  if (width <= 0 || height <= 0) return { kind, front: [], track: NO_TRACK, pager: undefined };
  switch (kind) {
    case 'grid':
      return layOutGrid(counts, stage);
    case 'duo':
      return { kind, front: [stage, ownPlace(stage)], track: NO_TRACK, pager: undefined };
    case 'speaker':
      return layOutFront(kind, counts, stage, height >= STRIP_STAGE_HEIGHT_MIN ? 'strip' : 'side');
    case 'sidebar':
      return layOutFront(kind, counts, stage, width >= height ? 'side' : 'below');
    case 'presentation':
      return layOutFront(kind, counts, stage, width >= height ? 'side' : 'strip');
  }
}

const NO_RECT: Rect = { x: 0, y: 0, width: 0, height: 0 };
const NO_TRACK: Track = {
  axis: 'x',
  area: NO_RECT,
  count: 0,
  size: 1,
  groups: 0,
  pitch: 0,
  extent: 0,
  places: 0,
  cells: [],
};

/** Where a tile of the track is, as long as nothing was scrolled. */
export function tileAt(track: Track, index: number): Rect | undefined {
  const cell = track.cells[index % track.size];
  if (!cell || index >= track.count) return undefined;
  const offset = Math.floor(index / track.size) * track.pitch;
  return track.axis === 'x' ? { ...cell, x: cell.x + offset } : { ...cell, y: cell.y + offset };
}

/** How far the track can be scrolled, in pixels. */
export function scrollMax(track: Track): number {
  if (track.groups === 0) return 0;
  return Math.max(0, (track.groups - 1) * track.pitch + track.extent - viewOf(track));
}

/** The tiles, from the first up to one before the last, that are seen within `margin` pixels. */
export function visibleTiles(track: Track, offset: number, margin: number): [number, number] {
  if (track.groups === 0) return [0, 0];
  const first = Math.floor((offset - margin - track.extent) / track.pitch) + 1;
  const last = Math.ceil((offset + viewOf(track) + margin) / track.pitch);
  const at = (group: number) =>
    Math.min(track.count, Math.min(track.groups, Math.max(0, group)) * track.size);
  return [at(first), at(last)];
}

/** What a button that turns the page adds to the offset, in pixels: whole groups. */
export function pageStep(track: Track): number {
  if (track.groups === 0) return 0;
  return Math.max(1, Math.floor((viewOf(track) + GAP) / track.pitch)) * track.pitch;
}

function viewOf({ axis, area }: Track): number {
  return axis === 'x' ? area.width : area.height;
}

/** The most that a grid holds on a stage, whose tiles are then as large as they can be. */
function gridFor(count: number, { width, height }: Rect) {
  const sized = GRIDS.map((grid) => ({ ...grid, ...cellSize(grid, width, height) }));
  const fitting = sized.filter(
    (grid, index) =>
      index === 0 || (grid.width >= TILE_WIDTH_MIN && grid.height >= TILE_HEIGHT_MIN),
  );
  const holds = fitting.filter(({ columns, rows }) => columns * rows >= count);
  const byArea = (a: (typeof fitting)[number], b: (typeof fitting)[number]) =>
    b.width * b.height - a.width * a.height;
  const byPlaces = (a: (typeof fitting)[number], b: (typeof fitting)[number]) =>
    b.columns * b.rows - a.columns * a.rows || byArea(a, b);
  const [grid] = holds.length > 0 ? holds.sort(byArea) : fitting.sort(byPlaces);
  return grid as (typeof sized)[number];
}

/** The largest tile of a pleasant shape in each cell of a grid. */
function cellSize(grid: { columns: number; rows: number }, width: number, height: number) {
  const { columns, rows } = grid;
  const cellWidth = (width - (columns - 1) * GAP) / columns;
  const cellHeight = (height - (rows - 1) * GAP) / rows;
  return {
    width: Math.min(cellWidth, cellHeight * ASPECT_MAX),
    height: Math.min(cellHeight, cellWidth / (width >= height ? ASPECT_MIN_WIDE : ASPECT_MIN_TALL)),
  };
}

/** `shown` tiles of a grid, in the middle of their area. The last row may be shorter. */
function gridCells(grid: ReturnType<typeof gridFor>, shown: number, area: Rect): Rect[] {
  const rows = Math.ceil(shown / grid.columns);
  const top = area.y + (area.height - rows * grid.height - (rows - 1) * GAP) / 2;
  return Array.from({ length: shown }, (_, index) => {
    const row = Math.floor(index / grid.columns);
    const inRow = Math.min(grid.columns, shown - row * grid.columns);
    const left = area.x + (area.width - inRow * grid.width - (inRow - 1) * GAP) / 2;
    return {
      x: left + (index % grid.columns) * (grid.width + GAP),
      y: top + row * (grid.height + GAP),
      width: grid.width,
      height: grid.height,
    };
  });
}

/** Whoever is in front has the first places of every page. */
function layOutGrid({ front, others }: Counts, stage: Rect): Layout {
  const count = front + others;
  if (count === 0) return { kind: 'grid', front: [], track: NO_TRACK, pager: undefined };
  let grid = gridFor(count, stage);
  if (grid.columns * grid.rows >= count) {
    const cells = gridCells(grid, count, stage);
    const track = trackOf('x', stage, others, others, stage.width, cells.slice(front));
    return { kind: 'grid', front: cells.slice(0, front), track, pager: undefined };
  }
  const area = { ...stage, height: Math.max(1, stage.height - PAGER_HEIGHT) };
  const pager = { ...stage, y: area.height, height: PAGER_HEIGHT };
  grid = gridFor(count, area);
  const places = grid.columns * grid.rows;
  const held = Math.min(front, places - 1);
  const cells = gridCells(grid, places, area);
  const passing = cells.slice(held);
  const track = trackOf('x', area, count - held, passing.length, area.width, passing);
  return { kind: 'grid', front: cells.slice(0, held), track, pager };
}

/**
 * ```text
 *  strip         side          below
 * +--------+   +------+--+   +------+
 * |        |   |      |▫▫|   |front |
 * | front  |   |front |▫▫|   |      |
 * +--------+   |      |▫▫|   +------+
 * |▫▫ ▫▫ ▫▫|   |      |▫▫|   |▫▫ ▫▫ |
 * +--------+   +------+--+   +------+
 * ```
 */
function layOutFront(
  kind: LayoutKind,
  counts: Counts,
  stage: Rect,
  where: 'strip' | 'side' | 'below',
): Layout {
  const { width, height } = stage;
  const front = Math.min(counts.front, FRONT_MAX);
  const others = counts.others + counts.front - front;
  if (others === 0) {
    return { kind, front: frontCells(front, stage), track: NO_TRACK, pager: undefined };
  }
  switch (where) {
    case 'side': {
      const strip = clamp(width * STRIP_SHARE, STRIP_MIN, STRIP_MAX);
      const large = { ...stage, width: width - strip - GAP };
      const area = { ...stage, x: width - strip, width: strip };
      const cell = { ...area, height: strip / ASPECT_MAX };
      return {
        kind,
        front: frontCells(front, large),
        track: column(area, cell, others, 1),
        pager: undefined,
      };
    }
    case 'strip': {
      const strip = clamp(height * STRIP_SHARE, STRIP_MIN, STRIP_MAX);
      const large = { ...stage, height: height - strip - GAP };
      const area = { ...stage, y: height - strip, height: strip };
      const aspect = width >= height ? ASPECT_MAX : ASPECT_MIN_WIDE;
      const cell = { ...area, width: Math.min(width, strip * aspect) };
      return {
        kind,
        front: frontCells(front, large),
        track: row(area, cell, others),
        pager: undefined,
      };
    }
    case 'below': {
      const upper = Math.round(height * SIDEBAR_FRONT_SHARE);
      const area = { ...stage, y: upper + GAP, height: height - upper - GAP };
      const columns = Math.max(1, Math.floor((width + GAP) / (2 * TILE_WIDTH_MIN + GAP)) + 1);
      const tileWidth = (width - (columns - 1) * GAP) / columns;
      const cell = { ...area, width: tileWidth, height: tileWidth / ASPECT_MIN_WIDE };
      const large = { ...stage, height: upper };
      return {
        kind,
        front: frontCells(front, large),
        track: column(area, cell, others, columns),
        pager: undefined,
      };
    }
  }
}

/** One large picture has all of its area, whatever its shape; several are a grid in it. */
function frontCells(count: number, area: Rect): Rect[] {
  if (count <= 1) return count === 1 ? [area] : [];
  return gridCells(gridFor(count, area), count, area);
}

/** A strip that fits stands in the middle. */
function row(area: Rect, cell: Rect, count: number): Track {
  const length = count * (cell.width + GAP) - GAP;
  const x = area.x + Math.max(0, (area.width - length) / 2);
  return trackOf('x', area, count, 1, cell.width, [{ ...cell, x }]);
}

function column(area: Rect, cell: Rect, count: number, columns: number): Track {
  const groups = Math.ceil(count / columns);
  const length = groups * (cell.height + GAP) - GAP;
  const y = area.y + (columns === 1 ? Math.max(0, (area.height - length) / 2) : 0);
  const cells = Array.from({ length: columns }, (_, index) => {
    return { ...cell, x: area.x + index * (cell.width + GAP), y };
  });
  return trackOf('y', area, count, columns, cell.height, cells);
}

function trackOf(
  axis: Track['axis'],
  area: Rect,
  count: number,
  size: number,
  extent: number,
  cells: readonly Rect[],
): Track {
  if (count <= 0 || size <= 0) return NO_TRACK;
  const pitch = extent + GAP;
  const view = axis === 'x' ? area.width : area.height;
  const groups = Math.ceil(count / size);
  const inView = Math.max(1, Math.floor((view + GAP) / pitch));
  const places = Math.min(count, inView * size);
  return { axis, area, count, size, groups, pitch, extent, places, cells };
}

/** Down in the corner, where it covers least. */
function ownPlace({ width, height }: Rect): Rect {
  const wide = width >= height;
  const long = clamp((wide ? width : height) * OWN_SHARE, OWN_MIN, OWN_MAX);
  const own = wide
    ? { width: long, height: long / ASPECT_MAX }
    : { width: long * ASPECT_MIN_TALL, height: long };
  return { ...own, x: width - own.width - GAP, y: height - own.height - GAP };
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}
