//! A packet as its receiver is to see it, before it is numbered for the transport and sealed.

use crate::buffer::{Range, Shared};
use crate::codec::Ids;
use crate::codec::dependency::Place;
use crate::codec::ids::IdRewrite;
use crate::red::Redundant;

/// Every history holds hundreds of these: what it is worth to keep them short is measured in
/// `tests/cost.rs`.
#[derive(Debug, Clone)]
pub(crate) struct Outgoing {
    pub payload_type: u8,
    /// Extended: it never wraps.
    pub sequence_number: u64,
    pub timestamp: u32,
    pub marker: bool,
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
#[derive(Debug, Clone, Copy)]
pub(crate) struct Descriptor {
    /// As it came, in the buffer of the payload.
    pub bytes: Range,
    pub place: Place,
    pub frame_number: u16,
    pub active: Option<u32>,
}

impl Descriptor {
    /// `packet` is any part of the packet that it came with. Returns its length, 0 if there is no room
    /// for it.
    pub fn write(&self, packet: &Shared, to: &mut [u8]) -> usize {
        self.place.write(packet.of_buffer(self.bytes), self.frame_number, self.active, to)
    }
}
