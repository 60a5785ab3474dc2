//! The lines of descriptions of ours.

use std::fmt::Write;

use super::codec::{AudioChoice, AudioCodec};
use super::encryption::{self, Encryption, Fingerprint};
use super::floor::{Floor, FloorRole};
use super::h264::{self, H264Choice};
use super::leg::{Feedback, Local, LocalStream, Policy, Stream};

/// The label of the slides, which the floor refers to.
pub(crate) const SLIDES_LABEL: &str = "3";

pub(crate) fn session(local: &Local) -> String {
    let family = if local.address.is_ipv4() { "IP4" } else { "IP6" };
    let (address, id, version) = (local.address, local.session_id, local.session_version);
    format!(
        "v=0\r\no=- {id} {version} IN {family} {address}\r\ns=Broletto\r\nc=IN {family} {address}\r\nt=0 0\r\n"
    )
}

/// A line that is not used. It keeps its place (RFC 3264, section 6).
pub(crate) fn refused(kind: &str, protocol: &str, formats: &[String]) -> String {
    format!("m={kind} 0 {protocol} {}\r\n", formats.join(" "))
}

pub(crate) fn audio(
    stream: &Stream<AudioChoice>,
    protocol: &str,
    local: &Local,
    own: &LocalStream,
) -> String {
    let choice = &stream.codec;
    let mut formats = vec![(choice.payload_type_received, choice.codec.mapping().to_owned())];
    formats.extend(choice.comfort_noise.map(|number| (number, "CN/8000".to_owned())));
    // The clock of the events is that which the offer gave their number.
    let clock = choice.telephone_event_clock_hz;
    formats.extend(choice.telephone_event.map(|number| (number, format!("telephone-event/{clock}"))));
    let mut text = line("audio", own.port, protocol, &formats);
    if choice.codec == AudioCodec::Opus {
        let _ = write!(text, "a=fmtp:{} useinbandfec=1;usedtx=1\r\n", choice.payload_type_received);
    }
    if let Some(number) = choice.telephone_event {
        let _ = write!(text, "a=fmtp:{number} 0-16\r\n");
    }
    let _ = write!(text, "a=ptime:{}\r\n", choice.packet_ms);
    common(&mut text, stream, local, own);
    text
}

/// `content` is told where there are two video lines.
pub(crate) fn video(
    stream: &Stream<H264Choice>,
    protocol: &str,
    local: &Local,
    own: &LocalStream,
    policy: &Policy,
    content: Option<&str>,
) -> String {
    let choice = &stream.codec;
    let number = choice.payload_type_received;
    let mut text = line("video", own.port, protocol, &[(number, "H264/90000".to_owned())]);
    bandwidth(&mut text, policy.video_bps_max);
    let parameters = h264::answer_parameters(choice, &policy.h264_receive);
    let _ = write!(text, "a=fmtp:{number} {parameters}\r\n");
    feedback(&mut text, number, stream.feedback);
    self::content(&mut text, content);
    common(&mut text, stream, local, own);
    text
}

pub(crate) fn line(kind: &str, port: u16, protocol: &str, formats: &[(u8, String)]) -> String {
    let mut text = format!("m={kind} {port} {protocol}");
    for (number, _) in formats {
        let _ = write!(text, " {number}");
    }
    text.push_str("\r\n");
    for (number, mapping) in formats {
        let _ = write!(text, "a=rtpmap:{number} {mapping}\r\n");
    }
    // b= stands before every a= of its line (RFC 8866, section 9), so it is put in by `bandwidth`.
    text
}

/// In both forms: many endpoints know only one of them.
pub(crate) fn bandwidth(text: &mut String, bps: u64) {
    let end = text.find("\r\n").map_or(text.len(), |at| at + 2);
    text.insert_str(end, &format!("b=AS:{}\r\nb=TIAS:{bps}\r\n", bps.div_ceil(1_000)));
}

pub(crate) fn feedback(text: &mut String, number: u8, feedback: Feedback) {
    for (wanted, kind) in [
        (feedback.nack, "nack"),
        (feedback.pli, "nack pli"),
        (feedback.fir, "ccm fir"),
        (feedback.tmmbr, "ccm tmmbr"),
    ] {
        if wanted {
            let _ = write!(text, "a=rtcp-fb:{number} {kind}\r\n");
        }
    }
}

pub(crate) fn content(text: &mut String, content: Option<&str>) {
    let Some(content) = content else { return };
    let _ = write!(text, "a=content:{content}\r\n");
    let label = if content == "slides" { SLIDES_LABEL } else { "1" };
    let _ = write!(text, "a=label:{label}\r\n");
}

fn common<C>(text: &mut String, stream: &Stream<C>, local: &Local, own: &LocalStream) {
    match &stream.encryption {
        Encryption::None => {}
        Encryption::Sdes { suite, tag, send, .. } => {
            text.push_str(&encryption::crypto_line(*tag, *suite, send))
        }
        Encryption::Dtls { role, .. } => dtls(text, local.fingerprint.as_ref(), role.as_str()),
    }
    if stream.rtcp_mux {
        text.push_str("a=rtcp-mux\r\n");
    } else {
        let _ = write!(text, "a=rtcp:{}\r\n", own.rtcp_port);
    }
    text.push_str(direction(stream.send, stream.receive));
}

pub(crate) fn direction(send: bool, receive: bool) -> &'static str {
    match (send, receive) {
        (true, true) => "a=sendrecv\r\n",
        (true, false) => "a=sendonly\r\n",
        (false, true) => "a=recvonly\r\n",
        (false, false) => "a=inactive\r\n",
    }
}

pub(crate) fn dtls(text: &mut String, fingerprint: Option<&Fingerprint>, setup: &str) {
    let Some(fingerprint) = fingerprint else { return };
    let bytes: Vec<String> = fingerprint.bytes.iter().map(|byte| format!("{byte:02X}")).collect();
    let _ = write!(text, "a=setup:{setup}\r\na=fingerprint:{} {}\r\n", fingerprint.hash, bytes.join(":"));
}

pub(crate) fn floor(floor: &Floor, protocol: &str, port: u16, local: &Local) -> String {
    // Who opens a connection listens nowhere (RFC 4145, section 4.1).
    let port = if floor.active && floor.transport.is_stream() { 9 } else { port };
    let mut text = format!("m=application {port} {protocol} *\r\n");
    let role = match floor.role {
        FloorRole::Server => "s-only",
        FloorRole::Client => "c-only",
    };
    let _ = write!(text, "a=floorctrl:{role}\r\n");
    if floor.role == FloorRole::Server {
        floor_ids(&mut text, floor.conference, floor.user, floor.floor);
    }
    let setup = if floor.active { "active" } else { "passive" };
    if floor.transport.is_encrypted() {
        dtls(&mut text, local.fingerprint.as_ref(), setup);
    } else if floor.transport.is_stream() {
        let _ = write!(text, "a=setup:{setup}\r\n");
    }
    if floor.transport.is_stream() {
        text.push_str("a=connection:new\r\n");
    }
    text
}

pub(crate) fn floor_ids(text: &mut String, conference: u32, user: u16, floor: u16) {
    let _ = write!(
        text,
        "a=confid:{conference}\r\na=userid:{user}\r\na=floorid:{floor} mstrm:{SLIDES_LABEL}\r\n"
    );
}
