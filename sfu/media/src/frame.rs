//! What is mixed: 20 ms of mono at 48 kHz, full scale 1.0; and how loud it is.

use std::time::Duration;

pub const SAMPLE_RATE: u32 = 48_000;
/// How often a frame is made of each voice and for each listener.
pub const TICK: Duration = Duration::from_millis(20);
pub const FRAME_SAMPLES: usize = 960;

pub type Frame = [f32; FRAME_SAMPLES];

pub const SILENT_FRAME: Frame = [0.0; FRAME_SAMPLES];

/// The quietest level that RFC 6464 can say, in dBov.
pub const SILENCE_DBOV: f32 = -127.0;

/// The root mean square over that of a square wave at full scale, in dB (RFC 6464 section 3).
pub fn level_dbov(samples: &[f32]) -> f32 {
    power_dbov(power(samples))
}

/// The mean of the squares.
pub fn power(samples: &[f32]) -> f32 {
    dot(samples, samples) / samples.len().max(1) as f32
}

pub fn power_dbov(power: f32) -> f32 {
    (10.0 * power.max(1e-20).log10()).max(SILENCE_DBOV)
}

/// The factor of an amplitude that is `db` louder.
pub fn amplitude(db: f32) -> f32 {
    10.0_f32.powf(db / 20.0)
}

pub const fn milliseconds(count: usize) -> usize {
    count * SAMPLE_RATE as usize / 1000
}

/// The sum of products, in lanes that the compiler can keep in one register.
pub(crate) fn dot(left: &[f32], right: &[f32]) -> f32 {
    const LANES: usize = 8;
    let mut sums = [0.0_f32; LANES];
    let (left_chunks, right_chunks) = (left.chunks_exact(LANES), right.chunks_exact(LANES));
    let rest: f32 = left_chunks.remainder().iter().zip(right_chunks.remainder()).map(|(l, r)| l * r).sum();
    for (left, right) in left_chunks.zip(right_chunks) {
        for lane in 0..LANES {
            sums[lane] += left[lane] * right[lane];
        }
    }
    sums.iter().sum::<f32>() + rest
}

/// Rounded to 16 bits. What is above full scale stays at full scale.
pub(crate) fn to_i16(sample: f32) -> i16 {
    (sample * 32_768.0).round().clamp(-32_768.0, 32_767.0) as i16
}

pub(crate) fn from_i16(sample: i16) -> f32 {
    f32::from(sample) / 32_768.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_at_full_scale_is_three_db_below_the_square_wave() {
        let sine: Vec<f32> = (0..4800).map(|n| (n as f32 * 0.1).sin()).collect();
        assert!((level_dbov(&sine) + 3.01).abs() < 0.05);
        assert!(level_dbov(&[1.0, -1.0, 1.0, -1.0]).abs() < 0.001);
        assert_eq!(level_dbov(&SILENT_FRAME), SILENCE_DBOV);
        assert_eq!(level_dbov(&[]), SILENCE_DBOV);
    }

    #[test]
    fn sixteen_bits_and_back() {
        for sample in [i16::MIN, -1, 0, 1, i16::MAX] {
            assert_eq!(to_i16(from_i16(sample)), sample);
        }
        assert_eq!(to_i16(3.0), i16::MAX);
    }
}
