//! How long packets must be kept so that most of those that come late are still there in time: from
//! how much later than the fastest each comes.

use std::collections::VecDeque;

use crate::frame::milliseconds;

/// The fastest packet of so long is what others are compared with. A clock that drifts by 200 ppm is
/// 0.8 ms off in it.
const FASTEST_WINDOW: i64 = milliseconds(4_000) as i64;
/// Silence counts for no more than this in it, so that a voice that goes on is compared with what it was.
const PAUSE_MAX: i64 = milliseconds(100) as i64;
const FASTEST_MAX: usize = 512;
/// Of the histogram of lateness.
const BUCKET: usize = milliseconds(5);
const BUCKETS: usize = 80;
/// So many of the packets must come in time.
const QUANTILE: f32 = 0.99;
/// One packet's share of what is known: the last ten seconds or so.
const WEIGHT_MIN: f32 = 1.0 / 500.0;

/// All times are in samples at 48 kHz; those of arrival by our clock.
#[derive(Debug, Clone)]
pub(super) struct DelayEstimator {
    /// When they came, with long pauses left out; and transits that none after them was faster than.
    fastest: VecDeque<(i64, i64)>,
    /// Time without long pauses, and when the last packet came.
    active: i64,
    last_arrival: Option<i64>,
    lateness: [f32; BUCKETS],
    packets: u32,
    delay_min: usize,
    delay_max: usize,
}

impl DelayEstimator {
    pub(super) fn new(delay_min: usize, delay_max: usize) -> Self {
        DelayEstimator {
            fastest: VecDeque::new(),
            active: 0,
            last_arrival: None,
            lateness: [0.0; BUCKETS],
            packets: 0,
            delay_min,
            delay_max: delay_max.max(delay_min),
        }
    }

    pub(super) fn handle_packet(&mut self, timestamp: i64, arrival: i64) {
        let transit = arrival - timestamp;
        while self.fastest.back().is_some_and(|(_, other)| *other >= transit) {
            self.fastest.pop_back();
        }
        let pause = arrival - self.last_arrival.unwrap_or(arrival);
        self.active += pause.clamp(0, PAUSE_MAX);
        self.last_arrival = Some(arrival);
        self.fastest.push_back((self.active, transit));
        let expired = |(at, _): &(i64, i64)| *at < self.active - FASTEST_WINDOW;
        while self.fastest.front().is_some_and(expired) || self.fastest.len() > FASTEST_MAX {
            self.fastest.pop_front();
        }

        self.packets = self.packets.saturating_add(1);
        let weight = (1.0 / self.packets as f32).max(WEIGHT_MIN);
        let late = (transit - self.fastest_transit()).max(0) as usize / BUCKET;
        for share in &mut self.lateness {
            *share *= 1.0 - weight;
        }
        self.lateness[late.min(BUCKETS - 1)] += weight;
    }

    /// Another clock, or another way: what was learnt of jitter stays.
    pub(super) fn restart(&mut self) {
        self.fastest.clear();
    }

    pub(super) fn fastest_transit(&self) -> i64 {
        self.fastest.front().map_or(0, |(_, transit)| *transit)
    }

    /// How much later a packet comes than the fastest would have.
    pub(super) fn lateness(&self, timestamp: i64, at: i64) -> i64 {
        at - timestamp - self.fastest_transit()
    }

    pub(super) fn maximum(&self) -> usize {
        self.delay_max
    }

    /// How long after the fastest packet would have come each should be played.
    pub(super) fn target(&self) -> usize {
        let mut sum = 0.0;
        for (bucket, share) in self.lateness.iter().enumerate() {
            sum += share;
            if sum >= QUANTILE {
                return ((bucket + 1) * BUCKET).clamp(self.delay_min, self.delay_max);
            }
        }
        self.delay_min
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FRAME: i64 = milliseconds(20) as i64;

    fn estimator() -> DelayEstimator {
        DelayEstimator::new(milliseconds(20), milliseconds(200))
    }

    #[test]
    fn a_calm_network_needs_the_least_delay() {
        let mut delay = estimator();
        for n in 0..500 {
            delay.handle_packet(n * FRAME, n * FRAME + 12_345);
        }
        assert_eq!(delay.target(), milliseconds(20));
        assert_eq!(delay.fastest_transit(), 12_345);
    }

    #[test]
    fn jitter_raises_it_within_its_bounds_and_calm_lowers_it() {
        let mut delay = estimator();
        let mut n = 0;
        let mut run = |delay: &mut DelayEstimator, packets: i64, jitter_ms: usize| {
            for _ in 0..packets {
                // Every tenth is late.
                let late = if n % 10 == 9 { milliseconds(jitter_ms) as i64 } else { 0 };
                delay.handle_packet(n * FRAME, n * FRAME + late);
                n += 1;
            }
        };
        run(&mut delay, 500, 60);
        assert_eq!(delay.target(), milliseconds(65));
        run(&mut delay, 500, 350);
        assert_eq!(delay.target(), milliseconds(200));
        run(&mut delay, 2_000, 0);
        assert_eq!(delay.target(), milliseconds(20));
    }

    #[test]
    fn drift_either_way_is_no_jitter() {
        for ppm in [-200, 200] {
            let mut delay = estimator();
            for n in 0..30_000_i64 {
                let arrival = n * FRAME + n * FRAME * ppm / 1_000_000;
                delay.handle_packet(n * FRAME, arrival);
                assert!(delay.lateness(n * FRAME, arrival) <= milliseconds(1) as i64);
            }
            assert_eq!(delay.target(), milliseconds(20));
        }
    }

    #[test]
    fn a_longer_way_is_learnt() {
        let mut delay = estimator();
        for n in 0..1000 {
            let way = if n < 200 { 0 } else { milliseconds(100) as i64 };
            delay.handle_packet(n * FRAME, n * FRAME + way);
        }
        assert_eq!(delay.fastest_transit(), milliseconds(100) as i64);
    }
}
