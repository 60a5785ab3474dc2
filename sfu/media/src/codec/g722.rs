//! G.722 at 64 kbit/s: two sub-bands of ADPCM, 16,000 samples a second.

use audio_codec::Decoder as _;
use audio_codec::Encoder as _;

use super::{AudioCodec, CodecError, Decoder, Encoder};
use crate::frame::{Frame, from_i16, to_i16};
use crate::resample::{Downsampler, Upsampler, delay_samples};

const FACTOR: usize = 3;
/// Both mirror filters together have 24 taps: half of it on each side, less one sample of 16 kHz.
const MIRROR_FILTER_SAMPLES: usize = 11 * FACTOR;

pub(super) struct G722Decoder {
    decoder: audio_codec::g722::G722Decoder,
    upsampler: Upsampler,
    narrow: Vec<f32>,
}

impl G722Decoder {
    pub(super) fn new() -> Self {
        let decoder = audio_codec::g722::G722Decoder::new();
        G722Decoder { decoder, upsampler: Upsampler::new(FACTOR), narrow: Vec::new() }
    }
}

impl Decoder for G722Decoder {
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<f32>) -> Result<(), CodecError> {
        self.narrow.clear();
        self.narrow.extend(self.decoder.decode(payload).into_iter().map(from_i16));
        if self.narrow.len() != 2 * payload.len() {
            return Err(CodecError::Malformed { codec: AudioCodec::G722, length: payload.len() });
        }
        self.upsampler.process(&self.narrow, samples);
        Ok(())
    }

    fn delay_samples(&self) -> usize {
        delay_samples(FACTOR) + MIRROR_FILTER_SAMPLES
    }

    fn reset(&mut self) {
        self.decoder = audio_codec::g722::G722Decoder::new();
        self.upsampler.reset();
    }
}

pub(super) struct G722Encoder {
    encoder: audio_codec::g722::G722Encoder,
    downsampler: Downsampler,
    narrow: Vec<f32>,
    words: Vec<i16>,
}

impl G722Encoder {
    pub(super) fn new() -> Self {
        G722Encoder {
            encoder: audio_codec::g722::G722Encoder::new(),
            downsampler: Downsampler::new(FACTOR),
            narrow: Vec::new(),
            words: Vec::new(),
        }
    }
}

impl Encoder for G722Encoder {
    fn encode(&mut self, frame: &Frame, payload: &mut Vec<u8>) -> Result<(), CodecError> {
        self.narrow.clear();
        self.downsampler.process(frame, &mut self.narrow);
        self.words.clear();
        self.words.extend(self.narrow.iter().map(|sample| to_i16(*sample)));
        payload.clear();
        payload.extend_from_slice(&self.encoder.encode(&self.words));
        if payload.len() * 2 != self.words.len() {
            let reason = format!("{} samples gave {} bytes", self.words.len(), payload.len());
            return Err(CodecError::Encode { codec: AudioCodec::G722, reason });
        }
        Ok(())
    }

    fn delay_samples(&self) -> usize {
        delay_samples(FACTOR) + MIRROR_FILTER_SAMPLES
    }
}
