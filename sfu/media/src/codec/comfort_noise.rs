//! Comfort noise (RFC 3389): how loud the noise is and, in reflection coefficients, how it sounds.

use crate::frame::{Frame, SILENCE_DBOV, amplitude, dot, power_dbov};
use crate::resample::{Downsampler, Upsampler};

/// RFC 3389 leaves the order open. More than this adds nothing that is heard.
const ORDER_MAX: usize = 12;
const ORDER: usize = 10;
/// The step in which coefficients are quantised (RFC 3389 section 3.2).
const COEFFICIENT_STEP: f32 = 258.0 / 32_768.0;
/// Nearer to 1 a coefficient would ring.
const COEFFICIENT_MAX: f32 = 0.98;
/// Of what was measured before, in each new measure: noise changes slowly.
const MEMORY: f32 = 0.9;
/// Keeps a filter for what is nearly a tone from ringing.
const WHITENING: f32 = 1.000_3;

/// What a payload of comfort noise says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NoiseShape {
    pub level_dbov: f32,
    coefficients: [f32; ORDER_MAX],
}

impl NoiseShape {
    /// Without colour.
    pub fn white(level_dbov: f32) -> Self {
        NoiseShape { level_dbov, coefficients: [0.0; ORDER_MAX] }
    }

    pub fn no_louder_than(self, level_dbov: f32) -> Self {
        NoiseShape { level_dbov: self.level_dbov.min(level_dbov), ..self }
    }

    /// None: the payload is empty.
    pub fn parse(payload: &[u8]) -> Option<Self> {
        let (level, coefficients) = payload.split_first()?;
        let mut shape = NoiseShape::white(-f32::from(level & 0x7f));
        for (coefficient, byte) in shape.coefficients.iter_mut().zip(coefficients) {
            let value = (f32::from(*byte) - 127.0) * COEFFICIENT_STEP;
            *coefficient = value.clamp(-COEFFICIENT_MAX, COEFFICIENT_MAX);
        }
        Some(shape)
    }

    pub fn write(&self, payload: &mut Vec<u8>) {
        payload.clear();
        payload.push((-self.level_dbov).round().clamp(0.0, 127.0) as u8);
        payload.extend(
            self.coefficients[..ORDER]
                .iter()
                .map(|value| (value / COEFFICIENT_STEP + 127.0).round().clamp(0.0, 254.0) as u8),
        );
    }
}

/// Noise by a shape, at the rate of the codec that it stands in for, then at 48 kHz.
#[derive(Debug, Clone)]
pub struct NoiseGenerator {
    shape: NoiseShape,
    lattice: [f32; ORDER_MAX + 1],
    random: u32,
    upsampler: Option<Upsampler>,
    factor: usize,
    narrow: Vec<f32>,
    /// Made already and not yet asked for.
    ready: Vec<f32>,
}

impl NoiseGenerator {
    /// `factor`: how many samples at 48 kHz one has of the codec's own. Equal seeds give equal noise.
    pub fn new(factor: usize, seed: u32) -> Self {
        NoiseGenerator {
            shape: NoiseShape::white(SILENCE_DBOV),
            lattice: [0.0; ORDER_MAX + 1],
            random: seed | 1,
            upsampler: (factor > 1).then(|| Upsampler::new(factor)),
            factor,
            narrow: Vec::new(),
            ready: Vec::new(),
        }
    }

    pub fn shape(&self) -> NoiseShape {
        self.shape
    }

    pub fn set_shape(&mut self, shape: NoiseShape) {
        self.shape = shape;
    }

    pub fn generate(&mut self, count: usize, samples: &mut Vec<f32>) {
        if self.ready.len() < count {
            let needed = (count - self.ready.len()).div_ceil(self.factor);
            self.narrow.clear();
            let gain = self.excitation();
            for _ in 0..needed {
                let sample = self.next(gain);
                self.narrow.push(sample);
            }
            match &mut self.upsampler {
                Some(upsampler) => upsampler.process(&self.narrow, &mut self.ready),
                None => self.ready.extend_from_slice(&self.narrow),
            }
        }
        samples.extend(self.ready.drain(..count));
    }

    /// How loud the excitation of the filter must be for the noise to have its level.
    fn excitation(&self) -> f32 {
        let resonance: f32 = self.shape.coefficients.iter().map(|k| 1.0 - k * k).product();
        // Of numbers that are spread evenly over -1 to 1 the root mean square is 1 / sqrt(3).
        amplitude(self.shape.level_dbov) * (3.0 * resonance).sqrt()
    }

    /// The all-pole lattice.
    fn next(&mut self, gain: f32) -> f32 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        let mut forward = gain * (self.random as i32 as f32 / 2_147_483_648.0);
        for stage in (0..ORDER_MAX).rev() {
            let coefficient = self.shape.coefficients[stage];
            forward -= coefficient * self.lattice[stage];
            self.lattice[stage + 1] = self.lattice[stage] + coefficient * forward;
        }
        self.lattice[0] = forward;
        forward
    }
}

/// From frames that are noise to its shape.
#[derive(Debug, Clone)]
pub struct NoiseAnalyser {
    downsampler: Option<Downsampler>,
    narrow: Vec<f32>,
    correlation: [f32; ORDER + 1],
}

impl NoiseAnalyser {
    pub fn new(factor: usize) -> Self {
        NoiseAnalyser {
            downsampler: (factor > 1).then(|| Downsampler::new(factor)),
            narrow: Vec::new(),
            correlation: [0.0; ORDER + 1],
        }
    }

    pub fn measure(&mut self, frame: &Frame) {
        self.narrow.clear();
        match &mut self.downsampler {
            Some(downsampler) => downsampler.process(frame, &mut self.narrow),
            None => self.narrow.extend_from_slice(frame),
        }
        let count = self.narrow.len();
        if count <= ORDER {
            return;
        }
        let first = self.correlation[0] == 0.0;
        for (lag, mean) in self.correlation.iter_mut().enumerate() {
            let now = dot(&self.narrow[lag..], &self.narrow[..count - lag]) / count as f32;
            *mean = if first { now } else { MEMORY * *mean + (1.0 - MEMORY) * now };
        }
    }

    /// By the recursion of Levinson and Durbin.
    pub fn shape(&self) -> NoiseShape {
        let mut shape = NoiseShape::white(power_dbov(self.correlation[0]));
        let mut error = self.correlation[0] * WHITENING;
        if error <= 1e-12 {
            return shape;
        }
        let mut predictor = [0.0_f32; ORDER + 1];
        for order in 1..=ORDER {
            let known: f32 = (1..order).map(|lag| predictor[lag] * self.correlation[order - lag]).sum();
            let coefficient =
                (-(self.correlation[order] + known) / error).clamp(-COEFFICIENT_MAX, COEFFICIENT_MAX);
            let before = predictor;
            predictor[order] = coefficient;
            for lag in 1..order {
                predictor[lag] = before[lag] + coefficient * before[order - lag];
            }
            error *= 1.0 - coefficient * coefficient;
            shape.coefficients[order - 1] = coefficient;
        }
        shape
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FRAME_SAMPLES, level_dbov};

    fn noise(shape: NoiseShape, factor: usize) -> Vec<f32> {
        let mut generator = NoiseGenerator::new(factor, 7);
        generator.set_shape(shape);
        let mut samples = Vec::new();
        for count in [960, 1, 959, 500, 13].iter().cycle().take(200) {
            generator.generate(*count, &mut samples);
        }
        samples
    }

    fn measured(samples: &[f32], factor: usize) -> NoiseShape {
        let mut analyser = NoiseAnalyser::new(factor);
        for frame in samples.chunks_exact(FRAME_SAMPLES) {
            analyser.measure(frame.try_into().expect("it is a frame"));
        }
        analyser.shape()
    }

    #[test]
    fn it_is_as_loud_as_was_said() {
        for factor in [1, 3, 6] {
            for level in [-40.0, -65.0] {
                let found = level_dbov(&noise(NoiseShape::white(level), factor)[500..]);
                assert!((found - level).abs() < 1.0, "{factor}: {found} for {level}");
            }
        }
    }

    #[test]
    fn what_is_measured_and_sent_sounds_the_same_there() {
        // Rumble: each sample is much like the one before.
        let mut rumble = NoiseShape::white(-50.0);
        rumble.coefficients[0] = -0.9;
        rumble.coefficients[1] = 0.3;
        let mut payload = Vec::new();
        measured(&noise(rumble, 6), 6).write(&mut payload);
        assert_eq!(payload.len(), 1 + ORDER);
        let there = NoiseShape::parse(&payload).expect("it is well formed");
        assert!((there.level_dbov + 50.0).abs() <= 1.5, "{there:?}");
        assert!((there.coefficients[0] + 0.9).abs() < 0.05, "{there:?}");
        assert!((there.coefficients[1] - 0.3).abs() < 0.12, "{there:?}");
        let again = measured(&noise(there, 6), 6);
        assert!((again.level_dbov - there.level_dbov).abs() < 1.5, "{again:?}");
    }

    #[test]
    fn any_payload_gives_noise_that_stays_where_it_should() {
        for bytes in [&[0x30_u8][..], &[0x30; 30], &[0x30, 0, 255, 0, 255, 0, 255], &[0xff, 255, 255, 255]] {
            let shape = NoiseShape::parse(bytes).expect("there is a level");
            let samples = noise(shape, 6);
            assert!(samples.iter().all(|sample| sample.abs() <= 1.0), "{bytes:?}");
        }
        assert_eq!(NoiseShape::parse(&[]), None);
    }
}
