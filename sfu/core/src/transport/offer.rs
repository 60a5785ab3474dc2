//! A browser's offer, checked line by line before the SDP parser behind it sees a word of it.
//!
//! What comes out is the offer again, reduced to what we negotiate: without candidates (an ICE-lite
//! agent learns addresses from checks that carry the password, RFC 8445 section 2.5), and with
//! every m-line that no slot names made inactive.

use std::collections::HashSet;

use broletto_control::{Codec, ConsumerSlot, ControlError, ProducerSlot};

use crate::io::Limits;

/// `a=mid` in the header extension of RFC 9143 has 16 bytes at most here.
const MID_BYTES_MAX: usize = 16;
/// `a=rid` in the header extension of RFC 8852.
const RID_BYTES_MAX: usize = 8;
/// Payload types of one m-line; there are 128 (RFC 3550 section 5.1).
const PAYLOAD_TYPES_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offer {
    /// To be given to the SDP parser.
    pub text: String,
    pub lines: Vec<MediaLine>,
    pub ufrag: String,
    pub password: String,
    /// Hash function and value, as in `a=fingerprint` (RFC 8122).
    pub fingerprint: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct MediaLine {
    pub mid: String,
    pub audio: bool,
    /// As the slots wish it, not as it was offered.
    pub sends: bool,
    pub receives: bool,
    /// It takes or sends redundant audio (RFC 2198).
    pub red: bool,
    /// Of a sender with simulcast, in the order of `a=simulcast`.
    pub rids: Vec<String>,
    /// Those that it says it sends, and whether each carries retransmissions (RFC 5576, RFC 4588).
    pub ssrcs: Vec<(u32, bool)>,
}

impl Offer {
    pub fn parse(
        sdp: &str,
        producers: &[ProducerSlot],
        consumers: &[ConsumerSlot],
        limits: &Limits,
    ) -> Result<Offer, ControlError> {
        limit("bytes of SDP", limits.sdp_bytes_max, sdp.len())?;
        limit("producers of a transport", limits.producers_max, producers.len())?;
        limit("consumers of a transport", limits.consumers_max, consumers.len())?;
        if !sdp.starts_with("v=0") {
            return Err(wrong("an SDP starts with v=0 (RFC 8866)"));
        }
        let sections = sections(sdp);
        let (session, medias) = sections.split_first().expect("a text has a first section");
        limit("m-lines", limits.producers_max + limits.consumers_max, medias.len())?;
        if medias.is_empty() {
            return Err(wrong("an offer has at least one m-line"));
        }
        let candidates = sdp.lines().filter(|line| line.starts_with("a=candidate:")).count();
        limit("remote candidates", limits.remote_candidates_max * medias.len(), candidates)?;

        let mut offered = Vec::with_capacity(medias.len());
        for (index, lines) in medias.iter().enumerate() {
            offered.push(OfferedLine::parse(index, lines, limits)?);
        }
        let mut mids = HashSet::new();
        if let Some(twice) = offered.iter().find(|line| !mids.insert(line.mid)) {
            return Err(wrong(format!("a=mid:{} is there twice", twice.mid)));
        }
        let fingerprint = security(session, medias)?;
        let ufrag = common(session, medias, "a=ice-ufrag:")?;
        let password = common(session, medias, "a=ice-pwd:")?;

        let wished = wished(&offered, producers, consumers)?;
        let text = reduced(session, medias, &wished);
        Ok(Offer { text, lines: wished, ufrag, password, fingerprint })
    }

    pub fn line(&self, mid: &str) -> Option<&MediaLine> {
        self.lines.iter().find(|line| line.mid == mid)
    }
}

/// The codec that an `a=rtpmap` encoding name stands for, when it is one that we forward.
pub(crate) fn codec_by_name(name: &str) -> Option<Codec> {
    match name.to_ascii_lowercase().as_str() {
        "opus" => Some(Codec::Opus),
        "h264" => Some(Codec::H264),
        "vp8" => Some(Codec::Vp8),
        "vp9" => Some(Codec::Vp9),
        "av1" => Some(Codec::Av1),
        _ => None,
    }
}

/// Whether it maps a payload type to redundant audio (RFC 2198).
pub(crate) fn is_red(line: &str) -> bool {
    let map = line.strip_prefix("a=rtpmap:").and_then(|map| map.split_once(' '));
    map.is_some_and(|(_, name)| name.get(..4).is_some_and(|name| name.eq_ignore_ascii_case("red/")))
}

struct OfferedLine<'a> {
    mid: &'a str,
    audio: bool,
    /// Port 0 outside of a bundle: the line is dead (RFC 8829 section 5.2.2).
    rejected: bool,
    sends: bool,
    receives: bool,
    red: bool,
    rids: Vec<String>,
    ssrcs: Vec<(u32, bool)>,
}

impl<'a> OfferedLine<'a> {
    fn parse(index: usize, lines: &[&'a str], limits: &Limits) -> Result<Self, ControlError> {
        let here = |message: String| wrong(format!("m-line {index}: {message}"));
        let mut words = lines[0]["m=".len()..].split_ascii_whitespace();
        let (kind, port, profile) =
            (words.next().unwrap_or(""), words.next().unwrap_or(""), words.next().unwrap_or(""));
        let audio = match kind {
            "audio" => true,
            "video" => false,
            other => return Err(here(format!("its kind is audio or video, not {:?}", short(other)))),
        };
        if !matches!(profile, "UDP/TLS/RTP/SAVPF" | "TCP/TLS/RTP/SAVPF") {
            return Err(here(format!(
                "its profile is UDP/TLS/RTP/SAVPF (RFC 5764), not {:?}",
                short(profile)
            )));
        }
        if words.count() > PAYLOAD_TYPES_MAX {
            return Err(here(format!("it has more than {PAYLOAD_TYPES_MAX} payload types")));
        }
        if lines.iter().any(|line| line.starts_with("a=crypto:")) {
            return Err(here("keys are exchanged by DTLS only, and it has a=crypto (RFC 8827)".into()));
        }
        let mid = value(lines, "a=mid:").ok_or_else(|| here("it has no a=mid (RFC 9143)".into()))?;
        if mid.is_empty() || mid.len() > MID_BYTES_MAX || !mid.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(here(format!(
                "its mid is 1 to {MID_BYTES_MAX} letters and digits, not {:?}",
                short(mid)
            )));
        }
        let rejected = port == "0" && !lines.contains(&"a=bundle-only");
        if !rejected && !lines.contains(&"a=rtcp-mux") {
            return Err(here("it has no a=rtcp-mux (RFC 8834 section 4.5)".into()));
        }
        let rids = rids(lines).map_err(here)?;
        limit("encodings of a producer", limits.encodings_max, rids.len())?;
        let ssrcs = ssrcs(lines);
        // Each encoding has one stream and one for its retransmissions (RFC 4588).
        limit("SSRCs of an m-line", 2 * limits.encodings_max, ssrcs.len())?;
        let direction = lines.iter().find_map(|line| direction(line)).unwrap_or((true, true));
        let red = audio && lines.iter().any(|line| is_red(line));
        Ok(OfferedLine { mid, audio, rejected, sends: direction.0, receives: direction.1, red, rids, ssrcs })
    }
}

fn rids(lines: &[&str]) -> Result<Vec<String>, String> {
    let declared: Vec<&str> = lines
        .iter()
        .filter_map(|line| {
            let mut words = line.strip_prefix("a=rid:")?.split_ascii_whitespace();
            let rid = words.next()?;
            (words.next() == Some("send")).then_some(rid)
        })
        .collect();
    let well_formed = |rid: &&str| {
        (1..=RID_BYTES_MAX).contains(&rid.len()) && rid.bytes().all(|b| b.is_ascii_alphanumeric())
    };
    if let Some(rid) = declared.iter().find(|rid| !well_formed(rid)) {
        return Err(format!("a rid is 1 to {RID_BYTES_MAX} letters and digits, not {:?}", short(rid)));
    }
    let mut seen = HashSet::new();
    if let Some(rid) = declared.iter().find(|rid| !seen.insert(**rid)) {
        return Err(format!("a=rid:{rid} is there twice"));
    }
    Ok(declared.into_iter().map(str::to_owned).collect())
}

fn ssrcs(lines: &[&str]) -> Vec<(u32, bool)> {
    let repairs: HashSet<u32> = lines
        .iter()
        .filter_map(|line| {
            line.strip_prefix("a=ssrc-group:FID ")?.split_ascii_whitespace().nth(1)?.parse().ok()
        })
        .collect();
    let mut seen = HashSet::new();
    lines
        .iter()
        .filter_map(|line| line.strip_prefix("a=ssrc:")?.split_ascii_whitespace().next()?.parse().ok())
        .filter(|ssrc| seen.insert(*ssrc))
        .map(|ssrc| (ssrc, repairs.contains(&ssrc)))
        .collect()
}

/// The one fingerprint of the offer (M5). A client may say it by other hash functions too (RFC 8122
/// section 5.1), of which one is enough.
fn security(session: &[&str], medias: &[Vec<&str>]) -> Result<String, ControlError> {
    let of_medias: Vec<_> = medias.iter().map(|lines| compared(lines)).collect();
    let fingerprint = match common(&compared(session), &of_medias, "a=fingerprint:") {
        Ok(fingerprint) => fingerprint,
        Err(error) => {
            let any = common(session, medias, "a=fingerprint:")?;
            let function = any.split_ascii_whitespace().next().unwrap_or("").to_ascii_lowercase();
            return Err(match function.as_str() {
                "sha-256" => error,
                other => wrong(format!("a=fingerprint is made by sha-256, not {:?}", short(other))),
            });
        }
    };
    let setup = common(session, medias, "a=setup:")?;
    if !matches!(setup.as_str(), "actpass" | "active") {
        return Err(wrong(format!("a=setup of an offer is actpass or active, not {:?}", short(&setup))));
    }
    Ok(fingerprint)
}

/// An attribute that all the m-lines share, because one transport carries them all (RFC 9143).
fn common(session: &[&str], medias: &[Vec<&str>], name: &str) -> Result<String, ControlError> {
    let mut values = std::iter::once(session)
        .chain(medias.iter().map(Vec::as_slice))
        .flat_map(|lines| lines.iter().filter_map(|line| line.strip_prefix(name)));
    let attribute = name.trim_end_matches(':');
    let first = values.next().ok_or_else(|| wrong(format!("it has no {attribute}")))?;
    if values.any(|other| other != first) {
        return Err(wrong(format!("{attribute} differs between m-lines, which one transport carries")));
    }
    Ok(first.to_owned())
}

/// What each line is to do, by the slots that name it.
fn wished(
    offered: &[OfferedLine<'_>],
    producers: &[ProducerSlot],
    consumers: &[ConsumerSlot],
) -> Result<Vec<MediaLine>, ControlError> {
    let mut lines: Vec<MediaLine> = offered
        .iter()
        .map(|line| MediaLine {
            mid: line.mid.to_owned(),
            audio: line.audio,
            sends: false,
            receives: false,
            red: line.red,
            rids: line.rids.clone(),
            ssrcs: line.ssrcs.clone(),
        })
        .collect();
    let find = |mid: &str, field: String| {
        let position = offered.iter().position(|line| line.mid == mid && !line.rejected);
        position.ok_or_else(|| {
            ControlError::invalid(field, format!("the offer has no m-line with mid {:?}", short(mid)))
        })
    };
    for (index, slot) in producers.iter().enumerate() {
        let field = format!("producers[{index}].mid");
        let position = find(&slot.mid, field.clone())?;
        if slot.content.is_audio() != offered[position].audio {
            let kind = if offered[position].audio { "audio" } else { "video" };
            return Err(ControlError::invalid(
                field,
                format!("its m-line is {kind}, not {:?}", slot.content),
            ));
        }
        if !offered[position].sends {
            return Err(ControlError::invalid(field, "its m-line sends nothing"));
        }
        if std::mem::replace(&mut lines[position].sends, true) {
            return Err(ControlError::invalid(field, "another producer has the same mid"));
        }
    }
    for (index, slot) in consumers.iter().enumerate() {
        let field = format!("consumers[{index}].mid");
        let position = find(&slot.mid, field.clone())?;
        if !offered[position].receives {
            return Err(ControlError::invalid(field, "its m-line receives nothing"));
        }
        if std::mem::replace(&mut lines[position].receives, true) {
            return Err(ControlError::invalid(field, "another consumer has the same mid"));
        }
    }
    Ok(lines)
}

/// The fingerprints that are compared.
fn compared<'a>(lines: &[&'a str]) -> Vec<&'a str> {
    let all = lines.iter().copied().filter(|line| line.starts_with("a=fingerprint:"));
    all.filter(|line| !is_other_fingerprint(line)).collect()
}

/// A fingerprint by another hash function than the one that is compared.
fn is_other_fingerprint(line: &str) -> bool {
    let function = line.strip_prefix("a=fingerprint:").and_then(|rest| rest.split(' ').next());
    function.is_some_and(|function| !function.eq_ignore_ascii_case("sha-256"))
}

fn reduced(session: &[&str], medias: &[Vec<&str>], wished: &[MediaLine]) -> String {
    let mut text = String::with_capacity(16 * 1024);
    let mut push = |line: &str| {
        text.push_str(line);
        text.push_str("\r\n");
    };
    let needless = |line: &str| {
        line.starts_with("a=candidate:") || line == "a=end-of-candidates" || is_other_fingerprint(line)
    };
    session.iter().filter(|line| !needless(line)).for_each(|line| push(line));
    for (lines, wished) in medias.iter().zip(wished) {
        push(&lines[0].replacen("TCP/TLS/", "UDP/TLS/", 1));
        let rest = lines[1..].iter().filter(|line| !needless(line) && direction(line).is_none());
        rest.for_each(|line| push(line));
        push(match (wished.sends, wished.receives) {
            (true, true) => "a=sendrecv",
            (true, false) => "a=sendonly",
            (false, true) => "a=recvonly",
            (false, false) => "a=inactive",
        });
    }
    text
}

/// The lines before the first m-line, then those of each m-line. The first section may be empty.
fn sections(sdp: &str) -> Vec<Vec<&str>> {
    let mut sections = vec![Vec::new()];
    for line in sdp.lines().filter(|line| !line.is_empty()) {
        if line.starts_with("m=") {
            sections.push(Vec::new());
        }
        sections.last_mut().expect("there is a first section").push(line);
    }
    sections
}

/// Whether the offerer sends and receives (RFC 8866 section 6.7).
fn direction(line: &str) -> Option<(bool, bool)> {
    match line {
        "a=sendrecv" => Some((true, true)),
        "a=sendonly" => Some((true, false)),
        "a=recvonly" => Some((false, true)),
        "a=inactive" => Some((false, false)),
        _ => None,
    }
}

fn value<'a>(lines: &[&'a str], name: &str) -> Option<&'a str> {
    lines.iter().find_map(|line| line.strip_prefix(name))
}

fn limit(what: &str, max: usize, got: usize) -> Result<(), ControlError> {
    if got > max { Err(ControlError::Limit { what: what.to_owned(), max, got }) } else { Ok(()) }
}

fn wrong(message: impl Into<String>) -> ControlError {
    ControlError::invalid("sdp", message)
}

/// As much of a stranger's word as an error message should repeat.
fn short(text: &str) -> String {
    text.chars().take(24).collect()
}
