//! The answer as str0m writes it, with what it cannot be told: the order of the codecs that the
//! room has now, and the credentials that were set after an ICE restart.

use broletto_control::Codec;
use str0m::IceCreds;

use super::offer::codec_by_name;

/// Puts the payload types of `video_codecs` first in each video m-line, in that order: a browser
/// sends the first that it can. `credentials` replace whatever the answer has.
pub(crate) fn finish(answer: &str, video_codecs: &[Codec], credentials: &IceCreds) -> String {
    let mut text = String::with_capacity(answer.len() + 64);
    let lines: Vec<&str> = answer.lines().collect();
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("a=ice-ufrag:") {
            text.push_str("a=ice-ufrag:");
            text.push_str(&credentials.ufrag);
        } else if line.starts_with("a=ice-pwd:") {
            text.push_str("a=ice-pwd:");
            text.push_str(&credentials.pass);
        } else if line.starts_with("m=video ") {
            let section = &lines[index + 1..];
            let end = section.iter().position(|line| line.starts_with("m=")).unwrap_or(section.len());
            text.push_str(&ordered(line, &section[..end], video_codecs));
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    text
}

fn ordered(media: &str, section: &[&str], video_codecs: &[Codec]) -> String {
    let mut words = media.split(' ');
    let head: Vec<&str> = words.by_ref().take(3).collect();
    let mut payload_types: Vec<&str> = words.collect();
    // A stable sort: what a codec has several of keeps its order, and so do retransmissions,
    // which have the rank of the payload type that they repair.
    payload_types.sort_by_key(|payload_type| {
        let codec = codec(repaired(payload_type, section), section);
        codec
            .and_then(|codec| video_codecs.iter().position(|wished| *wished == codec))
            .unwrap_or(video_codecs.len())
    });
    head.into_iter().chain(payload_types).collect::<Vec<_>>().join(" ")
}

fn codec(payload_type: &str, section: &[&str]) -> Option<Codec> {
    let prefix = format!("a=rtpmap:{payload_type} ");
    let map = section.iter().find_map(|line| line.strip_prefix(prefix.as_str()))?;
    codec_by_name(map.split('/').next()?)
}

/// The payload type that a retransmission format (RFC 4588) is for, or itself.
fn repaired<'a>(payload_type: &'a str, section: &[&'a str]) -> &'a str {
    let prefix = format!("a=fmtp:{payload_type} apt=");
    section.iter().find_map(|line| line.strip_prefix(prefix.as_str())).unwrap_or(payload_type)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "v=0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=ice-ufrag:old\r\n\
        a=ice-pwd:older\r\n\
        a=rtpmap:111 opus/48000/2\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109\r\n\
        a=rtpmap:96 VP8/90000\r\n\
        a=rtpmap:97 rtx/90000\r\n\
        a=fmtp:97 apt=96\r\n\
        a=rtpmap:102 H264/90000\r\n\
        a=rtpmap:103 rtx/90000\r\n\
        a=fmtp:103 apt=102\r\n\
        a=rtpmap:108 H264/90000\r\n\
        a=rtpmap:109 rtx/90000\r\n\
        a=fmtp:109 apt=108\r\n";

    fn finished(video_codecs: &[Codec]) -> String {
        let credentials = IceCreds { ufrag: "0003new".into(), pass: "newer".into() };
        finish(ANSWER, video_codecs, &credentials)
    }

    #[test]
    fn the_wished_codec_comes_first_with_its_retransmissions() {
        let answer = finished(&[Codec::H264, Codec::Vp8]);
        assert!(answer.contains("m=video 9 UDP/TLS/RTP/SAVPF 102 103 108 109 96 97\r\n"), "{answer}");
        let answer = finished(&[Codec::Vp8, Codec::H264]);
        assert!(answer.contains("m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109\r\n"), "{answer}");
        assert!(answer.contains("m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "{answer}");
    }

    #[test]
    fn the_credentials_are_those_that_were_set() {
        let answer = finished(&[Codec::H264]);
        assert!(answer.contains("a=ice-ufrag:0003new\r\na=ice-pwd:newer\r\n"), "{answer}");
        assert!(!answer.contains("old"), "{answer}");
    }
}
