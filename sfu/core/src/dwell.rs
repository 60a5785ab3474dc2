//! How long a consumer stays where it is after its path made it fall: an estimate that moves about
//! a limit must not make the picture go up and down with it.
//!
//! It falls at once, as often as the path says so. It climbs again after a wait, which doubles each
//! time that a climb did not last. A tile that shrinks is no fall: what it gave up comes back as
//! soon as the tile grows.

use std::time::{Duration, Instant};

use crate::selector::Layer;

/// How long it waits after a fall.
pub const WAIT_MIN: Duration = Duration::from_secs(2);
/// How long it waits at most, however often it fell.
pub const WAIT_MAX: Duration = Duration::from_secs(16);
/// A climb that was followed by a fall within this time did not last.
pub const LASTED: Duration = Duration::from_secs(15);

#[derive(Debug, Clone, Copy)]
pub struct Dwell {
    wait: Duration,
    fell_at: Option<Instant>,
    climbed_at: Option<Instant>,
    target: Option<Layer>,
}

impl Default for Dwell {
    fn default() -> Self {
        Dwell { wait: WAIT_MIN, fell_at: None, climbed_at: None, target: None }
    }
}

impl Dwell {
    pub fn may_climb(&self, now: Instant) -> bool {
        self.fell_at.is_none_or(|at| now.saturating_duration_since(at) >= self.wait)
    }

    /// Takes note of a new target. `limited`: it would be higher if the path carried more.
    pub fn note(&mut self, target: Option<Layer>, limited: bool, now: Instant) {
        let before = std::mem::replace(&mut self.target, target);
        if target < before && limited {
            let lasted = self.climbed_at.take().map(|at| now.saturating_duration_since(at) >= LASTED);
            match lasted {
                Some(true) => self.wait = WAIT_MIN,
                Some(false) => self.wait = (self.wait * 2).min(WAIT_MAX),
                // The same fall goes on.
                None => {}
            }
            self.fell_at = Some(now);
        } else if target > before && self.fell_at.is_some() {
            self.climbed_at = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use broletto_control::{Content, VideoSize};
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::*;
    use crate::allocator::{Demand, Encoding, allocate};

    const SECOND: Duration = Duration::from_secs(1);
    const LOW: Option<Layer> = Some(Layer::whole(0));
    const HIGH: Option<Layer> = Some(Layer::whole(2));

    #[test]
    fn after_a_fall_it_waits_and_each_time_longer_until_a_climb_lasts() {
        let mut dwell = Dwell::default();
        let mut now = Instant::now();
        dwell.note(HIGH, false, now);
        assert!(dwell.may_climb(now), "what never fell may climb");
        for wait in [2, 4, 8, 16, 16] {
            dwell.note(LOW, true, now);
            now += wait * SECOND - Duration::from_millis(1);
            assert!(!dwell.may_climb(now), "{wait} s");
            now += Duration::from_millis(1);
            assert!(dwell.may_climb(now), "{wait} s");
            dwell.note(HIGH, false, now);
            now += SECOND;
        }
        now += LASTED;
        dwell.note(LOW, true, now);
        assert!(dwell.may_climb(now + WAIT_MIN));
    }

    #[test]
    fn a_fall_in_several_steps_is_one() {
        let (mut dwell, now) = (Dwell::default(), Instant::now());
        dwell.note(HIGH, false, now);
        for (step, target) in [Some(Layer::whole(1)), LOW, None].into_iter().enumerate() {
            dwell.note(target, true, now + step as u32 * SECOND);
        }
        assert!(!dwell.may_climb(now + 3 * SECOND));
        assert!(dwell.may_climb(now + 2 * SECOND + WAIT_MIN));
    }

    #[test]
    fn a_tile_that_shrinks_is_no_fall() {
        let (mut dwell, now) = (Dwell::default(), Instant::now());
        dwell.note(HIGH, false, now);
        dwell.note(LOW, false, now);
        assert!(dwell.may_climb(now));
    }

    /// Ten minutes of an estimate that moves about the limit of the large layer: how often the
    /// target changes.
    fn switches(mean_kbps: u64, noise_percent: u64, seed: u64) -> usize {
        let size = |width, height| Some(VideoSize { width, height });
        let encoding = |index, size, kbps: u64| Encoding {
            index,
            spatial: Layer::SPATIAL_MAX,
            size,
            bitrate_bps: Some(kbps * 1_000),
            temporal_layers: 1,
        };
        let mut random = StdRng::seed_from_u64(seed);
        let (mut dwell, mut current, mut switches) = (Dwell::default(), None, 0);
        let mut now = Instant::now();
        for _ in 0..10 * 60 * 5 {
            now += Duration::from_millis(200);
            let mut noisy =
                |kbps: u64| kbps * random.random_range(100 - noise_percent..=100 + noise_percent) / 100;
            let estimate_bps = noisy(mean_kbps) * 1_000;
            let camera = [
                encoding(0, size(320, 180), noisy(150)),
                encoding(1, size(640, 360), noisy(500)),
                encoding(2, size(1280, 720), noisy(1_500)),
            ];
            let demand = Demand {
                content: Content::Camera,
                tile: size(1280, 720),
                encodings: &camera,
                current,
                may_climb: dwell.may_climb(now),
            };
            let allocation = allocate(Some(estimate_bps), &[demand]);
            dwell.note(allocation.targets[0], allocation.limited[0], now);
            switches += usize::from(allocation.targets[0] != current);
            current = allocation.targets[0];
        }
        switches
    }

    #[test]
    fn over_a_noisy_estimate_the_target_seldom_changes() {
        for (mean_kbps, noise_percent, most) in
            [(1_700, 5, 4), (1_700, 10, 4), (1_600, 20, 80), (500, 20, 80), (1_000, 10, 2), (3_000, 20, 2)]
        {
            let worst = (0..8).map(|seed| switches(mean_kbps, noise_percent, seed)).max();
            assert!(
                worst <= Some(most),
                "{worst:?} switches in 10 min at {mean_kbps} kbit/s give or take {noise_percent} %"
            );
        }
    }
}
