//! Sequence numbers and timestamps of RTP without their wrapping, and whether a packet goes on with
//! what was before it or begins something new (RFC 3550 appendix A.1).

/// Received sequence numbers are remembered as far back as this.
pub(super) const REMEMBERED: i64 = 512;
/// Numbers that are further apart are of another stream.
const SEQUENCE_JUMP_MAX: i64 = 1_000;

/// A 16-bit number nearest to `last`.
pub(super) fn extend_sequence(last: i64, sequence: u16) -> i64 {
    last + i64::from(sequence.wrapping_sub(last as u16) as i16)
}

/// A 32-bit number nearest to `last`.
pub(super) fn extend_timestamp(last: i64, timestamp: u32) -> i64 {
    last + i64::from(timestamp.wrapping_sub(last as u32) as i32)
}

pub(super) fn goes_on(last: i64, sequence: u16) -> bool {
    (extend_sequence(last, sequence) - last).abs() <= SEQUENCE_JUMP_MAX
}

/// Which numbers came.
#[derive(Debug, Clone)]
pub(super) struct Received {
    bits: [u64; REMEMBERED as usize / 64],
    highest: Option<i64>,
}

impl Received {
    pub(super) fn new() -> Self {
        Received { bits: [0; REMEMBERED as usize / 64], highest: None }
    }

    pub(super) fn highest(&self) -> Option<i64> {
        self.highest
    }

    /// False: it was there already, or is too old for that to be known.
    pub(super) fn insert(&mut self, sequence: i64) -> bool {
        if let Some(highest) = self.highest {
            if sequence <= highest - REMEMBERED {
                return false;
            }
            for passed in (highest + 1).max(sequence - REMEMBERED + 1)..=sequence {
                self.set(passed, false);
            }
        }
        self.highest = Some(self.highest.map_or(sequence, |highest| highest.max(sequence)));
        let new = !self.contains(sequence);
        self.set(sequence, true);
        new
    }

    pub(super) fn contains(&self, sequence: i64) -> bool {
        let remembered =
            self.highest.is_some_and(|highest| sequence <= highest && sequence > highest - REMEMBERED);
        remembered && self.bits[Self::word(sequence)] >> (sequence.rem_euclid(64)) & 1 == 1
    }

    /// Whether all between the two came, both excluded.
    pub(super) fn contains_between(&self, from: i64, to: i64) -> bool {
        to - from <= REMEMBERED && (from + 1..to).all(|sequence| self.contains(sequence))
    }

    fn set(&mut self, sequence: i64, value: bool) {
        let bit = 1 << sequence.rem_euclid(64);
        let word = &mut self.bits[Self::word(sequence)];
        *word = if value { *word | bit } else { *word & !bit };
    }

    fn word(sequence: i64) -> usize {
        sequence.rem_euclid(REMEMBERED) as usize / 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_go_on_across_their_ends() {
        assert_eq!(extend_sequence(65_535, 2), 65_538);
        assert_eq!(extend_sequence(65_538, 65_535), 65_535);
        assert_eq!(extend_timestamp(0xffff_ff00, 0x10), 0x1_0000_0010);
        assert!(goes_on(65_530, 5));
        assert!(!goes_on(65_530, 5_000));
    }

    #[test]
    fn what_came_is_known_and_what_did_not() {
        let mut received = Received::new();
        for sequence in [10, 11, 13, 70_000, 70_002] {
            assert!(received.insert(sequence), "{sequence}");
            assert!(!received.insert(sequence), "{sequence}");
        }
        assert!(!received.contains(11), "too long ago");
        assert!(received.contains_between(70_000, 70_001));
        assert!(!received.contains_between(70_000, 70_002));
        assert!(received.insert(70_001));
        assert!(received.contains_between(70_000, 70_002));
        assert!(!received.insert(69_000));
    }
}
