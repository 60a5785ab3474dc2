// Where tiles go: a pure function of how many there are and how large the stage is.

export interface Rect {
  x: number;
  y: number;
  width: number;
  height: number;
}

export interface Layout {
  /** The large place of a shared screen. */
  focus: Rect | undefined;
  /** At most as many as were asked for; what does not fit is not shown. */
  tiles: Rect[];
}

const GAP = 8;
/** Tiles smaller than this are not worth looking at. */
const TILE_WIDTH_MIN = 132;
const TILE_HEIGHT_MIN = 88;
/** A tile is never wider than a camera's picture. */
const ASPECT_MAX = 16 / 9;
/** Taller tiles cut away the sides of the picture: a little on wide stages, more on phones. */
const ASPECT_MIN_WIDE = 4 / 3;
const ASPECT_MIN_TALL = 3 / 4;
/** The share of the stage's longer side that tiles keep beside a shared screen. */
const STRIP_SHARE = 0.2;
const STRIP_MAX = 260;
const STRIP_MIN = 96;

/** Every grid that may be used, smallest first. Of those that hold all tiles, the one with the
 * largest tiles wins. */
const GRIDS: readonly { columns: number; rows: number }[] = [
  { columns: 1, rows: 1 },
  { columns: 1, rows: 2 },
  { columns: 2, rows: 1 },
  { columns: 1, rows: 3 },
  { columns: 3, rows: 1 },
  { columns: 2, rows: 2 },
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

export function layOut(count: number, width: number, height: number, focus: boolean): Layout {
  if (width <= 0 || height <= 0) return { focus: undefined, tiles: [] };
  if (focus) return layOutFocus(count, width, height);
  return { focus: undefined, tiles: gridTiles(count, width, height) };
}

function gridTiles(count: number, width: number, height: number): Rect[] {
  if (count === 0) return [];
  const fitting = GRIDS.map((grid) => ({ ...grid, ...cell(grid, width, height) })).filter(
    (grid, index) =>
      index === 0 || (grid.width >= TILE_WIDTH_MIN && grid.height >= TILE_HEIGHT_MIN),
  );
  const holds = fitting.filter(({ columns, rows }) => columns * rows >= count);
  const byArea = (a: (typeof fitting)[number], b: (typeof fitting)[number]) =>
    b.width * b.height - a.width * a.height;
  const byPlaces = (a: (typeof fitting)[number], b: (typeof fitting)[number]) =>
    b.columns * b.rows - a.columns * a.rows || byArea(a, b);
  const [grid] = holds.length > 0 ? holds.sort(byArea) : fitting.sort(byPlaces);
  if (!grid) return [];

  const shown = Math.min(count, grid.columns * grid.rows);
  const rows = Math.ceil(shown / grid.columns);
  const top = (height - rows * grid.height - (rows - 1) * GAP) / 2;
  return Array.from({ length: shown }, (_, index) => {
    const row = Math.floor(index / grid.columns);
    // The last row may be shorter than the others, and stands in the middle.
    const inRow = Math.min(grid.columns, shown - row * grid.columns);
    const left = (width - inRow * grid.width - (inRow - 1) * GAP) / 2;
    return {
      x: left + (index % grid.columns) * (grid.width + GAP),
      y: top + row * (grid.height + GAP),
      width: grid.width,
      height: grid.height,
    };
  });
}

/** The largest tile of a pleasant shape in each cell of a grid. */
function cell({ columns, rows }: { columns: number; rows: number }, width: number, height: number) {
  const cellWidth = (width - (columns - 1) * GAP) / columns;
  const cellHeight = (height - (rows - 1) * GAP) / rows;
  return {
    width: Math.min(cellWidth, cellHeight * ASPECT_MAX),
    height: Math.min(cellHeight, cellWidth / (width >= height ? ASPECT_MIN_WIDE : ASPECT_MIN_TALL)),
  };
}

/**
 * ```text
 *  wide          tall
 * +------+--+   +------+
 * |      |▫▫|   |focus |
 * |focus |▫▫|   |      |
 * |      |▫▫|   +------+
 * +------+--+   |▫▫ ▫▫ |
 * ```
 */
function layOutFocus(count: number, width: number, height: number): Layout {
  const wide = width >= height;
  const length = wide ? width : height;
  const strip = count === 0 ? 0 : Math.min(STRIP_MAX, Math.max(STRIP_MIN, length * STRIP_SHARE));
  const gap = strip > 0 ? GAP : 0;
  if (wide) {
    const focus = { x: 0, y: 0, width: width - strip - gap, height };
    const tileHeight = strip / ASPECT_MAX;
    const places = Math.max(1, Math.floor((height + GAP) / (tileHeight + GAP)));
    const shown = Math.min(count, places);
    const top = (height - shown * tileHeight - (shown - 1) * GAP) / 2;
    const tiles = Array.from({ length: shown }, (_, index) => ({
      x: width - strip,
      y: Math.max(0, top) + index * (tileHeight + GAP),
      width: strip,
      height: tileHeight,
    }));
    return { focus, tiles };
  }
  const focus = { x: 0, y: 0, width, height: height - strip - gap };
  const tileWidth = Math.min(width, strip * (4 / 3));
  const places = Math.max(1, Math.floor((width + GAP) / (tileWidth + GAP)));
  const shown = Math.min(count, places);
  const left = (width - shown * tileWidth - (shown - 1) * GAP) / 2;
  const tiles = Array.from({ length: shown }, (_, index) => ({
    x: Math.max(0, left) + index * (tileWidth + GAP),
    y: height - strip,
    width: tileWidth,
    height: strip,
  }));
  return { focus, tiles };
}
