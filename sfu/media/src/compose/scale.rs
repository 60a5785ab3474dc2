//! Pictures made larger and smaller: each pixel is a mean of what it covers, weighted by a triangle, so
//! that small tiles do not flicker. Lines first, because there the compiler works on many at once.

use std::collections::HashMap;
use std::sync::Arc;

use super::picture::{Picture, PictureRef, Place};

/// Weights of one pixel sum up to this: 16 bits then hold their sum with any bytes.
const UNIT: usize = 256;
/// Filters that are kept: a few for each size that is shown at a time.
const FILTERS_MAX: usize = 64;

#[derive(Default)]
pub(super) struct Scaler {
    filters: HashMap<(usize, usize), Arc<Filter>>,
    sums: Vec<u16>,
    line: Vec<u8>,
}

/// For each pixel the first one that it covers, and the weights of that and the following.
struct Filter {
    starts: Vec<usize>,
    weights: Vec<u16>,
    taps: usize,
}

impl Scaler {
    /// `part` of `source` fills `target`.
    pub(super) fn draw(&mut self, source: &PictureRef<'_>, part: Place, canvas: &mut Picture, target: Place) {
        for (index, (plane, stride)) in source.planes.iter().enumerate() {
            let from = part.of_plane(index);
            let to = target.of_plane(index);
            let columns = self.filter(from.width, to.width);
            let rows = self.filter(from.height, to.height);
            let line_of = |y: usize| &plane[(from.y + y) * stride + from.x..][..from.width];
            for (y, out) in canvas.lines_mut(index, target).enumerate() {
                let (first, weights) = rows.at(y);
                if let [weight] = weights
                    && usize::from(*weight) == UNIT
                {
                    columns.apply(line_of(first), out);
                    continue;
                }
                self.sums.clear();
                self.sums.resize(from.width, (UNIT / 2) as u16);
                for (tap, weight) in weights.iter().enumerate().filter(|(_, weight)| **weight > 0) {
                    for (sum, byte) in self.sums.iter_mut().zip(line_of(first + tap)) {
                        // It cannot overflow; said so that the loop has no checks.
                        *sum = sum.wrapping_add(weight.wrapping_mul(u16::from(*byte)));
                    }
                }
                self.line.clear();
                self.line.extend(self.sums.iter().map(|sum| (sum / UNIT as u16) as u8));
                columns.apply(&self.line, out);
            }
        }
    }

    fn filter(&mut self, from: usize, to: usize) -> Arc<Filter> {
        if self.filters.len() == FILTERS_MAX && !self.filters.contains_key(&(from, to)) {
            self.filters.clear();
        }
        self.filters.entry((from, to)).or_insert_with(|| Arc::new(Filter::new(from, to))).clone()
    }
}

impl Filter {
    fn new(from: usize, to: usize) -> Self {
        if from == to {
            return Filter { starts: (0..to).collect(), weights: vec![UNIT as u16; to], taps: 1 };
        }
        let ratio = from as f64 / to as f64;
        let reach = ratio.max(1.0);
        let taps = ((2.0 * reach).ceil() as usize + 1).min(from);
        let (mut starts, mut weights) = (Vec::with_capacity(to), Vec::with_capacity(to * taps));
        for pixel in 0..to {
            let center = (pixel as f64 + 0.5) * ratio - 0.5;
            let start = ((center - reach).ceil().max(0.0) as usize).min(from - taps);
            let exact: Vec<f64> =
                (start..start + taps).map(|n| (1.0 - (n as f64 - center).abs() / reach).max(0.0)).collect();
            let sum: f64 = exact.iter().sum();
            // Rounded so that they sum up exactly.
            let (mut total, mut given) = (0.0, 0);
            for weight in exact {
                total += weight / sum * UNIT as f64;
                let until = total.round() as usize;
                weights.push((until - given) as u16);
                given = until;
            }
            starts.push(start);
        }
        Filter { starts, weights, taps }
    }

    fn at(&self, pixel: usize) -> (usize, &[u16]) {
        (self.starts[pixel], &self.weights[pixel * self.taps..][..self.taps])
    }

    fn apply(&self, line: &[u8], out: &mut [u8]) {
        // With the number of taps known, the compiler unrolls.
        match self.taps {
            1 => out.copy_from_slice(line),
            3 => self.apply_taps::<3>(line, out),
            4 => self.apply_taps::<4>(line, out),
            5 => self.apply_taps::<5>(line, out),
            6 => self.apply_taps::<6>(line, out),
            7 => self.apply_taps::<7>(line, out),
            _ => {
                for (pixel, byte) in out.iter_mut().enumerate() {
                    let (start, weights) = self.at(pixel);
                    *byte = mean(&line[start..start + self.taps], weights);
                }
            }
        }
    }

    fn apply_taps<const TAPS: usize>(&self, line: &[u8], out: &mut [u8]) {
        let (weights, _) = self.weights.as_chunks::<TAPS>();
        for ((byte, start), weights) in out.iter_mut().zip(&self.starts).zip(weights) {
            let pixels: &[u8; TAPS] = line[*start..*start + TAPS].try_into().expect("it has that length");
            *byte = mean(pixels, weights);
        }
    }
}

#[inline(always)]
fn mean(pixels: &[u8], weights: &[u16]) -> u8 {
    // 255 with all of the weight and half a unit is just below the largest number.
    let sum = pixels.iter().zip(weights).fold((UNIT / 2) as u16, |sum, (pixel, weight)| {
        sum.wrapping_add(u16::from(*pixel).wrapping_mul(*weight))
    });
    (sum / UNIT as u16) as u8
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compose::picture::{Color, Size};

    const GREY: Color = Color { y: 100, u: 128, v: 128 };

    fn picture(size: Size, pixel: impl Fn(usize, usize) -> u8) -> Picture {
        let mut picture = Picture::new(size, GREY).expect("its sides are even");
        let whole = picture.whole();
        for (y, line) in picture.lines_mut(0, whole).enumerate() {
            for (x, byte) in line.iter_mut().enumerate() {
                *byte = pixel(x, y);
            }
        }
        picture
    }

    fn scaled(source: &Picture, size: Size) -> Picture {
        let mut canvas = Picture::new(size, Color { y: 0, u: 0, v: 0 }).expect("its sides are even");
        let whole = canvas.whole();
        Scaler::default().draw(&source.as_ref(), source.whole(), &mut canvas, whole);
        canvas
    }

    #[test]
    fn an_even_grey_stays_what_it_is() {
        for value in [0, 16, 128, 235, 255] {
            let source = picture(Size::new(640, 360), |_, _| value);
            for size in [Size::new(640, 360), Size::new(320, 180), Size::new(214, 122), Size::new(1280, 720)]
            {
                let small = scaled(&source, size);
                assert!(small.plane(0).iter().all(|byte| *byte == value), "{value} at {size:?}");
                assert!(small.plane(1).iter().all(|byte| *byte == 128));
            }
        }
    }

    #[test]
    fn a_slope_stays_straight_and_where_it_is() {
        let source = picture(Size::new(512, 256), |x, y| ((x + y) / 4) as u8);
        for size in [Size::new(256, 128), Size::new(342, 170), Size::new(900, 450), Size::new(100, 50)] {
            let other = scaled(&source, size);
            let ratio = 512.0 / size.width as f64;
            for y in (4..size.height - 4).step_by(7) {
                for x in (4..size.width - 4).step_by(11) {
                    let expected = ((x as f64 + 0.5) * ratio + (y as f64 + 0.5) * 256.0 / size.height as f64
                        - 1.0)
                        / 4.0;
                    let found = f64::from(other.plane(0)[y * size.width + x]);
                    assert!((found - expected).abs() < 2.0, "{size:?} at {x},{y}: {found} for {expected}");
                }
            }
        }
    }

    #[test]
    fn fine_patterns_become_grey_and_do_not_flicker() {
        let source = picture(Size::new(1280, 720), |x, y| if (x + y) % 2 == 0 { 200 } else { 40 });
        let small = scaled(&source, Size::new(302, 170));
        assert!(small.plane(0).iter().all(|byte| byte.abs_diff(120) < 12));
    }
}
