//! H.264 payloads (RFC 6184) as far as packetization modes 0 and 1 go: single NAL units, STAP-A
//! and FU-A.

use broletto_control::VideoSize;

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
