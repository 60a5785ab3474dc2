//! Codecs and header extensions, in str0m's words and in ours.

use broletto_control::Codec;
use str0m::Rtc;
use str0m::format::{Codec as WireCodec, CodecConfig, FormatParams};
use str0m::media::{Frequency, Mid};
use str0m::rtp::{Extension, ExtensionMap};

use crate::consumer::PayloadTypes;
use crate::extension::dependency_descriptor;

/// Video orientation is left out on purpose: phones then send upright pictures.
pub(super) fn extensions() -> ExtensionMap {
    let mut map = ExtensionMap::empty();
    map.set(1, Extension::AudioLevel);
    map.set(2, Extension::AbsoluteSendTime);
    map.set(3, Extension::TransportSequenceNumber);
    map.set(4, Extension::RtpMid);
    map.set(10, Extension::RtpStreamId);
    map.set(11, Extension::RepairedRtpStreamId);
    map.set(12, dependency_descriptor());
    map
}

pub(super) fn add_codecs(config: &mut CodecConfig, video_codecs: &[Codec]) {
    // With redundant audio (RFC 2198). What str0m cannot say of Opus, `answer` adds.
    config.enable_opus(true, true);
    for codec in video_codecs {
        match codec {
            // Constrained baseline first, which room systems decode, then plain baseline, which
            // browsers offer beside it.
            Codec::H264 => {
                config.add_h264(106.into(), Some(107.into()), true, 0x42e01f);
                config.add_h264(108.into(), Some(109.into()), true, 0x42001f);
            }
            Codec::Vp8 => config.add_config(
                96.into(),
                Some(97.into()),
                WireCodec::Vp8,
                Frequency::NINETY_KHZ,
                None,
                FormatParams::default(),
            ),
            // Profile 0, which is the one that every browser sends.
            Codec::Vp9 => config.add_config(
                98.into(),
                Some(99.into()),
                WireCodec::Vp9,
                Frequency::NINETY_KHZ,
                None,
                FormatParams { profile_id: Some(0), ..FormatParams::default() },
            ),
            Codec::Av1 => config.add_config(
                45.into(),
                Some(46.into()),
                WireCodec::Av1,
                Frequency::NINETY_KHZ,
                None,
                FormatParams::default(),
            ),
            Codec::Opus => {}
        }
    }
}

pub(super) fn codec(codec: WireCodec) -> Option<Codec> {
    match codec {
        WireCodec::Opus => Some(Codec::Opus),
        WireCodec::H264 => Some(Codec::H264),
        WireCodec::Vp8 => Some(Codec::Vp8),
        WireCodec::Vp9 => Some(Codec::Vp9),
        WireCodec::Av1 => Some(Codec::Av1),
        _ => None,
    }
}

/// Only what the peer has in this m-line: a payload type of ours that it never accepted would be
/// garbage to it.
/// `red`: whether this m-line offered redundant audio, which str0m keeps for the whole session only.
pub(super) fn payload_types(rtc: &Rtc, mid: Mid, red: bool) -> PayloadTypes {
    let Some(media) = rtc.media(mid) else { return PayloadTypes::default() };
    let of = |wanted: WireCodec| {
        let params = rtc.codec_config().params().iter();
        let mut accepted = params
            .filter(|params| params.spec().codec == wanted && media.remote_pts().contains(&params.pt()));
        accepted.next().map(|params| *params.pt())
    };
    let opus = of(WireCodec::Opus);
    let mut params = rtc.codec_config().params().iter();
    let redundant = params.find(|params| Some(*params.pt()) == opus).and_then(|params| params.red());
    PayloadTypes {
        opus,
        red: redundant.filter(|_| red).map(|red| *red),
        h264: of(WireCodec::H264),
        vp8: of(WireCodec::Vp8),
        vp9: of(WireCodec::Vp9),
        av1: of(WireCodec::Av1),
    }
}

/// Whether the peer has dependency descriptors in this m-line.
pub(super) fn takes_descriptors(rtc: &Rtc, mid: Mid) -> bool {
    rtc.media(mid).is_some_and(|media| media.remote_extmap().id_of(dependency_descriptor()).is_some())
}
