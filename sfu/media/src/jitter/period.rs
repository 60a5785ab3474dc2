//! How a sound repeats itself: the lag at which it is most like what it was.

use crate::frame::{SAMPLE_RATE, dot, milliseconds};

/// Pitches of 67 to 400 Hz.
pub(super) const LAG_MIN: usize = milliseconds(5) / 2;
pub(super) const LAG_MAX: usize = milliseconds(15);
/// So much of the end is compared.
const WINDOW: usize = milliseconds(10);
/// The first search is at 8 kHz, the second around what it found.
const COARSE: usize = SAMPLE_RATE as usize / 8000;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Period {
    pub(super) lag: usize,
    /// 1: it repeats exactly. 0: nothing in it does.
    pub(super) likeness: f32,
}

/// Compares the end of `samples` with what was before, up to `lag_max` or what there is. None: too short.
pub(super) fn find(samples: &[f32], lag_max: usize) -> Option<Period> {
    let lag_max = lag_max.min(LAG_MAX).min(samples.len().checked_sub(WINDOW)?);
    if lag_max < LAG_MIN {
        return None;
    }
    let samples = &samples[samples.len() - WINDOW - lag_max..];
    let coarse: Vec<f32> =
        samples.rchunks_exact(COARSE).rev().map(|group| group.iter().sum::<f32>()).collect();
    let first = best(&coarse, WINDOW / COARSE, LAG_MIN / COARSE..=lag_max / COARSE)?;
    let middle = first.lag * COARSE;
    let lags = middle.saturating_sub(COARSE).max(LAG_MIN)..=(middle + COARSE).min(lag_max);
    best(samples, WINDOW, lags)
}

fn best(samples: &[f32], window: usize, lags: std::ops::RangeInclusive<usize>) -> Option<Period> {
    let start = samples.len() - window;
    let end = &samples[start..];
    let power = dot(end, end);
    lags.filter(|lag| *lag <= start)
        .map(|lag| {
            let before = &samples[start - lag..start - lag + window];
            let scale = (power * dot(before, before)).sqrt();
            let likeness = if scale > 1e-12 { dot(end, before) / scale } else { 0.0 };
            Period { lag, likeness }
        })
        .max_by(|a, b| a.likeness.total_cmp(&b.likeness))
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    const NEEDED: usize = LAG_MAX + WINDOW;

    #[test]
    fn the_pitch_of_a_tone_is_found() {
        for pitch in [90.0, 130.0, 221.0, 380.0] {
            let samples: Vec<f32> = (0..NEEDED)
                .map(|n| {
                    let phase = TAU * pitch * n as f32 / 48_000.0;
                    phase.sin() + 0.5 * (2.0 * phase).sin()
                })
                .collect();
            let found = find(&samples, LAG_MAX).expect("it is long enough");
            let periods = found.lag as f32 * pitch / 48_000.0;
            assert!((periods - periods.round()).abs() < 0.02, "{pitch} Hz: {found:?}");
            assert!(found.likeness > 0.99);
        }
    }

    #[test]
    fn silence_and_short_ends_do_no_harm() {
        assert_eq!(find(&[0.0; 100], LAG_MAX), None);
        assert_eq!(find(&[0.0; NEEDED], LAG_MAX).expect("it is long enough").likeness, 0.0);
    }
}
