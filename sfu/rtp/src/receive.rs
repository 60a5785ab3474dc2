//! One incoming stream: what was lost, what is asked for again, what is reported.
//!
//! ```text
//! packet ----------> handle_packet --+-> New: hand it on
//! its repair ------> handle_repair --+-> Padding, Duplicate, Stray: do not
//!                         |
//!                      missing  -> poll_nacks -> NACK, at once, then each round trip
//! sender report -------------------> report   -> report block
//! ```

mod missing;
mod reception;

use std::time::{Duration, Instant};

use crate::rtcp::{ReportBlock, SenderReport};
use crate::sequence::Extender;
use missing::MissingList;
use reception::Reception;

/// Packets that are remembered, so that each is handed on once. What is older is taken to have come.
const WINDOW: u64 = 2_048;
/// A gap that is longer is a leap: nothing in it is asked for, or counted as lost (RFC 3550 appendix
/// A.1).
const LEAP: u64 = 3_000;

/// What a stream is, as it was negotiated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiveConfig {
    pub ssrc: u32,
    /// Ticks of its timestamps in a second.
    pub clock_rate: u32,
    /// Its sender keeps packets, and sends them again.
    pub has_nack: bool,
}

/// What is to be done with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arrival {
    /// It is handed on under this number.
    New(u64),
    /// It is counted, and has nothing to hand on.
    Padding(u64),
    /// It came before, or is too old to know.
    Duplicate,
    /// It is far from all others. If the next one is so too, the stream began anew.
    Stray,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReceiveCounters {
    /// Those of the stream itself, once each.
    pub packets: u64,
    /// Of their payloads.
    pub octets: u64,
    pub duplicates: u64,
    /// Missing packets that came after all, and that were sent again.
    pub late: u64,
    pub repaired: u64,
    /// Missing packets that are not asked for any more.
    pub given_up: u64,
    /// Packets that were asked for, each time.
    pub asked: u64,
    /// The stream began anew, or leapt.
    pub restarts: u64,
}

#[derive(Debug)]
pub struct ReceiveStream {
    config: ReceiveConfig,
    extender: Extender,
    seen: Seen,
    missing: MissingList,
    reception: Reception,
    /// After a stray packet, the number of the one that would follow it.
    stray_next: Option<u16>,
    pub counters: ReceiveCounters,
}

impl ReceiveStream {
    pub fn new(config: ReceiveConfig) -> Self {
        ReceiveStream {
            config,
            extender: Extender::default(),
            seen: Seen::default(),
            missing: MissingList::default(),
            reception: Reception::default(),
            stray_next: None,
            counters: ReceiveCounters::default(),
        }
    }

    /// An authentic packet of the stream, whose payload has so many bytes without padding.
    pub fn handle_packet(
        &mut self,
        number: u16,
        timestamp: u32,
        payload_bytes: usize,
        now: Instant,
    ) -> Arrival {
        if !self.is_in_place(number) {
            return Arrival::Stray;
        }
        let before = self.extender.highest();
        let number = self.extender.extend(number);
        if !self.admit(before, number, now) {
            return Arrival::Duplicate;
        }
        self.counters.late += u64::from(self.missing.remove(number));
        self.counters.packets += 1;
        self.counters.octets += payload_bytes as u64;
        self.reception.note(number);
        if payload_bytes == 0 {
            return Arrival::Padding(number);
        }
        if before.is_none_or(|before| number > before) {
            self.reception.note_time(timestamp, self.config.clock_rate, now);
        }
        Arrival::New(number)
    }

    /// An authentic retransmission, by the number that it had at first. It is not counted as received: reports are of
    /// what the path lost.
    pub fn handle_repair(&mut self, original: u16, now: Instant) -> Arrival {
        let before = self.extender.highest();
        let number = self.extender.place(original);
        if before.is_some_and(|before| number >= before + WINDOW) {
            return Arrival::Stray;
        }
        self.extender.extend(original);
        if !self.admit(before, number, now) {
            return Arrival::Duplicate;
        }
        self.missing.remove(number);
        self.counters.repaired += 1;
        Arrival::New(number)
    }

    /// Whether a packet is one of the stream as it goes on, from here on or already before.
    fn is_in_place(&mut self, number: u16) -> bool {
        let follows_stray = self.stray_next.take() == Some(number);
        let Some(highest) = self.extender.highest() else { return true };
        let near = self.extender.place(number);
        if near + WINDOW <= highest {
            if !follows_stray {
                self.stray_next = Some(number.wrapping_add(1));
                return false;
            }
            self.extender.restart(number);
        } else if near <= highest + LEAP {
            return true;
        } else {
            self.extender.extend(number);
        }
        self.missing.clear();
        self.reception.restart();
        self.counters.restarts += 1;
        true
    }

    /// Whether it is the first of its number. If so, those between it and the highest `before` are
    /// missing.
    fn admit(&mut self, before: Option<u64>, number: u64, now: Instant) -> bool {
        if !self.seen.insert(number) {
            self.counters.duplicates += 1;
            return false;
        }
        if let Some(before) = before.filter(|_| self.config.has_nack) {
            self.counters.given_up += self.missing.note_gap(before, number, now);
        }
        true
    }

    pub fn handle_sender_report(&mut self, report: SenderReport, now: Instant) {
        self.reception.sender_report = Some((report, now));
    }

    /// The last one, and when it came. It ties the stream's timestamps to its sender's clock.
    pub fn sender_report(&self) -> Option<(SenderReport, Instant)> {
        self.reception.sender_report
    }

    /// What is told to the sender. Each call begins a new interval. None: nothing came yet.
    pub fn report(&mut self, now: Instant) -> Option<ReportBlock> {
        self.reception.report(self.config.ssrc, self.extender.highest()?, now)
    }

    /// When [`ReceiveStream::poll_nacks`] is to be called. It may be in the past.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.missing.poll_timeout(self.extender.highest()?)
    }

    /// Appends the numbers that are to be asked for now, ascending, at most 256.
    pub fn poll_nacks(&mut self, rtt: Duration, now: Instant, numbers: &mut Vec<u16>) {
        let Some(highest) = self.extender.highest() else { return };
        let before = numbers.len();
        self.counters.given_up += self.missing.poll(highest, rtt, now, numbers);
        self.counters.asked += (numbers.len() - before) as u64;
    }

    /// Packets that did not come by themselves, whether they were repaired or not.
    pub fn lost(&self) -> i64 {
        self.extender.highest().map_or(0, |highest| self.reception.lost(highest))
    }

    /// In ticks of the stream's clock.
    pub fn jitter(&self) -> u32 {
        self.reception.jitter()
    }
}

/// Which of the last [`WINDOW`] numbers came, a bit for each.
#[derive(Debug)]
struct Seen {
    highest: Option<u64>,
    bits: [u64; WORDS],
}

const WORDS: usize = (WINDOW / u64::BITS as u64) as usize;

impl Default for Seen {
    fn default() -> Self {
        Seen { highest: None, bits: [0; WORDS] }
    }
}

impl Seen {
    /// Whether it is the first time, as far as is known.
    fn insert(&mut self, number: u64) -> bool {
        let highest = self.highest.unwrap_or(number);
        if number + WINDOW <= highest {
            return false;
        }
        if number >= highest + WINDOW {
            self.bits.fill(0);
        } else {
            for passed in highest + 1..=number {
                let (word, bit) = place(passed);
                self.bits[word] &= !bit;
            }
        }
        self.highest = Some(highest.max(number));
        let (word, bit) = place(number);
        let is_new = self.bits[word] & bit == 0;
        self.bits[word] |= bit;
        is_new
    }
}

fn place(number: u64) -> (usize, u64) {
    let at = number % WINDOW;
    ((at / u64::from(u64::BITS)) as usize, 1 << (at % u64::from(u64::BITS)))
}

#[cfg(test)]
mod tests;
