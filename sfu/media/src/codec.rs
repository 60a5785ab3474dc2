//! Audio codecs behind one pair of traits: payloads of RTP on one side, mono at 48 kHz on the other.

mod comfort_noise;
mod g711;
mod g722;
mod opus;

use thiserror::Error;

pub use self::comfort_noise::{NoiseAnalyser, NoiseGenerator, NoiseShape};
use self::g711::Law;
use crate::frame::Frame;

/// What legs and browsers speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AudioCodec {
    Opus,
    G722,
    Pcma,
    Pcmu,
}

/// How an encoder is set up. Listeners whose settings are equal share one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EncoderSettings {
    pub codec: AudioCodec,
    /// Of Opus alone; the others have one rate, 64 kbit/s.
    pub bitrate_bps: u32,
    /// Losses that Opus prepares for by forward error correction; none of it at 0.
    pub expected_loss_percent: u8,
    /// Silence is said by comfort noise (RFC 3389) or, in Opus, by its own DTX.
    pub discontinuous: bool,
}

#[derive(Debug, Error, PartialEq, Eq)]
pub enum CodecError {
    #[error("the payload of {length} bytes is no {codec:?}")]
    Malformed { codec: AudioCodec, length: usize },
    #[error("{codec:?} could not be set up: {reason}")]
    Setup { codec: AudioCodec, reason: String },
    #[error("{codec:?} did not encode a frame: {reason}")]
    Encode { codec: AudioCodec, reason: String },
}

/// Payloads to samples. What it makes of one is appended.
pub trait Decoder: Send {
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<f32>) -> Result<(), CodecError>;

    /// The lost frame of `count` samples before `next`, from what `next` says of it. False: it says
    /// nothing.
    fn recover(&mut self, _next: &[u8], _count: usize, _samples: &mut Vec<f32>) -> bool {
        false
    }

    /// Something plausible in place of a lost frame, of `count` samples or somewhat more. False: the
    /// codec has no way of its own.
    fn conceal(&mut self, _count: usize, _samples: &mut Vec<f32>) -> bool {
        false
    }

    /// What was played in place of a lost frame, for codecs in which the next one builds on it.
    fn follow(&mut self, _made_up: &[f32]) {}

    /// What it delays, in samples at 48 kHz.
    fn delay_samples(&self) -> usize;

    fn reset(&mut self);
}

/// Frames to payloads. The payload is replaced; an empty one need not be sent.
pub trait Encoder: Send {
    fn encode(&mut self, frame: &Frame, payload: &mut Vec<u8>) -> Result<(), CodecError>;

    /// What it delays, in samples at 48 kHz.
    fn delay_samples(&self) -> usize;
}

impl AudioCodec {
    /// Of the RTP clock. That of G.722 is half of what it samples (RFC 3551 section 4.5.2).
    pub const fn clock_rate(self) -> u32 {
        match self {
            AudioCodec::Opus => 48_000,
            AudioCodec::G722 | AudioCodec::Pcma | AudioCodec::Pcmu => 8_000,
        }
    }

    /// How many samples at 48 kHz one has of the codec's own.
    pub const fn factor(self) -> usize {
        match self {
            AudioCodec::Opus => 1,
            AudioCodec::G722 => 3,
            AudioCodec::Pcma | AudioCodec::Pcmu => 6,
        }
    }

    /// How long a payload is, in samples at 48 kHz. None: it is malformed, or longer than 120 ms,
    /// which is the most that RFC 7587 allows.
    pub fn duration_samples(self, payload: &[u8]) -> Option<usize> {
        let samples = match self {
            AudioCodec::Opus => opus::duration_samples(payload)?,
            AudioCodec::G722 | AudioCodec::Pcma | AudioCodec::Pcmu => payload.len() * 6,
        };
        (1..=DURATION_SAMPLES_MAX).contains(&samples).then_some(samples)
    }

    /// Whether a payload makes the loss of the one before it good.
    pub fn tells_of_the_frame_before(self, payload: &[u8]) -> bool {
        match self {
            AudioCodec::Opus => opus::tells_of_the_frame_before(payload),
            AudioCodec::G722 | AudioCodec::Pcma | AudioCodec::Pcmu => false,
        }
    }

    pub fn decoder(self) -> Result<Box<dyn Decoder>, CodecError> {
        Ok(match self {
            AudioCodec::Opus => Box::new(opus::OpusDecoder::new()?),
            AudioCodec::G722 => Box::new(g722::G722Decoder::new()),
            AudioCodec::Pcma => Box::new(g711::G711Decoder::new(Law::A)),
            AudioCodec::Pcmu => Box::new(g711::G711Decoder::new(Law::Mu)),
        })
    }
}

impl EncoderSettings {
    pub fn new(codec: AudioCodec) -> Self {
        EncoderSettings { codec, bitrate_bps: 32_000, expected_loss_percent: 0, discontinuous: false }
    }

    pub fn encoder(&self) -> Result<Box<dyn Encoder>, CodecError> {
        Ok(match self.codec {
            AudioCodec::Opus => Box::new(opus::OpusEncoder::new(self)?),
            AudioCodec::G722 => Box::new(g722::G722Encoder::new()),
            AudioCodec::Pcma => Box::new(g711::G711Encoder::new(Law::A)),
            AudioCodec::Pcmu => Box::new(g711::G711Encoder::new(Law::Mu)),
        })
    }
}

const DURATION_SAMPLES_MAX: usize = 5_760;

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use proptest::prelude::*;

    use super::*;
    use crate::frame::{FRAME_SAMPLES, level_dbov};

    const CODECS: [AudioCodec; 4] = [AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcma, AudioCodec::Pcmu];

    /// A chord within the telephone band, at about -18 dBov, that swells and fades.
    fn chord(n: usize) -> f32 {
        let time = n as f32 / 48_000.0;
        let swell = 0.6 + 0.4 * (TAU * 3.0 * time).sin();
        let tones = [(220.0, 1.0), (440.0, 0.7), (1130.0, 0.4), (2310.0, 0.2)];
        0.12 * swell * tones.iter().map(|(f, a)| a * (TAU * f * time).sin()).sum::<f32>()
    }

    fn round_trip(codec: AudioCodec, signal: &[f32]) -> (Vec<f32>, usize) {
        let mut settings = EncoderSettings::new(codec);
        settings.bitrate_bps = 64_000;
        let mut encoder = settings.encoder().expect("it is set up");
        let mut decoder = codec.decoder().expect("it is set up");
        let (mut payload, mut heard) = (Vec::new(), Vec::new());
        for frame in signal.chunks_exact(FRAME_SAMPLES) {
            encoder.encode(frame.try_into().expect("it is a frame"), &mut payload).expect("it is encoded");
            assert_eq!(codec.duration_samples(&payload), Some(FRAME_SAMPLES), "{codec:?}");
            decoder.decode(&payload, &mut heard).expect("it is decoded");
        }
        (heard, encoder.delay_samples() + decoder.delay_samples())
    }

    /// In dB, at the best alignment within `slack` samples of `delay`; and where that is.
    fn signal_to_noise(signal: &[f32], heard: &[f32], delay: usize, slack: usize) -> (f32, usize) {
        let span = 9_600..signal.len() - 9_600;
        let original = &signal[span.clone()];
        (delay.saturating_sub(slack)..=delay + slack)
            .map(|delay| {
                let moved = &heard[span.start + delay..span.end + delay];
                let noise: Vec<f32> = original.iter().zip(moved).map(|(o, m)| o - m).collect();
                (level_dbov(original) - level_dbov(&noise), delay)
            })
            .max_by(|a, b| a.0.total_cmp(&b.0))
            .expect("there is one")
    }

    #[test]
    fn what_comes_out_is_what_went_in() {
        let signal: Vec<f32> = (0..48_000).map(chord).collect();
        for (codec, at_least) in [
            // It keeps what is heard rather than the shape of the wave.
            (AudioCodec::Opus, 9.0),
            (AudioCodec::G722, 20.0),
            (AudioCodec::Pcma, 30.0),
            (AudioCodec::Pcmu, 30.0),
        ] {
            let (heard, delay) = round_trip(codec, &signal);
            assert_eq!(heard.len(), signal.len());
            let (ratio, _) = signal_to_noise(&signal, &heard, delay, 12);
            assert!(ratio > at_least, "{codec:?}: {ratio} dB");
        }
    }

    #[test]
    fn what_is_too_loud_is_clipped_and_does_not_wrap_around() {
        let signal: Vec<f32> = (0..24_000).map(|n| 2.0 * (TAU * 400.0 * n as f32 / 48_000.0).sin()).collect();
        let clipped: Vec<f32> = signal.iter().map(|s| s.clamp(-1.0, 1.0)).collect();
        for codec in [AudioCodec::G722, AudioCodec::Pcma, AudioCodec::Pcmu] {
            let (heard, delay) = round_trip(codec, &signal);
            let (ratio, _) = signal_to_noise(&clipped, &heard, delay, 12);
            assert!(ratio > 10.0, "{codec:?}: {ratio} dB");
        }
    }

    #[test]
    fn payloads_of_no_length_and_of_too_much_are_refused() {
        for codec in CODECS {
            assert_eq!(codec.duration_samples(&[]), None);
        }
        assert_eq!(AudioCodec::Pcma.duration_samples(&[0; 1000]), None);
        assert_eq!(AudioCodec::Pcmu.duration_samples(&[0; 80]), Some(480));
        assert_eq!(AudioCodec::G722.duration_samples(&[0; 240]), Some(1440));
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..400), lost in any::<bool>()) {
            for codec in CODECS {
                let mut decoder = codec.decoder().expect("it is set up");
                let mut samples = Vec::new();
                if lost {
                    decoder.recover(&payload, 960, &mut samples);
                    decoder.conceal(960, &mut samples);
                }
                if decoder.decode(&payload, &mut samples).is_ok() {
                    prop_assert!(samples.iter().all(|sample| sample.is_finite()));
                }
            }
        }
    }
}
