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

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    /// Asks every `interval` for `length` and counts what reaches the publisher, who answers after
    /// `answer`, if at all.
    fn storm(
        reason: Reason,
        interval: Duration,
        length: Duration,
        answer: Option<Duration>,
    ) -> Vec<Duration> {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        let mut sent = Vec::new();
        let mut answered_at = None;
        let mut now = start;
        let mut asked_at = start;
        while now < start + length {
            if answered_at.is_some_and(|at| at <= now) {
                requests.handle_key_frame(now);
                answered_at = None;
            }
            if now >= asked_at {
                requests.request(reason, now);
                asked_at += interval;
            }
            if requests.poll(now) {
                sent.push(now - start);
                answered_at = answer.map(|answer| now + answer);
            }
            now += MILLISECOND;
        }
        sent
    }

    #[test]
    fn m9_a_storm_reaches_the_publisher_once_a_second_after_the_burst() {
        let minute = Duration::from_secs(60);
        for answer in [None, Some(5 * MILLISECOND), Some(80 * MILLISECOND)] {
            let sent = storm(Reason::Lost, MILLISECOND, minute, answer).len();
            assert!((60..=62).contains(&sent), "{sent} requests in a minute, answered {answer:?}");
            let sent = storm(Reason::Switch, MILLISECOND, minute, answer).len();
            assert!((61..=63).contains(&sent), "{sent} requests in a minute, answered {answer:?}");
        }
    }

    #[test]
    fn m9_requests_of_many_receivers_are_one() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        for receiver in 0..40 {
            requests.request(Reason::Lost, start + receiver * MILLISECOND);
            assert!(!requests.poll(start + receiver * MILLISECOND));
        }
        assert_eq!(requests.poll_timeout(), Some(start + GATHER));
        assert!(requests.poll(start + GATHER));
        assert_eq!(requests.poll_timeout(), None);

        // Those that ask while it is on its way, or have not seen it yet, wait for it.
        requests.request(Reason::Lost, start + 100 * MILLISECOND);
        assert_eq!(requests.poll_timeout(), Some(start + GATHER + UNDER_WAY));
        requests.handle_key_frame(start + 120 * MILLISECOND);
        assert_eq!(requests.poll_timeout(), None);
        requests.request(Reason::Lost, start + 130 * MILLISECOND);
        assert_eq!(requests.poll_timeout(), Some(start + 120 * MILLISECOND + UNDER_WAY));
    }

    #[test]
    fn m9_a_switch_outranks_a_pli() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        // A storm of PLI never takes the last token, so the switch is served at once.
        let mut now = start;
        let mut sent = 0;
        while now < start + 900 * MILLISECOND {
            requests.request(Reason::Lost, now);
            if requests.poll(now) {
                sent += 1;
                requests.handle_key_frame(now);
            }
            now += 10 * MILLISECOND;
        }
        assert_eq!(sent, BURST - 1);
        requests.request(Reason::Switch, now);
        assert!(requests.poll_timeout().is_some_and(|due| due <= now));
        assert!(requests.poll(now));

        // And one that joins a waiting PLI does not wait for others to gather.
        let mut requests = KeyFrameRequests::default();
        requests.request(Reason::Lost, start);
        requests.request(Reason::Switch, start + MILLISECOND);
        assert!(requests.poll(start + MILLISECOND));
    }

    #[test]
    fn a_lost_request_is_repeated_when_it_is_still_wanted() {
        let sent = storm(Reason::Switch, 20 * MILLISECOND, 600 * MILLISECOND, None);
        assert_eq!(sent, [Duration::ZERO, UNDER_WAY, 2 * UNDER_WAY]);
    }

    #[test]
    fn an_idle_bucket_fills_up_and_no_further() {
        let start = Instant::now();
        let mut requests = KeyFrameRequests::default();
        let mut burst = |from: Instant| {
            let times = (0..20).map(|nth| from + nth * MILLISECOND);
            times
                .filter(|now| {
                    requests.request(Reason::Switch, *now);
                    let sent = requests.poll(*now);
                    requests.handle_key_frame(*now);
                    sent
                })
                .count()
        };
        assert_eq!(burst(start), 3);
        assert_eq!(burst(start + Duration::from_millis(1_500)), 1);
        assert_eq!(burst(start + Duration::from_secs(3_600)), 3);
    }
}
