//! A load while it runs: values over time for the report, and how far it is for whoever waits.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::crowd::Snapshot;
use crate::progress::Progress;
use crate::report::{Report, Sampler, number};

/// Between two samples at least. Snapshots come each second, or a little before.
const SAMPLE_PERIOD_MIN: Duration = Duration::from_millis(900);

const FORWARDED: &str = "forwarded";
const LATENCY_P50: &str = "p50";
const LATENCY_P99: &str = "p99";
const NANOSECONDS_IN_MS: f64 = 1e6;

pub struct Course {
    sampler: Sampler,
    print: fn(&str),
    progress: Option<Progress>,
    /// At the last sample.
    before: Option<Snapshot>,
    /// What was forwarded lately.
    packets_per_s: f64,
    latency: Option<Histogram<u64>>,
}

impl Course {
    /// `print` takes lines about progress where standard error is no terminal.
    pub(super) fn new(server: u32, print: fn(&str)) -> Self {
        Course {
            sampler: Sampler::new(Some(server), &[FORWARDED, LATENCY_P50, LATENCY_P99]),
            print,
            progress: None,
            before: None,
            packets_per_s: 0.0,
            latency: None,
        }
    }

    /// So many of something are waited for, and of nothing else any more.
    pub(super) fn wait_for(&mut self, what: &'static str, total: u64) {
        self.finish();
        self.progress = Some(Progress::new(what, total, self.print));
    }

    /// So many of what is waited for are there.
    pub(super) fn set(&self, done: u64, note: &str) {
        if let Some(progress) = &self.progress {
            progress.set(done, note);
        }
    }

    pub(super) fn set_second(&self, second: u64, what: &str) {
        self.set(second, &format!("{what}, {} packets a second", number(self.packets_per_s)));
    }

    fn finish(&mut self) {
        if let Some(progress) = self.progress.take() {
            progress.finish();
        }
    }

    /// Takes a sample, if the last one was long enough ago.
    pub(super) fn note(&mut self, now: &Snapshot) {
        let Some(before) = &self.before else {
            self.sampler.sample(&[0.0, f64::NAN, f64::NAN]);
            self.before = Some(now.clone());
            return;
        };
        let elapsed = now.at - before.at;
        if elapsed < SAMPLE_PERIOD_MIN {
            return;
        }
        let packets = now.received.packets - before.received.packets;
        self.packets_per_s = packets as f64 / elapsed.as_secs_f64();
        let latency = since(&now.latency, &before.latency);
        let ms = |share| match latency.len() {
            0 => f64::NAN,
            _ => latency.value_at_quantile(share) as f64 / NANOSECONDS_IN_MS,
        };
        self.sampler.sample(&[self.packets_per_s, ms(0.5), ms(0.99)]);
        self.before = Some(now.clone());
    }

    /// Latency counts from here on.
    pub(super) fn begin(&mut self, now: &Snapshot) {
        if let Some(before) = &mut self.before {
            before.latency.clone_from(&now.latency);
        }
    }

    /// `latency` is of the whole measured time.
    pub(super) fn end(mut self, latency: Histogram<u64>) -> Course {
        self.finish();
        self.latency = Some(latency);
        self
    }

    /// Charts of what was seen, and the distribution of the latency.
    pub fn into_report(self, report: &mut Report) {
        if let Some(latency) = &self.latency {
            report.histogram("forwarding latency", "ms", latency, NANOSECONDS_IN_MS);
        }
        let charts: [(&str, &str, &[&str]); 2] =
            [("Packets a second", "", &[FORWARDED]), ("Latency", "ms", &[LATENCY_P50, LATENCY_P99])];
        self.sampler.into_report(report, &charts);
    }
}

/// What was counted after `earlier`, or all if that is of another count.
fn since(now: &Histogram<u64>, earlier: &Histogram<u64>) -> Histogram<u64> {
    let mut since = now.clone();
    match since.subtract(earlier) {
        Ok(()) => since,
        Err(_) => now.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_has_what_came_after_the_one_before() {
        let mut histogram = Histogram::new_with_bounds(1, 1_000_000, 3).expect("the bounds are good");
        (0..100).for_each(|_| histogram.record(10).expect("it is in the bounds"));
        let earlier = histogram.clone();
        (0..10).for_each(|_| histogram.record(500).expect("it is in the bounds"));
        let since = since(&histogram, &earlier);
        assert_eq!((since.len(), since.value_at_quantile(0.5)), (10, 500));
        let anew = super::since(&earlier, &histogram);
        assert_eq!(anew.len(), 100, "the count has begun anew");
    }
}
