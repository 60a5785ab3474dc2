//! The packets of one stream that did not come, and when they are asked for.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Of those that are missing, only so many of the latest are asked for.
const MISSING_MAX: usize = 256;
/// A packet is taken to be overtaken, and not lost, until so many others came after the one that
/// showed the gap, or until so long after it.
const REORDERED_MAX: u64 = 2;
const REORDERED_FOR: Duration = Duration::from_millis(15);
/// After that it is of no use any more.
const AGE_MAX: Duration = Duration::from_secs(1);
const TRIES_MAX: u8 = 10;
/// What an answer takes beyond the round trip, and the bounds of what it is waited for.
const ANSWER_EXTRA: Duration = Duration::from_millis(10);
const ANSWER_MIN: Duration = Duration::from_millis(20);
const ANSWER_MAX: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Missing {
    number: u64,
    noticed_at: Instant,
    /// The packet that showed the gap.
    shown_by: u64,
    tries: u8,
    next_at: Instant,
}

impl Missing {
    /// When it is to be asked for. Where enough others came, that is a time that has passed.
    fn due_at(&self, highest: u64) -> Instant {
        let is_overdue = self.tries == 0 && highest >= self.shown_by + REORDERED_MAX;
        if is_overdue { self.noticed_at } else { self.next_at }
    }
}

#[derive(Debug, Default)]
pub(super) struct MissingList {
    /// Ascending.
    entries: VecDeque<Missing>,
}

impl MissingList {
    /// All between the two numbers are missing. Returns how many are not going to be asked for.
    pub fn note_gap(&mut self, highest: u64, shown_by: u64, now: Instant) -> u64 {
        let gap = highest + 1..shown_by;
        let asked = gap.start.max(shown_by.saturating_sub(MISSING_MAX as u64))..gap.end;
        let mut given_up = asked.start - gap.start;
        for number in asked {
            if self.entries.len() == MISSING_MAX {
                self.entries.pop_front();
                given_up += 1;
            }
            let next_at = now + REORDERED_FOR;
            self.entries.push_back(Missing { number, noticed_at: now, shown_by, tries: 0, next_at });
        }
        given_up
    }

    /// A packet came. Returns whether it was missing.
    pub fn remove(&mut self, number: u64) -> bool {
        let found = self.entries.binary_search_by_key(&number, |missing| missing.number);
        found.is_ok_and(|at| self.entries.remove(at).is_some())
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn poll_timeout(&self, highest: u64) -> Option<Instant> {
        self.entries.iter().map(|missing| missing.due_at(highest)).min()
    }

    /// Appends those that are due. Returns how many were given up.
    pub fn poll(&mut self, highest: u64, rtt: Duration, now: Instant, due: &mut Vec<u16>) -> u64 {
        let before = self.entries.len();
        let answer = (rtt + ANSWER_EXTRA).clamp(ANSWER_MIN, ANSWER_MAX);
        self.entries.retain_mut(|missing| {
            if now < missing.due_at(highest) {
                return true;
            }
            let age = now.saturating_duration_since(missing.noticed_at);
            if age >= AGE_MAX || missing.tries == TRIES_MAX {
                return false;
            }
            due.push(missing.number as u16);
            missing.tries += 1;
            missing.next_at = now + answer;
            true
        });
        (before - self.entries.len()) as u64
    }
}
