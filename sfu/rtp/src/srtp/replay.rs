//! Which packets of a stream have come already, and how often its sequence number has wrapped.

use super::RTP_INDEX_MAX;

/// RFC 3711 section 3.3.2 asks for at least 64. This is a quarter of a second of a large picture.
pub(super) const WINDOW: u64 = 1_024;
const WORDS: usize = WINDOW as usize / 64;

/// The packets that have come, up to [`WINDOW`] back from the latest.
#[derive(Debug)]
pub(super) struct ReplayWindow {
    highest: u64,
    /// A bit for each index, at the index modulo [`WINDOW`].
    seen: [u64; WORDS],
}

/// Why a packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refused {
    Replayed,
    /// Too long ago to say.
    TooOld,
}

impl ReplayWindow {
    /// Of a stream whose first authentic packet has this index.
    pub(super) fn new(index: u64) -> Self {
        let mut window = ReplayWindow { highest: index, seen: [0; WORDS] };
        window.set(index);
        window
    }

    /// The index that a packet with this sequence number most probably has (RFC 3711 section
    /// 3.3.1): the one nearest to the highest. None: it would be before the first of all.
    pub(super) fn guess(&self, sequence_number: u16) -> Option<u64> {
        let distance = sequence_number.wrapping_sub(self.highest as u16) as i16;
        self.highest.checked_add_signed(i64::from(distance)).filter(|index| *index <= RTP_INDEX_MAX)
    }

    pub(super) fn check(&self, index: u64) -> Result<(), Refused> {
        if index > self.highest {
            return Ok(());
        }
        if self.highest - index >= WINDOW {
            return Err(Refused::TooOld);
        }
        let (word, bit) = place(index);
        if self.seen[word] & bit != 0 { Err(Refused::Replayed) } else { Ok(()) }
    }

    /// Notes a packet that was checked and is authentic.
    pub(super) fn insert(&mut self, index: u64) {
        if index > self.highest {
            if index - self.highest >= WINDOW {
                self.seen = [0; WORDS];
            }
            for skipped in (self.highest + 1).max(index.saturating_sub(WINDOW - 1))..index {
                let (word, bit) = place(skipped);
                self.seen[word] &= !bit;
            }
            self.highest = index;
        }
        self.set(index);
    }

    fn set(&mut self, index: u64) {
        let (word, bit) = place(index);
        self.seen[word] |= bit;
    }
}

fn place(index: u64) -> (usize, u64) {
    let position = index % WINDOW;
    ((position / 64) as usize, 1 << (position % 64))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Against a set of all that came.
        #[test]
        fn a_window_agrees_with_a_set(steps in prop::collection::vec(-1_500i64..1_600, 1..400)) {
            let mut highest = 10_000u64;
            let mut window = ReplayWindow::new(highest);
            let mut set = BTreeSet::from([highest]);
            for step in steps {
                let index = highest.saturating_add_signed(step);
                let expected = match () {
                    () if index + WINDOW <= highest => Err(Refused::TooOld),
                    () if set.contains(&index) => Err(Refused::Replayed),
                    () => Ok(()),
                };
                prop_assert_eq!(window.check(index), expected);
                if expected.is_ok() {
                    window.insert(index);
                    set.insert(index);
                    highest = highest.max(index);
                }
            }
        }

        #[test]
        fn a_guess_is_right_within_half_the_numbers(
            highest in 40_000u64..1 << 40,
            distance in -32_768i64..32_768,
        ) {
            let index = highest.saturating_add_signed(distance);
            prop_assert_eq!(ReplayWindow::new(highest).guess(index as u16), Some(index));
        }
    }

    #[test]
    fn nothing_is_before_the_first_index() {
        assert_eq!(ReplayWindow::new(5).guess(65_535), None);
        assert_eq!(ReplayWindow::new(RTP_INDEX_MAX).guess(0), None);
    }
}
