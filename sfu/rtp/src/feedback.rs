//! What a receiver says about the packets of a whole transport
//! (draft-holmer-rmcat-transport-wide-cc-extensions-01).

mod wire;

use std::collections::VecDeque;
use std::time::{Duration, Instant};

pub(crate) use wire::encode;
pub use wire::{ARRIVALS_MAX, EncodedFeedback};

use crate::sequence::Extender;

/// One feedback message, as its sender of media reads it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
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

/// So long packets wait for others that are told together with them, if they are few; and if they are
/// many.
const WAIT_FEW: Duration = Duration::from_millis(100);
const WAIT_MANY: Duration = Duration::from_millis(50);
const MANY: usize = 100;
/// Numbers that are remembered. One that is further from the highest begins a new count.
const WINDOW: u64 = 2_048;
/// A packet that is overtaken is told with those around it again, if they came so lately.
const HISTORY: Duration = Duration::from_millis(500);

/// Notes when packets came, and tells it to their sender.
#[derive(Debug)]
pub struct ArrivalRecorder {
    /// From which its time is counted: when the first packet came.
    origin: Option<Instant>,
    extender: Extender,
    /// Of the packets from number `first` on.
    arrivals: VecDeque<Option<i64>>,
    first: u64,
    /// The first number that is not told.
    next: u64,
    /// Packets that came and are not told, and since when there are any.
    pending: usize,
    pending_since: Option<Instant>,
    /// The last message, whose room is used again.
    feedback: TransportFeedback,
}

impl ArrivalRecorder {
    /// `sender_ssrc` is ours.
    pub fn new(sender_ssrc: u32) -> Self {
        ArrivalRecorder {
            origin: None,
            extender: Extender::default(),
            arrivals: VecDeque::new(),
            first: 0,
            next: 0,
            pending: 0,
            pending_since: None,
            feedback: TransportFeedback { sender_ssrc, count: u8::MAX, ..TransportFeedback::default() },
        }
    }

    /// A packet came that has this number on its transport. `media_ssrc` is its stream's: browsers
    /// ignore feedback that names none of theirs.
    pub fn note(&mut self, media_ssrc: u32, number: u16, now: Instant) {
        self.feedback.media_ssrc = media_ssrc;
        let origin = *self.origin.get_or_insert(now);
        let came = now.saturating_duration_since(origin).as_micros() as i64;
        let number = self.place(number);
        let Some(at) = number.checked_sub(self.first).map(|at| at as usize) else {
            return;
        };
        if self.arrivals.len() <= at {
            self.arrivals.resize(at + 1, None);
        }
        if self.arrivals[at].is_some() {
            return;
        }
        self.arrivals[at] = Some(came);
        if number < self.next {
            self.next = number;
            self.pending = self.arrivals.range(at..).flatten().count();
        } else {
            self.pending += 1;
        }
        self.pending_since.get_or_insert(now);
        while self.arrivals.len() as u64 > WINDOW {
            let untold = self.first >= self.next;
            let came = self.arrivals.pop_front().flatten().is_some();
            self.pending -= usize::from(untold && came);
            self.first += 1;
            self.next = self.next.max(self.first);
        }
    }

    /// The number of a packet, far from none that is remembered.
    fn place(&mut self, number: u16) -> u64 {
        let near = self.extender.place(number);
        if self.extender.highest().is_some_and(|highest| highest.abs_diff(near) < WINDOW) {
            return self.extender.extend(number);
        }
        let number = self.extender.restart(number);
        self.arrivals.clear();
        (self.first, self.next) = (number, number);
        (self.pending, self.pending_since) = (0, None);
        number
    }

    /// When [`ArrivalRecorder::poll`] is to be called.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let wait = if self.pending < MANY { WAIT_FEW } else { WAIT_MANY };
        self.pending_since.map(|since| since + wait)
    }

    /// A message that is due. There may be several: call it until there is none.
    pub fn poll(&mut self, now: Instant) -> Option<&TransportFeedback> {
        if self.poll_timeout().is_none_or(|at| now < at) {
            return None;
        }
        let feedback = &mut self.feedback;
        feedback.count = feedback.count.wrapping_add(1);
        feedback.base = self.next as u16;
        feedback.arrivals.clear();
        feedback.arrivals.extend(self.arrivals.range((self.next - self.first) as usize..));
        feedback.arrivals.truncate(wire::encodable(&feedback.arrivals));
        self.next += feedback.arrivals.len() as u64;
        self.pending -= feedback.arrivals.iter().flatten().count();
        if self.pending == 0 {
            self.pending_since = None;
        }
        self.forget(now);
        Some(&self.feedback)
    }

    /// Drops what is told and came long ago, with what was lost before it.
    fn forget(&mut self, now: Instant) {
        let Some(origin) = self.origin else { return };
        let since = now.saturating_duration_since(origin).saturating_sub(HISTORY).as_micros() as i64;
        let told = (self.next - self.first) as usize;
        let mut came = self.arrivals.iter().take(told).enumerate().rev();
        let old = came.find(|(_, arrival)| arrival.is_some_and(|at| at < since));
        if let Some((last, _)) = old {
            self.arrivals.drain(..=last);
            self.first += last as u64 + 1;
        }
    }
}

#[cfg(test)]
mod tests;
