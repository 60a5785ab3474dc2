//! From payloads to samples, and what is played where there is no payload.

use super::conceal::Concealer;
use crate::codec::{AudioCodec, Decoder, NoiseAnalyser, NoiseShape};
use crate::frame::{FRAME_SAMPLES, power, power_dbov};

/// A frame that is no louder than the quietest lately by more is the noise of the room.
const NOISE_MARGIN_DB: f32 = 3.0;
const NOISE_RISE_DB: f32 = 0.05;
/// Louder noise than this is never made.
const NOISE_DBOV_MAX: f32 = -45.0;

/// The decoder of one voice.
pub(super) struct Sound {
    codec: Option<AudioCodec>,
    decoder: Option<Box<dyn Decoder>>,
    concealer: Concealer,
    analyser: NoiseAnalyser,
    quietest_dbov: f32,
    seed: u32,
}

impl Sound {
    pub(super) fn new(seed: u32) -> Self {
        Sound {
            codec: None,
            decoder: None,
            concealer: Concealer::new(1, seed),
            analyser: NoiseAnalyser::new(1),
            quietest_dbov: 0.0,
            seed,
        }
    }

    /// Makes up whole frames by itself.
    pub(super) fn conceals_frames(&self) -> bool {
        self.codec == Some(AudioCodec::Opus)
    }

    /// False: the payload was malformed, and nothing is added.
    pub(super) fn decode(&mut self, codec: AudioCodec, payload: &[u8], samples: &mut Vec<f32>) -> bool {
        let start = samples.len();
        let Some(decoder) = self.decoder(codec) else { return false };
        if decoder.decode(payload, samples).is_err() {
            samples.truncate(start);
            return false;
        }
        if !self.conceals_frames() {
            self.concealer.hear(&mut samples[start..]);
            self.listen_for_noise(&samples[start..]);
        }
        samples.len() > start
    }

    /// The lost frame before `next`, from what that says of it. False: it says nothing.
    pub(super) fn recover(
        &mut self,
        codec: AudioCodec,
        next: &[u8],
        count: usize,
        samples: &mut Vec<f32>,
    ) -> bool {
        self.decoder(codec).is_some_and(|decoder| decoder.recover(next, count, samples))
    }

    /// In place of what is lost. At least `count` samples.
    pub(super) fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) {
        let start = samples.len();
        self.rest(count, samples);
        if let Some(decoder) = &mut self.decoder {
            decoder.follow(&samples[start..]);
        }
    }

    /// In a pause: what the codec takes for silence, or the noise that was described or heard.
    pub(super) fn rest(&mut self, count: usize, samples: &mut Vec<f32>) {
        let own = self.decoder.as_mut().is_some_and(|decoder| decoder.conceal(count, samples));
        if !own {
            self.concealer.conceal(count, samples);
        }
    }

    /// Nothing of a voice is left to fade.
    pub(super) fn silent(&self) -> bool {
        self.concealer.silent()
    }

    /// Noise as the other side describes it.
    pub(super) fn set_noise(&mut self, shape: NoiseShape) {
        self.concealer.set_noise(shape.no_louder_than(NOISE_DBOV_MAX));
    }

    pub(super) fn reset(&mut self) {
        if let Some(decoder) = &mut self.decoder {
            decoder.reset();
        }
    }

    /// Made for a codec when it is first spoken, or again.
    fn decoder(&mut self, codec: AudioCodec) -> Option<&mut Box<dyn Decoder>> {
        if self.codec != Some(codec) {
            self.codec = Some(codec);
            self.decoder = codec.decoder().ok();
            let noise = self.concealer.noise();
            self.concealer = Concealer::new(codec.factor(), self.seed);
            self.concealer.set_noise(noise);
            self.analyser = NoiseAnalyser::new(codec.factor());
            self.quietest_dbov = 0.0;
        }
        self.decoder.as_mut()
    }

    fn listen_for_noise(&mut self, samples: &[f32]) {
        let Some(frame) = samples.first_chunk::<FRAME_SAMPLES>() else { return };
        let level = power_dbov(power(frame));
        self.quietest_dbov = (self.quietest_dbov + NOISE_RISE_DB).min(level.max(-90.0));
        if level < self.quietest_dbov + NOISE_MARGIN_DB && level < NOISE_DBOV_MAX {
            self.analyser.measure(frame);
            self.concealer.set_noise(self.analyser.shape());
        }
    }
}
