//! When who arrives: a Poisson process, repeatable by a seed.

use std::time::Duration;

use crate::link::Random;

/// The moments of arrival, counted from the beginning.
pub(super) struct Arrivals {
    random: Random,
    rate: f64,
    at_s: f64,
}

impl Arrivals {
    pub(super) fn new(rate: f64, seed: u64) -> Self {
        Arrivals { random: Random::new(seed), rate, at_s: 0.0 }
    }
}

impl Iterator for Arrivals {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        // The time between two arrivals is distributed exponentially.
        self.at_s -= (1.0 - self.random.share()).ln() / self.rate;
        Some(Duration::from_secs_f64(self.at_s))
    }
}

/// For how long a client waits before its next try: a random time between a quarter and the whole of
/// 400 ms, doubled for each try up to 8 s (PROTOCOL.md, "When the WebSocket breaks").
pub(super) fn pause(attempt: u32, random: &mut Random) -> Duration {
    let whole = Duration::from_millis(400 << attempt.min(5)).min(Duration::from_secs(8));
    whole.mul_f64(0.25 + 0.75 * random.share())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_come_in_a_second_and_at_random() {
        let arrivals: Vec<f64> = Arrivals::new(30.0, 1).take(30_000).map(|at| at.as_secs_f64()).collect();
        assert!(arrivals.is_sorted());
        let rate = 30_000.0 / arrivals[29_999];
        assert!((rate - 30.0).abs() < 0.6, "{rate}");
        // Of a Poisson process the variance of the number in a second is its mean.
        let mut counts = vec![0_u32; arrivals[29_999] as usize];
        arrivals.iter().for_each(|at| {
            if let Some(count) = counts.get_mut(*at as usize) {
                *count += 1
            }
        });
        let variance = counts.iter().map(|count| (f64::from(*count) - 30.0).powi(2)).sum::<f64>();
        let variance = variance / counts.len() as f64;
        assert!((24.0..36.0).contains(&variance), "{variance}");
        let again: Vec<f64> = Arrivals::new(30.0, 1).take(3).map(|at| at.as_secs_f64()).collect();
        assert_eq!(again, arrivals[..3]);
    }

    #[test]
    fn pauses_double_up_to_eight_seconds_and_vary() {
        let mut random = Random::new(1);
        for (attempt, whole_ms) in [(0, 400), (1, 800), (4, 6_400), (5, 8_000), (40, 8_000)] {
            let pauses: Vec<u128> = (0..100).map(|_| pause(attempt, &mut random).as_millis()).collect();
            assert!(pauses.iter().all(|ms| (whole_ms / 4..=whole_ms).contains(ms)), "{attempt}: {pauses:?}");
            assert!(pauses.iter().max() > pauses.iter().min().map(|min| min * 2).as_ref());
        }
    }
}
