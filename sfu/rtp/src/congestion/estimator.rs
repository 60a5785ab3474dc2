//! What a path carries: the state of one transport's estimate.
//!
//! ```text
//!                    standing queue beyond the threshold
//!      +--------+  ------------------------------------->  +----------+
//!      |  Open  |                                          | Draining |
//!      +--------+  <-------------------------------------  +----------+
//!  grows while all of it  the queue is gone: nine tenths of    less than the line carries,
//!  is used, or by probes  what the line carried; or it stays   so that the queue drains
//!                         whatever is sent: it is not ours
//! ```

use std::time::{Duration, Instant};

use super::delay::Delay;
use super::history::{FeedbackOutcome, History, Kind, Report, Sent};
use super::loss::{Loss, Verdict};
use super::pacer::Pace;
use super::probe::{ClusterId, Probe, Prober, Proof};
use super::rate::Rate;
use crate::feedback::TransportFeedback;

/// The receiver's clock wraps after so many microseconds: 24 bits of 64 ms
/// (draft-holmer-rmcat-transport-wide-cc-extensions-01 section 3.1).
const ARRIVAL_WRAP_US: i64 = (1 << 24) * 64_000;
/// The receiver's clock jumped if it moved from one packet to the next by so much more or less than ours.
const CLOCK_JUMP_US: i64 = 5_000_000;

/// A queue that grows slower than this, in seconds a second, stands.
const TREND_MIN: f64 = 0.03;
/// A queue that stands, and is no worse, is put to the test after this time.
const STANDING_US: i64 = 500_000;
/// A shorter queue is no reason to do without the smallest picture.
const CLEAR_US: i64 = 100_000;
/// After a cut: the share of what the line carried, for a short queue and for a long one.
const CUT_SHARE: (f64, f64) = (0.85, 0.7);
const CUT_QUEUE_US: (f64, f64) = (60_000.0, 150_000.0);
/// When the queue is gone: the share of what the line carried.
const RETURN_SHARE: f64 = 0.92;
/// A queue is gone when it is shorter than this, or than half of the threshold.
const DRAINED_US: i64 = 10_000;
/// A queue that still grows by so much, in seconds a second, though less is sent, is cut again. One that
/// grows less is filled by others: what we send comes as fast as it is sent.
const TREND_AGAIN: f64 = 0.1;
/// A queue that kept this share after so long, with less being sent, is not ours.
const UNDRAINED_SHARE: f64 = 0.8;
const UNDRAINED_US: i64 = 1_200_000;
const DRAIN_MAX_US: i64 = 4_000_000;
/// What the line carries is measured while it is busy: over so much time at most and at least.
const BUSY_WINDOW_US: i64 = 500_000;
const BUSY_LEAST_US: i64 = 60_000;
const BUSY_BURSTS: usize = 4;

/// How much the trend may be in error.
const TREND_DOUBT: f64 = 1.5;

/// Who sends less than this share of the estimate proves nothing by it.
const LIMITED_SHARE: f64 = 0.8;
/// The estimate grows to so much more than what arrives, by itself.
const BEYOND_ARRIVED: f64 = 1.3;
/// Growth a second: far from any known limit, and on the way back to one.
const GROWTH_UNKNOWN: f64 = 0.25;
const GROWTH_BACK: f64 = 0.6;
/// Close to a limit, bits a second at [`NEAR_BASE_BPS`]. The faster of several flows grows less, so
/// that they meet; but within shares of the rate.
const GROWTH_NEAR_BPS: f64 = 100_000.0;
const NEAR_BASE_BPS: f64 = 1_500_000.0;
const NEAR_EXPONENT: f64 = -0.5;
const GROWTH_NEAR_MIN: f64 = 0.01;
const GROWTH_NEAR_MAX: f64 = 0.12;
/// Shares of the known limit between which one is close to it.
const NEAR: (f64, f64) = (0.88, 1.25);
const GROWTH_STEP_MAX_US: i64 = 250_000;
const RATE_WINDOW_US: i64 = 500_000;
const SENT_WINDOW_US: i64 = 1_000_000;

/// How much more than the estimate a probe tries.
const PROBE_FACTOR: f64 = 2.0;
/// The same after a probe that met a limit, where only one that meets none is believed.
const PROBE_FACTOR_NEXT: f64 = 1.3;
/// Until the first congestion the estimate is a guess.
const PROBE_FACTOR_FIRST: f64 = 3.0;
/// Beyond what is useful, so that a result a little short of it is enough.
const PROBE_BEYOND: f64 = 1.1;
/// Who uses all of the estimate probes when there was no congestion for so long.
const CALM_US: i64 = 5_000_000;
const CALM_BEYOND_US: i64 = 2_000_000;
/// No probe for so long after congestion; and, when a probe was believed that brought it, for longer
/// each time up to the last.
const AFTER_CONGESTION_US: i64 = 500_000;
const SETBACK_US: i64 = 2_500_000;
const SETBACK_WAIT_US: (i64, i64) = (3_000_000, 6_000_000);

/// A queue that loses so much more than the path itself is full: nothing grows.
const LOSS_HOLD: f64 = 0.02;
/// No probe for so long after loss was found to come from the rate: a short train passes where a
/// stream does not.
const AFTER_LOSS_US: i64 = 20_000_000;
/// In a trial of whether loss comes from the rate.
const TRIAL_SHARE: f64 = 0.75;

/// The receiver says nothing for so long, though packets are sent: the estimate is cut to this share,
/// and again after each such time.
const SILENCE_US: i64 = 1_500_000;
const SILENCE_SHARE: f64 = 0.7;

/// Above the estimate, so that what is there leaves before more comes: with room, and close to a limit.
const PACE_FACTOR: f64 = 2.0;
const PACE_FACTOR_NEAR: f64 = 1.2;
/// What was not used of so much time may be used at once: with room, a frame leaves whole.
const CREDIT: Duration = Duration::from_millis(20);
const CREDIT_NEAR: Duration = Duration::from_millis(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Config {
    pub start_bps: u64,
    pub min_bps: u64,
    pub max_bps: u64,
    /// What the smallest picture takes, with a voice. Loss without a queue is not answered below it.
    pub floor_bps: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config { start_bps: 1_000_000, min_bps: 40_000, max_bps: 50_000_000, floor_bps: 200_000 }
    }
}

/// Why the estimate is no higher.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LimitedBy {
    Delay,
    Loss,
    /// Not enough is sent to prove more.
    Application,
    /// It grows, or nobody wants more.
    Nothing,
}

/// For statistics.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct State {
    pub estimate_bps: u64,
    /// Over half a second.
    pub acknowledged_bps: u64,
    /// Over a second.
    pub sent_bps: u64,
    /// The standing queue, and beyond what it is called congestion.
    pub queue: Duration,
    pub queue_max: Duration,
    /// How the queue grows, in seconds a second.
    pub trend: f64,
    /// Share of packets, 0 to 1.
    pub loss: f64,
    pub rtt: Option<Duration>,
    pub limited_by: LimitedBy,
    /// Packets whose fate is still remembered or awaited.
    pub remembered: usize,
}

#[derive(Debug, Clone, Copy)]
enum Phase {
    Open,
    Draining(Drain),
}

#[derive(Debug, Clone, Copy)]
struct Drain {
    since_us: i64,
    /// What the line carried.
    capacity_bps: f64,
    before_bps: f64,
    queue_us: i64,
    /// The queue grew, so it is not just a longer path.
    grew: bool,
    /// Even less was sent already.
    again: bool,
}

/// Less is sent, to see whether less is lost.
#[derive(Debug, Clone, Copy)]
struct Trial {
    since_us: i64,
    before_bps: f64,
    loss: f64,
}

#[derive(Debug)]
pub struct Estimator {
    config: Config,
    epoch: Instant,
    estimate_bps: f64,
    phase: Phase,
    limited_by: LimitedBy,
    useful_bps: u64,
    history: History,
    sent: Rate,
    arrived: Rate,
    delay: Delay,
    loss: Loss,
    trial: Option<Trial>,
    prober: Prober,
    /// The probe under way is believed even when it met a limit.
    trusts_limited: bool,
    /// What the line carried when it was last too full.
    limit_bps: Option<f64>,
    congested_at_us: Option<i64>,
    raised_at_us: Option<i64>,
    setback_wait_us: i64,
    above_since_us: Option<i64>,
    grown_at_us: i64,
    /// Arrival of the last packet told of, as it was told and unwrapped, and when it was sent.
    last_arrival: Option<(i64, i64, i64)>,
    rtt_us: Option<f64>,
    /// The RTT is from receiver reports, which know how long the receiver held them.
    rtt_exact: bool,
    feedback_at_us: Option<i64>,
    /// Since when something is sent of which nothing was heard.
    unheard_since_us: Option<i64>,
}

impl Estimator {
    pub fn new(config: Config, now: Instant) -> Self {
        Estimator {
            config,
            epoch: now,
            estimate_bps: config.start_bps as f64,
            phase: Phase::Open,
            limited_by: LimitedBy::Nothing,
            useful_bps: config.start_bps,
            history: History::default(),
            sent: Rate::default(),
            arrived: Rate::default(),
            delay: Delay::new(),
            loss: Loss::default(),
            trial: None,
            prober: Prober::new(),
            trusts_limited: true,
            limit_bps: None,
            congested_at_us: None,
            raised_at_us: None,
            setback_wait_us: SETBACK_WAIT_US.0,
            above_since_us: None,
            grown_at_us: 0,
            last_arrival: None,
            rtt_us: None,
            rtt_exact: false,
            feedback_at_us: None,
            unheard_since_us: None,
        }
    }

    /// A packet leaves. `transport_number` is its extended transport-wide number, which grows;
    /// `bytes` are with all headers, of IP and UDP too.
    pub fn note_sent(
        &mut self,
        transport_number: u64,
        bytes: usize,
        kind: Kind,
        cluster: Option<ClusterId>,
        now: Instant,
    ) {
        let now_us = self.us(now);
        self.history.note(transport_number, now_us, bytes as u32, cluster);
        if kind != Kind::Padding {
            self.sent.note(now_us, bytes as u64);
        }
        if let Some(cluster) = cluster {
            self.prober.note_sent(cluster, bytes as u64, now_us);
        }
        self.unheard_since_us.get_or_insert(now_us);
    }

    /// The receiver told what came. Whatever it says has no more effect than that the estimate rises
    /// to what is useful, or falls (M7).
    pub fn handle_feedback(&mut self, feedback: &TransportFeedback, now: Instant) -> FeedbackOutcome {
        let now_us = self.us(now);
        let mut outcome = FeedbackOutcome::default();
        let Some(base) = self.history.extend(feedback.base) else {
            outcome.unknown = feedback.arrivals.len() as u32;
            return outcome;
        };
        let mut newest_us = None;
        for (number, arrival) in (base..).zip(&feedback.arrivals) {
            match self.history.report(number, arrival.is_some()) {
                Report::Arrived { sent, late } => {
                    outcome.arrived += 1;
                    outcome.late += u32::from(late);
                    newest_us = newest_us.max(Some(sent.at_us));
                    outcome.clock_jumped |= self.note_arrival(sent, late, arrival.unwrap_or_default());
                }
                Report::Lost(sent) => {
                    outcome.lost += 1;
                    if self.counts_for_loss(sent) {
                        self.loss.note(true);
                    }
                }
                Report::Repeated => outcome.repeated += 1,
                Report::Unknown => outcome.unknown += 1,
            }
        }
        if let Some(newest_us) = newest_us {
            self.note_rtt(now_us - newest_us);
            self.feedback_at_us = Some(now_us);
            self.unheard_since_us = None;
            self.decide(newest_us, now_us);
        }
        outcome
    }

    /// A receiver report (RFC 3550 section 6.4.1): the share of packets lost, 0 to 1, and the RTT if it
    /// told. Where there is transport-wide feedback, that tells more of loss.
    pub fn handle_loss_report(&mut self, fraction: f32, rtt: Option<Duration>, now: Instant) {
        if let Some(rtt) = rtt {
            self.rtt_exact = true;
            self.smooth_rtt(rtt.as_micros() as i64);
        }
        let now_us = self.us(now);
        let is_heard = self.feedback_at_us.is_some_and(|at_us| now_us - at_us < 5 * SILENCE_US);
        let fraction = f64::from(fraction);
        if is_heard || !fraction.is_finite() {
            return;
        }
        // All that there is: the loss-based rule of draft-ietf-rmcat-gcc-02 section 6.
        self.unheard_since_us = None;
        let fraction = fraction.clamp(0.0, 1.0);
        if fraction > 0.1 {
            self.set_estimate(self.estimate_bps * (1.0 - fraction / 2.0));
            self.limited_by = LimitedBy::Loss;
        } else if fraction < 0.02 && !self.is_application_limited(now_us) {
            self.raise(self.estimate_bps * 1.05);
            self.limited_by = LimitedBy::Nothing;
        }
    }

    /// More than this is of no use to anybody, with all reserves that climbing asks for. The estimate
    /// rises no further, and there are no probes once it is there. Until told: what it begins with.
    pub fn set_useful(&mut self, useful_bps: u64) {
        self.useful_bps = useful_bps;
    }

    pub fn handle_timeout(&mut self, now: Instant) {
        let now_us = self.us(now);
        self.take_proof(now_us);
        let is_heard = self.feedback_at_us.is_some();
        if is_heard && self.unheard_since_us.is_some_and(|since_us| now_us - since_us >= SILENCE_US) {
            self.unheard_since_us = Some(now_us);
            self.set_estimate((self.estimate_bps * SILENCE_SHARE).max(self.floor_bps()));
            self.prober.refresh();
        }
    }

    /// When [`Estimator::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let silence_us = self.unheard_since_us.filter(|_| self.feedback_at_us.is_some());
        let times = [silence_us.map(|since_us| since_us + SILENCE_US), self.prober.timeout_us()];
        let at_us = times.into_iter().flatten().min()?;
        Some(self.epoch + Duration::from_micros(at_us.max(0) as u64))
    }

    /// A train of packets that is to be sent now, with its id in [`Estimator::note_sent`]. Feedback is
    /// what brings one about: ask after each.
    pub fn poll_probe(&mut self, now: Instant) -> Option<Probe> {
        let now_us = self.us(now);
        let is_heard = self.feedback_at_us.is_some_and(|at_us| now_us - at_us < RATE_WINDOW_US);
        let is_free = matches!(self.phase, Phase::Open)
            && self.trial.is_none()
            && !self.overflows()
            && self.delay.queue_us() < self.drained_us();
        if !is_heard || !is_free || !self.wants_more() || !self.prober.may_begin(now_us) {
            return None;
        }
        let is_guess = self.congested_at_us.is_none();
        let is_limited = self.is_application_limited(now_us);
        // Beyond the old limit there is a new one to be found.
        let calm_us = if self.limit_bps.is_some() { CALM_US } else { CALM_BEYOND_US };
        let is_calm = self.congested_at_us.is_none_or(|at_us| now_us - at_us > calm_us);
        if !is_guess && !is_limited && !is_calm {
            return None;
        }
        self.trusts_limited = is_guess || is_limited;
        let factor = if is_guess {
            PROBE_FACTOR_FIRST
        } else if !is_limited && self.limit_bps.is_some() && self.prober.has_failed() {
            PROBE_FACTOR_NEXT
        } else {
            PROBE_FACTOR
        };
        let rate_bps = (self.estimate_bps * factor).min(self.ceiling_bps() * PROBE_BEYOND);
        Some(self.prober.begin(rate_bps, self.loss.share(), now_us))
    }

    pub fn estimate_bps(&self) -> u64 {
        self.estimate_bps as u64
    }

    /// How fast packets are to leave while there are any.
    pub fn pace(&self) -> Pace {
        let is_near = self.limit_bps.is_some_and(|limit| self.estimate_bps > limit * 0.7);
        let (factor, credit) = match self.phase {
            Phase::Draining(_) => (1.0, CREDIT_NEAR),
            Phase::Open if is_near => (PACE_FACTOR_NEAR, CREDIT_NEAR),
            Phase::Open => (PACE_FACTOR, CREDIT),
        };
        Pace { rate_bps: (self.estimate_bps * factor) as u64, credit }
    }

    pub fn rtt(&self) -> Option<Duration> {
        self.rtt_us.map(|us| Duration::from_micros(us as u64))
    }

    /// Share of packets lost lately, 0 to 1.
    pub fn loss(&self) -> f64 {
        self.loss.share()
    }

    pub fn state(&self, now: Instant) -> State {
        let now_us = self.us(now);
        let last_us = self.arrived.last_us().unwrap_or(0);
        State {
            estimate_bps: self.estimate_bps(),
            acknowledged_bps: self.arrived.over_bps(RATE_WINDOW_US, last_us) as u64,
            sent_bps: self.sent.over_bps(SENT_WINDOW_US, now_us) as u64,
            queue: Duration::from_micros(self.delay.queue_us().max(0) as u64),
            queue_max: Duration::from_micros(self.threshold_us().max(0) as u64),
            trend: self.delay.trend().unwrap_or(0.0),
            loss: self.loss.share(),
            rtt: self.rtt(),
            limited_by: self.limited_by,
            remembered: self.history.len(),
        }
    }

    fn us(&self, now: Instant) -> i64 {
        now.saturating_duration_since(self.epoch).as_micros() as i64
    }

    fn counts_for_loss(&self, sent: Sent) -> bool {
        // What a probe loses was too much by intention; and a trial judges what was sent in it.
        sent.cluster.is_none() && self.trial.is_none_or(|trial| sent.at_us >= trial.since_us)
    }

    /// Returns whether the receiver's clock jumped.
    fn note_arrival(&mut self, sent: Sent, late: bool, told_us: i64) -> bool {
        let (mut arrival_us, mut jumped) = (sent.at_us, false);
        if let Some((last_told_us, last_us, last_sent_us)) = self.last_arrival {
            let moved_us = told_us.wrapping_sub(last_told_us).rem_euclid(ARRIVAL_WRAP_US);
            let moved_us = if moved_us > ARRIVAL_WRAP_US / 2 { moved_us - ARRIVAL_WRAP_US } else { moved_us };
            jumped = (moved_us - (sent.at_us - last_sent_us)).abs() > CLOCK_JUMP_US;
            if jumped {
                self.delay = Delay::new();
                self.arrived.clear();
                self.above_since_us = None;
            } else {
                arrival_us = last_us + moved_us;
            }
        }
        self.last_arrival = Some((told_us, arrival_us, sent.at_us));
        self.arrived.note(arrival_us, u64::from(sent.bytes));
        self.delay.note(sent.at_us, arrival_us);
        if let Some(cluster) = sent.cluster {
            self.prober.note_arrived(cluster, u64::from(sent.bytes), sent.at_us, arrival_us);
        }
        if self.counts_for_loss(sent) {
            if late {
                self.loss.take_back();
            } else {
                self.loss.note(false);
            }
        }
        jumped
    }

    fn note_rtt(&mut self, us: i64) {
        if !self.rtt_exact {
            self.smooth_rtt(us);
        }
    }

    fn smooth_rtt(&mut self, us: i64) {
        let us = us.max(0) as f64;
        // RFC 6298 section 2.
        self.rtt_us = Some(self.rtt_us.map_or(us, |smooth| smooth + (us - smooth) / 8.0));
    }

    /// `newest_us`: when the last packet was sent that is known to have arrived.
    fn decide(&mut self, newest_us: i64, now_us: i64) {
        let elapsed_us = (now_us - self.grown_at_us).clamp(0, GROWTH_STEP_MAX_US);
        self.grown_at_us = now_us;
        match self.phase {
            Phase::Open => self.decide_open(elapsed_us, now_us),
            Phase::Draining(drain) => self.decide_draining(drain, newest_us, now_us),
        }
        self.decide_loss(now_us);
        self.take_proof(now_us);
    }

    fn decide_open(&mut self, elapsed_us: i64, now_us: i64) {
        let overflows = self.loss.is_sudden() && self.delay.queue_us() > self.drained_us();
        if self.delay.queue_us() <= self.threshold_us() && !overflows {
            self.above_since_us = None;
            self.delay.settle(elapsed_us);
            self.grow(elapsed_us, now_us);
            return;
        }
        let since_us = *self.above_since_us.get_or_insert(now_us);
        if self.queue_grows(TREND_MIN) || overflows {
            self.cut(now_us);
        } else if now_us - since_us >= STANDING_US {
            self.test(now_us);
        }
    }

    fn queue_grows(&self, by: f64) -> bool {
        self.delay.trend().is_some_and(|trend| trend > by)
    }

    fn threshold_us(&self) -> i64 {
        self.delay.threshold_us(self.estimate_bps)
    }

    /// What the line carried while it was busy.
    fn busy_bps(&self) -> Option<f64> {
        let from_us = self.delay.busy_since_us()?.max(self.arrived.last_us()? - BUSY_WINDOW_US);
        self.arrived.between_bps(from_us, BUSY_LEAST_US, BUSY_BURSTS)
    }

    /// What the line carries. The time in which it was busy may have been a lull of ours; but it carries
    /// no less than what makes the queue grow as it does: offered r, it shows a trend of 1 - 1/r.
    fn capacity_bps(&self, now_us: i64) -> f64 {
        let trend = self.delay.trend().unwrap_or(0.0).max(0.0);
        // What overflows is not carried, and a queue that is full shows no trend.
        let share = if self.loss.is_sudden() { 0.0 } else { (1.0 - TREND_DOUBT * trend).max(0.0) };
        let offered_bps = self.sent.over_bps(RATE_WINDOW_US, now_us);
        self.busy_bps().unwrap_or_else(|| self.arrived_bps()).max(share * offered_bps)
    }

    fn arrived_bps(&self) -> f64 {
        self.arrived.over_bps(RATE_WINDOW_US, self.arrived.last_us().unwrap_or(0))
    }

    /// The longer the queue, the more must be left free for it to drain.
    fn cut_share(&self) -> f64 {
        let queue_us = self.delay.queue_us() as f64;
        let length = ((queue_us - CUT_QUEUE_US.0) / (CUT_QUEUE_US.1 - CUT_QUEUE_US.0)).clamp(0.0, 1.0);
        CUT_SHARE.0 + (CUT_SHARE.1 - CUT_SHARE.0) * length
    }

    /// The line is too full.
    fn cut(&mut self, now_us: i64) {
        let capacity_bps = self.capacity_bps(now_us);
        let before_bps = self.estimate_bps;
        self.cut_to(capacity_bps);
        self.limit_bps = Some(capacity_bps);
        self.drain(capacity_bps, before_bps, true, now_us);
        if self.raised_at_us.take().is_some_and(|at_us| now_us - at_us < SETBACK_US) {
            self.prober.forbid(self.setback_wait_us, now_us);
            self.setback_wait_us = (self.setback_wait_us * 2).min(SETBACK_WAIT_US.1);
        } else {
            self.prober.forbid(AFTER_CONGESTION_US, now_us);
            self.prober.refresh();
        }
        self.congested_at_us = Some(now_us);
    }

    fn cut_to(&mut self, capacity_bps: f64) {
        let mut cut_bps = self.cut_share() * capacity_bps;
        let is_clear = self.queue_grows(TREND_AGAIN) && self.delay.queue_us() > CLEAR_US;
        if !is_clear && !self.loss.is_lasting() {
            // Nearly all that we send comes through: no reason to do without a picture.
            cut_bps = cut_bps.max(self.floor_bps());
        }
        self.set_estimate(self.estimate_bps.min(cut_bps));
    }

    /// The delay is longer and stays so: is it ours?
    fn test(&mut self, now_us: i64) {
        let before_bps = self.estimate_bps;
        self.set_estimate(before_bps * CUT_SHARE.0);
        self.drain(before_bps, before_bps, false, now_us);
    }

    fn drain(&mut self, capacity_bps: f64, before_bps: f64, grew: bool, now_us: i64) {
        let queue_us = self.delay.queue_us();
        self.phase = Phase::Draining(Drain {
            since_us: now_us,
            capacity_bps,
            before_bps,
            queue_us,
            grew,
            again: false,
        });
        self.above_since_us = None;
        self.limited_by = LimitedBy::Delay;
    }

    fn decide_draining(&mut self, drain: Drain, newest_us: i64, now_us: i64) {
        let queue_us = self.delay.queue_us();
        if newest_us < drain.since_us {
            // What is told of was sent before the cut. It shows better what the line carries.
            let capacity_bps = self.capacity_bps(now_us);
            if drain.grew && capacity_bps < drain.capacity_bps {
                self.cut_to(capacity_bps);
                self.limit_bps = Some(capacity_bps);
                self.phase = Phase::Draining(Drain { capacity_bps, ..drain });
            }
            return;
        }
        if drain.grew {
            // It may have grown on until the cut came through.
            self.cut_to(drain.capacity_bps);
        }
        let lasts_us = now_us - drain.since_us;
        if queue_us < self.drained_us() {
            self.reopen(drain);
        } else if queue_us > self.threshold_us() && self.queue_grows(TREND_AGAIN) && lasts_us > RATE_WINDOW_US
        {
            self.cut(now_us);
        } else if (lasts_us > UNDRAINED_US && queue_us as f64 > drain.queue_us as f64 * UNDRAINED_SHARE)
            || lasts_us > DRAIN_MAX_US
        {
            if !drain.again {
                // Who shares the line may just have filled what we left. Once more, and for all to see.
                let capacity_bps = drain.capacity_bps.min(self.estimate_bps / CUT_SHARE.0);
                let less_bps = (CUT_SHARE.1 * capacity_bps).max(self.floor_bps());
                self.set_estimate(less_bps.min(self.estimate_bps));
                self.phase = Phase::Draining(Drain { since_us: now_us, queue_us, again: true, ..drain });
                return;
            }
            self.delay.accept_queue();
            self.reopen(drain);
            if !drain.grew {
                self.raise(drain.before_bps);
            }
        }
    }

    fn reopen(&mut self, drain: Drain) {
        self.phase = Phase::Open;
        if drain.grew {
            self.raise((drain.capacity_bps * RETURN_SHARE).min(drain.before_bps));
        }
    }

    /// There is a queue, and it loses packets.
    fn overflows(&self) -> bool {
        self.loss.excess() > LOSS_HOLD && self.delay.standing_us() > self.drained_us()
    }

    fn drained_us(&self) -> i64 {
        DRAINED_US.max(self.threshold_us() / 2)
    }

    fn decide_loss(&mut self, now_us: i64) {
        let Some(verdict) = self.loss.poll(now_us) else { return };
        if let Some(trial) = self.trial.take() {
            if self.loss.judge_trial(trial.loss) {
                self.raise(trial.before_bps);
            } else {
                self.limit_bps = Some(self.arrived_bps());
                self.congested_at_us = Some(now_us);
                self.prober.forbid(AFTER_LOSS_US, now_us);
            }
            return;
        }
        let Verdict::Excess { excess } = verdict else { return };
        if matches!(self.phase, Phase::Draining(_)) {
            return;
        }
        self.limited_by = LimitedBy::Loss;
        let sent_bps = self.sent.over_bps(SENT_WINDOW_US, now_us);
        if self.delay.standing_us() > self.drained_us() {
            // A queue that overflows, though its length is no news.
            let less_bps = self.estimate_bps * (1.0 - excess / 2.0);
            let floor_bps = if self.loss.is_lasting() { 0.0 } else { self.floor_bps() };
            let less_bps = less_bps.max(self.arrived_bps() * RETURN_SHARE).max(floor_bps);
            self.set_estimate(less_bps.min(self.estimate_bps));
            self.congested_at_us = Some(now_us);
        } else if sent_bps < self.floor_bps() / TRIAL_SHARE {
            self.loss.accept();
        } else {
            self.trial =
                Some(Trial { since_us: now_us, before_bps: self.estimate_bps, loss: self.loss.last_share() });
            let less_bps = TRIAL_SHARE * self.estimate_bps.min(sent_bps);
            self.set_estimate(less_bps.max(self.floor_bps()).min(self.estimate_bps));
        }
    }

    fn floor_bps(&self) -> f64 {
        self.config.floor_bps as f64
    }

    fn take_proof(&mut self, now_us: i64) {
        let Some(Proof { rate_bps, limited }) = self.prober.poll(now_us) else { return };
        if !matches!(self.phase, Phase::Open) || (limited && !self.trusts_limited) {
            return;
        }
        if limited {
            self.limit_bps = Some(rate_bps);
        } else if self.limit_bps.is_some_and(|limit_bps| limit_bps < rate_bps) {
            self.limit_bps = None;
        }
        if rate_bps > self.estimate_bps {
            self.raise(rate_bps);
            self.raised_at_us = Some(now_us);
        }
    }

    fn is_application_limited(&self, now_us: i64) -> bool {
        self.sent.over_bps(SENT_WINDOW_US, now_us) < LIMITED_SHARE * self.estimate_bps
    }

    /// More than this is of no use to anybody.
    fn ceiling_bps(&self) -> f64 {
        self.useful_bps.min(self.config.max_bps) as f64
    }

    fn wants_more(&self) -> bool {
        self.estimate_bps < self.ceiling_bps() * 0.98
    }

    fn grow(&mut self, elapsed_us: i64, now_us: i64) {
        if self.is_application_limited(now_us) {
            self.limited_by = LimitedBy::Application;
            return;
        }
        let seconds = elapsed_us as f64 / 1e6;
        let arrived_bps = self.arrived_bps();
        if self.limit_bps.is_some_and(|limit_bps| arrived_bps > limit_bps * NEAR.1) {
            self.limit_bps = None;
        }
        let grown_bps = match self.limit_bps {
            None => self.estimate_bps * (1.0 + GROWTH_UNKNOWN * seconds),
            Some(limit_bps) if self.estimate_bps < limit_bps * NEAR.0 => {
                (self.estimate_bps * (1.0 + GROWTH_BACK * seconds)).min(limit_bps * NEAR.0)
            }
            Some(_) => {
                let step_bps = GROWTH_NEAR_BPS * (self.estimate_bps / NEAR_BASE_BPS).powf(NEAR_EXPONENT);
                self.estimate_bps
                    + step_bps.clamp(GROWTH_NEAR_MIN * self.estimate_bps, GROWTH_NEAR_MAX * self.estimate_bps)
                        * seconds
            }
        };
        if self.overflows() {
            self.limited_by = LimitedBy::Loss;
        } else if self.trial.is_none() {
            self.limited_by = LimitedBy::Nothing;
            self.raise(grown_bps.min(arrived_bps * BEYOND_ARRIVED));
        }
    }

    /// Raises the estimate if it is less, as far as anybody has use for it.
    fn raise(&mut self, bps: f64) {
        self.set_estimate(self.estimate_bps.max(bps.min(self.ceiling_bps())));
    }

    fn set_estimate(&mut self, bps: f64) {
        self.estimate_bps = bps.clamp(self.config.min_bps as f64, self.config.max_bps as f64);
    }
}

#[cfg(test)]
mod tests;
