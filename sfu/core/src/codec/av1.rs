//! AV1 payloads (RTP Payload Format For AV1, section 4.4) as far as key frames go. Layers are told by
//! the dependency descriptor; without it a stream is taken as a whole.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! |Z|Y| W |N|-|-|-|  Z: goes on with an OBU of the packet before; N: a coded video sequence starts
//! | OBU element ...  each behind its length in LEB128, but the last of W, if W is not 0
//! ```

use broletto_control::VideoSize;

use super::bits::Bits;
use super::targets::Targets;
use super::{PacketInfo, PayloadError};

/// AV1 specification, section 6.2.2.
const OBU_SEQUENCE_HEADER: u8 = 1;

pub(super) fn inspect(payload: &[u8]) -> Result<PacketInfo, PayloadError> {
    let (&aggregation, elements) = payload.split_first().expect("inspect is given what is not empty");
    let truncated = PayloadError::Truncated { length: payload.len() };
    let goes_on = aggregation & 0x80 != 0;
    let starts = aggregation & 0x08 != 0;
    if starts && goes_on {
        return Err(PayloadError::Av1StartGoesOn);
    }
    let mut info = PacketInfo { frame_start: !goes_on, ..PacketInfo::default() };
    let first = first_element(elements, aggregation >> 4 & 3).ok_or(truncated)?;
    if starts {
        let (header, rest) = first.split_first().ok_or(truncated)?;
        if header >> 3 & 0xf == OBU_SEQUENCE_HEADER {
            info.key_frame = true;
            info.joins = Targets::ALL;
            // A decoder may know a header that we cannot read, so this is no reason to drop it.
            info.size = sequence_header(*header, rest).and_then(picture_size);
        }
    }
    Ok(info)
}

fn first_element(elements: &[u8], count: u8) -> Option<&[u8]> {
    if count == 1 {
        return (!elements.is_empty()).then_some(elements);
    }
    let (length, rest) = leb128(elements)?;
    rest.get(..length)
}

/// The body of the OBU: behind its extension, and behind its size where it says one although the
/// payload format asks for none.
fn sequence_header(header: u8, mut rest: &[u8]) -> Option<&[u8]> {
    if header & 0x04 != 0 {
        rest = rest.get(1..)?;
    }
    if header & 0x02 != 0 {
        let (length, body) = leb128(rest)?;
        rest = body.get(..length)?;
    }
    Some(rest)
}

/// AV1 specification, section 4.10.5.
fn leb128(bytes: &[u8]) -> Option<(usize, &[u8])> {
    let mut value = 0;
    for (index, byte) in bytes.iter().take(4).enumerate() {
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((value, &bytes[index + 1..]));
        }
    }
    None
}

/// The largest picture of a sequence (AV1 specification, section 5.5.1). None where the header tells
/// of timing, which takes more reading and which no browser writes.
fn picture_size(header: &[u8]) -> Option<VideoSize> {
    let mut bits = Bits::new(header);
    bits.take(4)?; // seq_profile, still_picture
    if bits.flag()? {
        bits.take(5)?; // seq_level_idx of a reduced header
    } else {
        if bits.flag()? {
            return None; // timing_info_present_flag
        }
        let has_delays = bits.flag()?;
        for _ in 0..=bits.take(5)? {
            bits.take(12)?; // operating_point_idc
            if bits.take(5)? > 7 {
                bits.flag()?; // seq_tier
            }
            if has_delays && bits.flag()? {
                bits.take(4)?; // initial_display_delay_minus_1
            }
        }
    }
    let (width_bits, height_bits) = (bits.take(4)? + 1, bits.take(4)? + 1);
    let mut side = |count| u16::try_from(bits.take(count)? + 1).ok();
    Some(VideoSize { width: side(width_bits)?, height: side(height_bits)? })
}

#[cfg(test)]
mod tests {
    use broletto_control::Codec;

    use super::*;

    fn read(payload: &[u8]) -> Result<PacketInfo, PayloadError> {
        super::super::inspect(Codec::Av1, payload)
    }

    /// A sequence header of 640×360 that libaom wrote, without its size.
    const SEQUENCE_640X360: [u8; 12] =
        [0x08, 0x00, 0x00, 0x00, 0x0c, 0xc4, 0xff, 0x67, 0x36, 0xbe, 0x40, 0x10];

    #[test]
    fn a_key_frame_starts_with_a_sequence_header() {
        // N, two elements: the header behind its length, and the start of a frame.
        let mut payload = vec![0x28, SEQUENCE_640X360.len() as u8];
        payload.extend(SEQUENCE_640X360);
        payload.extend([0x30, 0x10, 0x00]);
        let info = read(&payload).expect("it is well formed");
        assert!(info.key_frame && info.frame_start);
        assert_eq!(info.size, Some(VideoSize { width: 640, height: 360 }));
        // The same without N, and a frame that goes on.
        payload[0] = 0x20;
        assert!(!read(&payload).expect("it is well formed").key_frame);
        let middle = read(&[0x90, 0x30, 0x10]).expect("it is well formed");
        assert!(!middle.key_frame && !middle.frame_start);
    }

    #[test]
    fn malformed_payloads_are_refused() {
        assert_eq!(read(&[0x10]), Err(PayloadError::Truncated { length: 1 }));
        assert_eq!(read(&[0x20, 5, 1]), Err(PayloadError::Truncated { length: 3 }));
        assert_eq!(read(&[0x00, 0xff, 0xff, 0xff, 0xff, 1]), Err(PayloadError::Truncated { length: 6 }));
        assert_eq!(read(&[0x98, 1]), Err(PayloadError::Av1StartGoesOn));
    }
}
