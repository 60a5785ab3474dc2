//! A packet of a producer, as its consumers see it.

use crate::codec::PacketInfo;

/// Encodings of one producer. Their indexes go from the smallest picture to the largest.
pub const ENCODINGS_MAX: usize = 3;

/// What was found out about a packet once, for all its consumers.
#[derive(Debug, Clone, Copy)]
pub struct IncomingPacket {
    /// Index of the encoding, below [`ENCODINGS_MAX`]; 0 is the smallest picture.
    pub encoding: u8,
    /// Extended: it never wraps. A retransmission has the number of the original.
    pub sequence_number: u64,
    /// In ticks of the codec's clock, wrapping.
    pub timestamp: u32,
    pub info: PacketInfo,
}
