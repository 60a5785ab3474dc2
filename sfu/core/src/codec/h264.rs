//! H.264 payloads (RFC 6184) as far as packetization modes 0 and 1 go: single NAL units, STAP-A
//! and FU-A.

use broletto_control::VideoSize;

use super::targets::Targets;
use super::{PacketInfo, PayloadError};

/// NAL unit types: ITU-T H.264 table 7-1, and from 24 on RFC 6184 section 5.2.
const IDR_SLICE: u8 = 5;
const SPS: u8 = 7;
const ACCESS_UNIT_DELIMITER: u8 = 9;
const STAP_A: u8 = 24;
const FU_A: u8 = 28;

pub(super) fn inspect(payload: &[u8]) -> Result<PacketInfo, PayloadError> {
    // Until a NAL unit says that others depend on it.
    let mut info = PacketInfo { discardable: true, ..PacketInfo::default() };
    match payload[0] & 0x1f {
        1..=23 => see_nal_unit(payload, &mut info),
        STAP_A => see_aggregate(payload, &mut info)?,
        FU_A => see_fragment(payload, &mut info)?,
        other => return Err(PayloadError::NalUnitType(other)),
    }
    Ok(info)
}

/// STAP-A: after its own header, NAL units each behind two bytes of length (RFC 6184 section 5.7.1).
fn see_aggregate(payload: &[u8], info: &mut PacketInfo) -> Result<(), PayloadError> {
    let truncated = PayloadError::Truncated { length: payload.len() };
    let mut rest = &payload[1..];
    if rest.is_empty() {
        return Err(truncated);
    }
    while let Some((length, tail)) = rest.split_first_chunk::<2>() {
        let (unit, tail) =
            tail.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or(truncated)?;
        match unit.first().map(|header| header & 0x1f) {
            Some(1..=23) => see_nal_unit(unit, info),
            Some(other) => return Err(PayloadError::NalUnitType(other)),
            None => {}
        }
        rest = tail;
    }
    if rest.is_empty() { Ok(()) } else { Err(truncated) }
}

/// FU-A: an indicator with the unit's importance, and a header with start bit, end bit and the
/// unit's type (RFC 6184 section 5.8).
fn see_fragment(payload: &[u8], info: &mut PacketInfo) -> Result<(), PayloadError> {
    let &[indicator, header, _, ..] = payload else {
        return Err(PayloadError::Truncated { length: payload.len() });
    };
    info.discardable = indicator & 0x60 == 0;
    if header & 0x80 != 0 {
        // The first slice of a picture has first_mb_in_slice 0, which is written as a single 1.
        let slice = (1..=IDR_SLICE).contains(&(header & 0x1f));
        info.frame_start = slice && payload[2] & 0x80 != 0;
    }
    Ok(())
}

/// `unit` is not empty.
fn see_nal_unit(unit: &[u8], info: &mut PacketInfo) {
    info.discardable &= unit[0] & 0x60 == 0;
    match unit[0] & 0x1f {
        SPS => {
            info.key_frame = true;
            info.joins = Targets::ALL;
            info.frame_start = true;
            // A decoder may know an SPS that we cannot read, so this is no reason to drop it.
            info.size = sps_size(&unit[1..]);
        }
        ACCESS_UNIT_DELIMITER => info.frame_start = true,
        1..=IDR_SLICE => info.frame_start |= unit.get(1).is_some_and(|first| first & 0x80 != 0),
        _ => {}
    }
}

/// Profiles whose SPS tells of chroma and scaling lists (ITU-T H.264 section 7.3.2.1.1).
const HIGH_PROFILES: [u8; 13] = [100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135];

/// The picture that a sequence parameter set (ITU-T H.264 section 7.3.2.1.1) describes, without
/// what is cropped. None if it is malformed or the size cannot be.
fn sps_size(sps: &[u8]) -> Option<VideoSize> {
    let mut reader = BitReader::new(sps);
    let profile = reader.bits(8)? as u8;
    reader.bits(16)?; // constraint flags, level_idc
    reader.exp_golomb()?; // seq_parameter_set_id

    let mut chroma_format = 1;
    if HIGH_PROFILES.contains(&profile) {
        chroma_format = reader.exp_golomb()?;
        if chroma_format == 3 && reader.flag()? {
            chroma_format = 0; // separate_colour_plane_flag: three monochrome pictures
        }
        reader.exp_golomb()?; // bit_depth_luma_minus8
        reader.exp_golomb()?; // bit_depth_chroma_minus8
        reader.flag()?; // qpprime_y_zero_transform_bypass_flag
        if reader.flag()? {
            skip_scaling_lists(&mut reader, if chroma_format == 3 { 12 } else { 8 })?;
        }
    }

    reader.exp_golomb()?; // log2_max_frame_num_minus4
    skip_picture_order(&mut reader)?;
    reader.exp_golomb()?; // max_num_ref_frames
    reader.flag()?; // gaps_in_frame_num_value_allowed_flag
    let width_macroblocks = reader.exp_golomb()?.checked_add(1)?;
    let height_map_units = reader.exp_golomb()?.checked_add(1)?;
    let frames_only = reader.flag()?;
    if !frames_only {
        reader.flag()?; // mb_adaptive_frame_field_flag
    }
    reader.flag()?; // direct_8x8_inference_flag

    // A pair of fields makes a frame of twice the height.
    let field_factor = if frames_only { 1 } else { 2 };
    let width = width_macroblocks.checked_mul(16)?;
    let height = height_map_units.checked_mul(16 * field_factor)?;
    let (mut cropped_x, mut cropped_y) = (0, 0);
    if reader.flag()? {
        let (unit_x, unit_y) = match chroma_format {
            1 => (2, 2),
            2 => (2, 1),
            _ => (1, 1),
        };
        let [left, right, top, bottom] =
            [reader.exp_golomb()?, reader.exp_golomb()?, reader.exp_golomb()?, reader.exp_golomb()?];
        cropped_x = left.checked_add(right)?.checked_mul(unit_x)?;
        cropped_y = top.checked_add(bottom)?.checked_mul(unit_y * field_factor)?;
    }
    let pixels =
        |whole: u32, cropped| u16::try_from(whole.checked_sub(cropped)?).ok().filter(|size| *size > 0);
    Some(VideoSize { width: pixels(width, cropped_x)?, height: pixels(height, cropped_y)? })
}

fn skip_picture_order(reader: &mut BitReader<'_>) -> Option<()> {
    match reader.exp_golomb()? {
        0 => {
            reader.exp_golomb()?; // log2_max_pic_order_cnt_lsb_minus4
        }
        1 => {
            reader.flag()?; // delta_pic_order_always_zero_flag
            reader.exp_golomb()?; // offset_for_non_ref_pic
            reader.exp_golomb()?; // offset_for_top_to_bottom_field
            let frames = reader.exp_golomb()?;
            if frames > 255 {
                return None;
            }
            for _ in 0..frames {
                reader.exp_golomb()?; // offset_for_ref_frame
            }
        }
        2 => {}
        _ => return None,
    }
    Some(())
}

/// ITU-T H.264 section 7.3.2.1.1.1. Six lists of 16 entries, and then some of 64.
fn skip_scaling_lists(reader: &mut BitReader<'_>, lists: usize) -> Option<()> {
    for list in 0..lists {
        if !reader.flag()? {
            continue;
        }
        let mut last: i32 = 8;
        for _ in 0..if list < 6 { 16 } else { 64 } {
            let delta = reader.signed_exp_golomb()?;
            if !(-128..=127).contains(&delta) {
                return None;
            }
            last = (last + delta).rem_euclid(256);
            if last == 0 {
                break; // the rest repeats the entry before
            }
        }
    }
    Some(())
}

/// Reads the bits of a NAL unit, without the emulation prevention bytes: a 3 after two zeros (ITU-T
/// H.264 section 7.4.1).
struct BitReader<'a> {
    bytes: &'a [u8],
    /// What is left of the byte being read, in its upper bits.
    byte: u8,
    bits_left: u32,
    zeros: u32,
}

impl<'a> BitReader<'a> {
    fn new(bytes: &'a [u8]) -> Self {
        BitReader { bytes, byte: 0, bits_left: 0, zeros: 0 }
    }

    fn flag(&mut self) -> Option<bool> {
        if self.bits_left == 0 {
            self.byte = self.next_byte()?;
            self.bits_left = 8;
        }
        let flag = self.byte & 0x80 != 0;
        self.byte <<= 1;
        self.bits_left -= 1;
        Some(flag)
    }

    fn next_byte(&mut self) -> Option<u8> {
        let (mut byte, mut rest) = self.bytes.split_first()?;
        if self.zeros >= 2 && *byte == 3 {
            (byte, rest) = rest.split_first()?;
            self.zeros = 0;
        }
        self.zeros = if *byte == 0 { self.zeros + 1 } else { 0 };
        self.bytes = rest;
        Some(*byte)
    }

    /// At most 32.
    fn bits(&mut self, count: u32) -> Option<u32> {
        let mut bits = 0;
        for _ in 0..count {
            bits = bits << 1 | u32::from(self.flag()?);
        }
        Some(bits)
    }

    /// ue(v) of ITU-T H.264 section 9.1. None for more than 31 leading zeros, which nothing needs.
    fn exp_golomb(&mut self) -> Option<u32> {
        let mut zeros = 0;
        while !self.flag()? {
            zeros += 1;
            if zeros > 31 {
                return None;
            }
        }
        Some((1 << zeros) - 1 + self.bits(zeros)?)
    }

    /// se(v) of ITU-T H.264 section 9.1.1: 0, 1, -1, 2, -2, …
    fn signed_exp_golomb(&mut self) -> Option<i32> {
        let code = i64::from(self.exp_golomb()?);
        let magnitude = (code + 1) / 2;
        i32::try_from(if code % 2 == 1 { magnitude } else { -magnitude }).ok()
    }
}

#[cfg(test)]
mod tests {
    use broletto_control::Codec;
    use proptest::prelude::*;

    use super::*;

    /// Sequence parameter sets that libx264 wrote.
    const SPS_640X360_BASELINE: &[u8] = &[
        0x67, 0x42, 0xc0, 0x1e, 0xd9, 0x00, 0xa0, 0x2f, 0xf9, 0x70, 0x11, 0x00, 0x00, 0x03, 0x00, 0x01, 0x00,
        0x00, 0x03, 0x00, 0x3c, 0x0f, 0x16, 0x2e, 0x48,
    ];
    const SPS_1280X720_HIGH: &[u8] = &[
        0x67, 0x64, 0x00, 0x1f, 0xac, 0xd9, 0x40, 0x50, 0x05, 0xbb, 0x01, 0x10, 0x00, 0x00, 0x03, 0x00, 0x10,
        0x00, 0x00, 0x03, 0x03, 0xc0, 0xf1, 0x83, 0x19, 0x60,
    ];
    const SPS_1920X1080_MAIN: &[u8] = &[
        0x67, 0x4d, 0x40, 0x28, 0xec, 0xa0, 0x3c, 0x01, 0x13, 0xf2, 0xe0, 0x22, 0x00, 0x00, 0x03, 0x00, 0x02,
        0x00, 0x00, 0x03, 0x00, 0x78, 0x1e, 0x30, 0x63, 0x2c,
    ];
    const SPS_640X360_HIGH_444: &[u8] = &[
        0x67, 0xf4, 0x00, 0x1e, 0x91, 0x9b, 0x28, 0x14, 0x05, 0xff, 0x13, 0x80, 0x88, 0x00, 0x00, 0x03, 0x00,
        0x08, 0x00, 0x00, 0x03, 0x01, 0xe0, 0x78, 0xb1, 0x6c, 0xb0,
    ];
    const SPS_320X180_INTERLACED: &[u8] = &[
        0x67, 0x64, 0x00, 0x15, 0xac, 0xd9, 0x41, 0x43, 0x3f, 0x26, 0x02, 0x20, 0x00, 0x00, 0x03, 0x00, 0x20,
        0x00, 0x00, 0x07, 0x83, 0xe2, 0x85, 0x32, 0xc0,
    ];

    fn read(payload: &[u8]) -> PacketInfo {
        super::super::inspect(Codec::H264, payload).expect("the payload is well formed")
    }

    fn refused(payload: &[u8]) -> PayloadError {
        super::super::inspect(Codec::H264, payload).expect_err("the payload is malformed")
    }

    fn aggregate(units: &[&[u8]]) -> Vec<u8> {
        let mut payload = vec![0x78];
        for unit in units {
            payload.extend((unit.len() as u16).to_be_bytes());
            payload.extend_from_slice(unit);
        }
        payload
    }

    #[test]
    fn a_parameter_set_tells_the_size_without_what_is_cropped() {
        for (sps, width, height) in [
            (SPS_640X360_BASELINE, 640, 360),
            (SPS_1280X720_HIGH, 1280, 720),
            (SPS_1920X1080_MAIN, 1920, 1080),
            (SPS_640X360_HIGH_444, 640, 360),
            (SPS_320X180_INTERLACED, 320, 180),
        ] {
            assert_eq!(read(sps).size, Some(VideoSize { width, height }));
            // Cut short anywhere before the size there is none; behind it there is only the VUI.
            assert!((1..8).all(|length| read(&sps[..length]).size.is_none()));
        }
    }

    #[test]
    fn a_key_frame_starts_with_its_parameter_set() {
        let pps: &[u8] = &[0x68, 0xce, 0x3c, 0x80];
        let idr: &[u8] = &[0x65, 0x88, 0x84];
        for (payload, key_frame) in [
            (SPS_640X360_BASELINE.to_vec(), true),
            (aggregate(&[SPS_640X360_BASELINE, pps]), true),
            (aggregate(&[SPS_640X360_BASELINE, pps, idr]), true),
            (aggregate(&[&[0x09, 0x10], SPS_640X360_BASELINE, pps]), true),
            (pps.to_vec(), false),
            (idr.to_vec(), false),
            (vec![0x7c, 0x85, 0x88, 0x84], false),
        ] {
            let info = read(&payload);
            assert_eq!((info.key_frame, info.size.is_some()), (key_frame, key_frame), "{payload:02x?}");
        }
    }

    #[test]
    fn slices_tell_where_a_frame_starts_and_whether_it_matters() {
        for (payload, frame_start, discardable) in [
            (&[0x41, 0x9a, 0x00][..], true, false),
            (&[0x01, 0x9a, 0x00], true, true),
            // The second slice of a picture: first_mb_in_slice is not 0.
            (&[0x41, 0x40, 0x00], false, false),
            // FU-A: start of the first slice, start of the second, middle, end, and of a disposable one.
            (&[0x5c, 0x81, 0x9a], true, false),
            (&[0x5c, 0x81, 0x40], false, false),
            (&[0x5c, 0x01, 0x9a], false, false),
            (&[0x5c, 0x41, 0x9a], false, false),
            (&[0x1c, 0x81, 0x9a], true, true),
            // An access unit delimiter, and a parameter set.
            (&[0x09, 0x10], true, true),
            (&[0x68, 0xce], false, false),
        ] {
            let info = read(payload);
            assert_eq!((info.frame_start, info.discardable), (frame_start, discardable), "{payload:02x?}");
        }
    }

    #[test]
    fn malformed_payloads_are_refused() {
        assert_eq!(refused(&[0x00, 1, 2]), PayloadError::NalUnitType(0));
        assert_eq!(refused(&[0x79, 1, 2]), PayloadError::NalUnitType(25));
        assert_eq!(refused(&[0x1f]), PayloadError::NalUnitType(31));
        assert_eq!(refused(&[0x78]), PayloadError::Truncated { length: 1 });
        assert_eq!(refused(&[0x78, 0]), PayloadError::Truncated { length: 2 });
        assert_eq!(refused(&[0x78, 0, 3, 0x67, 1]), PayloadError::Truncated { length: 5 });
        assert_eq!(refused(&[0x78, 0, 2, 0x78, 1]), PayloadError::NalUnitType(24));
        assert_eq!(refused(&[0x5c, 0x81]), PayloadError::Truncated { length: 2 });
    }

    #[test]
    fn exp_golomb_codes_are_read_and_bounded() {
        // 1 010 011 00100 00101 and then zeros without end.
        let mut reader = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000, 0, 1, 0, 1, 0, 0]);
        assert_eq!([(); 5].map(|()| reader.exp_golomb()), [0, 1, 2, 3, 4].map(Some));
        let mut zeros = BitReader::new(&[0; 64]);
        assert_eq!(zeros.exp_golomb(), None);
        let mut longest = BitReader::new(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xfe]);
        assert_eq!(longest.exp_golomb(), Some(u32::MAX - 1));
        let mut signed = BitReader::new(&[0b1010_0110, 0b0100_0010, 0b1000_0000]);
        assert_eq!([(); 5].map(|()| signed.signed_exp_golomb()), [0, 1, -1, 2, -2].map(Some));
    }

    #[test]
    fn emulation_prevention_bytes_are_not_read() {
        let mut reader = BitReader::new(&[0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 5]);
        let bytes: Vec<u32> = std::iter::from_fn(|| reader.bits(8)).collect();
        assert_eq!(bytes, [0, 0, 1, 0, 0, 0, 0, 5]);
    }

    proptest! {
        #[test]
        fn a_damaged_parameter_set_gives_a_size_or_none(
            flips in proptest::collection::vec((1..26usize, any::<u8>()), 0..6),
            length in 1..=26usize,
        ) {
            let mut sps = SPS_1280X720_HIGH.to_vec();
            for (at, byte) in flips {
                sps[at] = byte;
            }
            let info = read(&sps[..length]);
            prop_assert!(info.key_frame);
            prop_assert!(info.size.is_none_or(|size| size.width > 0 && size.height > 0));
        }
    }
}
