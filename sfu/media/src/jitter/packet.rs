//! What comes in: packets, what their types mean, and one that may begin a new stream.

use std::time::Duration;

use crate::codec::AudioCodec;
use crate::frame::{SAMPLE_RATE, milliseconds};

/// What a payload type means in this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Audio(AudioCodec),
    /// RFC 3389.
    ComfortNoise,
    /// RFC 4733.
    TelephoneEvent,
    /// RFC 2198.
    Redundant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverConfig {
    pub formats: Vec<(u8, Format)>,
    pub delay_min: Duration,
    pub delay_max: Duration,
    /// Of the noise that is made in pauses.
    pub seed: u32,
}

impl ReceiverConfig {
    /// Delays of 20 to 200 ms.
    pub fn new(formats: Vec<(u8, Format)>) -> Self {
        let (delay_min, delay_max) = (Duration::from_millis(20), Duration::from_millis(200));
        ReceiverConfig { formats, delay_min, delay_max, seed: 1 }
    }

    pub(super) fn format(&self, payload_type: u8) -> Option<Format> {
        self.formats.iter().find(|(number, _)| *number == payload_type).map(|(_, format)| *format)
    }

    pub(super) fn audio(&self, payload_type: u8) -> Option<AudioCodec> {
        match self.format(payload_type)? {
            Format::Audio(codec) => Some(codec),
            Format::ComfortNoise | Format::TelephoneEvent | Format::Redundant => None,
        }
    }

    /// Before any audio came: what it will be, as far as clocks are concerned.
    pub(super) fn first_audio(&self) -> Option<AudioCodec> {
        self.formats.iter().find_map(|(number, _)| self.audio(*number))
    }
}

/// An RTP packet, as far as a voice is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload_type: u8,
    pub payload: &'a [u8],
}

/// Two packets agree about a new clock when they are no further apart than this.
const AGREEMENT: i64 = milliseconds(500) as i64;
/// A packet that would begin something new.
#[derive(Debug)]
pub(super) struct Candidate {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    payload: Vec<u8>,
    pub(super) arrival: i64,
}

impl Candidate {
    pub(super) fn new(packet: &Packet<'_>, arrival: i64) -> Self {
        Candidate {
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload_type: packet.payload_type,
            payload: packet.payload.to_vec(),
            arrival,
        }
    }

    pub(super) fn packet(&self) -> Packet<'_> {
        Packet {
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: self.marker,
            payload_type: self.payload_type,
            payload: &self.payload,
        }
    }

    pub(super) fn agrees_with(&self, packet: &Packet<'_>, codec: AudioCodec, arrival: i64) -> bool {
        let factor = i64::from(SAMPLE_RATE / codec.clock_rate());
        let passed = i64::from(packet.timestamp.wrapping_sub(self.timestamp) as i32) * factor;
        self.ssrc == packet.ssrc
            && packet.sequence == self.sequence.wrapping_add(1)
            && (passed - (arrival - self.arrival)).abs() <= AGREEMENT
    }
}
