//! One outgoing stream: its history, retransmissions and sender reports.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::ntp::{WallClock, round_trip, ticks};
use crate::rtcp::{ReportBlock, SenderReport};
use crate::sequence::below;

/// A packet is not sent again so soon after it was, however short the round trip is said to be.
const AGAIN_AFTER_MIN: Duration = Duration::from_millis(5);
/// What is saved up for retransmissions at most, so that a loss in the first key frame, or after a
/// quiet while, is repaired too.
const CREDIT_BYTES_MAX: u64 = 100_000;
const PERCENT: u64 = 100;

/// What a stream is, as it was negotiated, and what it may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SendConfig {
    pub ssrc: u32,
    /// Ticks of its timestamps in a second.
    pub clock_rate: u32,
    /// Packets are kept while they are among so many of the latest, and not older.
    pub history_packets: usize,
    pub history_age: Duration,
    /// Of the bytes sent, so much again may go into retransmissions.
    pub resend_percent: u8,
    /// The first of the stream that carries retransmissions (RFC 4588).
    pub rtx_number: u16,
}

/// A packet that leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    pub sequence_number: u64,
    pub payload_bytes: usize,
}

/// A packet that is to be sent again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resend<P> {
    pub sequence_number: u64,
    pub packet: P,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SendCounters {
    /// Without retransmissions.
    pub packets: u64,
    /// Of their payloads.
    pub octets: u64,
    /// Numbers that peers asked for, each time.
    pub asked: u64,
    pub resent: u64,
    pub resent_octets: u64,
    /// Not sent again: not kept any more; or too dear, for the share of all bytes that is for that.
    pub unknown: u64,
    pub refused: u64,
}

/// What a peer says of the stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeerReport {
    /// None: it had no sender report yet.
    pub rtt: Option<Duration>,
    /// Since its report before, in 256ths.
    pub fraction_lost: u8,
    /// In all. Negative if more came than were sent.
    pub lost: i32,
    pub jitter: Duration,
}

/// Microseconds since the stream began, wrapping after 71 minutes, which is far beyond the age of
/// anything that is kept: an [`Instant`] is four times as long, and histories are most of what a
/// participant costs.
#[derive(Debug, Clone, Copy)]
struct Moment(u32);

impl Moment {
    fn since(self, earlier: Moment) -> Duration {
        Duration::from_micros(self.0.wrapping_sub(earlier.0).into())
    }
}

#[derive(Debug)]
struct Kept<P> {
    sequence_number: u64,
    sent: Moment,
    resent: Option<Moment>,
    payload_bytes: u32,
    packet: P,
}

/// `P` is a packet as it is kept: cheap to clone.
#[derive(Debug)]
pub struct SendStream<P> {
    config: SendConfig,
    /// Ascending.
    history: VecDeque<Kept<P>>,
    highest: Option<u64>,
    /// When the media of a timestamp was captured, by our clock.
    captured: Option<(Instant, u32)>,
    /// When the first packet left.
    epoch: Option<Instant>,
    /// In hundredths of a byte.
    credit: u64,
    rtx_next: u64,
    pub counters: SendCounters,
}

impl<P: Clone> SendStream<P> {
    pub fn new(config: SendConfig) -> Self {
        SendStream {
            config,
            history: VecDeque::new(),
            highest: None,
            captured: None,
            epoch: None,
            credit: CREDIT_BYTES_MAX * PERCENT,
            rtx_next: config.rtx_number.into(),
            counters: SendCounters::default(),
        }
    }

    /// A packet leaves for the first time. `packet` is there if it may be asked for again.
    pub fn handle_sent(&mut self, sent: Sent, packet: Option<P>, now: Instant) {
        let Sent { sequence_number, payload_bytes } = sent;
        let payload_bytes = payload_bytes as u32;
        self.counters.packets += 1;
        self.counters.octets += u64::from(payload_bytes);
        let earned = u64::from(payload_bytes) * u64::from(self.config.resend_percent);
        self.credit = (self.credit + earned).min(CREDIT_BYTES_MAX * PERCENT);
        self.highest = self.highest.max(Some(sequence_number));
        self.forget(now);
        let Some(packet) = packet else { return };
        let kept = Kept { sequence_number, sent: self.moment(now), resent: None, payload_bytes, packet };
        if self.history.back().is_none_or(|last| last.sequence_number < sequence_number) {
            self.history.push_back(kept);
        } else {
            match self.position(sequence_number) {
                Ok(at) => self.history[at] = kept,
                Err(at) => self.history.insert(at, kept),
            }
        }
        while self.history.len() > self.config.history_packets {
            self.history.pop_front();
        }
    }

    /// The media of `timestamp` was captured at this time, by our clock: sender reports tell it.
    pub fn note_captured(&mut self, at: Instant, timestamp: u32) {
        self.captured = Some((at, timestamp));
    }

    fn moment(&mut self, now: Instant) -> Moment {
        let epoch = *self.epoch.get_or_insert(now);
        Moment(now.saturating_duration_since(epoch).as_micros() as u32)
    }

    /// Drops packets that are too old. Called with each packet; for a stream that went silent it is to
    /// be called at least once in half an hour.
    pub fn forget(&mut self, now: Instant) {
        let (age_max, now) = (self.config.history_age, self.moment(now));
        let is_old = |kept: &Kept<P>| now.since(kept.sent) >= age_max;
        while self.history.front().is_some_and(is_old) {
            self.history.pop_front();
        }
    }

    /// A peer asks for packets. Appends those that are to be sent again now: each once in a round
    /// trip, and all within their share of what is sent.
    pub fn handle_nack(
        &mut self,
        numbers: impl IntoIterator<Item = u16>,
        rtt: Duration,
        now: Instant,
        resends: &mut Vec<Resend<P>>,
    ) {
        self.forget(now);
        let Some(highest) = self.highest else { return };
        let (again_after, now) = (rtt.max(AGAIN_AFTER_MIN), self.moment(now));
        for number in numbers {
            self.counters.asked += 1;
            let found = below(highest, number).and_then(|number| self.position(number).ok());
            let Some(kept) = found.and_then(|at| self.history.get_mut(at)) else {
                self.counters.unknown += 1;
                continue;
            };
            if kept.resent.is_some_and(|at| now.since(at) < again_after) {
                continue;
            }
            let Some(credit) = self.credit.checked_sub(u64::from(kept.payload_bytes) * PERCENT) else {
                self.counters.refused += 1;
                continue;
            };
            self.credit = credit;
            kept.resent = Some(now);
            self.counters.resent += 1;
            self.counters.resent_octets += u64::from(kept.payload_bytes);
            resends.push(Resend { sequence_number: kept.sequence_number, packet: kept.packet.clone() });
        }
    }

    fn position(&self, sequence_number: u64) -> Result<usize, usize> {
        self.history.binary_search_by_key(&sequence_number, |kept| kept.sequence_number)
    }

    /// The number of the next packet of the stream that carries retransmissions, padding included.
    pub fn next_rtx_number(&mut self) -> u64 {
        let number = self.rtx_next;
        self.rtx_next += 1;
        number
    }

    /// The latest packet that is kept: a probe may send it again, where padding has to have contents.
    pub fn latest(&self) -> Option<Resend<P>> {
        let Kept { sequence_number, packet, .. } = self.history.back()?;
        Some(Resend { sequence_number: *sequence_number, packet: packet.clone() })
    }

    /// Ties the stream's timestamps to the time of capture (RFC 3550 section 6.4.1). None: nothing was
    /// sent yet.
    pub fn sender_report(&self, wall: &WallClock, now: Instant) -> Option<SenderReport> {
        let (captured_at, timestamp) = self.captured.filter(|_| self.highest.is_some())?;
        let ahead = ticks(now.saturating_duration_since(captured_at), self.config.clock_rate);
        let behind = ticks(captured_at.saturating_duration_since(now), self.config.clock_rate);
        Some(SenderReport {
            ssrc: self.config.ssrc,
            time: wall.ntp(now),
            timestamp: timestamp.wrapping_add(ahead as u32).wrapping_sub(behind as u32),
            packets: self.counters.packets as u32,
            octets: self.counters.octets as u32,
        })
    }

    /// What a peer reports of this stream; `wall` is that of the sender reports. None: it is of
    /// another stream.
    pub fn handle_report_block(
        &self,
        block: &ReportBlock,
        wall: &WallClock,
        now: Instant,
    ) -> Option<PeerReport> {
        let nanos = u64::from(block.jitter) * 1_000_000_000 / u64::from(self.config.clock_rate.max(1));
        (block.ssrc == self.config.ssrc).then(|| PeerReport {
            rtt: round_trip(wall.ntp(now), block.last_report, block.delay),
            fraction_lost: block.fraction_lost,
            lost: block.lost,
            jitter: Duration::from_nanos(nanos),
        })
    }
}

#[cfg(test)]
mod tests;
