//! What a payload says about its frame, without decoding it.
//!
//! [`inspect`] is the one entry: whatever tells of key frames and layers comes through it, so that
//! a header extension (the only source when payloads are encrypted end to end) is one more input
//! here and nothing new to the selector.

pub mod h264;
pub mod vp8;

use broletto_control::{Codec, VideoSize};
use thiserror::Error;

pub use vp8::Vp8Ids;

/// What a packet is to those who choose and renumber packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PacketInfo {
    /// Nothing but padding. Never forwarded.
    pub empty: bool,
    /// A decoder that knows nothing can start here: the first packet of a VP8 key frame, the
    /// packet with the sequence parameter set of an H.264 one, any packet of audio.
    pub key_frame: bool,
    /// The first packet of a frame. H.264 may say so of several packets of one frame: its parameter
    /// sets, and then its first slice.
    pub frame_start: bool,
    /// Size of the decoded picture. Only key frames tell.
    pub size: Option<VideoSize>,
    /// 0 is the base layer.
    pub temporal_layer: u8,
    /// The frame depends on the base layer only, so that its layer may be joined here.
    pub layer_sync: bool,
    /// No other frame depends on this one.
    pub discardable: bool,
    pub vp8: Option<Vp8Ids>,
}

/// A payload that is not what its codec's payload format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    #[error("the payload ends after {length} bytes, inside its header")]
    Truncated { length: usize },
    #[error("a VP8 descriptor with TL0PICIDX must have a TID (RFC 7741 section 4.2)")]
    Tl0WithoutTid,
    #[error("a VP8 key frame starts with 9d 01 2a (RFC 6386 section 9.1), not {0:02x?}")]
    Vp8StartCode([u8; 3]),
    #[error("NAL unit type {0} is none that is sent in packetization modes 0 and 1 (RFC 6184)")]
    NalUnitType(u8),
    #[error("{0:?} payloads are not understood")]
    Codec(Codec),
}

/// Reads what is needed to forward `payload`, which is without RTP header and padding.
pub fn inspect(codec: Codec, payload: &[u8]) -> Result<PacketInfo, PayloadError> {
    if payload.is_empty() {
        return Ok(PacketInfo { empty: true, ..PacketInfo::default() });
    }
    match codec {
        Codec::Opus => Ok(PacketInfo { key_frame: true, frame_start: true, ..PacketInfo::default() }),
        Codec::Vp8 => vp8::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::Vp9 | Codec::Av1 => Err(PayloadError::Codec(codec)),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_empty_in_every_codec() {
        for codec in [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1] {
            let info = inspect(codec, &[]).expect("nothing is a valid payload");
            assert!(info.empty && !info.key_frame, "{codec:?}");
        }
    }

    #[test]
    fn audio_starts_anywhere() {
        let info = inspect(Codec::Opus, &[0x78, 1, 2]).expect("opus is never looked into");
        assert!(info.key_frame && info.frame_start && !info.empty);
    }

    #[test]
    fn a_codec_that_is_not_understood_is_named() {
        let error = inspect(Codec::Av1, &[0]).expect_err("no AV1 yet").to_string();
        assert_eq!(error, "Av1 payloads are not understood");
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            for codec in [Codec::Opus, Codec::H264, Codec::Vp8] {
                if let Ok(info) = inspect(codec, &payload) {
                    prop_assert_eq!(info.empty, payload.is_empty());
                    prop_assert!(info.size.is_none() || info.key_frame);
                }
            }
        }
    }
}
