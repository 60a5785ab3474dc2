//! Charts as SVG.
//!
//! ```text
//! HEIGHT |          ___/\__   lines, told apart by colour and by dashes
//!        |    _/\__/
//!        +-------------------
//!          WIDTH
//! ```

use std::fmt::Write as _;

use super::distribution::Distribution;
use super::page::escape;
use super::{Chart, number};

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 240.0;
/// Room for the numbers of the axes.
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 36.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 16.0;
/// Points drawn of one line; a pixel has no more than one.
const POINTS_MAX: usize = 600;
const DASHES: [&str; 4] = ["none", "7 4", "2 3", "10 3 2 3"];

/// Where values are in the picture.
struct Frame {
    x: (f64, f64),
    y: (f64, f64),
}

impl Frame {
    fn x(&self, value: f64) -> f64 {
        LEFT + (value - self.x.0) / (self.x.1 - self.x.0) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, value: f64) -> f64 {
        HEIGHT - BOTTOM - (value - self.y.0) / (self.y.1 - self.y.0) * (HEIGHT - BOTTOM - TOP)
    }
}

pub(super) fn lines(chart: &Chart) -> String {
    let points = || chart.lines.iter().flat_map(|line| &line.points);
    let x_max = points().map(|(x, _)| *x).fold(1.0, f64::max);
    let y_max = points().map(|(_, y)| *y).filter(|y| y.is_finite()).fold(0.0, f64::max);
    let y_step = step(if y_max > 0.0 { y_max } else { 1.0 }, 4);
    let frame = Frame { x: (0.0, x_max), y: (0.0, (y_max / y_step).ceil().max(1.0) * y_step) };
    let mut svg = open(&format!("{}, {} over {} seconds", chart.title, chart.unit, number(x_max)));
    axes(&mut svg, &frame, step(x_max, 6), y_step, "seconds", &chart.unit);
    for (index, line) in chart.lines.iter().enumerate() {
        path(&mut svg, &frame, index, &line.points);
    }
    svg + "</svg>"
}

/// How large a share does not exceed which value; the lines mark the percentiles.
pub(super) fn curve(distribution: &Distribution) -> String {
    // The very last values would make the others unreadable.
    let summary = distribution.summary;
    let x_max = if summary.max > 2.5 * summary.p99 { summary.p99 * 1.25 } else { summary.max };
    let x_step = step(if x_max > 0.0 { x_max } else { 1.0 }, 6);
    let frame = Frame { x: (0.0, (x_max / x_step).ceil().max(1.0) * x_step), y: (0.0, 100.0) };
    let mut svg = open(&format!("{}: share of all that took no longer", distribution.name));
    axes(&mut svg, &frame, x_step, 25.0, &distribution.unit, "%");
    for (name, value) in [("p50", summary.p50), ("p95", summary.p95), ("p99", summary.p99)] {
        let x = frame.x(value.min(frame.x.1));
        let (top, bottom) = (TOP, HEIGHT - BOTTOM);
        // Labels of neighbours are at different heights.
        let y = frame.y(match name {
            "p50" => 8.0,
            "p95" => 24.0,
            _ => 40.0,
        });
        let (anchor, at) = if x > WIDTH * 0.8 { ("end", x - 4.0) } else { ("start", x + 4.0) };
        let _ = write!(
            svg,
            r#"<line class="mark" x1="{x:.1}" y1="{top}" x2="{x:.1}" y2="{bottom}"/><text x="{at:.1}" y="{y:.1}" text-anchor="{anchor}">{name} {}</text>"#,
            number(value)
        );
    }
    let inside = distribution.curve.iter().filter(|(_, value)| *value <= frame.x.1);
    path(&mut svg, &frame, 0, &inside.map(|(share, value)| (*value, share * 100.0)).collect::<Vec<_>>());
    svg + "</svg>"
}

/// A sample of a line, for the legend.
pub(super) fn swatch(index: usize) -> String {
    let dash = DASHES[index % DASHES.len()];
    format!(
        r#"<svg class="swatch" viewBox="0 0 32 8" aria-hidden="true"><line class="line{index}" x1="0" y1="4" x2="32" y2="4" stroke-dasharray="{dash}"/></svg>"#
    )
}

fn open(label: &str) -> String {
    let label = escape(label);
    format!(
        r#"<svg class="chart" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{label}"><title>{label}</title>"#
    )
}

// Writing to a text never fails, here and below.
fn axes(svg: &mut String, frame: &Frame, x_step: f64, y_step: f64, x_unit: &str, y_unit: &str) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in ticks(frame.y, y_step) {
        let y = frame.y(tick);
        let _ = write!(
            svg,
            r#"<line class="grid" x1="{LEFT}" y1="{y:.1}" x2="{right}" y2="{y:.1}"/><text x="{:.1}" y="{:.1}" text-anchor="end">{}</text>"#,
            LEFT - 6.0,
            y + 4.0,
            number(tick)
        );
    }
    for tick in ticks(frame.x, x_step) {
        let _ = write!(
            svg,
            r#"<text x="{:.1}" y="{:.1}" text-anchor="middle">{}</text>"#,
            frame.x(tick),
            bottom + 16.0,
            number(tick)
        );
    }
    let _ = write!(
        svg,
        r#"<line class="axis" x1="{LEFT}" y1="{bottom}" x2="{right}" y2="{bottom}"/><text class="unit" x="{right}" y="{:.1}" text-anchor="end">{}</text><text class="unit" x="4" y="{:.1}">{}</text>"#,
        bottom + 31.0,
        escape(x_unit),
        bottom + 31.0,
        escape(y_unit)
    );
}

fn path(svg: &mut String, frame: &Frame, index: usize, points: &[(f64, f64)]) {
    let skip = points.len().div_ceil(POINTS_MAX).max(1);
    let mut d = String::new();
    for (nth, (x, y)) in points.iter().step_by(skip).filter(|(_, y)| y.is_finite()).enumerate() {
        let letter = if nth == 0 { 'M' } else { 'L' };
        let _ = write!(d, "{letter}{:.1} {:.1}", frame.x(*x), frame.y(*y));
    }
    let dash = DASHES[index % DASHES.len()];
    let _ = write!(svg, r#"<path class="line{index}" d="{d}" stroke-dasharray="{dash}"/>"#);
}

/// 1, 2 or 5 times a power of ten, so that some `count` of them span it.
fn step(span: f64, count: u32) -> f64 {
    let raw = span / f64::from(count);
    let power = 10_f64.powf(raw.log10().floor());
    let factors = [1.0, 2.0, 5.0, 10.0];
    power * factors.into_iter().find(|factor| raw <= factor * power * 1.0001).unwrap_or(10.0)
}

fn ticks(range: (f64, f64), step: f64) -> impl Iterator<Item = f64> {
    let count = ((range.1 - range.0) / step + 1e-6).floor() as u32;
    (0..=count).map(move |tick| range.0 + f64::from(tick) * step)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::Line;

    #[test]
    fn steps_are_round_and_few() {
        for (span, count, expected) in
            [(100.0, 4, 50.0), (7.0, 6, 2.0), (0.03, 4, 0.01), (9_000.0, 6, 2_000.0)]
        {
            assert!((step(span, count) - expected).abs() < 1e-9, "{span}: {}", step(span, count));
        }
        assert_eq!(ticks((0.0, 100.0), 25.0).count(), 5);
    }

    #[test]
    fn nothing_is_drawn_outside_even_if_nothing_was_measured() {
        let points = vec![(0.0, 0.0), (10.0, f64::NAN), (20.0, 7.0)];
        let lines =
            vec![Line { name: "a".to_owned(), points }, Line { name: "b".to_owned(), points: vec![] }];
        let svg = super::lines(&Chart { title: "t".to_owned(), unit: "u".to_owned(), lines });
        assert!(svg.contains("M64.0 204.0L704.0"), "{svg}");
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
        let empty = curve(&Distribution::new("x", "ms", vec![1.0]));
        assert!(!empty.contains("NaN") && !empty.contains("inf"), "{empty}");
    }
}
