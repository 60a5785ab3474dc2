//! What a receiver got in one slot, and whether a decoder could show it.

use std::time::{Duration, Instant, SystemTime};

use broletto_control::Codec;
use str0m::rtp::RtpPacket;

use super::media::Stamp;

#[derive(Debug, Clone, Copy)]
pub struct Arrival {
    /// Extended.
    pub sequence_number: u64,
    pub timestamp: u32,
    pub marker: bool,
    pub payload_type: u8,
    /// VP8: picture id.
    pub picture_id: Option<u16>,
    /// None: without a payload.
    pub stamp: Option<Stamp>,
    pub at: Instant,
    pub bytes: usize,
    /// Of the last sender report: its time, and the timestamp that belongs to it.
    pub report: Option<(SystemTime, u32)>,
}

#[derive(Debug, Default, Clone)]
pub struct Received {
    arrivals: Vec<Arrival>,
    /// There was a picture before the first arrival that is known.
    goes_on: bool,
}

/// A frame that was shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shown {
    pub stamp: Stamp,
    pub timestamp: u32,
    pub at: Instant,
}

impl Received {
    pub fn push(&mut self, packet: &RtpPacket, at: Instant) {
        let stamp = Stamp::read(&packet.payload);
        let is_vp8 = stamp.is_some_and(|stamp| stamp.codec == Codec::Vp8);
        self.arrivals.push(Arrival {
            sequence_number: *packet.seq_no,
            timestamp: packet.header.timestamp,
            marker: packet.header.marker,
            payload_type: *packet.header.payload_type,
            picture_id: is_vp8.then(|| u16::from_be_bytes([packet.payload[2] & 0x7f, packet.payload[3]])),
            stamp,
            at,
            bytes: packet.payload.len(),
            report: packet.last_sender_info.map(|info| (info.ntp_time, info.rtp_time.numer() as u32)),
        });
    }

    /// What came until now does not matter any more.
    pub fn forget(&mut self) {
        *self = Received { arrivals: Vec::new(), goes_on: !self.arrivals.is_empty() || self.goes_on };
    }

    pub fn arrivals(&self) -> &[Arrival] {
        &self.arrivals
    }

    pub fn packets(&self) -> usize {
        self.arrivals.len()
    }

    pub fn last(&self) -> Option<&Arrival> {
        self.arrivals.last()
    }

    /// In the order of their numbers.
    pub fn sorted(&self) -> Vec<Arrival> {
        let mut sorted = self.arrivals.clone();
        sorted.sort_by_key(|arrival| arrival.sequence_number);
        sorted
    }

    /// Numbers that came more than once.
    pub fn repeated(&self) -> usize {
        let sorted = self.sorted();
        sorted.windows(2).filter(|pair| pair[0].sequence_number == pair[1].sequence_number).count()
    }

    /// Numbers between the first and the last that never came. The last moments are left out:
    /// what was lost there may still come.
    pub fn missing(&self, settled_by: Instant) -> usize {
        let settled: Vec<u64> = self
            .sorted()
            .iter()
            .filter(|arrival| arrival.at <= settled_by)
            .map(|arrival| arrival.sequence_number)
            .collect();
        let (Some(first), Some(last)) = (settled.first(), settled.last()) else { return 0 };
        let all = self.sorted();
        let mut there: Vec<u64> = all.iter().map(|arrival| arrival.sequence_number).collect();
        there.dedup();
        let between = there.iter().filter(|number| (first..=last).contains(number)).count();
        (last - first + 1) as usize - between
    }

    /// The frames that a decoder shows: all packets there, in one run of numbers, and the frame
    /// before it shown unless it is a key frame. The others are counted.
    pub fn shown(&self) -> (Vec<Shown>, usize) {
        let mut shown: Vec<Shown> = Vec::new();
        let mut broken = 0;
        let mut frame: Vec<Arrival> = Vec::new();
        let mut judge = |frame: &[Arrival]| {
            let Some(stamp) = frame.iter().find_map(|arrival| arrival.stamp) else { return };
            let runs = frame.windows(2).all(|pair| pair[0].sequence_number + 1 == pair[1].sequence_number);
            let one = frame.iter().all(|arrival| {
                arrival.stamp.is_some_and(|other| {
                    (other.publisher, other.encoding, other.frame)
                        == (stamp.publisher, stamp.encoding, stamp.frame)
                })
            });
            let complete = frame.len() == usize::from(stamp.packets) && runs && one;
            let first = self.goes_on && shown.is_empty();
            let refers = stamp.key_frame
                || first
                || shown.last().is_some_and(|last| {
                    (last.stamp.publisher, last.stamp.encoding, last.stamp.frame + 1)
                        == (stamp.publisher, stamp.encoding, stamp.frame)
                });
            if complete && refers {
                let at = frame.iter().map(|arrival| arrival.at).max().expect("a frame has a packet");
                shown.push(Shown { stamp, timestamp: frame[0].timestamp, at });
            } else if !first {
                broken += 1;
            }
        };
        let mut sorted = self.sorted();
        sorted.dedup_by_key(|arrival| arrival.sequence_number);
        for arrival in sorted.into_iter().filter(|arrival| arrival.stamp.is_some()) {
            if frame.first().is_some_and(|first| first.timestamp != arrival.timestamp) {
                judge(&frame);
                frame.clear();
            }
            frame.push(arrival);
        }
        if frame.last().is_some_and(|last| last.marker) {
            judge(&frame);
        }
        (shown, broken)
    }

    /// Publishers in the order in which they were seen or heard, without repeats in a row.
    pub fn publishers(&self) -> Vec<u16> {
        let mut publishers: Vec<u16> =
            self.sorted().iter().filter_map(|arrival| Some(arrival.stamp?.publisher)).collect();
        publishers.dedup();
        publishers
    }

    /// The longest time without a frame.
    pub fn gap_max(&self) -> Duration {
        let (shown, _) = self.shown();
        let gaps = shown.windows(2).map(|pair| pair[1].at.saturating_duration_since(pair[0].at));
        gaps.max().unwrap_or_default()
    }
}
