//! The one way out for media: every consumer's rewritten packet goes through [`write`] to be
//! numbered for the transport, sealed and paced.

use std::sync::Arc;
use std::time::Instant;

use str0m::Rtc;
use str0m::media::Pt;
use str0m::rtp::{ExtensionValues, RtpWrite, Ssrc, Vp8Patch};

use crate::extension::{self, Leaves};

/// A packet as its receiver is to see it.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub ssrc: Ssrc,
    pub payload_type: Pt,
    /// Extended: it never wraps.
    pub sequence_number: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// When the media was captured, by our clock; sender reports tell it.
    pub captured_at: Instant,
    /// Of audio, as in RFC 6464: 0 to 127 in -dBov, and whether it is voice.
    pub audio_level: Option<(u8, bool)>,
    /// Kept to be sent again.
    pub nackable: bool,
    pub payload: Arc<[u8]>,
    pub vp8: Option<Vp8Patch>,
    /// Its dependency descriptor, for peers that take it.
    pub descriptor: Option<Leaves>,
}

/// Header extensions are built afresh: what the publisher wrote into its own is nobody's business.
pub(crate) fn write(rtc: &mut Rtc, outgoing: Outgoing) {
    let mut api = rtc.direct_api();
    let Some(stream) = api.stream_tx(&outgoing.ssrc) else {
        return;
    };
    let mut extensions = ExtensionValues::default();
    if let Some((level, voice)) = outgoing.audio_level {
        extensions.audio_level = Some(-(level.min(127) as i8));
        extensions.voice_activity = Some(voice);
    }
    if let Some(descriptor) = outgoing.descriptor {
        extension::leave(&mut extensions, descriptor);
    }
    let packet = RtpWrite::new(
        outgoing.payload_type,
        outgoing.sequence_number.into(),
        outgoing.timestamp,
        outgoing.captured_at,
        outgoing.payload,
    )
    .marker(outgoing.marker)
    .ext_vals(extensions)
    .nackable(outgoing.nackable);
    stream.write_rtp(match outgoing.vp8 {
        Some(patch) => packet.vp8_patch(patch),
        None => packet,
    });
}
