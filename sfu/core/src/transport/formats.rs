//! What a peer's payload types and header extensions are, as they were negotiated.

use broletto_control::Codec;
use broletto_rtp::extension::{Extension, ExtensionIds};
use str0m::Rtc;
use str0m::media::Mid;
use str0m::rtp;

use super::codecs::codec;
use crate::extension::dependency_descriptor;

const TYPES: usize = 128;

/// What a payload type carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Media(Codec),
    /// Opus with older frames (RFC 2198).
    Redundant,
    /// Retransmissions of this payload type (RFC 4588).
    Repair(u8),
}

#[derive(Debug)]
pub(super) struct Formats([Option<Format>; TYPES]);

impl Default for Formats {
    fn default() -> Self {
        Formats([None; TYPES])
    }
}

impl Formats {
    pub fn negotiated(rtc: &Rtc) -> Self {
        let mut formats = Formats::default();
        for params in rtc.codec_config().params() {
            let Some(codec) = codec(params.spec().codec) else { continue };
            formats.set(*params.pt(), Format::Media(codec));
            if let Some(red) = params.red() {
                formats.set(*red, Format::Redundant);
            }
            if let Some(repair) = params.resend() {
                formats.set(*repair, Format::Repair(*params.pt()));
            }
        }
        formats
    }

    fn set(&mut self, payload_type: u8, format: Format) {
        self.0[usize::from(payload_type) % TYPES] = Some(format);
    }

    pub fn get(&self, payload_type: u8) -> Option<Format> {
        self.0[usize::from(payload_type) % TYPES]
    }

    /// The codec of what a payload type carries, if it is media.
    pub fn codec(&self, payload_type: u8) -> Option<Codec> {
        match self.get(payload_type)? {
            Format::Media(codec) => Some(codec),
            Format::Redundant => Some(Codec::Opus),
            Format::Repair(_) => None,
        }
    }

    /// Under which type a packet of this payload type is sent again.
    pub fn repair_of(&self, payload_type: u8) -> Option<u8> {
        let repairs = |format: &Option<Format>| *format == Some(Format::Repair(payload_type));
        self.0.iter().position(repairs).map(|position| position as u8)
    }
}

/// In ticks a second.
pub(super) fn clock_rate(codec: Codec) -> u32 {
    if codec == Codec::Opus { 48_000 } else { 90_000 }
}

/// The ids that the peer has in one m-line. An id means the same in all of them (RFC 9143 section 7.1).
pub(super) fn extension_ids(rtc: &Rtc, mid: Mid) -> ExtensionIds {
    let mut ids = ExtensionIds::default();
    let Some(media) = rtc.media(mid) else { return ids };
    for (extension, theirs) in [
        (Extension::Mid, rtp::Extension::RtpMid),
        (Extension::Rid, rtp::Extension::RtpStreamId),
        (Extension::RepairedRid, rtp::Extension::RepairedRtpStreamId),
        (Extension::AudioLevel, rtp::Extension::AudioLevel),
        (Extension::TransportNumber, rtp::Extension::TransportSequenceNumber),
        (Extension::AbsSendTime, rtp::Extension::AbsoluteSendTime),
        (Extension::DependencyDescriptor, dependency_descriptor()),
    ] {
        if let Some(id) = media.remote_extmap().id_of(theirs) {
            // An id that stands for two extensions stands for the first.
            let _ = ids.set(extension, id);
        }
    }
    ids
}
