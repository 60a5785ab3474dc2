//! Which encodings of a producer its publisher need not send, because nobody watches them.
//!
//! What becomes wanted is told at once. What nobody wants any more is told after [`KEEP`], so that
//! a tile which changes its size back and forth costs no key frames.

use std::time::{Duration, Instant};

/// For how long an encoding that nobody wants any more is still asked for.
pub const KEEP: Duration = Duration::from_secs(5);

/// A set of encodings by index, as bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Layers(u8);

impl Layers {
    /// Encodings 0 up to `count`, at most eight.
    pub fn first(count: usize) -> Self {
        Layers(((1_u16 << count.min(8)) - 1) as u8)
    }

    pub fn insert(&mut self, index: usize) {
        self.0 |= 1_u8.checked_shl(index as u32).unwrap_or(0);
    }

    pub fn contains(self, index: usize) -> bool {
        self.0 & 1_u8.checked_shl(index as u32).unwrap_or(0) != 0
    }

    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub fn indexes(self) -> Vec<u8> {
        (0..8).filter(|index| self.contains(usize::from(*index))).collect()
    }
}

/// What a publisher was told of one of its producers.
#[derive(Debug)]
pub struct LayerDemand {
    /// A publisher that was told nothing sends all that it has.
    asked: Layers,
    /// When each encoding was wanted last, and since when it has been asked for.
    wanted_at: [Instant; 8],
    asked_at: [Instant; 8],
}

impl LayerDemand {
    /// Of a producer with so many encodings, that begins to send all of them.
    pub fn new(encodings: usize, now: Instant) -> Self {
        LayerDemand { asked: Layers::first(encodings), wanted_at: [now; 8], asked_at: [now; 8] }
    }

    pub fn asked(&self) -> Layers {
        self.asked
    }

    /// For how long an encoding has been asked for. None: it is not.
    pub fn asked_for(&self, index: usize, now: Instant) -> Option<Duration> {
        let is_asked = self.asked.contains(index);
        is_asked.then(|| now.saturating_duration_since(self.asked_at[index]))
    }

    /// Takes what is wanted now. Returns what the publisher is to be told, if that is something new.
    pub fn update(&mut self, wanted: Layers, now: Instant) -> Option<Layers> {
        let mut asked = Layers::default();
        for index in 0..8 {
            if wanted.contains(index) {
                self.wanted_at[index] = now;
                if !self.asked.contains(index) {
                    self.asked_at[index] = now;
                }
                asked.insert(index);
            } else if self.asked.contains(index)
                && now.saturating_duration_since(self.wanted_at[index]) < KEEP
            {
                asked.insert(index);
            }
        }
        (std::mem::replace(&mut self.asked, asked) != asked).then_some(asked)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(indexes: &[usize]) -> Layers {
        let mut layers = Layers::default();
        indexes.iter().for_each(|index| layers.insert(*index));
        layers
    }

    #[test]
    fn what_becomes_wanted_is_told_at_once_and_what_does_not_after_a_while() {
        let start = Instant::now();
        let mut demand = LayerDemand::new(3, start);
        let at = |millis| start + Duration::from_millis(millis);
        assert_eq!(demand.update(layers(&[0, 2]), at(0)), None, "it sends all of them");
        assert_eq!(demand.update(layers(&[0, 2]), at(4_999)), None);
        assert_eq!(demand.update(layers(&[0, 2]), at(5_000)), Some(layers(&[0, 2])));
        assert_eq!(demand.update(layers(&[0, 1]), at(5_100)), Some(layers(&[0, 1, 2])));
        assert_eq!(demand.asked_for(1, at(5_300)), Some(Duration::from_millis(200)));
        // Wanted again before it was told.
        assert_eq!(demand.update(layers(&[0, 2]), at(9_000)), None);
        assert_eq!(demand.update(layers(&[]), at(9_100)), None);
        assert_eq!(demand.update(layers(&[]), at(10_200)), Some(layers(&[0, 2])));
        assert_eq!(demand.update(layers(&[]), at(14_100)), Some(layers(&[])));
        assert_eq!(demand.asked_for(0, at(14_100)), None);
    }

    #[test]
    fn an_index_beyond_the_set_is_not_in_it() {
        let mut layers = Layers::first(9);
        layers.insert(200);
        assert!(layers.contains(7) && !layers.contains(8) && !layers.contains(200));
        assert_eq!(Layers::first(2).indexes(), [0, 1]);
    }
}
