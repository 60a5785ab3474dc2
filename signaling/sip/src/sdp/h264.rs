//! H.264 as endpoints declare it (RFC 6184, section 8.1; ITU-T H.264, table A-1).

use std::cmp::Reverse;

use super::codec::{Payload, payloads};
use super::description::Media;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum H264Profile {
    ConstrainedBaseline,
    Baseline,
    Main,
    High,
}

/// What a decoder can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct H264Limits {
    /// `level_idc`: ten times the level, and 9 for level 1b.
    pub level: u8,
    /// Macroblocks (16 by 16 pixels) a second and a frame.
    pub macroblocks_s_max: u32,
    pub macroblocks_frame_max: u32,
    pub bitrate_bps_max: u64,
}

/// What video is sent and received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct H264Choice {
    pub profile: H264Profile,
    pub payload_type: u8,
    pub payload_type_received: u8,
    /// 0: single NAL units; 1: fragments and aggregates too.
    pub packetization_mode: u8,
    /// What the peer decodes.
    pub peer: H264Limits,
    /// Of the peer's `profile-level-id`, which an answer has to repeat but for the level.
    pub(crate) profile_bytes: [u8; 2],
    /// Either side may send at the level of the other (RFC 6184, section 8.1).
    pub(crate) asymmetric: bool,
}

/// `level_idc`, macroblocks a second, macroblocks a frame, kilobits a second.
const LEVELS: [(u8, u32, u32, u64); 17] = [
    (10, 1_485, 99, 64),
    (9, 1_485, 99, 128),
    (11, 3_000, 396, 192),
    (12, 6_000, 396, 384),
    (13, 11_880, 396, 768),
    (20, 11_880, 396, 2_000),
    (21, 19_800, 792, 4_000),
    (22, 20_250, 1_620, 4_000),
    (30, 40_500, 1_620, 10_000),
    (31, 108_000, 3_600, 14_000),
    (32, 216_000, 5_120, 20_000),
    (40, 245_760, 8_192, 20_000),
    (41, 245_760, 8_192, 50_000),
    (42, 522_240, 8_704, 50_000),
    (50, 589_824, 22_080, 135_000),
    (51, 983_040, 36_864, 240_000),
    (52, 2_073_600, 36_864, 240_000),
];

impl H264Limits {
    /// None: there is no such level.
    pub fn of_level(level: u8) -> Option<H264Limits> {
        let (level, macroblocks_s_max, macroblocks_frame_max, kbps) =
            *LEVELS.iter().find(|(known, ..)| *known == level)?;
        Some(H264Limits { level, macroblocks_s_max, macroblocks_frame_max, bitrate_bps_max: kbps * 1_000 })
    }

    /// Whether the decoder takes such pictures. No side may be longer than √(8 · frame) macroblocks
    /// (H.264, section A.3.1).
    pub fn fits(&self, width: u32, height: u32, frames_s: u32) -> bool {
        let (across, down) = (u64::from(width.div_ceil(16)), u64::from(height.div_ceil(16)));
        let frame = across * down;
        let longest = across.max(down);
        frame <= u64::from(self.macroblocks_frame_max)
            && frame * u64::from(frames_s) <= u64::from(self.macroblocks_s_max)
            && longest * longest <= 8 * u64::from(self.macroblocks_frame_max)
    }
}

/// The payload of a line that is chosen: packetization mode 1 before 0, because packets of browsers can
/// be forwarded to it as they are; then by profile; then by what its decoder can do.
pub(crate) fn choose_h264(media: &Media, profiles: &[H264Profile]) -> Option<H264Choice> {
    let ranked = payloads(media).into_iter().filter_map(|payload| {
        let choice = choice(&payload)?;
        let rank = profiles.iter().position(|profile| *profile == choice.profile)?;
        Some(((choice.packetization_mode == 0, rank, Reverse(choice.peer.macroblocks_frame_max)), choice))
    });
    // The first of equals.
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, choice)| choice)
}

fn choice(payload: &Payload) -> Option<H264Choice> {
    (payload.mapping == "h264/90000").then_some(())?;
    let number = |name| payload.parameters.raw(name).and_then(|value| value.parse::<u32>().ok());
    // Without profile-level-id it is Baseline at level 1 (RFC 6184, section 8.1).
    let id = payload.parameters.raw("profile-level-id").unwrap_or("42000A");
    let id = (id.len() == 6).then(|| u32::from_str_radix(id, 16).ok())??.to_be_bytes();
    let [_, profile_idc, constraints, level_idc] = id;
    let profile = profile(profile_idc, constraints)?;
    let packetization_mode = match number("packetization-mode") {
        None | Some(0) => 0,
        Some(1) => 1,
        // Interleaved, which nobody speaks.
        Some(_) => return None,
    };
    // Level 1b of the profiles before High is level 1.1 with constraint_set3 (H.264, table A-1).
    let level = if level_idc == 11 && constraints & 0x10 != 0 && profile != H264Profile::High {
        9
    } else {
        level_idc
    };
    let level = H264Limits::of_level(level)?;
    // They extend a level and never narrow it (RFC 6184, section 8.1).
    let peer = H264Limits {
        level: level.level,
        macroblocks_s_max: number("max-mbps").unwrap_or(0).max(level.macroblocks_s_max),
        macroblocks_frame_max: number("max-fs").unwrap_or(0).max(level.macroblocks_frame_max),
        bitrate_bps_max: (u64::from(number("max-br").unwrap_or(0)) * 1_000).max(level.bitrate_bps_max),
    };
    Some(H264Choice {
        profile,
        payload_type: payload.number,
        payload_type_received: payload.number,
        packetization_mode,
        peer,
        profile_bytes: [profile_idc, constraints],
        asymmetric: number("level-asymmetry-allowed") == Some(1),
    })
}

/// RFC 6184, table 5, as far as real endpoints go.
fn profile(profile_idc: u8, constraints: u8) -> Option<H264Profile> {
    match (profile_idc, constraints & 0xe0) {
        (0x42, 0x40 | 0x60 | 0xc0 | 0xe0) | (0x4d, 0x80 | 0xa0 | 0xc0 | 0xe0) => {
            Some(H264Profile::ConstrainedBaseline)
        }
        (0x42, _) => Some(H264Profile::Baseline),
        (0x4d, _) => Some(H264Profile::Main),
        (0x64, _) => Some(H264Profile::High),
        _ => None,
    }
}

/// The parameters that say what we decode, in an answer to `choice`. Without asymmetry the level is
/// that of the weaker side; what we can beyond it is said by `max-fs` and `max-mbps`.
pub(crate) fn answer_parameters(choice: &H264Choice, ours: &H264Limits) -> String {
    let rank = |level| LEVELS.iter().position(|(known, ..)| *known == level);
    let lower = rank(ours.level) < rank(choice.peer.level);
    let level = if choice.asymmetric || lower { ours.level } else { choice.peer.level };
    let [profile_idc, constraints] = choice.profile_bytes;
    parameters([profile_idc, constraints], level, choice.packetization_mode, ours, choice.asymmetric)
}

pub(crate) fn parameters(
    profile: [u8; 2],
    level: u8,
    mode: u8,
    ours: &H264Limits,
    asymmetric: bool,
) -> String {
    let (mut constraints, mut level_idc) = (profile[1], level);
    if profile[0] != 0x64 {
        constraints &= 0xef;
        if level == 9 {
            (constraints, level_idc) = (constraints | 0x10, 11);
        }
    }
    let mut text = format!(
        "profile-level-id={:02x}{constraints:02x}{level_idc:02x};packetization-mode={mode}",
        profile[0]
    );
    if asymmetric {
        text.push_str(";level-asymmetry-allowed=1");
    }
    if let Some(said) = H264Limits::of_level(level) {
        if ours.macroblocks_s_max > said.macroblocks_s_max {
            text.push_str(&format!(";max-mbps={}", ours.macroblocks_s_max));
        }
        if ours.macroblocks_frame_max > said.macroblocks_frame_max {
            text.push_str(&format!(";max-fs={}", ours.macroblocks_frame_max));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::Description;
    use super::*;

    fn choose(lines: &str, profiles: &[H264Profile]) -> Option<H264Choice> {
        let description =
            Description::parse(&format!("v=0\r\nm=video 2 RTP/AVP 97 98 99\r\n{lines}")).unwrap();
        choose_h264(&description.media[0], profiles)
    }

    const ALL: [H264Profile; 4] =
        [H264Profile::ConstrainedBaseline, H264Profile::Baseline, H264Profile::Main, H264Profile::High];

    #[test]
    fn levels_are_extended_and_never_narrowed() {
        let choice = choose(
            "a=rtpmap:97 H264/90000\r\na=fmtp:97 profile-level-id=42801f;max-fs=8160;max-mbps=1;packetization-mode=1\r\n",
            &ALL,
        )
        .unwrap();
        assert_eq!((choice.profile, choice.packetization_mode), (H264Profile::Baseline, 1));
        assert_eq!((choice.peer.macroblocks_frame_max, choice.peer.macroblocks_s_max), (8_160, 108_000));
        assert!(choice.peer.fits(1920, 1080, 13) && !choice.peer.fits(1920, 1080, 30));
        assert!(choice.peer.fits(1280, 720, 30) && !choice.peer.fits(1280, 720, 31));
    }

    #[test]
    fn mode_1_and_the_stronger_decoder_come_first_within_a_profile() {
        let lines = "a=rtpmap:97 H264/90000\r\na=fmtp:97 profile-level-id=42e01f\r\n\
            a=rtpmap:98 H264/90000\r\na=fmtp:98 profile-level-id=42e01e;packetization-mode=1\r\n\
            a=rtpmap:99 h264/90000\r\na=fmtp:99 profile-level-id=640028;packetization-mode=1\r\n";
        assert_eq!(choose(lines, &ALL).unwrap().payload_type, 98);
        assert_eq!(choose(lines, &[H264Profile::High]).unwrap().payload_type, 99);
        assert_eq!(choose(lines, &[H264Profile::Main]), None);
    }

    #[test]
    fn what_cannot_be_decoded_by_anybody_is_left() {
        for parameters in [
            "profile-level-id=42e0",
            "profile-level-id=zzzzzz",
            "profile-level-id=42e0ff",
            "profile-level-id=42e01f;packetization-mode=2",
            "profile-level-id=f4001f",
        ] {
            assert_eq!(choose(&format!("a=rtpmap:97 H264/90000\r\na=fmtp:97 {parameters}\r\n"), &ALL), None);
        }
        let bare = choose("a=rtpmap:97 H264/90000\r\n", &ALL).unwrap();
        assert_eq!((bare.profile, bare.peer.level, bare.packetization_mode), (H264Profile::Baseline, 10, 0));
    }

    #[test]
    fn an_answer_stays_at_the_weaker_level_and_says_what_is_beyond() {
        let ours = H264Limits::of_level(40).unwrap();
        let lines = |extra: &str| {
            format!(
                "a=rtpmap:97 H264/90000\r\na=fmtp:97 profile-level-id=42e01e;packetization-mode=1{extra}\r\n"
            )
        };
        assert_eq!(
            answer_parameters(&choose(&lines(""), &ALL).unwrap(), &ours),
            "profile-level-id=42e01e;packetization-mode=1;max-mbps=245760;max-fs=8192"
        );
        assert_eq!(
            answer_parameters(&choose(&lines(";level-asymmetry-allowed=1"), &ALL).unwrap(), &ours),
            "profile-level-id=42e028;packetization-mode=1;level-asymmetry-allowed=1"
        );
        let weak = H264Limits::of_level(9).unwrap();
        assert_eq!(
            answer_parameters(&choose(&lines(""), &ALL).unwrap(), &weak),
            "profile-level-id=42f00b;packetization-mode=1"
        );
    }

    #[test]
    fn no_size_or_rate_overflows() {
        let largest = H264Limits::of_level(52).unwrap();
        assert!(!largest.fits(u32::MAX, u32::MAX, u32::MAX));
    }
}
