//! Keeps a sum of voices below full scale without cutting its waves: the gain goes down before a peak
//! and comes back slowly. It looks ahead within the frame, so it adds no delay.

use crate::frame::{FRAME_SAMPLES, Frame, milliseconds};

/// Waves up to this are left as they are.
const CEILING: f32 = 0.89;
const BLOCK: usize = milliseconds(1);
const BLOCKS: usize = FRAME_SAMPLES / BLOCK;
/// Recovers by 10 dB a second.
const RELEASE_PER_BLOCK: f32 = 1.001_15;
/// A peak at the very beginning of a frame comes without warning. It is bent above here.
const KNEE: f32 = 0.9;

#[derive(Debug, Clone, Copy)]
pub(super) struct Limiter {
    gain: f32,
}

impl Default for Limiter {
    fn default() -> Self {
        Limiter { gain: 1.0 }
    }
}

impl Limiter {
    pub(super) fn limit(&mut self, frame: &mut Frame) {
        let peaks: [f32; BLOCKS] = std::array::from_fn(|block| {
            frame[block * BLOCK..][..BLOCK].iter().fold(0.0, |peak: f32, sample| peak.max(sample.abs()))
        });
        let loud = |peak: &f32| peak * self.gain > CEILING;
        if self.gain == 1.0 && !peaks.iter().any(loud) {
            return;
        }
        let allowed = peaks.map(|peak| if peak > CEILING { CEILING / peak } else { 1.0 });
        for block in 0..BLOCKS {
            // By the end of a block the gain must suit it and the next.
            let next = allowed.get(block + 1).copied().unwrap_or(1.0);
            let target = allowed[block].min(next).min(self.gain * RELEASE_PER_BLOCK).min(1.0);
            let start = self.gain;
            for (index, sample) in frame[block * BLOCK..][..BLOCK].iter_mut().enumerate() {
                let gain = start + (target - start) * (index + 1) as f32 / BLOCK as f32;
                *sample = bend(*sample * gain);
            }
            self.gain = target;
        }
    }
}

fn bend(sample: f32) -> f32 {
    let above = sample.abs() - KNEE;
    if above <= 0.0 {
        return sample;
    }
    sample.signum() * (KNEE + (1.0 - KNEE) * (above / (1.0 - KNEE)).tanh())
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::frame::level_dbov;

    fn run(amplitude: f32, frames: usize) -> Vec<f32> {
        let mut limiter = Limiter::default();
        let mut samples = Vec::new();
        for n in 0..frames {
            let mut frame: Frame = std::array::from_fn(|i| {
                amplitude * (TAU * 200.0 * (n * FRAME_SAMPLES + i) as f32 / 48_000.0).sin()
            });
            limiter.limit(&mut frame);
            samples.extend_from_slice(&frame);
        }
        samples
    }

    #[test]
    fn what_fits_is_left_alone() {
        let samples = run(0.85, 10);
        assert!((level_dbov(&samples) - 20.0 * (0.85_f32 / 2.0_f32.sqrt()).log10()).abs() < 0.01);
    }

    #[test]
    fn what_does_not_fit_keeps_its_shape_below_full_scale() {
        for amplitude in [1.2, 3.0, 8.0] {
            let samples = run(amplitude, 100);
            assert!(samples.iter().all(|sample| sample.abs() <= 1.0));
            // A sine that is cut would be nearer to a square wave, which is 3 dB louder for its peak.
            let steady = &samples[9_600..];
            let peak = steady.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
            let crest = 20.0 * peak.log10() - level_dbov(steady);
            assert!((crest - 3.01).abs() < 0.35, "{amplitude}: {crest} dB");
        }
    }

    #[test]
    fn the_gain_comes_back() {
        let mut limiter = Limiter::default();
        limiter.limit(&mut [4.0; FRAME_SAMPLES]);
        assert!(limiter.gain < 0.25);
        for _ in 0..80 {
            limiter.limit(&mut [0.1; FRAME_SAMPLES]);
        }
        assert_eq!(limiter.gain, 1.0);
    }
}
