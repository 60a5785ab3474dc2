//! Payload types: what the formats of an m-line mean, and which audio is chosen.

use super::description::Media;
use crate::scan::Params;

/// In no order: a [`super::Policy`] has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum AudioCodec {
    Opus,
    G722,
    Pcma,
    Pcmu,
}

impl AudioCodec {
    /// As in `a=rtpmap`. G.722 runs at 16 kHz and says 8,000 (RFC 3551, section 4.5.2).
    pub(crate) fn mapping(self) -> &'static str {
        match self {
            AudioCodec::Opus => "opus/48000/2",
            AudioCodec::G722 => "G722/8000",
            AudioCodec::Pcma => "PCMA/8000",
            AudioCodec::Pcmu => "PCMU/8000",
        }
    }

    /// Of RTP timestamps and of telephone events beside it, in Hz.
    pub fn clock_hz(self) -> u32 {
        match self {
            AudioCodec::Opus => 48_000,
            AudioCodec::G722 | AudioCodec::Pcma | AudioCodec::Pcmu => 8_000,
        }
    }

    /// RFC 3551, table 4; Opus has none.
    pub(crate) fn static_type(self) -> Option<u8> {
        match self {
            AudioCodec::Opus => None,
            AudioCodec::G722 => Some(9),
            AudioCodec::Pcma => Some(8),
            AudioCodec::Pcmu => Some(0),
        }
    }
}

/// What audio is sent and received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AudioChoice {
    pub codec: AudioCodec,
    /// What we send with, and what the peer sends with.
    pub payload_type: u8,
    pub payload_type_received: u8,
    /// Milliseconds of audio in a packet to the peer.
    pub packet_ms: u16,
    /// RFC 4733: what digits come with, and the clock of their timestamps.
    pub telephone_event: Option<u8>,
    pub telephone_event_clock_hz: u32,
    /// RFC 3389, beside the codecs at 8 kHz.
    pub comfort_noise: Option<u8>,
    /// What the peer decodes, if it is Opus.
    pub opus: OpusLimits,
}

/// RFC 7587, section 6.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OpusLimits {
    pub stereo: bool,
    pub fec: bool,
    pub dtx: bool,
    pub bitrate_bps_max: Option<u32>,
    pub playback_rate_hz_max: u32,
}

impl Default for OpusLimits {
    fn default() -> Self {
        OpusLimits {
            stereo: false,
            fec: false,
            dtx: false,
            bitrate_bps_max: None,
            playback_rate_hz_max: 48_000,
        }
    }
}

/// One format of an m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Payload {
    pub(crate) number: u8,
    /// `name/clock`, and channels other than one, in lower case.
    pub(crate) mapping: String,
    pub(crate) parameters: Params,
}

/// The formats of a line in their order. Those without a mapping that anybody could know are left out.
pub(crate) fn payloads(media: &Media) -> Vec<Payload> {
    let of = |attribute: &'static str, number: u8| {
        media.section.values(attribute).find_map(move |value| {
            let (format, rest) = value.split_once(char::is_whitespace)?;
            (format.parse() == Ok(number)).then_some(rest.trim())
        })
    };
    let payload = |format: &String| {
        let number = format.parse().ok().filter(|number: &u8| *number < 128)?;
        let mapping = match of("rtpmap", number) {
            Some(mapping) => {
                let mapping = mapping.to_ascii_lowercase();
                mapping.strip_suffix("/1").map_or(mapping.clone(), str::to_owned)
            }
            None => static_mapping(number)?.to_owned(),
        };
        let parameters = of("fmtp", number).and_then(Params::parse).unwrap_or_default();
        Some(Payload { number, mapping, parameters })
    };
    let mut payloads: Vec<Payload> = media.formats.iter().filter_map(payload).collect();
    // A number that stands twice means what it means first.
    let mut seen = [false; 128];
    payloads.retain(|payload| !std::mem::replace(&mut seen[usize::from(payload.number)], true));
    payloads
}

fn static_mapping(number: u8) -> Option<&'static str> {
    match number {
        0 => Some("pcmu/8000"),
        8 => Some("pcma/8000"),
        9 => Some("g722/8000"),
        13 => Some("cn/8000"),
        _ => None,
    }
}

/// The first codec of ours that the peer has.
pub(crate) fn choose_audio(media: &Media, allowed: &[AudioCodec]) -> Option<AudioChoice> {
    let payloads = payloads(media);
    let number = |mapping: &str| payloads.iter().find(|p| p.mapping == mapping);
    let (codec, payload) =
        allowed.iter().find_map(|codec| Some((*codec, number(&codec.mapping().to_ascii_lowercase())?)))?;
    let milliseconds = |name| media.section.value(name).and_then(|value| value.parse::<u16>().ok());
    let longest = milliseconds("maxptime").filter(|ms| *ms >= 10).unwrap_or(60);
    // What is below 10 ms or above 60 is a mistake; 20 ms is what everybody decodes.
    let packet_ms = milliseconds("ptime").filter(|ms| (10..=60).contains(ms)).unwrap_or(20).min(longest);
    // Many room systems offer events at 8 kHz only, beside whatever codec.
    let event = [codec.clock_hz(), 8_000]
        .into_iter()
        .find_map(|clock| Some((number(&format!("telephone-event/{clock}"))?.number, clock)));
    Some(AudioChoice {
        codec,
        payload_type: payload.number,
        payload_type_received: payload.number,
        packet_ms: packet_ms / 10 * 10,
        telephone_event: event.map(|(number, _)| number),
        telephone_event_clock_hz: event.map_or(codec.clock_hz(), |(_, clock)| clock),
        comfort_noise: (codec.clock_hz() == 8_000).then(|| number("cn/8000")).flatten().map(|p| p.number),
        opus: opus(&payload.parameters),
    })
}

fn opus(parameters: &Params) -> OpusLimits {
    let number = |name| parameters.raw(name).and_then(|value| value.parse::<u32>().ok());
    OpusLimits {
        stereo: number("stereo") == Some(1),
        fec: number("useinbandfec") == Some(1),
        dtx: number("usedtx") == Some(1),
        bitrate_bps_max: number("maxaveragebitrate").map(|bps| bps.clamp(6_000, 510_000)),
        playback_rate_hz_max: number("maxplaybackrate").map_or(48_000, |hz| hz.clamp(8_000, 48_000)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::Description;
    use super::*;

    fn line(text: &str) -> Media {
        Description::parse(&format!("v=0\r\n{text}")).unwrap().media.remove(0)
    }

    #[test]
    fn the_policy_chooses_and_not_the_order_of_the_offer() {
        let media = line(
            "m=audio 2 RTP/AVP 0 8 9 96 13 101 102\r\na=rtpmap:96 OPUS/48000/2\r\na=fmtp:96 useinbandfec=1; stereo=0\r\n\
             a=rtpmap:101 telephone-event/8000\r\na=rtpmap:102 telephone-event/48000\r\na=ptime:40\r\n",
        );
        use AudioCodec::*;
        let choose = |allowed: &[AudioCodec]| choose_audio(&media, allowed).unwrap();
        let opus = choose(&[Opus, G722]);
        assert_eq!((opus.codec, opus.payload_type, opus.telephone_event), (Opus, 96, Some(102)));
        assert!(opus.opus.fec && !opus.opus.stereo && opus.comfort_noise.is_none());
        let g722 = choose(&[G722, Opus]);
        assert_eq!((g722.codec, g722.payload_type, g722.telephone_event), (G722, 9, Some(101)));
        assert_eq!((g722.comfort_noise, g722.packet_ms), (Some(13), 40));
        assert_eq!(choose_audio(&line("m=audio 2 RTP/AVP 18\r\n"), &[Opus, Pcmu]), None);
    }

    #[test]
    fn contradictions_mean_what_stands_first() {
        let media = line(
            "m=audio 2 RTP/AVP 0 0 200 x 97\r\na=rtpmap:0 PCMA/8000\r\na=rtpmap:0 PCMU/8000\r\na=ptime:0\r\na=maxptime:3\r\n",
        );
        let payloads = payloads(&media);
        assert_eq!(payloads.len(), 1);
        assert_eq!(payloads[0].mapping, "pcma/8000");
        assert_eq!(choose_audio(&media, &[AudioCodec::Pcma]).unwrap().packet_ms, 20);
    }
}
