//! Between 48 kHz and the rates of narrow codecs, which divide it: windowed-sinc filters of linear
//! phase in polyphase form. Passes up to 0.87 of the narrow band; what would alias is 65 dB down,
//! but for the last eighth of the band. Either way delays by 16 samples of the narrow rate less one
//! of the wide one: 1.98 ms at 8 kHz, 0.98 ms at 16 kHz.

use std::f64::consts::PI;

use crate::frame::dot;

/// Length of the filter in samples of the narrow rate.
const TAPS: usize = 32;
/// Of the Kaiser window, for side lobes 65 dB down.
const BETA: f64 = 6.2;

/// What either direction delays, in samples of the wide rate.
pub const fn delay_samples(factor: usize) -> usize {
    factor * TAPS / 2 - 1
}

/// From a narrow rate to one that is `factor` times as wide.
#[derive(Debug, Clone)]
pub struct Upsampler {
    factor: usize,
    /// `TAPS` for each phase, the oldest sample first.
    phases: Vec<f32>,
    /// The last `TAPS - 1` samples, and while it works, those that came.
    line: Vec<f32>,
}

impl Upsampler {
    pub fn new(factor: usize) -> Self {
        let kernel = kernel(factor);
        let mut phases = Vec::with_capacity(kernel.len());
        for phase in 0..factor {
            phases.extend((0..TAPS).rev().map(|tap| kernel[tap * factor + phase] * factor as f32));
        }
        Upsampler { factor, phases, line: vec![0.0; TAPS - 1] }
    }

    pub fn process(&mut self, narrow: &[f32], wide: &mut Vec<f32>) {
        self.line.extend_from_slice(narrow);
        wide.reserve(narrow.len() * self.factor);
        for window in self.line.windows(TAPS) {
            wide.extend(self.phases.chunks_exact(TAPS).map(|phase| dot(phase, window)));
        }
        self.line.drain(..narrow.len());
    }

    pub fn reset(&mut self) {
        self.line.fill(0.0);
    }
}

/// From a wide rate to one that is `factor` times as narrow.
#[derive(Debug, Clone)]
pub struct Downsampler {
    factor: usize,
    kernel: Vec<f32>,
    line: Vec<f32>,
}

impl Downsampler {
    pub fn new(factor: usize) -> Self {
        let kernel = kernel(factor);
        let line = vec![0.0; kernel.len() - factor];
        Downsampler { factor, kernel, line }
    }

    /// Samples that make no whole one of the narrow rate wait for the next.
    pub fn process(&mut self, wide: &[f32], narrow: &mut Vec<f32>) {
        self.line.extend_from_slice(wide);
        let mut start = 0;
        while let Some(window) = self.line.get(start..start + self.kernel.len()) {
            // The kernel is symmetric, so its direction does not matter.
            narrow.push(dot(window, &self.kernel));
            start += self.factor;
        }
        self.line.drain(..start);
    }

    pub fn reset(&mut self) {
        self.line.clear();
        self.line.resize(self.kernel.len() - self.factor, 0.0);
    }
}

/// A low pass at half the narrow rate, with a sum of 1. Its last tap is 0, which makes the others
/// symmetric about a whole sample.
fn kernel(factor: usize) -> Vec<f32> {
    let length = factor * TAPS;
    let center = (length / 2 - 1) as f64;
    let mut kernel = vec![0.0; length];
    for (index, tap) in kernel.iter_mut().take(length - 1).enumerate() {
        let distance = index as f64 - center;
        let phase = PI * distance / factor as f64;
        let sinc = if distance == 0.0 { 1.0 } else { phase.sin() / phase };
        let edge = distance / (center + 1.0);
        *tap = sinc * bessel(BETA * (1.0 - edge * edge).max(0.0).sqrt()) / bessel(BETA);
    }
    let sum: f64 = kernel.iter().sum();
    kernel.iter().map(|tap| (tap / sum) as f32).collect()
}

/// The modified Bessel function of order zero.
fn bessel(x: f64) -> f64 {
    let (mut sum, mut term) = (1.0, 1.0);
    for index in 1..40 {
        term *= (x / 2.0 / f64::from(index)).powi(2);
        sum += term;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{level_dbov, power};

    fn sine(rate: f64, frequency: f64, count: usize) -> Vec<f32> {
        (0..count).map(|n| (2.0 * PI * frequency * n as f64 / rate).sin() as f32).collect()
    }

    /// What is left when the sine that it should be is taken away, in dB below it.
    fn noise_db(signal: &[f32], frequency: f64, delay: f64) -> f32 {
        let expected = |n: usize| (2.0 * PI * frequency * (n as f64 - delay) / 48_000.0).sin() as f32;
        let rest: Vec<f32> = signal.iter().enumerate().skip(2000).map(|(n, s)| s - expected(n)).collect();
        level_dbov(&rest) + 3.01
    }

    #[test]
    fn a_tone_keeps_its_shape_and_comes_after_the_delay_that_is_named() {
        for (factor, frequency) in [(6, 300.0), (6, 1000.0), (6, 3400.0), (3, 200.0), (3, 6800.0)] {
            let mut wide = Vec::new();
            Upsampler::new(factor).process(&sine(48_000.0 / factor as f64, frequency, 1600), &mut wide);
            let noise = noise_db(&wide, frequency, delay_samples(factor) as f64);
            assert!(noise < -50.0, "{frequency} Hz by {factor}: {noise} dB");
        }
    }

    #[test]
    fn there_and_back_is_the_same_after_twice_the_delay() {
        for factor in [3, 6] {
            let mut narrow = Vec::new();
            let mut downsampler = Downsampler::new(factor);
            for frame in sine(48_000.0, 1100.0, 9600).chunks(250) {
                downsampler.process(frame, &mut narrow);
            }
            assert_eq!(narrow.len(), 9600 / factor);
            let mut again = Vec::new();
            Upsampler::new(factor).process(&narrow, &mut again);
            // Down begins when the first of a group is there, so the group's others come on top.
            let delay = 2.0 * delay_samples(factor) as f64 - (factor as f64 - 1.0);
            let best = (-8_i32..=8)
                .map(|shift| (noise_db(&again, 1100.0, delay + f64::from(shift)), shift))
                .min_by(|a, b| a.0.total_cmp(&b.0))
                .expect("there are some");
            assert!(best.0 < -50.0, "{factor}: {best:?}");
            assert!(best.1.abs() <= factor as i32, "{factor}: {best:?}");
        }
    }

    #[test]
    fn what_the_narrow_band_cannot_hold_is_taken_away() {
        for (factor, frequency) in [(6, 4600.0), (6, 9000.0), (3, 9200.0), (3, 20_000.0)] {
            let mut narrow = Vec::new();
            Downsampler::new(factor).process(&sine(48_000.0, frequency, 9600), &mut narrow);
            let left = level_dbov(&narrow[100..]) + 3.01;
            assert!(left < -60.0, "{frequency} Hz by {factor}: {left} dB");
        }
    }

    #[test]
    fn silence_stays_silent_and_a_reset_forgets() {
        let mut upsampler = Upsampler::new(6);
        let mut wide = Vec::new();
        upsampler.process(&[1.0; 80], &mut wide);
        assert!(power(&wide[400..]) > 0.9);
        upsampler.reset();
        wide.clear();
        upsampler.process(&[0.0; 80], &mut wide);
        assert_eq!(power(&wide), 0.0);
    }
}
