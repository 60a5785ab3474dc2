//! Time without change of pitch: a period of the voice is left out, or played twice, with both
//! sides faded into each other where they are most alike.

use super::period::{self, LAG_MAX};
use crate::frame::{milliseconds, power, power_dbov};

/// Less alike than this, a splice would be heard.
const LIKENESS_MIN: f32 = 0.85;
/// In a hurry less is enough.
const LIKENESS_HURRIED_MIN: f32 = 0.4;
/// What is quieter can be cut anywhere.
const QUIET_DBOV: f32 = -55.0;

/// How soon the length has to be right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Haste {
    Unheard,
    Hurried,
}

/// Leaves a period of at most `lag_max` out at the end. Returns how many samples that was: 0 where it
/// would be heard.
pub(super) fn shorten(samples: &mut Vec<f32>, lag_max: usize, haste: Haste) -> usize {
    let Some(lag) = splice(samples, lag_max, haste) else { return 0 };
    let end = samples.len();
    // |..... a ..... b |  becomes  |..... a-into-b |, both of one lag.
    for index in 0..lag {
        let part = index as f32 / lag as f32;
        let (early, late) = (end - 2 * lag + index, end - lag + index);
        samples[early] += part * (samples[late] - samples[early]);
    }
    samples.truncate(end - lag);
    lag
}

/// Plays the last period twice. Returns how many samples that added.
pub(super) fn lengthen(samples: &mut Vec<f32>, haste: Haste) -> usize {
    let Some(lag) = splice(samples, LAG_MAX, haste) else { return 0 };
    let end = samples.len();
    // |..... a ..... b |  becomes  |..... a ..... b-into-a ..... b |.
    let (first, second) = (end - 2 * lag, end - lag);
    let last: Vec<f32> = samples[second..].to_vec();
    for index in 0..lag {
        let part = index as f32 / lag as f32;
        samples[second + index] += part * (samples[first + index] - samples[second + index]);
    }
    samples.extend_from_slice(&last);
    lag
}

/// Which lag may be spliced at the end; both of its sides must be there.
fn splice(samples: &[f32], lag_max: usize, haste: Haste) -> Option<usize> {
    let lag_max = lag_max.min(samples.len() / 2);
    let end = &samples[samples.len().saturating_sub(2 * lag_max)..];
    if power_dbov(power(end)) < QUIET_DBOV {
        return (lag_max >= milliseconds(2)).then_some(lag_max);
    }
    let found = period::find(samples, lag_max)?;
    let enough = match haste {
        Haste::Unheard => LIKENESS_MIN,
        Haste::Hurried => LIKENESS_HURRIED_MIN,
    };
    (found.likeness >= enough).then_some(found.lag)
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;

    fn tone(count: usize) -> Vec<f32> {
        (0..count).map(|n| 0.3 * (TAU * 150.0 * n as f32 / 48_000.0).sin()).collect()
    }

    fn largest_step(samples: &[f32]) -> f32 {
        samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_tone_gets_shorter_and_longer_and_stays_smooth() {
        let original = tone(2400);
        let shorten_all = |samples: &mut Vec<f32>, haste| shorten(samples, LAG_MAX, haste);
        for change in [shorten_all, lengthen] {
            let mut samples = original.clone();
            let by = change(&mut samples, Haste::Unheard);
            assert!((300..=LAG_MAX).contains(&by), "{by}");
            assert_eq!(samples.len().abs_diff(original.len()), by);
            assert!(largest_step(&samples) < 1.1 * largest_step(&original));
            let (last, before) = (samples[samples.len() - 1], original[original.len() - 1]);
            assert!((last - before).abs() < 1e-6, "what comes next must fit");
        }
    }

    #[test]
    fn noise_is_left_alone_unless_there_is_haste() {
        let mut state = 1_u32;
        let mut noise: Vec<f32> = (0..2400)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state as i32 as f32 / 4e9
            })
            .collect();
        assert_eq!(shorten(&mut noise, LAG_MAX, Haste::Unheard), 0);
        assert_eq!(lengthen(&mut noise, Haste::Unheard), 0);
        assert_eq!(noise.len(), 2400);
    }

    #[test]
    fn silence_goes_at_once_and_scraps_are_left() {
        assert_eq!(shorten(&mut vec![0.0; 2400], LAG_MAX, Haste::Unheard), LAG_MAX);
        assert_eq!(shorten(&mut vec![0.0; 100], LAG_MAX, Haste::Unheard), 0);
        assert_eq!(lengthen(&mut Vec::new(), Haste::Hurried), 0);
    }
}
