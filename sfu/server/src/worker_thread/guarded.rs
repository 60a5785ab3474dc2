//! The last resort: a fault that got out of its session ends neither the thread nor the process.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use crate::metrics::WorkerMetrics;

/// So many faults within so long, and the worker is replaced: its tables are not to be trusted.
const FAULTS_MAX: usize = 8;
const FAULTS_WITHIN: Duration = Duration::from_secs(10);

pub(super) struct Guarded<M, F> {
    plane: M,
    make: F,
    /// When recent faults were caught, oldest first.
    faults: VecDeque<Instant>,
    replaced: bool,
    metrics: WorkerMetrics,
}

impl<M, F: Fn(Instant) -> M> Guarded<M, F> {
    pub(super) fn new(make: F, metrics: WorkerMetrics, now: Instant) -> Self {
        Guarded { plane: make(now), make, faults: VecDeque::new(), replaced: false, metrics }
    }

    /// None: the call ended in a fault.
    pub(super) fn call<T>(&mut self, now: Instant, call: impl FnOnce(&mut M) -> T) -> Option<T> {
        let plane = &mut self.plane;
        if let Ok(result) = catch_unwind(AssertUnwindSafe(|| call(plane))) {
            return Some(result);
        }
        self.metrics.panics.inc();
        tracing::error!("a fault was caught around a worker's call");
        self.faults.retain(|fault| now.saturating_duration_since(*fault) < FAULTS_WITHIN);
        self.faults.push_back(now);
        if self.faults.len() >= FAULTS_MAX {
            tracing::error!("the worker is replaced after repeated faults");
            self.metrics.restarts.inc();
            self.faults.clear();
            self.plane = (self.make)(now);
            self.replaced = true;
        }
        None
    }

    /// Whether the worker was replaced since this was last asked.
    pub(super) fn take_replaced(&mut self) -> bool {
        std::mem::take(&mut self.replaced)
    }

    pub(super) fn failed_within(&self, time: Duration, now: Instant) -> bool {
        self.faults.back().is_some_and(|fault| now.saturating_duration_since(*fault) < time)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn m6_a_fault_ends_its_call_only_and_repeated_ones_replace_the_worker() {
        let start = Instant::now();
        let mut guarded = Guarded::new(|_| 0, Metrics::new().worker(0), start);
        guarded.call(start, |count| *count += 1);
        for second in 0..20 {
            let now = start + Duration::from_secs(second * 2);
            assert_eq!(guarded.call(now, |_| -> u8 { panic!("a fault of the test") }), None);
        }
        assert_eq!(guarded.call(start, |count| *count), Some(1), "now and then is no reason");
        assert!(!guarded.take_replaced());
        let later = start + Duration::from_secs(100);
        for _ in 0..FAULTS_MAX {
            guarded.call(later, |_| -> u8 { panic!("a fault of the test") });
        }
        assert!(guarded.take_replaced() && !guarded.take_replaced());
        assert_eq!(guarded.call(later, |count| *count), Some(0), "a fresh one");
    }
}
