//! Opus (RFC 6716, RFC 7587) in mono. What others send in stereo is mixed to one channel by the decoder.

use super::{AudioCodec, CodecError, Decoder, Encoder, EncoderSettings};
use crate::frame::{Frame, SAMPLE_RATE};

/// Speech is as good with half of the work that 10 means.
const COMPLEXITY: i32 = 5;
/// A payload of 20 ms at most (RFC 6716 section 3.4).
const PAYLOAD_BYTES_MAX: usize = 1275;
/// Recovery is in steps of 2.5 ms.
const STEP_SAMPLES: usize = 120;
/// So is concealment, but what is shorter than this does not fit what is around it.
const CONCEALED_SAMPLES_MIN: usize = 480;
const CONCEALED_SAMPLES_MAX: usize = 5_760;

pub(super) struct OpusDecoder {
    decoder: opus::Decoder,
}

impl OpusDecoder {
    pub(super) fn new() -> Result<Self, CodecError> {
        let decoder = opus::Decoder::new(SAMPLE_RATE, opus::Channels::Mono).map_err(setup)?;
        Ok(OpusDecoder { decoder })
    }

    fn fill(&mut self, payload: &[u8], count: usize, fec: bool, samples: &mut Vec<f32>) -> Option<usize> {
        let start = samples.len();
        samples.resize(start + count, 0.0);
        let decoded = self.decoder.decode_float(payload, &mut samples[start..], fec).ok();
        samples.truncate(start + decoded.unwrap_or(0));
        decoded
    }
}

impl Decoder for OpusDecoder {
    fn decode(&mut self, payload: &[u8], samples: &mut Vec<f32>) -> Result<(), CodecError> {
        let malformed = CodecError::Malformed { codec: AudioCodec::Opus, length: payload.len() };
        let Some(count) = AudioCodec::Opus.duration_samples(payload) else { return Err(malformed) };
        self.fill(payload, count, false, samples).map(|_| ()).ok_or(malformed)
    }

    fn recover(&mut self, next: &[u8], count: usize, samples: &mut Vec<f32>) -> bool {
        let usable = count > 0 && count.is_multiple_of(STEP_SAMPLES) && count <= CONCEALED_SAMPLES_MAX;
        usable && tells_of_the_frame_before(next) && self.fill(next, count, true, samples).is_some()
    }

    fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) -> bool {
        let count = count.next_multiple_of(CONCEALED_SAMPLES_MIN).min(CONCEALED_SAMPLES_MAX);
        self.fill(&[], count, false, samples).is_some()
    }

    /// The look-ahead of the encoder makes up for the overlap here.
    fn delay_samples(&self) -> usize {
        0
    }

    fn reset(&mut self) {
        // It fails for arguments that are not ours to choose.
        let _ = self.decoder.reset_state();
    }
}

pub(super) struct OpusEncoder {
    encoder: opus::Encoder,
    lookahead_samples: usize,
}

impl OpusEncoder {
    pub(super) fn new(settings: &EncoderSettings) -> Result<Self, CodecError> {
        let mut encoder =
            opus::Encoder::new(SAMPLE_RATE, opus::Channels::Mono, opus::Application::Voip).map_err(setup)?;
        let bitrate = opus::Bitrate::Bits(settings.bitrate_bps.clamp(6_000, 510_000) as i32);
        encoder.set_bitrate(bitrate).map_err(setup)?;
        encoder.set_complexity(COMPLEXITY).map_err(setup)?;
        encoder.set_inband_fec(settings.expected_loss_percent > 0).map_err(setup)?;
        encoder.set_packet_loss_perc(i32::from(settings.expected_loss_percent.min(100))).map_err(setup)?;
        encoder.set_dtx(settings.discontinuous).map_err(setup)?;
        let lookahead_samples = encoder.get_lookahead().map_err(setup)?.max(0) as usize;
        Ok(OpusEncoder { encoder, lookahead_samples })
    }
}

impl Encoder for OpusEncoder {
    fn encode(&mut self, frame: &Frame, payload: &mut Vec<u8>) -> Result<(), CodecError> {
        payload.clear();
        payload.resize(PAYLOAD_BYTES_MAX, 0);
        let encoded = self.encoder.encode_float(frame, payload);
        payload.truncate(*encoded.as_ref().unwrap_or(&0));
        match encoded {
            // One byte, or two: nothing has to be sent (RFC 6716 section 2.1.9).
            Ok(0..=2) => payload.clear(),
            Ok(_) => {}
            Err(error) => {
                return Err(CodecError::Encode { codec: AudioCodec::Opus, reason: error.to_string() });
            }
        }
        Ok(())
    }

    fn delay_samples(&self) -> usize {
        self.lookahead_samples
    }
}

/// How long a packet is, in samples at 48 kHz (RFC 6716 section 3.1 and 3.2).
pub(super) fn duration_samples(payload: &[u8]) -> Option<usize> {
    let frame = frame_samples(*payload.first()?);
    let frames = match payload[0] & 3 {
        0 => 1,
        1 | 2 => 2,
        _ => usize::from(payload.get(1)? & 0x3f),
    };
    Some(frame * frames)
}

fn frame_samples(toc: u8) -> usize {
    let size = u32::from(toc >> 3 & 3);
    match toc >> 3 {
        0..12 => [480, 960, 1920, 2880][size as usize],
        12..16 => [480, 960][size as usize & 1],
        _ => 120 << size,
    }
}

/// Whether the SILK layer of a packet's first frame begins with the frame before at a lower rate:
/// its first bits are one of voice activity for each 20 ms, then that one (RFC 6716 section 4.2.3).
pub(super) fn tells_of_the_frame_before(payload: &[u8]) -> bool {
    let Some(&toc) = payload.first() else { return false };
    // CELT alone has none.
    if toc & 0x80 != 0 {
        return false;
    }
    let first = match toc & 3 {
        0 | 1 => 1,
        2 if payload.get(1).is_some_and(|length| *length >= 252) => 3,
        2 => 2,
        // In one packet of many frames the first says nothing that is worth it.
        _ => return false,
    };
    let voice_bits = (frame_samples(toc) / 960).max(1);
    payload.get(first).is_some_and(|byte| byte >> (7 - voice_bits) & 1 == 1)
}

fn setup(error: opus::Error) -> CodecError {
    CodecError::Setup { codec: AudioCodec::Opus, reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{FRAME_SAMPLES, SILENT_FRAME, level_dbov};
    use crate::prompt::{Language, Prompt};

    fn voice() -> Vec<Frame> {
        let samples = Prompt::EnterCode.samples(Language::Italian);
        samples.as_chunks::<FRAME_SAMPLES>().0.to_vec()
    }

    /// A configuration of RFC 6716 section 3.1, and how many frames, as its code.
    fn toc(configuration: u8, code: u8) -> u8 {
        configuration << 3 | code
    }

    #[test]
    fn durations_are_those_of_the_table_of_contents() {
        for (payload, samples) in [
            (&[toc(0, 0)][..], Some(480)),
            (&[toc(3, 0)], Some(2880)),
            (&[toc(13, 1), 0], Some(1920)),
            (&[toc(31, 0)], Some(960)),
            (&[toc(31, 3), 3], Some(2880)),
            (&[toc(3, 3), 3], None),
            (&[toc(31, 3), 0], None),
            (&[toc(31, 3)], None),
        ] {
            assert_eq!(AudioCodec::Opus.duration_samples(payload), samples, "{payload:?}");
        }
    }

    #[test]
    fn a_lost_frame_comes_back_from_the_one_after_it() {
        let settings = EncoderSettings {
            bitrate_bps: 24_000,
            expected_loss_percent: 20,
            ..EncoderSettings::new(AudioCodec::Opus)
        };
        let mut encoder = OpusEncoder::new(&settings).expect("it is set up");
        let packets: Vec<Vec<u8>> = voice()
            .iter()
            .map(|frame| {
                let mut payload = Vec::new();
                encoder.encode(frame, &mut payload).expect("it is encoded");
                payload
            })
            .collect();
        let (mut decoder, mut whole) = (OpusDecoder::new().expect("it is set up"), Vec::new());
        for packet in &packets {
            decoder.decode(packet, &mut whole).expect("it is decoded");
        }
        // Every fourth is lost.
        let (mut decoder, mut samples) = (OpusDecoder::new().expect("it is set up"), Vec::new());
        let mut recovered = 0;
        for (index, packet) in packets.iter().enumerate() {
            let lost = index % 4 == 3;
            let next = packets.get(index + 1);
            if lost && next.is_some_and(|next| decoder.recover(next, FRAME_SAMPLES, &mut samples)) {
                recovered += 1;
            } else {
                decoder.decode(packet, &mut samples).expect("it is decoded");
            }
        }
        assert!(recovered > packets.len() / 6, "{recovered} of {}", packets.len() / 4);
        let change = level_dbov(&samples) - level_dbov(&whole);
        assert!(change.abs() < 1.0, "{change} dB");
    }

    #[test]
    fn without_forward_error_correction_nothing_is_claimed() {
        let mut encoder = OpusEncoder::new(&EncoderSettings::new(AudioCodec::Opus)).expect("it is set up");
        let mut decoder = OpusDecoder::new().expect("it is set up");
        let mut payload = Vec::new();
        for frame in voice() {
            encoder.encode(&frame, &mut payload).expect("it is encoded");
            assert!(!decoder.recover(&payload, FRAME_SAMPLES, &mut Vec::new()));
        }
    }

    #[test]
    fn silence_is_hardly_sent() {
        let settings = EncoderSettings { discontinuous: true, ..EncoderSettings::new(AudioCodec::Opus) };
        let mut encoder = OpusEncoder::new(&settings).expect("it is set up");
        let mut payload = Vec::new();
        let sent = (0..200)
            .filter(|_| {
                encoder.encode(&SILENT_FRAME, &mut payload).expect("it is encoded");
                !payload.is_empty()
            })
            .count();
        assert!(sent < 40, "{sent} of 200");
    }
}
