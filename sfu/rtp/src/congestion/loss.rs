//! Loss: whether it comes from sending too much.
//!
//! A radio loses what it loses, whatever is sent. A queue that overflows loses what is too much. The
//! two are told apart by trying: less is sent for a while, and if as much is lost as before, so much
//! belongs to the path, and only what is lost beyond it counts from then on.

/// Loss is judged over so many packets at least, and so much time.
const PACKETS_MIN: u32 = 40;
const INTERVAL_US: i64 = 1_000_000;
/// Less is not worth a trial.
const EXCESS_MIN: f64 = 0.05;
/// How many standard deviations are beyond chance.
const SIGMAS: f64 = 3.0;
/// A trial that leaves this share of the loss proves that the rate is not the cause.
const SAME_SHARE: f64 = 0.6;
/// The present loss, for those who are told: of about so many packets.
const SMOOTHED_PACKETS: f64 = 100.0;
/// The same for an overflow, which is to be seen at once.
const SUDDEN_PACKETS: f64 = 16.0;
const SUDDEN_MIN: f64 = 0.15;
const LASTING_MIN: f64 = 0.1;

/// What the loss of an interval means.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Verdict {
    /// Nothing beyond what belongs to the path.
    Fine,
    /// More is lost, and nobody knows why.
    Excess { excess: f64 },
}

#[derive(Debug, Default)]
pub(super) struct Loss {
    sent: u32,
    lost: u32,
    since_us: Option<i64>,
    /// What belongs to the path, 0 to 1.
    own: f64,
    smoothed: f64,
    sudden: f64,
    /// Loss of the last interval that was judged, and how many packets it had.
    last: (f64, u32),
    /// Loss of the interval before, if it was too much.
    before: Option<f64>,
}

impl Loss {
    pub fn note(&mut self, lost: bool) {
        self.sent += 1;
        self.lost += u32::from(lost);
        self.smoothed += (f64::from(u8::from(lost)) - self.smoothed) / SMOOTHED_PACKETS;
        self.sudden += (f64::from(u8::from(lost)) - self.sudden) / SUDDEN_PACKETS;
    }

    /// One that was said to be lost did come.
    pub fn take_back(&mut self) {
        self.lost = self.lost.saturating_sub(1);
        self.smoothed = (self.smoothed - 1.0 / SMOOTHED_PACKETS).max(0.0);
    }

    /// Share of packets lost lately, 0 to 1.
    pub fn share(&self) -> f64 {
        self.smoothed
    }

    /// Of the last interval, beyond what belongs to the path.
    pub fn excess(&self) -> f64 {
        self.last.0 - self.own
    }

    /// Of the last hundred packets, more are lost than belongs to the path.
    pub fn is_lasting(&self) -> bool {
        self.smoothed - self.own > LASTING_MIN
    }

    /// Much more is lost at this moment than belongs to the path.
    pub fn is_sudden(&self) -> bool {
        self.sudden - self.own > SUDDEN_MIN
    }

    /// Of the last interval.
    pub fn last_share(&self) -> f64 {
        self.last.0
    }

    /// Begins an interval.
    pub fn restart(&mut self, now_us: i64) {
        (self.sent, self.lost, self.since_us) = (0, 0, Some(now_us));
    }

    /// Judges an interval if one is over.
    pub fn poll(&mut self, now_us: i64) -> Option<Verdict> {
        let since_us = *self.since_us.get_or_insert(now_us);
        if self.sent < PACKETS_MIN || now_us - since_us < INTERVAL_US {
            return None;
        }
        let (sent, share) = (self.sent, f64::from(self.lost) / f64::from(self.sent));
        self.restart(now_us);
        self.last = (share, sent);
        let deviation = (self.own.max(0.01) * (1.0 - self.own) / f64::from(sent)).sqrt();
        let excess = share - self.own;
        let is_excess = excess > EXCESS_MIN.max(SIGMAS * deviation);
        if !is_excess && self.own > 0.0 {
            // One good second does not make a good path, nor a bad one a worse.
            self.own += (share - self.own) / 8.0;
        }
        // By chance it happens once. Together they are judged.
        let before = std::mem::replace(&mut self.before, is_excess.then_some(share));
        Some(match before.filter(|_| is_excess) {
            Some(before) => {
                self.last.0 = (share + before) / 2.0;
                Verdict::Excess { excess: self.last.0 - self.own }
            }
            None => Verdict::Fine,
        })
    }

    /// Whether the last interval, in which less was sent, lost as much as `before`. If so, it is the
    /// path's own from now on.
    pub fn judge_trial(&mut self, before: f64) -> bool {
        self.before = None;
        let same = self.last.0 - self.own > SAME_SHARE * (before - self.own);
        if same {
            self.own = (self.last.0 + before) / 2.0;
        }
        same
    }

    /// What is lost now belongs to the path: nothing can be tried.
    pub fn accept(&mut self) {
        self.own = self.own.max(self.last.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interval(loss: &mut Loss, now_us: &mut i64, packets: u32, lost: u32) -> Option<Verdict> {
        loss.poll(*now_us);
        (0..packets).for_each(|n| loss.note(n < lost));
        *now_us += INTERVAL_US;
        loss.poll(*now_us)
    }

    #[test]
    fn loss_that_stays_when_less_is_sent_is_the_path_s_own() {
        let (mut loss, mut now_us) = (Loss::default(), 0);
        assert_eq!(interval(&mut loss, &mut now_us, 100, 2), Some(Verdict::Fine));
        assert_eq!(interval(&mut loss, &mut now_us, 100, 30), Some(Verdict::Fine), "once is chance");
        assert!(matches!(interval(&mut loss, &mut now_us, 100, 30), Some(Verdict::Excess { .. })));
        assert!(interval(&mut loss, &mut now_us, 60, 17).is_some());
        assert!(loss.judge_trial(0.3));
        assert_eq!(interval(&mut loss, &mut now_us, 100, 33), Some(Verdict::Fine));
        assert_eq!(interval(&mut loss, &mut now_us, 100, 60), Some(Verdict::Fine));
        assert!(matches!(interval(&mut loss, &mut now_us, 100, 60), Some(Verdict::Excess { .. })));
    }

    #[test]
    fn loss_that_goes_when_less_is_sent_came_from_the_rate() {
        let (mut loss, mut now_us) = (Loss::default(), 0);
        assert_eq!(interval(&mut loss, &mut now_us, 100, 30), Some(Verdict::Fine));
        assert!(matches!(interval(&mut loss, &mut now_us, 100, 30), Some(Verdict::Excess { .. })));
        assert_eq!(interval(&mut loss, &mut now_us, 60, 1), Some(Verdict::Fine));
        assert!(!loss.judge_trial(0.3));
        assert_eq!(interval(&mut loss, &mut now_us, 100, 30), Some(Verdict::Fine));
        assert!(matches!(interval(&mut loss, &mut now_us, 100, 30), Some(Verdict::Excess { .. })));
    }

    #[test]
    fn few_packets_prove_nothing() {
        let (mut loss, mut now_us) = (Loss::default(), 0);
        assert_eq!(interval(&mut loss, &mut now_us, 20, 10), None);
        assert!(interval(&mut loss, &mut now_us, 20, 10).is_some());
    }
}
