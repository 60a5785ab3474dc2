//! The queue on the path, seen in one-way delays.
//!
//! What counts is the *standing* queue: the least delay of the last tenth of a second beyond the least
//! there ever was. A burst of the pacer waits behind itself, and a radio that hands over what it has
//! every 50 ms makes most packets wait; neither holds up all of them. For the same reason only the first
//! packet of a burst is looked at. The trend is the median of the slopes between pairs of points
//! (as Theil and Sen) of the lower edge of the delays: one step, as when a route changes, does not tilt it.

use std::collections::VecDeque;

/// What was sent within this time is one burst. It is twice that of draft-ietf-rmcat-gcc-02 section 5.2,
/// so that a fast flow does not look more often than a slow one: who does finds a shorter queue.
const BURST_US: i64 = 10_000;
/// The standing queue is the least of so much time, and of so many bursts at least.
const STANDING_US: i64 = 100_000;
const STANDING_BURSTS: usize = 2;
/// The trend is taken over so much time, from the least delays of this many parts of it.
const TREND_US: i64 = 300_000;
const TREND_PARTS: usize = 12;
const TREND_POINTS_MIN: usize = 3;
/// Slopes are taken between points so many apart at most: a step is in few of such pairs.
const TREND_LAG_MAX: usize = 3;
const BURSTS_MAX: usize = 128;
/// The least delay is that of the last one or two of these: a clock that drifts by 200 ppm moves it
/// by 4 ms.
const BASE_US: i64 = 10_000_000;
/// The same of a longer time, for queues that others keep filled.
const LEAST_US: i64 = 30_000_000;
/// The line is busy while delays are beyond the least by more than this.
const BUSY_US: i64 = 15_000;
/// Queues below this are no congestion, whatever their trend.
const THRESHOLD_MIN_US: f64 = 25_000.0;
/// So much of the jitter does not count: flows that share a line differ in it by their packets alone.
const SPREAD_USUAL_US: f64 = 10_000.0;
/// On top comes what a packet of this many bits takes at our own rate, up to a limit. Of flows that see
/// one queue the faster gives way first, so that they meet.
const OWN_BITS: f64 = 25_000.0;
const OWN_MAX_US: f64 = 30_000.0;
/// Competitors that fill the queue whatever we do are followed up to here.
const THRESHOLD_MAX_US: f64 = 300_000.0;
/// The threshold falls back to its least with this time constant.
const THRESHOLD_FALL_US: f64 = 15e6;

#[derive(Debug, Clone, Copy)]
struct Burst {
    arrival_us: i64,
    delay_us: i64,
}

/// The least of this and of the last period.
#[derive(Debug)]
struct Least {
    period_us: i64,
    now_us: i64,
    before_us: i64,
    since_us: Option<i64>,
}

impl Least {
    fn over(period_us: i64) -> Self {
        Least { period_us, now_us: i64::MAX, before_us: i64::MAX, since_us: None }
    }

    fn note(&mut self, delay_us: i64, at_us: i64) {
        let since_us = *self.since_us.get_or_insert(at_us);
        if at_us.saturating_sub(since_us) > self.period_us {
            (self.before_us, self.now_us, self.since_us) = (self.now_us, i64::MAX, Some(at_us));
        }
        self.now_us = self.now_us.min(delay_us);
    }

    fn replace(&mut self, delay_us: i64) {
        (self.now_us, self.before_us) = (delay_us, delay_us);
    }

    fn us(&self) -> i64 {
        self.now_us.min(self.before_us)
    }
}

#[derive(Debug)]
pub(super) struct Delay {
    bursts: VecDeque<Burst>,
    /// When the present burst was begun to be sent.
    burst_sent_us: Option<i64>,

    base: Least,
    /// The least of a longer time, whatever was accepted meanwhile.
    least: Least,
    /// Since when no burst has found the line free.
    busy_since_us: Option<i64>,
    /// How far bursts lie above the lower edge: jitter of the path.
    spread_us: f64,
    raised_us: f64,
}

impl Delay {
    pub fn new() -> Self {
        Delay {
            bursts: VecDeque::new(),
            burst_sent_us: None,
            base: Least::over(BASE_US),
            least: Least::over(LEAST_US),
            busy_since_us: None,
            spread_us: 0.0,
            raised_us: 0.0,
        }
    }

    /// A packet came. Packets are told in the order in which they were sent.
    pub fn note(&mut self, sent_us: i64, arrival_us: i64) {
        if self.burst_sent_us.is_some_and(|first_us| (0..BURST_US).contains(&(sent_us - first_us))) {
            return;
        }
        self.burst_sent_us = Some(sent_us);
        let delay_us = arrival_us - sent_us;
        self.base.note(delay_us, arrival_us);
        self.least.note(delay_us, arrival_us);
        let above_us = delay_us - self.base.us();
        if above_us <= BUSY_US {
            self.busy_since_us = None;
        } else {
            self.busy_since_us.get_or_insert(arrival_us);
        }
        self.bursts.push_back(Burst { arrival_us, delay_us });
        if self.bursts.len() > BURSTS_MAX {
            self.bursts.pop_front();
        }
        if let Some(edge_us) = self.edge_us() {
            self.spread_us += ((delay_us - edge_us).max(0) as f64 - self.spread_us) / 64.0;
        }
    }

    /// The least delay of late.
    fn edge_us(&self) -> Option<i64> {
        let last_us = self.bursts.back()?.arrival_us;
        let recent = self.bursts.iter().rev().enumerate();
        recent
            .take_while(|(nth, burst)| *nth < STANDING_BURSTS || last_us - burst.arrival_us < STANDING_US)
            .map(|(_, burst)| burst.delay_us)
            .min()
    }

    /// How long a packet waits that is sent now.
    pub fn queue_us(&self) -> i64 {
        if self.bursts.len() < STANDING_BURSTS {
            return 0;
        }
        self.edge_us().map_or(0, |edge_us| edge_us - self.base.us())
    }

    /// The same, with what was accepted as normal.
    pub fn standing_us(&self) -> i64 {
        self.edge_us().map_or(0, |edge_us| edge_us - self.least.us())
    }

    /// How fast the queue grows, in seconds a second: a line that is offered r times what it carries
    /// shows 1 - 1/r. None: too little was seen.
    pub fn trend(&self) -> Option<f64> {
        let last_us = self.bursts.back()?.arrival_us;
        let mut edge = [None::<Burst>; TREND_PARTS];
        for burst in self.bursts.iter().rev() {
            let age_us = (last_us - burst.arrival_us).max(0);
            if age_us >= TREND_US {
                break;
            }
            let point = &mut edge[(age_us * TREND_PARTS as i64 / TREND_US) as usize];
            if point.is_none_or(|point| burst.delay_us < point.delay_us) {
                *point = Some(*burst);
            }
        }
        let mut points = [Burst { arrival_us: 0, delay_us: 0 }; TREND_PARTS];
        let mut count = 0;
        for point in edge.into_iter().flatten() {
            points[count] = point;
            count += 1;
        }
        if count < TREND_POINTS_MIN {
            return None;
        }
        let mut slopes = [0.0; TREND_PARTS * TREND_LAG_MAX];
        let mut pairs = 0;
        for (nth, later) in points[..count].iter().enumerate() {
            for earlier in points[nth + 1..count].iter().take(TREND_LAG_MAX) {
                let span_us = later.arrival_us - earlier.arrival_us;
                if span_us > 0 {
                    slopes[pairs] = (later.delay_us - earlier.delay_us) as f64 / span_us as f64;
                    pairs += 1;
                }
            }
        }
        let slopes = &mut slopes[..pairs];
        slopes.sort_unstable_by(f64::total_cmp);
        slopes.get(pairs / 2).copied()
    }

    /// A standing queue beyond this is congestion.
    pub fn threshold_us(&self, rate_bps: f64) -> i64 {
        let own_us = (OWN_BITS * 1e6 / rate_bps.max(1.0)).min(OWN_MAX_US);
        let least_us = THRESHOLD_MIN_US + (self.spread_us - SPREAD_USUAL_US).max(0.0);
        (least_us + own_us + self.raised_us).min(THRESHOLD_MAX_US) as i64
    }

    pub fn busy_since_us(&self) -> Option<i64> {
        self.busy_since_us
    }

    /// What was taken for a queue did not drain though less was sent: the path has become longer, or
    /// others keep its queue filled. Either way it is the new normal, and from now on it takes more
    /// to be called congestion, for a while.
    pub fn accept_queue(&mut self) {
        let Some(edge_us) = self.edge_us() else { return };
        self.raised_us = (self.raised_us + THRESHOLD_MIN_US).min(THRESHOLD_MAX_US);
        self.base.replace(edge_us);
        self.busy_since_us = None;
    }

    /// Time passed by so much, with a queue below the threshold.
    pub fn settle(&mut self, elapsed_us: i64) {
        self.raised_us *= (-elapsed_us as f64 / THRESHOLD_FALL_US).exp();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Tells of a packet every 20 ms for `seconds`, with the delay that `delay_ms` gives for each.
    fn run(delay: &mut Delay, from_ms: i64, to_ms: i64, delay_ms: impl Fn(i64) -> i64) {
        for ms in (from_ms..to_ms).step_by(20) {
            delay.note(ms * 1_000, (ms + delay_ms(ms)) * 1_000);
        }
    }

    #[test]
    fn a_queue_that_grows_is_seen_with_its_slope() {
        let mut delay = Delay::new();
        run(&mut delay, 0, 2_000, |_| 40);
        assert_eq!((delay.queue_us(), delay.trend()), (0, Some(0.0)));
        // Twice of what the line carries: delay grows by a second a second of sending.
        run(&mut delay, 2_000, 2_400, |ms| 40 + ms - 2_000);
        assert!((delay.trend().unwrap() - 0.5).abs() < 0.05, "{:?}", delay.trend());
        assert!((250_000..400_000).contains(&delay.queue_us()), "{}", delay.queue_us());
        assert!(delay.busy_since_us().is_some());
    }

    #[test]
    fn handing_over_in_batches_is_no_queue() {
        let mut delay = Delay::new();
        run(&mut delay, 0, 5_000, |ms| 40 + (60 - ms % 60) % 60);
        assert!(delay.queue_us() < delay.threshold_us(1e6) / 2, "{}", delay.queue_us());
        assert!(delay.trend().unwrap().abs() < 0.02);
    }

    #[test]
    fn a_step_has_no_trend() {
        let mut delay = Delay::new();
        run(&mut delay, 0, 3_000, |_| 40);
        for end in (3_000..4_000).step_by(60) {
            run(&mut delay, end, end + 60, |_| 120);
            assert!(delay.trend().is_none_or(|trend| trend < 0.05), "{:?} at {end}", delay.trend());
        }
        assert_eq!(delay.queue_us(), 80_000);
        delay.accept_queue();
        assert_eq!(delay.queue_us(), 0);
        let raised_us = delay.threshold_us(1e6);
        delay.settle(60_000_000);
        assert!(delay.threshold_us(1e6) < raised_us);
    }

    #[test]
    fn a_drifting_clock_is_no_queue() {
        let mut delay = Delay::new();
        for ms in (0..300_000).step_by(20) {
            delay.note(ms * 1_000, ms * 1_000 + 40_000 + ms / 5);
            assert!(delay.queue_us() < 5_000);
        }
    }
}
