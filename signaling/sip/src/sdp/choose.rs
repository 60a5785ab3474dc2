//! Which of several m-lines is used for what.

use std::net::SocketAddr;

use super::codec::choose_audio;
use super::description::{Description, Media};
use super::encryption::{self, DtlsRole, Encryption, EncryptionPolicy};
use super::floor::{self, FloorTransport};
use super::h264::choose_h264;
use super::leg::{Feedback, LegMedia, Local, LocalStream, Policy, Stream};

/// What a line is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Role {
    Audio,
    Video,
    Slides,
    Floor,
    /// Camera control, text and whatever else.
    Other,
}

/// Whose description is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    /// An offer, to be answered.
    Offer,
    /// The answer to an offer of ours.
    Answer,
}

pub(crate) fn roles(description: &Description) -> Vec<Role> {
    // What a floor is for are slides, whatever else the line says.
    let controlled: Vec<&str> = description.media.iter().flat_map(floor::floor_labels).collect();
    let role = |media: &Media| {
        let content = media.section.value("content").unwrap_or_default().to_ascii_lowercase();
        let is = |wanted| content.split(',').any(|token| token.trim() == wanted);
        let labelled = media.section.value("label").is_some_and(|label| controlled.contains(&label));
        match media.kind.as_str() {
            "audio" => Role::Audio,
            "video" if is("slides") || is("alt") || labelled && !is("main") => Role::Slides,
            "video" => Role::Video,
            "application" if FloorTransport::parse(&media.protocol).is_some() => Role::Floor,
            _ => Role::Other,
        }
    };
    description.media.iter().map(role).collect()
}

/// The best line for each use. Of twins, one plain and one encrypted, the encrypted one is better;
/// what the policy forbids is no candidate.
pub(crate) fn choose(
    description: &Description,
    roles: &[Role],
    policy: &Policy,
    local: &Local,
    side: Side,
) -> LegMedia {
    let lines = |role| (0..description.media.len()).filter(move |line| roles[*line] == role);
    let audio = local.audio.as_ref().and_then(|own| {
        best(lines(Role::Audio).filter_map(|line| {
            let media = &description.media[line];
            let choice = choose_audio(media, &policy.audio)?;
            stream(description, line, choice.payload_type, choice, policy, local, own, side)
        }))
    });
    let video = |role, own: &LocalStream| {
        best(lines(role).filter_map(|line| {
            let choice = choose_h264(&description.media[line], &policy.h264)?;
            stream(description, line, choice.payload_type, choice, policy, local, own, side)
        }))
    };
    let camera = local.video.as_ref().and_then(|own| video(Role::Video, own));
    let slides = local.slides.as_ref().filter(|_| policy.slides).and_then(|own| video(Role::Slides, own));
    // A floor without slides controls nothing.
    let floor = lines(Role::Floor)
        .filter(|_| slides.is_some())
        .find_map(|line| floor::floor(description, line, local));
    LegMedia { audio, video: camera, slides, floor, bitrate_bps_max: total_bps(description) }
}

/// What all streams together may have. A limit that is below that of one of the streams is a
/// contradiction, and the stream is believed: it is the more specific of the two.
fn total_bps(description: &Description) -> Option<u64> {
    let largest = description.media.iter().filter_map(|media| media.section.bandwidth_bps()).max();
    let session = &description.session;
    let limits = [session.tias_bps, session.as_bps, session.ct_bps].into_iter().flatten();
    limits.filter(|bps| *bps > 0 && largest.is_none_or(|largest| *bps >= largest)).min()
}

fn best<C>(streams: impl Iterator<Item = Stream<C>>) -> Option<Stream<C>> {
    let rank = |stream: &Stream<C>| u8::from(stream.encryption != Encryption::None);
    streams.fold(None, |best: Option<Stream<C>>, stream| match best {
        Some(best) if rank(&best) >= rank(&stream) => Some(best),
        Some(_) | None => Some(stream),
    })
}

#[allow(clippy::too_many_arguments)] // Each decides something of the stream.
fn stream<C>(
    description: &Description,
    line: usize,
    payload_type: u8,
    codec: C,
    policy: &Policy,
    local: &Local,
    own: &LocalStream,
    side: Side,
) -> Option<Stream<C>> {
    let media = &description.media[line];
    if media.port == 0 || !is_rtp(&media.protocol) {
        return None;
    }
    let encryption = encryption(description, media, policy, local, own, side)?;
    let address = description.address(media)?;
    let remote = Some(address).filter(|address| !address.is_unspecified());
    let remote = remote.map(|address| SocketAddr::new(address, media.port));
    let rtcp_mux = media.section.has("rtcp-mux");
    let (sends, receives) = direction(description, media);
    Some(Stream {
        line,
        codec,
        remote,
        remote_rtcp: remote.map(|remote| if rtcp_mux { remote } else { rtcp_address(media, remote) }),
        rtcp_mux,
        send: own.send && receives && remote.is_some(),
        receive: own.receive && sends,
        held: !receives || remote.is_none(),
        encryption,
        bitrate_bps_max: media.section.bandwidth_bps().or_else(|| total_bps(description)),
        feedback: feedback(media, payload_type),
        label: media.section.value("label").map(str::to_owned),
    })
}

fn is_rtp(protocol: &str) -> bool {
    matches!(
        protocol,
        "RTP/AVP" | "RTP/AVPF" | "RTP/SAVP" | "RTP/SAVPF" | "UDP/TLS/RTP/SAVP" | "UDP/TLS/RTP/SAVPF"
    )
}

/// None: the line says one thing of encryption and the policy another, or the line contradicts itself.
fn encryption(
    description: &Description,
    media: &Media,
    policy: &Policy,
    local: &Local,
    own: &LocalStream,
    side: Side,
) -> Option<Encryption> {
    let (secure, tls) = (media.protocol.contains("SAVP"), media.protocol.starts_with("UDP/TLS"));
    if policy.encryption == EncryptionPolicy::Off {
        return (!secure).then_some(Encryption::None);
    }
    let fingerprints = encryption::fingerprints(description, media);
    if policy.dtls
        && local.fingerprint.is_some()
        && !fingerprints.is_empty()
        && let Some(role) = dtls_role(description.inherited(media, "setup"), side)
    {
        return Some(Encryption::Dtls { fingerprints, role });
    }
    let crypto = encryption::crypto(media).filter(|_| policy.sdes && !tls);
    if let Some(crypto) = crypto {
        let send = encryption::own_key(crypto.suite, &own.key);
        return Some(Encryption::Sdes { suite: crypto.suite, tag: crypto.tag, send, receive: crypto.key });
    }
    (!secure && policy.encryption == EncryptionPolicy::BestEffort).then_some(Encryption::None)
}

/// Where the peer leaves it to us it begins, because we are reachable and it may be behind NAT.
fn dtls_role(setup: Option<&str>, side: Side) -> Option<DtlsRole> {
    match (setup.map(str::to_ascii_lowercase).as_deref(), side) {
        (Some("passive"), _) => Some(DtlsRole::Active),
        (Some("active") | None, _) | (Some("actpass"), Side::Offer) => Some(DtlsRole::Passive),
        // An answer decides (RFC 5763, section 5), and a held connection is none.
        (Some(_), _) => None,
    }
}

/// Whether the peer sends and receives.
fn direction(description: &Description, media: &Media) -> (bool, bool) {
    for section in [&media.section, &description.session] {
        for (name, direction) in [
            ("inactive", (false, false)),
            ("sendonly", (true, false)),
            ("recvonly", (false, true)),
            ("sendrecv", (true, true)),
        ] {
            if section.has(name) {
                return direction;
            }
        }
    }
    (true, true)
}

/// RFC 3605, or the next port (RFC 3550, section 11).
fn rtcp_address(media: &Media, remote: SocketAddr) -> SocketAddr {
    let mut address = remote;
    address.set_port(remote.port().saturating_add(1));
    let Some(value) = media.section.value("rtcp") else { return address };
    let mut words = value.split_ascii_whitespace();
    if let Some(port) = words.next().and_then(|port| port.parse().ok()).filter(|port| *port != 0) {
        address.set_port(port);
    }
    // Another host than that of the media is not believed: it would be sent what it did not ask for.
    address
}

fn feedback(media: &Media, payload_type: u8) -> Feedback {
    let mut feedback = Feedback::default();
    for value in media.section.values("rtcp-fb") {
        let Some((format, kind)) = value.split_once(char::is_whitespace) else { continue };
        if format != "*" && format.parse() != Ok(payload_type) {
            continue;
        }
        let mut words = kind.split_ascii_whitespace();
        match (words.next(), words.next()) {
            (Some("nack"), None) => feedback.nack = true,
            (Some("nack"), Some("pli")) => feedback.pli = true,
            // Some endpoints put both on one line.
            (Some("ccm"), Some(first)) => {
                for word in std::iter::once(first).chain(words) {
                    feedback.fir |= word == "fir";
                    feedback.tmmbr |= word == "tmmbr";
                }
            }
            _ => {}
        }
    }
    feedback
}
