//! Bytes over time.

use std::collections::VecDeque;

/// What is told together is one entry, so that an entry is a burst.
const JOIN_US: i64 = 1_000;
/// How far back it is remembered.
const AGE_MAX_US: i64 = 1_500_000;
/// Never needed, by the two above: a bound for clocks that go wrong.
const ENTRIES_MAX: usize = 2_048;

#[derive(Debug, Clone, Copy)]
struct Entry {
    at_us: i64,
    bytes: u64,
}

/// Times need not be told in order; what comes from before the last is counted with the last.
#[derive(Debug, Default)]
pub(super) struct Rate {
    entries: VecDeque<Entry>,
}

impl Rate {
    pub fn note(&mut self, at_us: i64, bytes: u64) {
        match self.entries.back_mut() {
            Some(last) if at_us.saturating_sub(last.at_us) < JOIN_US => last.bytes += bytes,
            _ => self.entries.push_back(Entry { at_us, bytes }),
        }
        let last_us = self.last_us().unwrap_or(at_us);
        while self.entries.len() > ENTRIES_MAX
            || self.entries.front().is_some_and(|entry| last_us.saturating_sub(entry.at_us) > AGE_MAX_US)
        {
            self.entries.pop_front();
        }
    }

    pub fn clear(&mut self) {
        self.entries.clear();
    }

    pub fn last_us(&self) -> Option<i64> {
        self.entries.back().map(|entry| entry.at_us)
    }

    /// Bits a second of what came in the `window_us` up to `now_us`.
    pub fn over_bps(&self, window_us: i64, now_us: i64) -> f64 {
        let from_us = now_us - window_us;
        let of_window = self.entries.iter().rev().take_while(|entry| entry.at_us > from_us);
        let bytes: u64 = of_window.map(|entry| entry.bytes).sum();
        bytes as f64 * 8e6 / window_us as f64
    }

    /// Bits a second between the first burst since `from_us` and the last: what a line carried that
    /// was busy all the time. None: too little was seen.
    pub fn between_bps(&self, from_us: i64, least_us: i64, least_bursts: usize) -> Option<f64> {
        let mut of_window = self.entries.iter().rev().take_while(|entry| entry.at_us >= from_us);
        let last = of_window.next()?;
        let (mut bytes, mut first, mut bursts) = (last.bytes, last, 1);
        for entry in of_window {
            (bytes, first, bursts) = (bytes + entry.bytes, entry, bursts + 1);
        }
        let span_us = last.at_us.saturating_sub(first.at_us);
        // The first burst took its time on the line before it came.
        (span_us >= least_us && bursts >= least_bursts)
            .then(|| (bytes - first.bytes) as f64 * 8e6 / span_us as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_steady_stream_is_measured_exactly_over_any_window() {
        let mut rate = Rate::default();
        (0..300).for_each(|n| rate.note(n * 10_000, 1_250));
        assert_eq!(rate.over_bps(500_000, 2_990_000), 1e6);
        assert_eq!(rate.between_bps(2_800_000, 100_000, 5), Some(1e6));
        assert_eq!(rate.between_bps(2_985_000, 0, 2), None, "one burst is no rate");
        assert!(rate.entries.len() <= 151);
        assert_eq!(rate.over_bps(500_000, 9_000_000), 0.0);
    }

    #[test]
    fn bursts_and_disorder_are_counted_whole() {
        let mut rate = Rate::default();
        for n in 0..40 {
            rate.note(n * 40_000, 2_500);
            rate.note(n * 40_000 - 3_000, 2_500);
        }
        assert_eq!(rate.between_bps(1_000_000, 100_000, 5), Some(1e6));
    }
}
