//! What a far side's SDP says of each m-line, as far as media needs it (RFC 8866, RFC 8285, RFC 4588).

use broletto_control::Codec;

const TRANSPORT_WIDE: &str = "http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01";
const MID: &str = "urn:ietf:params:rtp-hdrext:sdes:mid";
const RID: &str = "urn:ietf:params:rtp-hdrext:sdes:rtp-stream-id";
const AUDIO_LEVEL: &str = "urn:ietf:params:rtp-hdrext:ssrc-audio-level";

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Line {
    pub mid: String,
    pub audio: bool,
    formats: Vec<Format>,
    pub extensions: ExtensionIds,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Format {
    payload_type: u8,
    codec: Option<Codec>,
    /// Of a retransmission format: what it repairs.
    repairs: Option<u8>,
}

/// Ids of header extensions; None: the far side does not take it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExtensionIds {
    pub transport_wide: Option<u8>,
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub audio_level: Option<u8>,
}

impl Line {
    /// The first payload type of a codec.
    pub fn payload_type(&self, codec: Codec) -> Option<u8> {
        self.formats.iter().find(|format| format.codec == Some(codec)).map(|format| format.payload_type)
    }

    pub fn has(&self, payload_type: u8) -> bool {
        self.formats.iter().any(|format| format.payload_type == payload_type)
    }

    /// Whether packets of this type are retransmissions (or probes in their dress).
    pub fn is_repair(&self, payload_type: u8) -> bool {
        self.formats.iter().any(|format| format.payload_type == payload_type && format.repairs.is_some())
    }
}

pub fn lines(sdp: &str) -> Vec<Line> {
    let mut lines: Vec<Line> = Vec::new();
    for text in sdp.lines() {
        if let Some(media) = text.strip_prefix("m=") {
            let mut words = media.split(' ');
            let audio = words.next() == Some("audio");
            let formats = words.skip(2).filter_map(|word| word.parse().ok());
            let formats = formats.map(|payload_type| Format { payload_type, codec: None, repairs: None });
            lines.push(Line { audio, formats: formats.collect(), ..Line::default() });
        }
        let Some(line) = lines.last_mut() else { continue };
        let Some((name, value)) = text.strip_prefix("a=").and_then(|text| text.split_once(':')) else {
            continue;
        };
        let (first, rest) = value.split_once(' ').unwrap_or((value, ""));
        match name {
            "mid" => line.mid = value.to_owned(),
            "extmap" => line.extensions.note(first, rest),
            "rtpmap" => line.note_codec(first, rest),
            "fmtp" => line.note_repair(first, rest),
            _ => {}
        }
    }
    lines
}

impl Line {
    fn format(&mut self, payload_type: &str) -> Option<&mut Format> {
        let payload_type: u8 = payload_type.parse().ok()?;
        self.formats.iter_mut().find(|format| format.payload_type == payload_type)
    }

    fn note_codec(&mut self, payload_type: &str, map: &str) {
        let name = map.split('/').next().unwrap_or("").to_ascii_lowercase();
        let codec = match name.as_str() {
            "opus" => Some(Codec::Opus),
            "h264" => Some(Codec::H264),
            "vp8" => Some(Codec::Vp8),
            "vp9" => Some(Codec::Vp9),
            "av1" => Some(Codec::Av1),
            _ => None,
        };
        if let Some(format) = self.format(payload_type) {
            format.codec = codec;
        }
    }

    fn note_repair(&mut self, payload_type: &str, parameters: &str) {
        let repairs = parameters.strip_prefix("apt=").and_then(|of| of.parse().ok());
        if let Some(format) = self.format(payload_type).filter(|_| repairs.is_some()) {
            format.repairs = repairs;
        }
    }
}

impl ExtensionIds {
    fn note(&mut self, id: &str, uri: &str) {
        // A direction may follow the id, and attributes the URI.
        let id = id.split('/').next().and_then(|id| id.parse().ok());
        match uri.split(' ').next() {
            Some(TRANSPORT_WIDE) => self.transport_wide = id,
            Some(MID) => self.mid = id,
            Some(RID) => self.rid = id,
            Some(AUDIO_LEVEL) => self.audio_level = id,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_m_line_has_its_own_formats_and_extensions() {
        let sdp = "v=0\r\na=group:BUNDLE 0 1\r\n\
            m=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\na=rtpmap:111 opus/48000/2\r\n\
            a=extmap:1 urn:ietf:params:rtp-hdrext:ssrc-audio-level vad=on\r\n\
            m=video 9 UDP/TLS/RTP/SAVPF 106 107\r\na=mid:v\r\na=rtpmap:106 H264/90000\r\n\
            a=rtpmap:107 rtx/90000\r\na=fmtp:107 apt=106\r\n\
            a=extmap:3/sendrecv http://www.ietf.org/id/draft-holmer-rmcat-transport-wide-cc-extensions-01\r\n";
        let lines = lines(sdp);
        let [audio, video] = &lines[..] else { panic!("{lines:?}") };
        assert_eq!(
            (audio.mid.as_str(), audio.audio, audio.payload_type(Codec::Opus)),
            ("0", true, Some(111))
        );
        assert_eq!((audio.extensions.audio_level, audio.extensions.transport_wide), (Some(1), None));
        assert_eq!(
            (video.mid.as_str(), video.audio, video.payload_type(Codec::H264)),
            ("v", false, Some(106))
        );
        assert_eq!((video.is_repair(107), video.is_repair(106)), (true, false));
        assert_eq!(video.extensions.transport_wide, Some(3));
    }
}
