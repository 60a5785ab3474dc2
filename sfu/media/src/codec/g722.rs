//! G.722 at 64 kbit/s: two sub-bands of ADPCM, 16,000 samples a second.

use audio_codec::Decoder as _;
use audio_codec::Encoder as _;

use super::{AudioCodec, CodecError, Decoder, Encoder};
use crate::frame::{Frame, from_i16, to_i16};
use crate::resample::{Downsampler, Upsampler, delay_samples};

const FACTOR: usize = 3;
/// Both mirror filters together have 24 taps: half of it on each side, less one sample of 16 kHz.
const MIRROR_FILTER_SAMPLES: usize = 11 * FACTOR;

/// What an encoder has to hear until its state is about that of the decoder: 40 ms.
const RECENT_WORDS: usize = 640;

pub(super) struct G722Decoder {
    decoder: audio_codec::g722::G722Decoder,
    upsampler: Upsampler,
    downsampler: Downsampler,
    narrow: Vec<f32>,
    recent: Vec<i16>,
}

impl G722Decoder {
    pub(super) fn new() -> Self {
        let decoder = audio_codec::g722::G722Decoder::new();
        G722Decoder {
            decoder,
            upsampler: Upsampler::new(FACTOR),
            downsampler: Downsampler::new(FACTOR),
            narrow: Vec::new(),
            recent: Vec::new(),
        }
    }

    fn remember(&mut self, words: &[i16]) {
        self.recent.extend_from_slice(words);
        let surplus = self.recent.len().saturating_sub(RECENT_WORDS);
        self.recent.drain(..surplus);
    }
}

impl Decoder for G722Decoder {
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<f32>) -> Result<(), CodecError> {
        self.narrow.clear();
        let words = self.decoder.decode(payload);
        self.narrow.extend(words.iter().copied().map(from_i16));
        self.remember(&words);
        if self.narrow.len() != 2 * payload.len() {
            return Err(CodecError::Malformed { codec: AudioCodec::G722, length: payload.len() });
        }
        self.upsampler.process(&self.narrow, samples);
        Ok(())
    }

    /// The predictors adapt to what they decode. If they missed a frame, the next would begin with a
    /// click; so they are given what was made up in its place, encoded (as ITU-T G.722 Appendix III has it).
    fn follow(&mut self, made_up: &[f32]) {
        self.narrow.clear();
        self.downsampler.process(made_up, &mut self.narrow);
        let words: Vec<i16> = self.narrow.iter().map(|sample| to_i16(*sample)).collect();
        // Two samples are one byte.
        let words = &words[..words.len() & !1];
        let mut encoder = audio_codec::g722::G722Encoder::new();
        encoder.encode(&self.recent[self.recent.len() & 1..]);
        self.decoder.decode(&encoder.encode(words));
        self.remember(words);
        self.upsampler.process(&self.narrow, &mut Vec::new());
    }

    fn delay_samples(&self) -> usize {
        delay_samples(FACTOR) + MIRROR_FILTER_SAMPLES
    }

    fn reset(&mut self) {
        self.decoder = audio_codec::g722::G722Decoder::new();
        self.upsampler.reset();
        self.downsampler.reset();
        self.recent.clear();
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
