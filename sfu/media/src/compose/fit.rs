//! How a picture fills its tile.

use super::picture::{Place, Size};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// A camera: what is too much is cut off on both sides, unless that were too much of it.
    Camera,
    /// Slides: every word is seen.
    Whole,
}

/// A camera keeps at least this part of itself, in percent: a phone held upright is shown whole.
const KEPT_PERCENT_MIN: usize = 70;

/// Which part of the picture is shown, and where.
pub fn fit(picture: Size, place: Place, fit: Fit) -> (Place, Place) {
    let whole = Place { x: 0, y: 0, width: picture.width, height: picture.height };
    // Compared as products, so that nothing is rounded.
    let (picture_side, place_side) = (picture.width * place.height, picture.height * place.width);
    let kept = 100 * picture_side.min(place_side) / picture_side.max(place_side).max(1);
    if fit == Fit::Camera && kept >= KEPT_PERCENT_MIN {
        let width = even(picture.width.min(picture.height * place.width / place.height)).max(2);
        let height = even(picture.height.min(picture.width * place.height / place.width)).max(2);
        let part = Place {
            x: even((picture.width - width) / 2),
            y: even((picture.height - height) / 2),
            width,
            height,
        };
        return (part, place);
    }
    let width = even(place.width.min(place.height * picture.width / picture.height)).max(2);
    let height = even(place.height.min(place.width * picture.height / picture.width)).max(2);
    let target = Place {
        x: place.x + even((place.width - width) / 2),
        y: place.y + even((place.height - height) / 2),
        width,
        height,
    };
    (whole, target)
}

fn even(number: usize) -> usize {
    number & !1
}

#[cfg(test)]
mod tests {
    use super::*;

    const TILE: Place = Place { x: 10, y: 20, width: 320, height: 180 };

    #[test]
    fn a_camera_is_cut_a_little_and_never_much() {
        let (part, target) = fit(Size::new(1280, 720), TILE, Fit::Camera);
        assert_eq!((part.width, part.height, target), (1280, 720, TILE));
        // 4:3 loses a quarter of its height.
        let (part, target) = fit(Size::new(640, 480), TILE, Fit::Camera);
        assert_eq!((part, target), (Place { x: 0, y: 60, width: 640, height: 360 }, TILE));
        // Upright it would lose most.
        let (part, target) = fit(Size::new(720, 1280), TILE, Fit::Camera);
        assert_eq!((part.width, part.height), (720, 1280));
        assert_eq!(target, Place { x: 120, y: 20, width: 100, height: 180 });
    }

    #[test]
    fn slides_are_whole() {
        let (part, target) = fit(Size::new(1024, 768), TILE, Fit::Whole);
        assert_eq!(part, Place { x: 0, y: 0, width: 1024, height: 768 });
        assert_eq!(target, Place { x: 50, y: 20, width: 240, height: 180 });
    }
}
