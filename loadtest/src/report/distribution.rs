//! Percentiles of what was measured many times.

use hdrhistogram::Histogram;
use serde::Serialize;

/// Points of the curve that a page draws.
const CURVE_POINTS: usize = 200;

#[derive(Debug, Clone, Serialize)]
pub(super) struct Distribution {
    pub name: String,
    pub unit: String,
    pub summary: Summary,
    /// Share of the values, 0 to 1, and the value that so many do not exceed.
    pub curve: Vec<(f64, f64)>,
}

/// NaN where nothing was measured.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    pub count: usize,
    pub mean: f64,
    pub min: f64,
    pub p50: f64,
    pub p95: f64,
    pub p99: f64,
    pub p999: f64,
    pub max: f64,
}

impl Distribution {
    pub(super) fn new(name: &str, unit: &str, mut values: Vec<f64>) -> Self {
        values.sort_by(f64::total_cmp);
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Self::of(name, unit, values.len(), mean, |share| percentile(&values, share))
    }

    /// `one` of what the histogram counts are one of the unit.
    pub(super) fn of_histogram(name: &str, unit: &str, histogram: &Histogram<u64>, one: f64) -> Self {
        let count = histogram.len() as usize;
        let known = |value: f64| if count > 0 { value / one } else { f64::NAN };
        Self::of(name, unit, count, known(histogram.mean()), |share| {
            known(histogram.value_at_quantile(share) as f64)
        })
    }

    /// `at` is the value that such a share does not exceed.
    fn of(name: &str, unit: &str, count: usize, mean: f64, at: impl Fn(f64) -> f64) -> Self {
        let shares = (0..=CURVE_POINTS).map(|point| point as f64 / CURVE_POINTS as f64);
        let curve = shares.map(|share| (share, at(share)));
        let curve = if count == 0 { Vec::new() } else { curve.collect() };
        let summary = Summary::of(count, mean, at);
        Distribution { name: name.to_owned(), unit: unit.to_owned(), summary, curve }
    }
}

impl Summary {
    fn of(count: usize, mean: f64, at: impl Fn(f64) -> f64) -> Self {
        Summary {
            count,
            mean,
            min: at(0.0),
            p50: at(0.5),
            p95: at(0.95),
            p99: at(0.99),
            p999: at(0.999),
            max: at(1.0),
        }
    }

    pub(super) fn named(&self) -> [(&'static str, f64); 8] {
        let Summary { count, mean, min, p50, p95, p99, p999, max } = *self;
        [
            ("count", count as f64),
            ("mean", mean),
            ("min", min),
            ("p50", p50),
            ("p95", p95),
            ("p99", p99),
            ("p99.9", p999),
            ("max", max),
        ]
    }
}

/// The smallest value that so many do not exceed (nearest rank).
fn percentile(sorted: &[f64], share: f64) -> f64 {
    let rank = (share * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied().unwrap_or(f64::NAN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_values_that_were_measured() {
        let values: Vec<f64> = (1..=1_000).rev().map(f64::from).collect();
        let summary = Distribution::new("", "", values).summary;
        assert_eq!((summary.p50, summary.p95, summary.p99, summary.p999), (500.0, 950.0, 990.0, 999.0));
        assert_eq!((summary.min, summary.max, summary.mean), (1.0, 1_000.0, 500.5));
        let one = Distribution::new("", "", vec![7.0]).summary;
        assert_eq!((one.p50, one.p999, one.max), (7.0, 7.0, 7.0));
        assert!(Distribution::new("", "", Vec::new()).summary.p95.is_nan());
    }

    #[test]
    fn a_histogram_has_the_percentiles_of_its_values() {
        let mut histogram = Histogram::new_with_bounds(1, 10_000_000, 3).expect("the bounds are good");
        let empty = Distribution::of_histogram("", "", &histogram, 1_000.0);
        assert!(empty.summary.p95.is_nan() && empty.summary.mean.is_nan() && empty.curve.is_empty());
        (1..=1_000).for_each(|value| histogram.record(value * 1_000).expect("it is in the bounds"));
        let summary = Distribution::of_histogram("", "", &histogram, 1_000.0).summary;
        assert_eq!(summary.count, 1_000);
        for (got, expected) in [(summary.p50, 500.0), (summary.p99, 990.0), (summary.max, 1_000.0)] {
            assert!((got - expected).abs() <= expected * 0.001, "{got}, not {expected}");
        }
    }
}
