//! What was sent, by transport-wide number, until the receiver has told what became of it.

use std::collections::VecDeque;

use super::probe::ClusterId;

/// Bound on packets remembered. A receiver tells of a packet within a second; so many take seconds at
/// any rate that one participant gets.
const PACKETS_MAX: usize = 8_192;
/// What is older than this is forgotten as soon as something new is sent, in microseconds.
const AGE_MAX_US: i64 = 3_000_000;
/// A larger hole between numbers is taken for a new beginning.
const HOLE_MAX: u64 = 1_024;

/// What a packet carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Video, sent for the first time.
    Media,
    Audio,
    Retransmission,
    /// Sent for a probe only.
    Padding,
}

/// What one feedback message said, in packets. What cannot be true is counted and has no effect (M7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeedbackOutcome {
    pub arrived: u32,
    pub lost: u32,
    /// Of `arrived`: those that an earlier message had called lost.
    pub late: u32,
    /// Told again; the first report counts.
    pub repeated: u32,
    /// Never sent, or forgotten since.
    pub unknown: u32,
    /// The receiver's clock jumped by more than a path can explain: delays are measured anew.
    pub clock_jumped: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// A number that was left out.
    Unsent,
    Flying,
    Lost,
    Arrived,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Sent {
    /// Microseconds since the estimator was made.
    pub at_us: i64,
    pub bytes: u32,
    pub cluster: Option<ClusterId>,
    fate: Fate,
}

/// What a report does to what was known.
#[derive(Debug, Clone, Copy)]
pub(super) enum Report {
    Arrived { sent: Sent, late: bool },
    Lost(Sent),
    Repeated,
    Unknown,
}

/// `packets[i]` has the number `first + i`.
#[derive(Debug, Default)]
pub(super) struct History {
    packets: VecDeque<Sent>,
    first: u64,
}

impl History {
    pub fn note(&mut self, number: u64, at_us: i64, bytes: u32, cluster: Option<ClusterId>) {
        let next = self.first + self.packets.len() as u64;
        if number < next && !self.packets.is_empty() {
            // A number is given once; whoever repeats one has a defect that must not spread.
            debug_assert!(false, "transport number {number} was given before");
            return;
        }
        if self.packets.is_empty() || number - next > HOLE_MAX {
            self.packets.clear();
            self.first = number;
        } else {
            let unsent = Sent { at_us, bytes: 0, cluster: None, fate: Fate::Unsent };
            (next..number).for_each(|_| self.packets.push_back(unsent));
        }
        self.packets.push_back(Sent { at_us, bytes, cluster, fate: Fate::Flying });
        while self.packets.len() > PACKETS_MAX
            || self.packets.front().is_some_and(|sent| at_us - sent.at_us > AGE_MAX_US)
        {
            self.packets.pop_front();
            self.first += 1;
        }
    }

    /// The whole number of which `short` is the end: the highest that was sent and not passed by it.
    /// One that was never sent comes out as a very old one, which is unknown.
    pub fn extend(&self, short: u16) -> Option<u64> {
        let last = (self.first + self.packets.len() as u64).checked_sub(1)?;
        last.checked_sub(u64::from((last as u16).wrapping_sub(short)))
    }

    pub fn report(&mut self, number: u64, arrived: bool) -> Report {
        let index = number.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        let Some(sent) = index.and_then(|index| self.packets.get_mut(index)) else { return Report::Unknown };
        match (sent.fate, arrived) {
            (Fate::Unsent, _) => Report::Unknown,
            (Fate::Flying | Fate::Lost, true) => {
                let late = sent.fate == Fate::Lost;
                sent.fate = Fate::Arrived;
                Report::Arrived { sent: *sent, late }
            }
            (Fate::Flying, false) => {
                sent.fate = Fate::Lost;
                Report::Lost(*sent)
            }
            (Fate::Arrived, _) | (Fate::Lost, false) => Report::Repeated,
        }
    }

    pub fn len(&self) -> usize {
        self.packets.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn history(numbers: std::ops::Range<u64>) -> History {
        let mut history = History::default();
        numbers.for_each(|number| history.note(number, number as i64 * 1_000, 1_200, None));
        history
    }

    #[test]
    fn short_numbers_are_extended_across_the_wrap() {
        let history = history(65_500..65_600);
        assert_eq!(history.extend(65_535), Some(65_535));
        assert_eq!(history.extend(3), Some(65_539));
        assert_eq!(history.extend(63), Some(65_599));
        // 64 was not sent yet: it can only be the one a whole turn ago, which is unknown.
        assert_eq!(history.extend(64), Some(64));
        assert!(matches!({ history }.report(64, true), Report::Unknown));
        assert_eq!(History::default().extend(5), None);
    }

    #[test]
    fn each_packet_arrives_once_and_may_do_so_late() {
        let mut history = history(10..20);
        assert!(matches!(history.report(10, true), Report::Arrived { late: false, .. }));
        assert!(matches!(history.report(10, true), Report::Repeated));
        assert!(matches!(history.report(10, false), Report::Repeated));
        assert!(matches!(history.report(11, false), Report::Lost(_)));
        assert!(matches!(history.report(11, false), Report::Repeated));
        assert!(matches!(history.report(11, true), Report::Arrived { late: true, .. }));
        assert!(matches!(history.report(9, true), Report::Unknown));
        assert!(matches!(history.report(20, true), Report::Unknown));
    }

    #[test]
    fn what_is_old_or_too_much_is_forgotten() {
        let mut history = History::default();
        (0..20_000).for_each(|number| history.note(number, number as i64, 1, None));
        assert_eq!(history.len(), PACKETS_MAX);
        history.note(20_010, 60_000_000, 1, None);
        assert_eq!(history.len(), 11, "the hole is as new as what shows it");
        history.note(9_000_000, 60_000_001, 1, None);
        assert_eq!((history.len(), history.first), (1, 9_000_000));
    }
}
