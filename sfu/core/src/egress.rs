//! A packet as its receiver is to see it, before it is numbered for the transport and sealed.

use std::time::Instant;

use crate::buffer::Shared;
use crate::codec::Ids;
use crate::codec::dependency::Place;
use crate::codec::ids::IdRewrite;
use crate::red::Redundant;

#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub payload_type: u8,
    /// Extended: it never wraps.
    pub sequence_number: u64,
    pub timestamp: u32,
    pub marker: bool,
    /// When the media was captured, by our clock; sender reports tell it.
    pub captured_at: Instant,
    /// Of audio, as in RFC 6464: 0 to 127 in -dBov, and whether it is voice.
    pub audio_level: Option<(u8, bool)>,
    pub payload: Shared,
    pub edit: Edit,
    /// Its dependency descriptor, for peers that take it.
    pub descriptor: Option<Descriptor>,
}

/// What is changed of a payload for one receiver, in the copy that is sealed for it.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) enum Edit {
    #[default]
    Nothing,
    Ids(Ids, IdRewrite),
    /// Payload type of the frames in redundant audio.
    Redundant(Redundant, u8),
}

impl Edit {
    /// `payload` is a copy of the one that this was made for.
    pub fn apply(&self, payload: &mut [u8]) {
        match self {
            Edit::Nothing => {}
            Edit::Ids(ids, rewrite) => rewrite.apply(ids, payload),
            Edit::Redundant(redundant, payload_type) => redundant.retype(payload, *payload_type),
        }
    }
}

/// A dependency descriptor as it is to leave.
#[derive(Debug, Clone)]
pub(crate) struct Descriptor {
    /// As it came.
    pub bytes: Shared,
    pub place: Place,
    pub frame_number: u16,
    pub active: Option<u32>,
}

impl Descriptor {
    /// Returns its length, 0 if there is no room for it.
    pub fn write(&self, to: &mut [u8]) -> usize {
        self.place.write(&self.bytes, self.frame_number, self.active, to)
    }
}
