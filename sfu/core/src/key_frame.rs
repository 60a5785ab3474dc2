//! How often a publisher is asked for a key frame (M9).

use std::time::{Duration, Instant};

/// Requests that may follow each other closely.
pub const BURST: u32 = 3;
/// How long it takes to earn one more.
pub const REFILL: Duration = Duration::from_secs(1);
/// A receiver's request waits this long for others to join it.
pub const GATHER: Duration = Duration::from_millis(50);
/// After a request the key frame is believed to be on its way for this long, and whatever is
/// asked meanwhile is answered by it.
pub const UNDER_WAY: Duration = Duration::from_millis(250);

/// Why a key frame is wanted. The later outranks the earlier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// A receiver lost the picture: PLI (RFC 4585) or FIR (RFC 5104).
    Lost,
    /// A consumer waits for the key frame to switch to this encoding.
    Switch,
}

/// The token bucket of one encoding.
#[derive(Debug)]
pub struct KeyFrameRequests {
    tokens: u32,
    /// When the token that is being earned is there. None: the bucket is full.
    refilled_at: Option<Instant>,
    /// When the request was sent that is not answered yet.
    sent_at: Option<Instant>,
    key_frame_at: Option<Instant>,
    waiting: Option<Waiting>,
}

#[derive(Debug, Clone, Copy)]
struct Waiting {
    reason: Reason,
    /// Not before this.
    due: Instant,
}

impl Default for KeyFrameRequests {
    fn default() -> Self {
        KeyFrameRequests {
            tokens: BURST,
            refilled_at: None,
            sent_at: None,
            key_frame_at: None,
            waiting: None,
        }
    }
}

impl KeyFrameRequests {
    /// To be repeated for as long as the key frame is wanted and has not come.
    pub fn request(&mut self, reason: Reason, now: Instant) {
        let (earliest, answered_at) = match reason {
            // What a receiver asks for just after a key frame, it asked before it saw that.
            Reason::Lost => (now + GATHER, self.sent_at.max(self.key_frame_at)),
            Reason::Switch => (now, self.sent_at),
        };
        let due = answered_at.map_or(earliest, |at| earliest.max(at + UNDER_WAY));
        self.waiting = Some(match self.waiting {
            Some(waiting) => Waiting { reason: waiting.reason.max(reason), due: waiting.due.min(due) },
            None => Waiting { reason, due },
        });
    }

    /// A key frame began: nobody waits any more.
    pub fn handle_key_frame(&mut self, now: Instant) {
        self.waiting = None;
        self.sent_at = None;
        self.key_frame_at = Some(now);
    }

    /// Whether the publisher is to be asked now. Call it after [`Self::request`] and at
    /// [`Self::poll_timeout`].
    pub fn poll(&mut self, now: Instant) -> bool {
        self.refill(now);
        if self.poll_timeout().is_none_or(|due| due > now) {
            return false;
        }
        self.waiting = None;
        self.sent_at = Some(now);
        self.tokens -= 1;
        self.refilled_at.get_or_insert(now + REFILL);
        true
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        let waiting = self.waiting?;
        // The last token is kept for switches: a storm of PLI never makes one wait.
        let needed: u32 = match waiting.reason {
            Reason::Lost => 2,
            Reason::Switch => 1,
        };
        match needed.saturating_sub(self.tokens) {
            0 => Some(waiting.due),
            missing => {
                let refilled_at = self.refilled_at.expect("a bucket that lacks a token is being refilled");
                Some(waiting.due.max(refilled_at + REFILL * (missing - 1)))
            }
        }
    }

    fn refill(&mut self, now: Instant) {
        while let Some(refilled_at) = self.refilled_at.filter(|at| *at <= now) {
            self.tokens += 1;
            self.refilled_at = (self.tokens < BURST).then_some(refilled_at + REFILL);
        }
    }
}
