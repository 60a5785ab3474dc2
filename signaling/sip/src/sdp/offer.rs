//! Offers of ours, to who calls without one and to whom we call.

use std::fmt::Write;

use super::choose::{self, Role, Side};
use super::codec::AudioCodec;
use super::description::{Description, SdpError};
use super::encryption::{self, Encryption, EncryptionPolicy};
use super::h264::{self, H264Profile};
use super::leg::{Feedback, LegMedia, Local, LocalStream, Policy, Refusal};
use super::write;

/// Payload types of ours that have no fixed number.
const OPUS: u8 = 96;
const H264_FRAGMENTS: u8 = 97;
const H264_SINGLE: u8 = 98;
const COMFORT_NOISE: u8 = 13;
const EVENTS_8: u8 = 101;
const EVENTS_48: u8 = 102;

/// An offer of ours that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offered {
    pub sdp: String,
    roles: Vec<Role>,
    policy: Policy,
    local: Local,
}

/// Offers what a policy allows and we have.
pub fn offer(policy: &Policy, local: &Local) -> Offered {
    let (mut sdp, mut roles) = (write::session(local), Vec::new());
    if let Some(own) = &local.audio {
        roles.push(Role::Audio);
        sdp.push_str(&audio(policy, local, own));
    }
    let slides = local.slides.as_ref().filter(|_| policy.slides);
    if let (Some(own), Some(profile)) = (&local.video, policy.h264.first()) {
        roles.push(Role::Video);
        sdp.push_str(&video(policy, local, own, *profile, slides.map(|_| "main")));
    }
    if let (Some(own), Some(profile)) = (slides, policy.h264.first()) {
        roles.push(Role::Slides);
        sdp.push_str(&video(policy, local, own, *profile, Some("slides")));
        if let Some(floor) = local.floor {
            roles.push(Role::Floor);
            let _ = write!(sdp, "m=application {} UDP/BFCP *\r\na=floorctrl:s-only\r\n", floor.port);
            write::floor_ids(&mut sdp, floor.conference, floor.user, floor.floor);
        }
    }
    Offered { sdp, roles, policy: policy.clone(), local: local.clone() }
}

impl Offered {
    /// Reads the answer: what of the offer is used.
    pub fn accept(&self, answer: &str) -> Result<LegMedia, Refusal> {
        let description = Description::parse(answer)?;
        let fits = |(media, role): (&super::description::Media, &Role)| {
            let kind = match role {
                Role::Audio => "audio",
                Role::Video | Role::Slides => "video",
                Role::Floor | Role::Other => "application",
            };
            media.kind == kind
        };
        // RFC 3264, section 6: as many lines, in the same order.
        if description.media.len() != self.roles.len() || !description.media.iter().zip(&self.roles).all(fits)
        {
            return Err(Refusal::Malformed(SdpError::OtherLines));
        }
        let mut leg = choose::choose(&description, &self.roles, &self.policy, &self.local, Side::Answer);
        leg.audio = leg.audio.filter(|stream| suits(&stream.encryption));
        leg.video = leg.video.filter(|stream| suits(&stream.encryption));
        leg.slides = leg.slides.filter(|stream| suits(&stream.encryption));
        if leg.audio.is_none() && leg.video.is_none() {
            return Err(Refusal::NoMedia);
        }
        // The peer sends with our numbers, and gets its own.
        if let Some(audio) = &mut leg.audio {
            audio.codec.payload_type_received = number(audio.codec.codec);
        }
        for video in [&mut leg.video, &mut leg.slides].into_iter().flatten() {
            let fragments = video.codec.packetization_mode == 1;
            video.codec.payload_type_received = if fragments { H264_FRAGMENTS } else { H264_SINGLE };
        }
        Ok(leg)
    }
}

/// An answer takes one of our crypto lines, by its tag (RFC 4568, section 5.1.3).
fn suits(encryption: &Encryption) -> bool {
    match encryption {
        Encryption::Sdes { suite, tag, .. } => encryption::tag_of(*suite) == *tag,
        Encryption::None | Encryption::Dtls { .. } => true,
    }
}

fn number(codec: AudioCodec) -> u8 {
    codec.static_type().unwrap_or(OPUS)
}

fn audio(policy: &Policy, local: &Local, own: &LocalStream) -> String {
    let mut formats: Vec<(u8, String)> =
        policy.audio.iter().map(|codec| (number(*codec), codec.mapping().to_owned())).collect();
    let has = |clock| policy.audio.iter().any(|codec| codec.clock_hz() == clock);
    if has(8_000) {
        formats.push((COMFORT_NOISE, "CN/8000".to_owned()));
    }
    formats.push((EVENTS_8, "telephone-event/8000".to_owned()));
    if has(48_000) {
        formats.push((EVENTS_48, "telephone-event/48000".to_owned()));
    }
    let mut text = write::line("audio", own.port, protocol(policy, local), &formats);
    if has(48_000) {
        let _ = write!(text, "a=fmtp:{OPUS} useinbandfec=1;usedtx=1\r\na=fmtp:{EVENTS_48} 0-16\r\n");
    }
    let _ = write!(text, "a=fmtp:{EVENTS_8} 0-16\r\na=ptime:20\r\n");
    common(&mut text, policy, local, own);
    text
}

fn video(
    policy: &Policy,
    local: &Local,
    own: &LocalStream,
    profile: H264Profile,
    content: Option<&str>,
) -> String {
    let formats = [H264_FRAGMENTS, H264_SINGLE].map(|number| (number, "H264/90000".to_owned()));
    let mut text = write::line("video", own.port, protocol(policy, local), &formats);
    write::bandwidth(&mut text, policy.video_bps_max);
    let bytes = match profile {
        H264Profile::ConstrainedBaseline => [0x42, 0xe0],
        H264Profile::Baseline => [0x42, 0x80],
        H264Profile::Main => [0x4d, 0x40],
        H264Profile::High => [0x64, 0x00],
    };
    let ours = &policy.h264_receive;
    for (number, mode) in [(H264_FRAGMENTS, 1), (H264_SINGLE, 0)] {
        let parameters = h264::parameters(bytes, ours.level, mode, ours, true);
        let _ = write!(text, "a=fmtp:{number} {parameters}\r\n");
        write::feedback(&mut text, number, Feedback { nack: true, pli: true, fir: true, tmmbr: true });
    }
    write::content(&mut text, content);
    common(&mut text, policy, local, own);
    text
}

fn uses_dtls(policy: &Policy, local: &Local) -> bool {
    policy.dtls && local.fingerprint.is_some()
}

/// Best effort stays with the plain profile (RFC 8643, section 3.1), which everybody understands.
fn protocol(policy: &Policy, local: &Local) -> &'static str {
    match policy.encryption {
        EncryptionPolicy::Off | EncryptionPolicy::BestEffort => "RTP/AVP",
        EncryptionPolicy::Mandatory if uses_dtls(policy, local) && !policy.sdes => "UDP/TLS/RTP/SAVP",
        EncryptionPolicy::Mandatory => "RTP/SAVP",
    }
}

fn common(text: &mut String, policy: &Policy, local: &Local, own: &LocalStream) {
    if policy.encryption != EncryptionPolicy::Off {
        if policy.sdes {
            text.push_str(&encryption::crypto_lines(&own.key));
        }
        if uses_dtls(policy, local) {
            write::dtls(text, local.fingerprint.as_ref(), "actpass");
        }
    }
    let _ = write!(text, "a=rtcp:{}\r\na=rtcp-mux\r\n", own.rtcp_port);
    text.push_str(write::direction(own.send, own.receive));
}
