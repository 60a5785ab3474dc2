//! Where tiles go: a function of the size, the layout and how many there are. Everything is even,
//! because colours have half the sides.

use super::picture::{Place, Size};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Layout {
    /// All are equally large.
    Grid,
    /// The first is large, others are in a strip below it.
    Speaker,
}

/// More are not told apart on a screen across a room.
pub const TILES_MAX: usize = 25;
const STRIP_TILES_MAX: usize = 6;
/// The strip has one part in so many of the height.
const STRIP_PARTS: usize = 5;
/// Of the height, between tiles and around them.
const GAP_PARTS: usize = 90;
/// Cameras are as wide as this.
const ASPECT: (usize, usize) = (16, 9);

/// Places for as many of `count` tiles as have one, in their order.
pub fn arrange(canvas: Size, layout: Layout, count: usize) -> Vec<Place> {
    let whole = Place { x: 0, y: 0, width: canvas.width, height: canvas.height };
    let gap = even(canvas.height / GAP_PARTS).max(2);
    match (layout, count) {
        (_, 0) => Vec::new(),
        (_, 1) => vec![whole],
        (Layout::Grid, count) => grid(whole, count.min(TILES_MAX), gap),
        (Layout::Speaker, count) => speaker(canvas, count, gap),
    }
}

fn speaker(canvas: Size, count: usize, gap: usize) -> Vec<Place> {
    let others = (count - 1).min(STRIP_TILES_MAX);
    let strip = even(canvas.height / STRIP_PARTS);
    let above =
        Place { x: gap, y: gap, width: canvas.width - 2 * gap, height: canvas.height - strip - 2 * gap };
    let mut places = vec![centered(above, widest(above.width, above.height))];
    let room = canvas.width - (others + 1) * gap;
    let (width, height) = widest(room / others, strip - gap);
    let y = canvas.height - strip;
    places.extend(row(canvas.width, others, gap, width).map(|x| Place { x, y, width, height }));
    places
}

/// With the number of columns that gives the largest tiles; the last row is in the middle.
fn grid(area: Place, count: usize, gap: usize) -> Vec<Place> {
    let tile = |columns: usize| {
        let rows = count.div_ceil(columns);
        let width = area.width.saturating_sub((columns + 1) * gap) / columns;
        let height = area.height.saturating_sub((rows + 1) * gap) / rows;
        widest(width, height)
    };
    // Of equally large ones the fewest columns: that is the fullest last row.
    let columns = (1..=count).rev().max_by_key(|columns| tile(*columns).0).unwrap_or(1);
    let (width, height) = tile(columns);
    let rows = count.div_ceil(columns);
    let top = even((area.height - rows * height - (rows - 1) * gap) / 2);
    (0..rows)
        .flat_map(|index| {
            let in_row = columns.min(count - index * columns);
            let y = top + index * (height + gap);
            row(area.width, in_row, gap, width).map(move |x| Place { x, y, width, height })
        })
        .collect()
}

/// Where `count` tiles of one width begin, so that they are in the middle.
fn row(room: usize, count: usize, gap: usize, width: usize) -> impl Iterator<Item = usize> {
    let left = even((room - count * width - (count - 1) * gap) / 2);
    (0..count).map(move |index| left + index * (width + gap))
}

/// The largest tile that fits.
fn widest(width: usize, height: usize) -> (usize, usize) {
    let fitting = width.min(height * ASPECT.0 / ASPECT.1);
    (even(fitting).max(2), even((fitting * ASPECT.1 / ASPECT.0).min(height)).max(2))
}

fn centered(area: Place, (width, height): (usize, usize)) -> Place {
    Place {
        x: area.x + even((area.width - width) / 2),
        y: area.y + even((area.height - height) / 2),
        width,
        height,
    }
}

fn even(number: usize) -> usize {
    number & !1
}

#[cfg(test)]
mod tests {
    use super::*;

    const CANVASES: [Size; 5] = [
        Size::new(1920, 1080),
        Size::new(1280, 720),
        Size::new(640, 360),
        Size::new(352, 288),
        Size::new(1024, 576),
    ];

    #[test]
    fn tiles_are_inside_even_equal_and_never_overlap() {
        for canvas in CANVASES {
            for layout in [Layout::Grid, Layout::Speaker] {
                for count in 0..40 {
                    let places = arrange(canvas, layout, count);
                    let expected = match layout {
                        Layout::Grid => count.min(TILES_MAX),
                        Layout::Speaker => count.min(STRIP_TILES_MAX + 1),
                    };
                    assert_eq!(places.len(), expected);
                    for (index, a) in places.iter().enumerate() {
                        let what = format!("{layout:?} of {count} on {canvas:?}: {a:?}");
                        assert!([a.x, a.y, a.width, a.height].iter().all(|n| n % 2 == 0), "{what}");
                        assert!(a.width > 16 && a.height > 8, "{what}");
                        assert!(a.x + a.width <= canvas.width && a.y + a.height <= canvas.height, "{what}");
                        for b in &places[..index] {
                            let apart = a.x + a.width <= b.x
                                || b.x + b.width <= a.x
                                || a.y + a.height <= b.y
                                || b.y + b.height <= a.y;
                            assert!(apart, "{what} and {b:?}");
                        }
                    }
                    let equal =
                        if layout == Layout::Grid { &places[..] } else { places.get(1..).unwrap_or(&[]) };
                    assert!(equal.windows(2).all(|pair| pair[0].width == pair[1].width));
                }
            }
        }
    }

    #[test]
    fn shapes_are_as_one_expects() {
        let hd = Size::new(1280, 720);
        assert_eq!(arrange(hd, Layout::Grid, 1), [Place { x: 0, y: 0, width: 1280, height: 720 }]);
        let columns = |count| {
            let places = arrange(hd, Layout::Grid, count);
            places.iter().filter(|place| place.y == places[0].y).count()
        };
        let expected = [(2, 2), (3, 2), (4, 2), (5, 3), (6, 3), (7, 3), (9, 3), (10, 4), (16, 4), (25, 5)];
        for (count, wanted) in expected {
            assert_eq!(columns(count), wanted, "{count} tiles");
        }
        let speaker = arrange(hd, Layout::Speaker, 4);
        assert!(speaker[0].width >= 980, "{speaker:?}");
        assert!(speaker[1..].iter().all(|place| place.y >= speaker[0].y + speaker[0].height));
        // The strip is in the middle.
        let (first, last) = (speaker[1], speaker[3]);
        assert!(first.x.abs_diff(1280 - last.x - last.width) <= 2, "{speaker:?}");
    }
}
