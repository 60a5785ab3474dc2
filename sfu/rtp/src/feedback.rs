//! What a receiver says about the packets of a whole transport
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

/// One feedback message, as its sender of media reads it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TransportFeedback {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    /// Counts the messages, wrapping.
    pub count: u8,
    /// Transport-wide sequence number of the first of `arrivals`.
    pub base: u16,
    /// One for each packet from `base` on: when it came, in microseconds by the receiver's clock
    /// (which wraps every 2^24 · 64 ms). None: it did not come.
    pub arrivals: Vec<Option<i64>>,
}
