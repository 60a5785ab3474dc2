//! G.711, A law and µ law: eight bits on a scale that is nearly logarithmic, 8000 times a second.

use super::{AudioCodec, CodecError, Decoder, Encoder};
use crate::frame::{Frame, from_i16, to_i16};
use crate::resample::{Downsampler, Upsampler, delay_samples};

const FACTOR: usize = 6;
/// Every second bit of A law is inverted on the way.
const A_LAW_MASK: u8 = 0x55;
/// Added before the segment is found, so that µ law's segments begin at powers of two.
const MU_LAW_BIAS: i32 = 0x84;
const MU_LAW_MAX: i32 = 32_635;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Law {
    A,
    Mu,
}

impl Law {
    fn codec(self) -> AudioCodec {
        match self {
            Law::A => AudioCodec::Pcma,
            Law::Mu => AudioCodec::Pcmu,
        }
    }

    fn expand(self, byte: u8) -> i16 {
        match self {
            Law::A => {
                let byte = byte ^ A_LAW_MASK;
                let (segment, step) = (byte >> 4 & 7, i32::from(byte & 15));
                let size = match segment {
                    0 => (step << 4) + 8,
                    _ => ((step << 4) + 0x108) << (segment - 1),
                };
                (if byte & 0x80 == 0 { -size } else { size }) as i16
            }
            Law::Mu => {
                let byte = !byte;
                let (segment, step) = (byte >> 4 & 7, i32::from(byte & 15));
                let size = (((step << 3) + MU_LAW_BIAS) << segment) - MU_LAW_BIAS;
                (if byte & 0x80 == 0 { size } else { -size }) as i16
            }
        }
    }

    fn compress(self, sample: i16) -> u8 {
        let sample = i32::from(sample);
        match self {
            Law::A => {
                // Negative numbers are one's complements, so that both halves have equal steps.
                let (sign, size) = if sample < 0 { (0, !sample) } else { (0x80, sample) };
                let segment = (24 - size.max(0xff).leading_zeros()).min(7);
                let step = if segment == 0 { size >> 4 } else { size >> (segment + 3) };
                (sign | (segment << 4) as u8 | (step & 15) as u8) ^ A_LAW_MASK
            }
            Law::Mu => {
                let sign = if sample < 0 { 0x80 } else { 0 };
                let size = sample.abs().min(MU_LAW_MAX) + MU_LAW_BIAS;
                let segment = 24 - size.leading_zeros();
                !(sign | (segment << 4) as u8 | (size >> (segment + 3) & 15) as u8)
            }
        }
    }
}

pub(super) struct G711Decoder {
    table: [f32; 256],
    upsampler: Upsampler,
    narrow: Vec<f32>,
}

impl G711Decoder {
    pub(super) fn new(law: Law) -> Self {
        let table = std::array::from_fn(|byte| from_i16(law.expand(byte as u8)));
        G711Decoder { table, upsampler: Upsampler::new(FACTOR), narrow: Vec::new() }
    }
}

impl Decoder for G711Decoder {
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<f32>) -> Result<(), CodecError> {
        self.narrow.clear();
        self.narrow.extend(payload.iter().map(|byte| self.table[usize::from(*byte)]));
        self.upsampler.process(&self.narrow, samples);
        Ok(())
    }

    fn delay_samples(&self) -> usize {
        delay_samples(FACTOR)
    }

    fn reset(&mut self) {
        self.upsampler.reset();
    }
}

pub(super) struct G711Encoder {
    law: Law,
    downsampler: Downsampler,
    narrow: Vec<f32>,
}

impl G711Encoder {
    pub(super) fn new(law: Law) -> Self {
        G711Encoder { law, downsampler: Downsampler::new(FACTOR), narrow: Vec::new() }
    }
}

impl Encoder for G711Encoder {
    fn encode(&mut self, frame: &Frame, payload: &mut Vec<u8>) -> Result<(), CodecError> {
        self.narrow.clear();
        self.downsampler.process(frame, &mut self.narrow);
        payload.clear();
        payload.extend(self.narrow.iter().map(|sample| self.law.compress(to_i16(*sample))));
        debug_assert_eq!(self.law.codec().duration_samples(payload), Some(frame.len()));
        Ok(())
    }

    fn delay_samples(&self) -> usize {
        delay_samples(FACTOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_survives_a_round_trip() {
        for law in [Law::A, Law::Mu] {
            for byte in 0..=255 {
                let sample = law.expand(byte);
                // µ law has two zeros.
                let expected = if law == Law::Mu && byte == 0x7f { 0xff } else { byte };
                assert_eq!(law.compress(sample), expected, "{law:?} {byte:#x} is {sample}");
            }
        }
    }

    /// The ends of the scales as ITU-T G.711 has them, and silence as everybody sends it.
    #[test]
    fn known_values() {
        assert_eq!([Law::Mu.expand(0x00), Law::Mu.expand(0x80), Law::Mu.expand(0xff)], [-32124, 32124, 0]);
        assert_eq!([Law::A.expand(0x2a), Law::A.expand(0xaa), Law::A.expand(0xd5)], [-32256, 32256, 8]);
        assert_eq!(Law::A.compress(0), 0xd5);
        assert_eq!(Law::Mu.compress(0), 0xff);
    }

    #[test]
    fn no_sample_is_further_off_than_half_a_step() {
        for law in [Law::A, Law::Mu] {
            for sample in i16::MIN..=i16::MAX {
                let error = (i32::from(law.expand(law.compress(sample))) - i32::from(sample)).abs();
                let size = i32::from(sample).abs();
                assert!(error <= size / 32 + 16 || size > 32_000 && error < 700, "{law:?} {sample}: {error}");
            }
        }
    }
}
