//! Sequence numbers that do not wrap.

/// Numbers of 16 bits that wrap (RFC 3550 section 5.1), as numbers that do not.
///
/// The first becomes a number of the second cycle: those that were overtaken by it, half a cycle at
/// most, have room below. A number keeps its lower 16 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Extender {
    highest: Option<u64>,
}

/// How many numbers there are in 16 bits.
pub const CYCLE: u64 = 1 << 16;

impl Extender {
    /// The number closest to the highest so far. Of two that are equally close it is the lower one.
    pub fn extend(&mut self, number: u16) -> u64 {
        let extended = self.place(number);
        self.highest = Some(self.highest.map_or(extended, |highest| highest.max(extended)));
        extended
    }

    /// As [`Extender::extend`], and remembers nothing.
    pub fn place(&self, number: u16) -> u64 {
        self.highest.map_or(CYCLE + u64::from(number), |highest| nearest(highest, number))
    }

    /// The sender began anew with `number`, which becomes higher than all before.
    pub fn restart(&mut self, number: u16) -> u64 {
        let cycle = self.highest.map_or(1, |highest| highest / CYCLE + 1);
        let extended = cycle * CYCLE + u64::from(number);
        self.highest = Some(extended);
        extended
    }

    pub fn highest(&self) -> Option<u64> {
        self.highest
    }
}

fn nearest(highest: u64, number: u16) -> u64 {
    let ahead = number.wrapping_sub(highest as u16).cast_signed();
    highest.saturating_add_signed(i64::from(ahead))
}

/// The number that ends in `number` and is not above `highest`. None: none was ever that low.
pub(crate) fn below(highest: u64, number: u16) -> Option<u64> {
    highest.checked_sub(u64::from((highest as u16).wrapping_sub(number)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_before_the_first_have_room() {
        let mut extender = Extender::default();
        let first = extender.extend(3);
        assert_eq!(extender.extend(u16::MAX), first - 4);
        assert_eq!(extender.extend(4), first + 1, "a late one is not the highest");
    }

    #[test]
    fn a_restart_goes_on_above() {
        let mut extender = Extender::default();
        let before = extender.extend(60_000);
        let after = extender.restart(59_999);
        assert!(after > before && after % CYCLE == 59_999);
        assert_eq!(extender.extend(60_000), after + 1);
    }

    #[test]
    fn below_never_looks_ahead() {
        assert_eq!(below(70_000, 4_464), Some(70_000));
        assert_eq!(below(70_000, 4_465), Some(4_465));
        assert_eq!(below(5, 6), None);
    }

    proptest! {
        /// Any walk whose steps stay within half a cycle of the highest number is followed exactly.
        #[test]
        fn a_walk_is_followed(start in CYCLE..1 << 40, steps in prop::collection::vec(-32_768..32_768_i64, 1..200)) {
            let mut extender = Extender::default();
            let offset = start - extender.extend(start as u16);
            let mut highest = start;
            for step in steps {
                let number = highest.saturating_add_signed(step);
                prop_assert_eq!(extender.place(number as u16) + offset, number);
                prop_assert_eq!(extender.extend(number as u16) + offset, number);
                highest = highest.max(number);
                prop_assert_eq!(extender.highest().map(|known| known + offset), Some(highest));
            }
        }
    }
}
