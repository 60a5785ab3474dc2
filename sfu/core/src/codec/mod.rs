//! What a packet says about its frame, without decoding it.
//!
//! [`Inspector`] is the one entry: whatever tells of key frames and layers comes through it. It
//! prefers the dependency descriptor (the only source when payloads are encrypted end to end), and
//! reads payloads where there is none.

pub mod av1;
mod bits;
pub mod dependency;
pub mod h264;
pub mod ids;
pub mod targets;
pub mod vp8;
pub mod vp9;

use std::sync::Arc;

use broletto_control::{Codec, VideoSize};
use thiserror::Error;

use dependency::{Frame, Place, Structure};
pub use ids::Ids;
use targets::{SPATIAL_LAYERS_MAX, Targets};

/// What a packet is to those who choose and renumber packets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PacketInfo {
    /// Nothing but padding. Never forwarded.
    pub empty: bool,
    /// A decoder that knows nothing can start here: the first packet of a VP8, VP9 or AV1 key frame,
    /// the packet with the sequence parameter set of an H.264 one, any packet of audio.
    pub key_frame: bool,
    /// The first packet of a frame, which is of one spatial layer. H.264 may say so of several packets
    /// of one frame: its parameter sets, and then its first slice.
    pub frame_start: bool,
    /// The last packet of a frame. Only told where there are spatial layers.
    pub frame_end: bool,
    /// Size of the decoded picture at its largest. Only key frames tell.
    pub size: Option<VideoSize>,
    /// 0 is the base layer.
    pub spatial_layer: u8,
    /// How many the stream has that can be told apart.
    pub spatial_layers: u8,
    /// 0 is the base layer.
    pub temporal_layer: u8,
    /// Those for whom the frame is needed.
    pub needed: Targets,
    /// Those that can be joined at this frame, by who has all of `joins_if` until here.
    pub joins: Targets,
    pub joins_if: Targets,
    /// Those that the sender serves just now.
    pub active: Targets,
    /// No other frame depends on this one.
    pub discardable: bool,
    pub vp8: Option<Ids>,
    pub vp9: Option<Ids>,
    /// Of its dependency descriptor.
    pub descriptor: Option<Place>,
}

impl Default for PacketInfo {
    /// Of a stream without layers.
    fn default() -> Self {
        PacketInfo {
            empty: false,
            key_frame: false,
            frame_start: false,
            frame_end: false,
            size: None,
            spatial_layer: 0,
            spatial_layers: 1,
            temporal_layer: 0,
            needed: Targets::ALL,
            joins: Targets::NONE,
            joins_if: Targets::NONE,
            active: Targets::ALL,
            discardable: false,
            vp8: None,
            vp9: None,
            descriptor: None,
        }
    }
}

impl PacketInfo {
    /// Of a key frame.
    pub fn starts_anew(self) -> Self {
        PacketInfo { key_frame: true, frame_start: true, joins: Targets::ALL, ..self }
    }

    /// In a stream without spatial layers; `syncs`: it depends on the base layer only, so that its
    /// layer can be joined from the one below.
    pub fn in_temporal_layer(self, temporal: u8, syncs: bool) -> Self {
        let (joins, joins_if) = match temporal.checked_sub(1) {
            Some(below) if syncs => (Targets::of(0, temporal), Targets::of(0, below)),
            _ => (Targets::NONE, Targets::NONE),
        };
        let needed = Targets::from_temporal(temporal);
        PacketInfo { temporal_layer: temporal, needed, joins, joins_if, ..self }
    }
}

/// A payload that is not what its codec's payload format allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PayloadError {
    #[error("the payload ends after {length} bytes, inside its header")]
    Truncated { length: usize },
    #[error("a VP8 descriptor with TL0PICIDX must have a TID (RFC 7741 section 4.2)")]
    Tl0WithoutTid,
    #[error("a VP8 key frame starts with 9d 01 2a (RFC 6386 section 9.1), not {0:02x?}")]
    Vp8StartCode([u8; 3]),
    #[error("NAL unit type {0} is none that is sent in packetization modes 0 and 1 (RFC 6184)")]
    NalUnitType(u8),
    #[error("a VP9 descriptor has at most three references (RFC 9628 section 4.2)")]
    Vp9References,
    #[error("an AV1 packet that starts a sequence goes on with nothing (AV1 RTP section 4.4)")]
    Av1StartGoesOn,
}

/// Reads the packets of one incoming stream, in which key frames tell what the others are.
#[derive(Debug, Default)]
pub struct Inspector {
    structure: Option<Arc<Structure>>,
    active: Option<u32>,
    /// As the last key frame told; 0: it did not.
    spatial_layers: u8,
    sizes: [Option<VideoSize>; SPATIAL_LAYERS_MAX as usize],
}

impl Inspector {
    /// Reads what is needed to forward `payload`, which is without RTP header and padding, and came
    /// with this dependency `descriptor`.
    pub fn inspect(
        &mut self,
        codec: Codec,
        payload: &[u8],
        descriptor: Option<&[u8]>,
    ) -> Result<PacketInfo, PayloadError> {
        let mut vp9_structure = None;
        let read = match codec {
            Codec::Vp9 if !payload.is_empty() => vp9::inspect(payload).map(|(info, structure)| {
                vp9_structure = structure;
                info
            }),
            codec => inspect(codec, payload),
        };
        if let Ok(PacketInfo { empty: true, .. }) = read {
            return read;
        }
        if let Some(bytes) = descriptor {
            if let Some(frame) = Structure::read(bytes, self.structure.as_ref()) {
                return Ok(self.described(frame, read.unwrap_or_default()));
            }
            // Of a structure that did not come yet: only its number can be told.
            let place = Place::read(bytes);
            return read.map(|info| self.with_layers(PacketInfo { descriptor: place, ..info }));
        }
        let info = read?;
        if info.key_frame {
            self.structure = None;
            self.spatial_layers = vp9_structure.map_or(0, |structure| structure.spatial_layers);
            self.sizes = vp9_structure.map_or([None; 3], |structure| structure.sizes);
        }
        self.spatial_layers = self.spatial_layers.max(info.spatial_layer + 1).min(SPATIAL_LAYERS_MAX);
        Ok(self.with_layers(info))
    }

    /// How many spatial layers the stream has that can be told apart.
    pub fn spatial_layers(&self) -> u8 {
        self.spatial_layers.max(1)
    }

    /// Size of the picture of a spatial layer, as the last key frame told.
    pub fn size_of(&self, spatial: u8) -> Option<VideoSize> {
        self.sizes.get(usize::from(spatial)).copied().flatten()
    }

    /// Of the last descriptor.
    pub fn structure(&self) -> Option<&Arc<Structure>> {
        self.structure.as_ref()
    }

    fn with_layers(&self, info: PacketInfo) -> PacketInfo {
        PacketInfo { spatial_layers: self.spatial_layers(), ..info }
    }

    /// `read` is what the payload says, as far as it could be read.
    fn described(&mut self, frame: Frame, read: PacketInfo) -> PacketInfo {
        let Frame { place, spatial, temporal, is_intra, needed, joins, discardable, active, structure } =
            frame;
        let key_frame = structure.is_some() && place.first_of_frame && is_intra && spatial == 0;
        if let Some(structure) = structure {
            self.spatial_layers = structure.spatial_layers.min(SPATIAL_LAYERS_MAX);
            self.sizes = structure.sizes;
            self.structure = Some(structure);
            self.active = None;
        }
        self.active = active.or(self.active);
        let active = match (self.active, &self.structure) {
            (Some(active), Some(structure)) => structure.targets(active),
            _ => Targets::ALL,
        };
        let size = self.sizes[..usize::from(self.spatial_layers())].iter().rev().find_map(|size| *size);
        PacketInfo {
            empty: false,
            key_frame,
            frame_start: place.first_of_frame,
            frame_end: place.last_of_frame,
            size: if key_frame { size.or(read.size) } else { None },
            spatial_layer: spatial,
            spatial_layers: self.spatial_layers(),
            temporal_layer: temporal,
            needed,
            joins: if key_frame { Targets::ALL } else { joins },
            joins_if: Targets::NONE,
            active,
            discardable,
            vp8: read.vp8,
            vp9: read.vp9,
            descriptor: Some(place),
        }
    }
}

/// What a payload alone says.
fn inspect(codec: Codec, payload: &[u8]) -> Result<PacketInfo, PayloadError> {
    if payload.is_empty() {
        return Ok(PacketInfo { empty: true, ..PacketInfo::default() });
    }
    match codec {
        Codec::Opus => Ok(PacketInfo::default().starts_anew()),
        Codec::Vp8 => vp8::inspect(payload),
        Codec::H264 => h264::inspect(payload),
        Codec::Vp9 => vp9::inspect(payload).map(|(info, _)| info),
        Codec::Av1 => av1::inspect(payload),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn padding_is_empty_in_every_codec() {
        for codec in [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1] {
            let info = inspect(codec, &[]).expect("nothing is a valid payload");
            assert!(info.empty && !info.key_frame, "{codec:?}");
        }
    }

    #[test]
    fn audio_starts_anywhere() {
        let info = inspect(Codec::Opus, &[0x78, 1, 2]).expect("opus is never looked into");
        assert!(info.key_frame && info.frame_start && !info.empty);
    }

    proptest! {
        #[test]
        fn no_payload_panics(payload in proptest::collection::vec(any::<u8>(), 0..80)) {
            for codec in [Codec::Opus, Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1] {
                if let Ok(info) = inspect(codec, &payload) {
                    prop_assert_eq!(info.empty, payload.is_empty());
                    prop_assert!(info.size.is_none() || info.key_frame);
                }
            }
        }
    }
}
