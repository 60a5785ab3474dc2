//! Percentiles of what was measured many times.

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
        let shares = (0..=CURVE_POINTS).map(|point| point as f64 / CURVE_POINTS as f64);
        let curve = shares.map(|share| (share, percentile(&values, share)));
        let curve = if values.is_empty() { Vec::new() } else { curve.collect() };
        Distribution { name: name.to_owned(), unit: unit.to_owned(), summary: Summary::of(&values), curve }
    }
}

impl Summary {
    /// `values` are sorted.
    fn of(values: &[f64]) -> Self {
        let of = |share| percentile(values, share);
        Summary {
            count: values.len(),
            mean: values.iter().sum::<f64>() / values.len() as f64,
            min: of(0.0),
            p50: of(0.5),
            p95: of(0.95),
            p99: of(0.99),
            p999: of(0.999),
            max: of(1.0),
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
}
