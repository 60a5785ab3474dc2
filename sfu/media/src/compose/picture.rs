//! I420: a plane of brightness, and two of colour with half its sides.

use super::VideoError;

/// Both sides are even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Size {
    pub width: usize,
    pub height: usize,
}

impl Size {
    pub const SIDE_MAX: usize = 4096;

    pub const fn new(width: usize, height: usize) -> Self {
        Size { width, height }
    }
}

/// A part of a picture; all four are even.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Place {
    pub x: usize,
    pub y: usize,
    pub width: usize,
    pub height: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Color {
    pub(super) y: u8,
    pub(super) u: u8,
    pub(super) v: u8,
}

/// A picture of somebody else, such as a decoder.
#[derive(Debug, Clone, Copy)]
pub struct PictureRef<'a> {
    pub size: Size,
    /// Brightness and the two colours, each with the length of its lines in memory.
    pub planes: [(&'a [u8], usize); 3],
}

/// A picture of one's own. Lines follow each other without padding.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Picture {
    size: Size,
    planes: [Vec<u8>; 3],
}

impl<'a> PictureRef<'a> {
    /// None: planes are too short for the size, or its sides are odd.
    pub fn new(size: Size, planes: [(&'a [u8], usize); 3]) -> Option<Self> {
        check(size).ok()?;
        for (index, (plane, stride)) in planes.iter().enumerate() {
            let (width, height) = plane_size(size, index);
            if *stride < width || plane.len() < stride * (height - 1) + width {
                return None;
            }
        }
        Some(PictureRef { size, planes })
    }
}

impl Picture {
    pub(super) fn new(size: Size, color: Color) -> Result<Self, VideoError> {
        check(size)?;
        let plane = |index, value| {
            let (width, height) = plane_size(size, index);
            vec![value; width * height]
        };
        Ok(Picture { size, planes: [plane(0, color.y), plane(1, color.u), plane(2, color.v)] })
    }

    pub fn copy_of(other: &PictureRef<'_>) -> Result<Self, VideoError> {
        let mut picture = Picture::new(other.size, Color { y: 0, u: 0, v: 0 })?;
        picture.copy_from(other);
        Ok(picture)
    }

    /// Of the same size.
    pub(super) fn copy_from(&mut self, other: &PictureRef<'_>) {
        let whole = self.whole();
        for (index, (plane, stride)) in other.planes.iter().enumerate() {
            for (line, other) in self.lines_mut(index, whole).zip(plane.chunks(*stride)) {
                line.copy_from_slice(&other[..line.len()]);
            }
        }
    }

    pub fn size(&self) -> Size {
        self.size
    }

    pub fn plane(&self, index: usize) -> &[u8] {
        &self.planes[index]
    }

    pub fn as_ref(&self) -> PictureRef<'_> {
        let planes = std::array::from_fn(|index| (&self.planes[index][..], plane_size(self.size, index).0));
        PictureRef { size: self.size, planes }
    }

    pub(super) fn whole(&self) -> Place {
        Place { x: 0, y: 0, width: self.size.width, height: self.size.height }
    }

    /// Lines of a plane within a place, in units of that plane.
    pub(super) fn lines_mut(&mut self, index: usize, place: Place) -> impl Iterator<Item = &mut [u8]> {
        let (stride, _) = plane_size(self.size, index);
        let Place { x, y, width, height } = place.of_plane(index);
        self.planes[index]
            .chunks_exact_mut(stride)
            .skip(y)
            .take(height)
            .map(move |line| &mut line[x..x + width])
    }

    pub(super) fn fill(&mut self, place: Place, color: Color) {
        for (index, value) in [color.y, color.u, color.v].into_iter().enumerate() {
            self.lines_mut(index, place).for_each(|line| line.fill(value));
        }
    }

    /// A frame within the edges of a place.
    pub(super) fn frame(&mut self, place: Place, color: Color) {
        let thick = (place.height / 100 * 2).clamp(2, 8);
        let Place { x, y, width, height } = place;
        if width <= 2 * thick || height <= 2 * thick {
            return;
        }
        for part in [
            Place { x, y, width, height: thick },
            Place { x, y: y + height - thick, width, height: thick },
            Place { x, y, width: thick, height },
            Place { x: x + width - thick, y, width: thick, height },
        ] {
            self.fill(part, color);
        }
    }
}

impl Place {
    pub(super) fn of_plane(self, index: usize) -> Place {
        let shift = usize::from(index > 0);
        let Place { x, y, width, height } = self;
        Place { x: x >> shift, y: y >> shift, width: width >> shift, height: height >> shift }
    }
}

pub(super) fn plane_size(size: Size, index: usize) -> (usize, usize) {
    let shift = usize::from(index > 0);
    (size.width >> shift, size.height >> shift)
}

fn check(size: Size) -> Result<(), VideoError> {
    let good = |side: usize| (2..=Size::SIDE_MAX).contains(&side) && side.is_multiple_of(2);
    if good(size.width) && good(size.height) {
        Ok(())
    } else {
        Err(VideoError::Size { width: size.width, height: size.height })
    }
}
