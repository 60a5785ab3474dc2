//! The VP8 payload descriptor (RFC 7741 section 4.2) and the header of key frames (RFC 6386
//! section 9.1).
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! |X|R|N|S|R| PID |  N: no frame depends on this one, S: start of partition PID
//! |I|L|T|K|  RSV  |  if X: which of the following are there
//! |M|  PictureID  |  if I; one more byte if M
//! |   TL0PICIDX   |  if L
//! |TID|Y| KEYIDX  |  if T or K; Y: depends on the base layer only
//! ```

use broletto_control::VideoSize;

use super::ids::{Ids, Reader};
use super::targets::Targets;
use super::{PacketInfo, PayloadError};

pub(super) fn inspect(payload: &[u8]) -> Result<PacketInfo, PayloadError> {
    let mut reader = Reader::new(payload);
    let required = reader.byte()?;
    let frame_start = required & 0x10 != 0 && required & 0x07 == 0;
    let mut info = PacketInfo { frame_start, discardable: required & 0x20 != 0, ..PacketInfo::default() };
    let mut ids = Ids::default();

    if required & 0x80 != 0 {
        let present = reader.byte()?;
        let [has_picture_id, has_tl0, has_tid, has_key_idx] =
            [0x80, 0x40, 0x20, 0x10].map(|bit| present & bit != 0);
        if has_tl0 && !has_tid {
            return Err(PayloadError::Tl0WithoutTid);
        }
        if has_picture_id {
            ids.picture_id = Some(reader.picture_id()?);
        }
        if has_tl0 {
            ids.tl0_pic_idx = Some(reader.tl0_pic_idx()?);
        }
        if has_tid || has_key_idx {
            let layer = reader.byte()?;
            if has_tid {
                let depends_on_base_only = layer & 0x20 != 0;
                info = info.in_temporal_layer(layer >> 6, depends_on_base_only && frame_start);
            }
        }
    }
    info.vp8 = Some(ids);

    let frame = &payload[reader.offset..];
    let Some(first) = frame.first() else {
        return Err(PayloadError::Truncated { length: payload.len() });
    };
    if frame_start && first & 0x01 == 0 {
        info.key_frame = true;
        info.joins = Targets::ALL;
        info.size = Some(key_frame_size(frame, payload.len())?);
    }
    Ok(info)
}

/// `frame` starts with the three bytes of the frame tag, three of the start code, and then width
/// and height: 14 bits each in little-endian order, below two bits of a scale that nobody applies.
fn key_frame_size(frame: &[u8], length: usize) -> Result<VideoSize, PayloadError> {
    let Some(&[_, _, _, start @ .., w0, w1, h0, h1]) = frame.first_chunk::<10>() else {
        return Err(PayloadError::Truncated { length });
    };
    if start != [0x9d, 0x01, 0x2a] {
        return Err(PayloadError::Vp8StartCode(start));
    }
    let pixels = |bytes| u16::from_le_bytes(bytes) & 0x3fff;
    Ok(VideoSize { width: pixels([w0, w1]), height: pixels([h0, h1]) })
}

#[cfg(test)]
mod tests {
    use broletto_control::Codec;
    use proptest::prelude::*;

    use super::super::ids::{IdRewrite, PICTURE_ID_MAX, PictureId, Tl0PicIdx};
    use super::*;

    fn inspected(payload: &[u8]) -> Result<PacketInfo, PayloadError> {
        super::super::inspect(Codec::Vp8, payload)
    }

    /// What libvpx puts at the start of a key frame of 640×360.
    const KEY_FRAME: [u8; 10] = [0x50, 0x42, 0x00, 0x9d, 0x01, 0x2a, 0x80, 0x02, 0x68, 0x01];

    fn with_descriptor(descriptor: &[u8], frame: &[u8]) -> Vec<u8> {
        [descriptor, frame].concat()
    }

    #[test]
    fn a_descriptor_as_browsers_send_it() {
        // 15-bit picture id, TL0PICIDX, TID 2 with Y.
        let info = inspected(&[0x90, 0xe0, 0x92, 0x34, 0x56, 0xa0, 0x01]).expect("it is well formed");
        let ids = info.vp8.expect("VP8 always has them");
        assert_eq!(ids.picture_id, Some(PictureId { value: 0x1234, long: true, offset: 2 }));
        assert_eq!(ids.tl0_pic_idx, Some(Tl0PicIdx { value: 0x56, offset: 4 }));
        assert_eq!((info.temporal_layer, info.frame_start), (2, true));
        assert_eq!((info.joins, info.joins_if), (Targets::of(0, 2), Targets::of(0, 1)));
        assert_eq!(info.needed, Targets::from_temporal(2));
        assert!(!info.key_frame && !info.discardable && !info.empty);
    }

    #[test]
    fn every_shape_of_descriptor() {
        let frame = [0x01];
        for (descriptor, picture_id, tl0, temporal) in [
            (&[0x10][..], None, None, 0),
            (&[0x90, 0x00], None, None, 0),
            (&[0x90, 0x80, 0x7f], Some((0x7f, 2)), None, 0),
            (&[0x90, 0x80, 0xff, 0xff], Some((0x7fff, 2)), None, 0),
            (&[0x90, 0x60, 0x09, 0x40], None, Some((9, 2)), 1),
            (&[0x90, 0xf0, 0x05, 0x09, 0x5f], Some((5, 2)), Some((9, 3)), 1),
            (&[0x90, 0x20, 0xc0], None, None, 3),
            // KEYIDX alone: its byte has no layer.
            (&[0x90, 0x10, 0xc5], None, None, 0),
        ] {
            let info = inspected(&with_descriptor(descriptor, &frame)).expect("it is well formed");
            let ids = info.vp8.expect("VP8 always has them");
            assert_eq!(ids.picture_id.map(|id| (id.value, id.offset)), picture_id, "{descriptor:02x?}");
            assert_eq!(ids.tl0_pic_idx.map(|idx| (idx.value, idx.offset)), tl0, "{descriptor:02x?}");
            assert_eq!(info.temporal_layer, temporal, "{descriptor:02x?}");
            // Without a byte of the frame it is cut short.
            assert!(matches!(inspected(descriptor), Err(PayloadError::Truncated { .. })));
        }
    }

    #[test]
    fn a_key_frame_tells_its_size() {
        let info = inspected(&with_descriptor(&[0x10], &KEY_FRAME)).expect("it is well formed");
        assert!(info.key_frame);
        assert_eq!(info.size, Some(VideoSize { width: 640, height: 360 }));
        // The scale above the 14 bits is no part of the size.
        let mut scaled = KEY_FRAME;
        scaled[7] |= 0xc0;
        assert_eq!(inspected(&with_descriptor(&[0x10], &scaled)).expect("it is well formed").size, info.size);
    }

    #[test]
    fn only_the_first_packet_of_a_key_frame_is_one() {
        for descriptor in [0x00, 0x11, 0x01] {
            let info = inspected(&with_descriptor(&[descriptor], &KEY_FRAME)).expect("it is well formed");
            assert!(!info.key_frame && !info.frame_start, "{descriptor:02x}");
        }
        let mut delta = KEY_FRAME;
        delta[0] |= 1;
        assert!(!inspected(&with_descriptor(&[0x10], &delta)).expect("it is well formed").key_frame);
        assert!(inspected(&with_descriptor(&[0x30], &delta)).expect("it is well formed").discardable);
    }

    #[test]
    fn malformed_payloads_are_refused() {
        assert_eq!(inspected(&[0x90, 0x40, 1, 1]), Err(PayloadError::Tl0WithoutTid));
        assert_eq!(
            inspected(&with_descriptor(&[0x10], &KEY_FRAME[..9])),
            Err(PayloadError::Truncated { length: 10 })
        );
        let mut wrong = KEY_FRAME;
        wrong[4] = 7;
        assert_eq!(
            inspected(&with_descriptor(&[0x10], &wrong)),
            Err(PayloadError::Vp8StartCode([0x9d, 0x07, 0x2a]))
        );
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_nothing_else_changes(
            payload in proptest::collection::vec(any::<u8>(), 1..30),
            picture_id in 0..=PICTURE_ID_MAX,
            tl0_pic_idx: u8,
        ) {
            let Ok(before) = inspected(&payload) else { return Ok(()) };
            let ids = before.vp8.expect("VP8 always has them");
            let picture_id = ids.picture_id.map(|id| if id.long { picture_id } else { picture_id & 0x7f });
            let tl0_pic_idx = ids.tl0_pic_idx.map(|_| tl0_pic_idx);
            let mut rewritten = payload.clone();
            IdRewrite { picture_id, tl0_pic_idx }.apply(&ids, &mut rewritten);

            let after = inspected(&rewritten).expect("its shape is the same");
            let ids_after = after.vp8.expect("VP8 always has them");
            prop_assert_eq!(ids_after.picture_id.map(|id| id.value), picture_id);
            prop_assert_eq!(ids_after.tl0_pic_idx.map(|idx| idx.value), tl0_pic_idx);
            prop_assert_eq!(PacketInfo { vp8: None, ..after }, PacketInfo { vp8: None, ..before });
            IdRewrite { picture_id: ids.picture_id.map(|id| id.value), tl0_pic_idx: ids.tl0_pic_idx.map(|i| i.value) }
                .apply(&ids, &mut rewritten);
            prop_assert_eq!(rewritten, payload);
        }
    }
}
