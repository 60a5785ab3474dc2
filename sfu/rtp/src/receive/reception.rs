//! What is reported of one stream (RFC 3550 appendices A.3 and A.8).

use std::time::Instant;

use crate::ntp::{ticks, to_short};
use crate::rtcp::{ReportBlock, SenderReport};
use crate::sequence::CYCLE;

/// A packet whose way took so much longer, or shorter, than that before says nothing of jitter: the
/// timestamps began anew.
const LEAP_SECONDS: u32 = 5;

#[derive(Debug, Default)]
pub(super) struct Reception {
    /// From which arrivals are counted.
    origin: Option<Instant>,
    /// The first number, since the stream began anew, and what came since.
    base: Option<u64>,
    received: u64,
    expected_before: u64,
    received_before: u64,
    /// Timestamp and relative transit time of the last packet, in ticks.
    transit: Option<(u32, u32)>,
    /// In 16ths of a tick.
    jitter: u32,
    pub sender_report: Option<(SenderReport, Instant)>,
}

impl Reception {
    /// Counts begin anew with the next packet.
    pub fn restart(&mut self) {
        (self.base, self.received) = (None, 0);
        (self.expected_before, self.received_before) = (0, 0);
        self.transit = None;
    }

    pub fn note(&mut self, number: u64) {
        self.base = Some(self.base.map_or(number, |base| base.min(number)));
        self.received += 1;
    }

    /// A packet with a timestamp, which came in order. Of those that have the same, only the first
    /// tells of the path: the others waited for it at their sender.
    pub fn note_time(&mut self, timestamp: u32, clock_rate: u32, now: Instant) {
        let origin = *self.origin.get_or_insert(now);
        let came = ticks(now.saturating_duration_since(origin), clock_rate) as u32;
        let transit = came.wrapping_sub(timestamp);
        if let Some((last, before)) = self.transit {
            if last == timestamp {
                return;
            }
            let difference = transit.wrapping_sub(before).cast_signed().unsigned_abs();
            if difference < clock_rate.saturating_mul(LEAP_SECONDS) {
                self.jitter = self.jitter.saturating_sub((self.jitter + 8) >> 4).saturating_add(difference);
            }
        }
        self.transit = Some((timestamp, transit));
    }

    pub fn jitter(&self) -> u32 {
        self.jitter >> 4
    }

    /// Packets that did not come in their own stream. Negative if more came than there are numbers.
    pub fn lost(&self, highest: u64) -> i64 {
        self.expected(highest).cast_signed() - self.received.cast_signed()
    }

    fn expected(&self, highest: u64) -> u64 {
        self.base.map_or(0, |base| highest + 1 - base)
    }

    /// None: nothing came.
    pub fn report(&mut self, ssrc: u32, highest: u64, now: Instant) -> Option<ReportBlock> {
        const LOST_MAX: i64 = (1 << 23) - 1;
        self.base?;
        let expected = self.expected(highest);
        let expected_now = expected.saturating_sub(self.expected_before);
        let received_now = self.received - self.received_before;
        (self.expected_before, self.received_before) = (expected, self.received);
        let lost_now = expected_now.saturating_sub(received_now);
        let fraction = (lost_now << 8).checked_div(expected_now).unwrap_or(0);
        let (last_report, delay) = self.sender_report.map_or((0, 0), |(report, came)| {
            (report.time.middle(), to_short(now.saturating_duration_since(came)))
        });
        Some(ReportBlock {
            ssrc,
            fraction_lost: fraction.min(255) as u8,
            lost: self.lost(highest).clamp(-LOST_MAX - 1, LOST_MAX) as i32,
            // Our numbers begin in the second cycle.
            highest: (highest - CYCLE) as u32,
            jitter: self.jitter(),
            last_report,
            delay,
        })
    }
}
