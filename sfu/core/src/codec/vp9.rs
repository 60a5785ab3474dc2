//! The VP9 payload descriptor (RFC 9628 section 4.2), in flexible and in non-flexible mode.
//!
//! ```text
//!  0 1 2 3 4 5 6 7
//! |I|P|L|F|B|E|V|Z|  P: predicted from earlier pictures; B, E: first and last packet of a layer's
//! |M| PICTURE ID  |  frame; Z: no higher spatial layer needs this frame
//! | TID |U| SID |D|  if L; U: higher temporal layers may be joined
//! |   TL0PICIDX   |  if L and not F
//! |   P_DIFF    |N|  if P and F, up to three times, as long as N
//! |      SS ...   |  if V: the scalability structure
//! ```
//!
//! All numbers of pictures that a picture depends on are differences, so picture ids are moved as a
//! whole, and what is left out leaves a gap.

use broletto_control::VideoSize;

use super::ids::{Ids, Reader};
use super::targets::{SPATIAL_LAYERS_MAX, TEMPORAL_LAYERS_MAX, Targets};
use super::{PacketInfo, PayloadError};

const REFERENCES_MAX: usize = 3;

/// What is told of spatial layers, in key pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Structure {
    pub spatial_layers: u8,
    pub sizes: [Option<VideoSize>; SPATIAL_LAYERS_MAX as usize],
}

pub(super) fn inspect(payload: &[u8]) -> Result<(PacketInfo, Option<Structure>), PayloadError> {
    let mut reader = Reader::new(payload);
    let required = reader.byte()?;
    let [has_id, predicted, has_layers, flexible, begins, ends, has_structure, is_leaf] =
        std::array::from_fn(|bit| required & 0x80 >> bit != 0);
    let mut ids = Ids::default();
    if has_id {
        ids.picture_id = Some(reader.picture_id()?);
    }
    let (mut spatial, mut temporal, mut switching_up) = (0, 0, false);
    if has_layers {
        let layers = reader.byte()?;
        temporal = (layers >> 5).min(TEMPORAL_LAYERS_MAX - 1);
        switching_up = layers & 0x10 != 0;
        spatial = layers >> 1 & 7;
        if !flexible {
            ids.tl0_pic_idx = Some(reader.tl0_pic_idx()?);
        }
    }
    if flexible && predicted {
        let mut references = 0;
        while reader.byte()? & 1 != 0 {
            references += 1;
            if references == REFERENCES_MAX {
                return Err(PayloadError::Vp9References);
            }
        }
    }
    let structure = if has_structure { Some(structure(&mut reader)?) } else { None };
    if reader.offset >= payload.len() {
        return Err(PayloadError::Truncated { length: payload.len() });
    }

    let key_frame = !predicted && begins && spatial == 0;
    let mut info = PacketInfo {
        key_frame,
        frame_start: begins,
        frame_end: ends,
        spatial_layer: spatial,
        temporal_layer: temporal,
        needed: needed(spatial, temporal, is_leaf),
        vp9: Some(ids),
        ..PacketInfo::default()
    };
    if key_frame {
        info.joins = Targets::ALL;
        info.size = structure.and_then(|structure| structure.sizes.into_iter().flatten().last());
    } else if switching_up {
        info.joins = Targets::from(spatial, temporal + 1);
        info.joins_if = Targets::of(spatial, temporal);
    }
    Ok((info, structure))
}

fn needed(spatial: u8, temporal: u8, is_leaf: bool) -> Targets {
    let highest = if is_leaf { spatial } else { SPATIAL_LAYERS_MAX - 1 };
    (spatial..=highest).fold(Targets::NONE, |all, layer| all.and(Targets::from(layer, temporal)))
}

/// RFC 9628 section 4.2.1: sizes of the layers, and the pictures of a group with what they refer to.
fn structure(reader: &mut Reader<'_>) -> Result<Structure, PayloadError> {
    let head = reader.byte()?;
    let layers = (head >> 5) + 1;
    let mut structure = Structure { spatial_layers: layers.min(SPATIAL_LAYERS_MAX), sizes: [None; 3] };
    if head & 0x10 != 0 {
        for layer in 0..usize::from(layers) {
            let width = u16::from_be_bytes([reader.byte()?, reader.byte()?]);
            let height = u16::from_be_bytes([reader.byte()?, reader.byte()?]);
            if let Some(size) = structure.sizes.get_mut(layer) {
                *size = (width > 0 && height > 0).then_some(VideoSize { width, height });
            }
        }
    }
    if head & 0x08 != 0 {
        for _ in 0..reader.byte()? {
            reader.offset += usize::from(reader.byte()? >> 2 & 3);
        }
    }
    Ok(structure)
}

#[cfg(test)]
mod tests {
    use broletto_control::Codec;
    use proptest::prelude::*;

    use super::super::ids::{IdRewrite, PICTURE_ID_MAX};
    use super::*;

    fn read(payload: &[u8]) -> PacketInfo {
        super::super::inspect(Codec::Vp9, payload).expect("it is well formed")
    }

    #[test]
    fn every_shape_of_descriptor() {
        for (payload, picture_id, tl0, spatial, temporal) in [
            // No fields at all; a short and a long picture id.
            (&[0x0c, 1][..], None, None, 0, 0),
            (&[0x8c, 0x7f, 1], Some((0x7f, 1)), None, 0, 0),
            (&[0x8c, 0xff, 0xff, 1], Some((0x7fff, 1)), None, 0, 0),
            // Non-flexible with layers: S1 T2.
            (&[0xec, 0x92, 0x34, 0x43, 0x56, 1], Some((0x1234, 1)), Some((0x56, 4)), 1, 2),
            // Flexible with layers and two references.
            (&[0xfc, 0x92, 0x34, 0x24, 0x03, 0x04, 1], Some((0x1234, 1)), None, 2, 1),
        ] {
            let info = read(payload);
            let ids = info.vp9.expect("VP9 always has them");
            assert_eq!(ids.picture_id.map(|id| (id.value, id.offset)), picture_id, "{payload:02x?}");
            assert_eq!(ids.tl0_pic_idx.map(|index| (index.value, index.offset)), tl0, "{payload:02x?}");
            assert_eq!((info.spatial_layer, info.temporal_layer), (spatial, temporal), "{payload:02x?}");
            // Cut short anywhere it is malformed.
            for length in 1..payload.len() {
                let cut = super::super::inspect(Codec::Vp9, &payload[..length]);
                assert!(matches!(cut, Err(PayloadError::Truncated { .. })), "{payload:02x?}");
            }
        }
        let four = [0x5c, 0x03, 0x03, 0x03, 0x02, 1];
        assert_eq!(super::super::inspect(Codec::Vp9, &four), Err(PayloadError::Vp9References));
    }

    #[test]
    fn a_key_picture_starts_with_the_base_layer_and_tells_the_sizes() {
        let structure = [0x58, 1, 64, 0, 180, 2, 128, 1, 104, 5, 0, 2, 208, 1, 0x04, 1];
        let payload = [&[0xaa, 0x80, 0x01, 0x00, 0x00][..], &structure, &[1]].concat();
        let (info, structure) = inspect(&payload).expect("it is well formed");
        assert!(info.key_frame && info.frame_start && !info.frame_end);
        assert_eq!(info.size, Some(VideoSize { width: 1280, height: 720 }));
        let structure = structure.expect("it has one");
        assert_eq!(structure.spatial_layers, 3);
        assert_eq!(structure.sizes[0], Some(VideoSize { width: 320, height: 180 }));
        // Its second packet, the next layer of the same picture, and a predicted one start nothing.
        for first in [0xa0, 0xe8] {
            assert!(!read(&[first, 0x80, 0x01, 0x00, 0x00, 1]).key_frame, "{first:02x}");
        }
        assert!(!read(&[0xa8, 0x80, 0x01, 0x02, 0x00, 1]).key_frame);
    }

    #[test]
    fn the_targets_that_need_a_frame() {
        // S1 T1 that higher layers need, and one that they do not.
        let info = read(&[0xec, 0x80, 0x01, 0x22, 0x00, 1]);
        assert_eq!(info.needed, Targets::from(1, 1).and(Targets::from(2, 1)));
        let leaf = read(&[0xed, 0x80, 0x01, 0x22, 0x00, 1]);
        assert_eq!(leaf.needed, Targets::from(1, 1));
        // A switching-up point lets those who have its layer join the higher ones.
        let up = read(&[0xec, 0x80, 0x01, 0x12, 0x00, 1]);
        assert_eq!((up.joins, up.joins_if), (Targets::from(1, 1), Targets::of(1, 0)));
        // Layers beyond those told apart are nobody's.
        assert_eq!(read(&[0xec, 0x80, 0x01, 0x06, 0x00, 1]).needed, Targets::NONE);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back_and_nothing_else_changes(
            payload in proptest::collection::vec(any::<u8>(), 1..40),
            picture_id in 0..=PICTURE_ID_MAX,
            tl0_pic_idx: u8,
        ) {
            let Ok((before, _)) = inspect(&payload) else { return Ok(()) };
            let ids = before.vp9.expect("VP9 always has them");
            let picture_id = ids.picture_id.map(|id| if id.long { picture_id } else { picture_id & 0x7f });
            let rewrite = IdRewrite { picture_id, tl0_pic_idx: ids.tl0_pic_idx.map(|_| tl0_pic_idx) };
            let mut rewritten = payload.clone();
            rewrite.apply(&ids, &mut rewritten);
            prop_assert_eq!(rewrite.changes(&ids), rewritten != payload);

            let (after, _) = inspect(&rewritten).expect("its shape is the same");
            let ids_after = after.vp9.expect("VP9 always has them");
            prop_assert_eq!(ids_after.picture_id.map(|id| id.value), rewrite.picture_id);
            prop_assert_eq!(ids_after.tl0_pic_idx.map(|index| index.value), rewrite.tl0_pic_idx);
            prop_assert_eq!(PacketInfo { vp9: None, ..after }, PacketInfo { vp9: None, ..before });
        }
    }
}
