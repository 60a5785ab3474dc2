//! The answer as str0m writes it, with what it cannot be told: the order of the codecs that the
//! room has now, the credentials that were set after an ICE restart, and how Opus is to be sent.

use broletto_control::{Codec, Content, ProducerSlot};
use str0m::IceCreds;

use super::offer::{Offer, codec_by_name, is_red};

/// Puts the payload types of `video_codecs` first in each video m-line, in that order: a browser
/// sends the first that it can. `credentials` replace whatever the answer has. Voices may pause
/// (DTX), which the sound of a screen may not: it is stereo, so that browsers encode it as music.
/// Redundant audio stays where the offer has it.
pub(crate) fn finish(
    answer: &str,
    offer: &Offer,
    producers: &[ProducerSlot],
    video_codecs: &[Codec],
    credentials: &IceCreds,
) -> String {
    let mut text = String::with_capacity(answer.len() + 256);
    let lines: Vec<&str> = answer.lines().collect();
    let mut mid = "";
    for (index, line) in lines.iter().enumerate() {
        if line.starts_with("m=") {
            mid = section(&lines, index).iter().find_map(|line| line.strip_prefix("a=mid:")).unwrap_or("");
        }
        let refused_red = match offer.line(mid) {
            Some(offered) if !offered.red => red_type(section(&lines, index)),
            _ => None,
        };
        if refused_red.is_some_and(|red| describes(line, red)) {
            continue;
        }
        if let Some(red) = refused_red.filter(|_| line.starts_with("m=audio ")) {
            let kept = line.split(' ').enumerate().filter(|(nth, word)| *nth < 3 || *word != red);
            text.push_str(&kept.map(|(_, word)| word).collect::<Vec<_>>().join(" "));
        } else if line.starts_with("a=ice-ufrag:") {
            text.push_str("a=ice-ufrag:");
            text.push_str(&credentials.ufrag);
        } else if line.starts_with("a=ice-pwd:") {
            text.push_str("a=ice-pwd:");
            text.push_str(&credentials.pass);
        } else if line.starts_with("m=video ") {
            text.push_str(&ordered(line, section(&lines, index), video_codecs));
        } else if is_opus_format(line, section(&lines, index)) {
            text.push_str(line);
            let sends_screen = |slot: &ProducerSlot| slot.mid == mid && slot.content == Content::ScreenAudio;
            let wished = if producers.iter().any(sends_screen) { MUSIC } else { VOICE };
            let missing = wished.iter().filter(|parameter| !line.contains(**parameter));
            missing.for_each(|parameter| text.extend([";", parameter]));
        } else {
            text.push_str(line);
        }
        text.push_str("\r\n");
    }
    text
}

/// Parameters of Opus (RFC 7587 section 6.1).
const VOICE: &[&str] = &["useinbandfec=1", "usedtx=1"];
const MUSIC: &[&str] = &["useinbandfec=1", "stereo=1", "sprop-stereo=1"];

/// The lines of an m-line that one of its lines is in.
fn section<'a>(lines: &'a [&'a str], within: usize) -> &'a [&'a str] {
    let start = lines[..=within].iter().rposition(|line| line.starts_with("m=")).unwrap_or(0);
    let rest = &lines[start..];
    let end = rest.iter().skip(1).position(|line| line.starts_with("m=")).map_or(rest.len(), |at| at + 1);
    &rest[..end]
}

fn is_opus_format(line: &str, section: &[&str]) -> bool {
    let payload_type = line.strip_prefix("a=fmtp:").and_then(|format| format.split(' ').next());
    payload_type.and_then(|payload_type| codec(payload_type, section)) == Some(Codec::Opus)
}

fn describes(line: &str, payload_type: &str) -> bool {
    let rest = line.strip_prefix("a=rtpmap:").or_else(|| line.strip_prefix("a=fmtp:"));
    rest.and_then(|rest| rest.split(' ').next()) == Some(payload_type)
}

fn red_type<'a>(section: &[&'a str]) -> Option<&'a str> {
    let map = section.iter().find(|line| is_red(line))?;
    map["a=rtpmap:".len()..].split(' ').next()
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
    use broletto_control::{Epoch, Id, ProducerId};

    use super::*;
    use crate::transport::MediaLine;

    const ANSWER: &str = "v=0\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n\
        a=ice-ufrag:old\r\n\
        a=ice-pwd:older\r\n\
        a=mid:0\r\n\
        a=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:63 red/48000/2\r\n\
        a=fmtp:63 111/111\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n\
        a=mid:1\r\n\
        a=rtpmap:111 opus/48000/2\r\n\
        a=fmtp:111 minptime=10;useinbandfec=1\r\n\
        a=rtpmap:63 red/48000/2\r\n\
        a=fmtp:63 111/111\r\n\
        m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109\r\n\
        a=mid:2\r\n\
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
        let line = |mid: &str, audio, red| MediaLine {
            mid: mid.into(),
            audio,
            sends: true,
            receives: false,
            red,
            rids: Vec::new(),
            ssrcs: Vec::new(),
        };
        let offer = Offer {
            text: String::new(),
            lines: vec![line("0", true, true), line("1", true, false), line("2", false, false)],
            ufrag: String::new(),
            password: String::new(),
            fingerprint: String::new(),
        };
        let slot = |mid: &str, serial, content| ProducerSlot {
            mid: mid.into(),
            producer: ProducerId(Id::new(Epoch(1), serial)),
            content,
            paused: false,
        };
        let producers = [slot("0", 1, Content::Microphone), slot("1", 2, Content::ScreenAudio)];
        finish(ANSWER, &offer, &producers, video_codecs, &credentials)
    }

    #[test]
    fn voices_may_pause_and_the_sound_of_a_screen_is_music() {
        let answer = finished(&[Codec::H264]);
        let formats: Vec<&str> = answer.lines().filter(|line| line.starts_with("a=fmtp:111")).collect();
        assert_eq!(
            formats,
            [
                "a=fmtp:111 minptime=10;useinbandfec=1;usedtx=1",
                "a=fmtp:111 minptime=10;useinbandfec=1;stereo=1;sprop-stereo=1"
            ]
        );
    }

    #[test]
    fn redundant_audio_stays_where_it_was_offered() {
        let answer = finished(&[Codec::H264]);
        let sections: Vec<&str> = answer.split("m=").collect();
        assert!(sections[1].starts_with("audio 9 UDP/TLS/RTP/SAVPF 63 111\r\n"), "{answer}");
        assert!(sections[1].contains("a=rtpmap:63 red/48000/2\r\na=fmtp:63 111/111\r\n"), "{answer}");
        assert!(sections[2].starts_with("audio 9 UDP/TLS/RTP/SAVPF 111\r\n"), "{answer}");
        assert!(!sections[2].contains(":63 "), "{answer}");
    }

    #[test]
    fn the_wished_codec_comes_first_with_its_retransmissions() {
        let answer = finished(&[Codec::H264, Codec::Vp8]);
        assert!(answer.contains("m=video 9 UDP/TLS/RTP/SAVPF 102 103 108 109 96 97\r\n"), "{answer}");
        let answer = finished(&[Codec::Vp8, Codec::H264]);
        assert!(answer.contains("m=video 9 UDP/TLS/RTP/SAVPF 96 97 102 103 108 109\r\n"), "{answer}");
    }

    #[test]
    fn the_credentials_are_those_that_were_set() {
        let answer = finished(&[Codec::H264]);
        assert!(answer.contains("a=ice-ufrag:0003new\r\na=ice-pwd:newer\r\n"), "{answer}");
        assert!(!answer.contains("old"), "{answer}");
    }
}
