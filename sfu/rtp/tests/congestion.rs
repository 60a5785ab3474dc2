//! The estimator on emulated links. Each figure is the worst of several seeds; `--nocapture` prints
//! them all, with the bounds that they must keep.

mod path;

use std::time::Duration;

use broletto_loadtest::link::LinkConfig;
use path::{Flow, Reports, Source, World, ms, s};

const SEEDS: std::ops::Range<u64> = 1..9;
const NEVER: Duration = Duration::from_secs(999);
const PLENTY: Source = Source::Elastic(20_000_000);

fn line(rate_bps: u64) -> LinkConfig {
    LinkConfig { rate_bps: Some(rate_bps), queue: ms(300), delay: ms(25), ..LinkConfig::default() }
}

fn world(rate_bps: u64, source: Source, seed: u64) -> World {
    let mut world = World::new(line(rate_bps), seed);
    world.add(source, Reports::default(), seed);
    world
}

fn set_rate(world: &mut World, rate_bps: u64) {
    world.change(|config| config.rate_bps = Some(rate_bps));
}

/// A figure of one run, and what it must be.
struct Figure {
    name: String,
    value: f64,
    bound: Bound,
}

#[derive(Clone, Copy)]
enum Bound {
    Most(f64),
    Least(f64),
}

impl Bound {
    fn holds(self, value: f64) -> bool {
        match self {
            Bound::Most(most) => value <= most,
            Bound::Least(least) => value >= least,
        }
    }

    fn worse(self, a: f64, b: f64) -> f64 {
        match self {
            Bound::Most(_) => a.max(b),
            Bound::Least(_) => a.min(b),
        }
    }
}

#[derive(Default)]
struct Figures(Vec<Figure>);

impl Figures {
    fn most(&mut self, name: impl Into<String>, value: f64, most: f64) {
        self.note(name.into(), value, Bound::Most(most));
    }

    fn least(&mut self, name: impl Into<String>, value: f64, least: f64) {
        self.note(name.into(), value, Bound::Least(least));
    }

    /// The worst of all runs is kept.
    fn note(&mut self, name: String, value: f64, bound: Bound) {
        match self.0.iter_mut().find(|figure| figure.name == name) {
            Some(figure) => figure.value = bound.worse(figure.value, value),
            None => self.0.push(Figure { name, value, bound }),
        }
    }

    fn check(&self) {
        for figure in &self.0 {
            let (sign, bound) = match figure.bound {
                Bound::Most(most) => ("<=", most),
                Bound::Least(least) => (">=", least),
            };
            let verdict = if figure.bound.holds(figure.value) { "" } else { "  FAILS" };
            eprintln!("{:<66} {:>9.2} {sign} {bound}{verdict}", figure.name, figure.value);
        }
        let failed: Vec<&str> = self
            .0
            .iter()
            .filter(|figure| !figure.bound.holds(figure.value))
            .map(|figure| figure.name.as_str())
            .collect();
        assert!(failed.is_empty(), "{failed:?}");
    }
}

fn mbps(bps: u64) -> f64 {
    bps as f64 / 1e6
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Seconds until the estimate is so high, from `from` on.
fn reaches(flow: &Flow, from: Duration, bps: u64) -> f64 {
    flow.reaches(from, |estimate_bps| estimate_bps >= bps).unwrap_or(NEVER).as_secs_f64()
}

#[test]
fn a_path_is_found_and_kept() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        for (rate_bps, source, name) in [
            (500_000, Source::Ladder, "0.5 Mbit/s, layers"),
            (500_000, PLENTY, "0.5 Mbit/s, elastic"),
            (2_000_000, Source::Ladder, "2 Mbit/s, layers"),
            (2_000_000, PLENTY, "2 Mbit/s, elastic"),
            (10_000_000, PLENTY, "10 Mbit/s, elastic"),
        ] {
            let mut world = world(rate_bps, source, seed);
            world.run_until(s(60));
            let flow = &world.flows[0];
            // The estimate begins with 1 Mbit/s: below or above.
            let about = rate_bps * 9 / 10..rate_bps * 11 / 10;
            let found = flow.reaches(s(0), |estimate_bps| about.contains(&estimate_bps)).unwrap_or(NEVER);
            figures.most(format!("{name}: s to 90 %"), found.as_secs_f64(), 8.0);
            let share = flow.estimate_mean(s(5), s(60)) as f64 / rate_bps as f64;
            figures.least(format!("{name}: mean estimate, share"), share, 0.88);
            figures.most(format!("{name}: delay p95, ms"), millis(flow.delay_p95(s(5), s(60))), 160.0);
            figures.most(
                format!("{name}: audio lost from 5 s on, %"),
                flow.audio_loss(s(5), s(60)) * 100.0,
                0.1,
            );
            if rate_bps == 2_000_000 && matches!(source, Source::Ladder) {
                figures.least(format!("{name}: time at the largest"), flow.steps(s(5), s(60))[2], 0.99);
            }
        }
    }
    figures.check();
}

#[test]
fn a_fall_to_300_kbit_is_followed_and_so_is_the_rise() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        for (source, name) in [(Source::Ladder, "layers"), (PLENTY, "elastic")] {
            let mut world = world(2_000_000, source, seed);
            world.run_until(s(20));
            set_rate(&mut world, 300_000);
            world.run_until(s(90));
            set_rate(&mut world, 2_000_000);
            world.run_until(s(120));
            let flow = &world.flows[0];
            let left = flow.reaches(s(20), |estimate_bps| estimate_bps <= 300_000).unwrap_or(NEVER);
            figures.most(format!("fall, {name}: s to 300 kbit/s or less"), left.as_secs_f64(), 1.2);
            let back = flow.reaches(s(20) + left, |estimate_bps| estimate_bps >= 250_000).unwrap_or(NEVER);
            figures.most(format!("fall, {name}: s to 250 kbit/s again"), (left + back).as_secs_f64(), 2.5);
            figures.least(
                format!("fall, {name}: least in the first 3 s, Mbit/s"),
                mbps(flow.estimate_min(s(20), s(23))),
                0.18,
            );
            figures.least(
                format!("fall, {name}: least from 3 s on, Mbit/s"),
                mbps(flow.estimate_min(s(23), s(90))),
                0.2,
            );
            figures.least(
                format!("fall, {name}: mean from 3 s on, Mbit/s"),
                mbps(flow.estimate_mean(s(23), s(90))),
                0.26,
            );
            figures.most(
                format!("fall, {name}: delay p95 from 2 s on, ms"),
                millis(flow.delay_p95(s(22), s(90))),
                160.0,
            );
            figures.most(
                format!("fall, {name}: audio lost from 2 s on, %"),
                flow.audio_loss(s(22), s(90)) * 100.0,
                0.4,
            );
            figures.most(format!("rise, {name}: s to 1.8 Mbit/s"), reaches(flow, s(90), 1_800_000), 8.0);
        }
    }
    figures.check();
}

#[test]
fn flows_share_a_line() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        for (later, name) in [(0, "two at once"), (20, "the second 20 s later")] {
            let mut world = world(3_000_000, PLENTY, seed);
            world.run_until(s(later));
            world.add(PLENTY, Reports::default(), seed + 50);
            world.run_until(s(later + 70));
            // From ten seconds after both are there.
            let (from, to) = (s(later + 10), s(later + 70));
            for flow in &world.flows {
                let share = flow.arrived_bps(from, to) as f64 / 1.5e6;
                figures.least(format!("{name}: least share of half of the line"), share, 0.8);
                figures.most(format!("{name}: largest share of half of the line"), share, 1.2);
                figures.most(format!("{name}: delay p95, ms"), millis(flow.delay_p95(from, to)), 150.0);
            }
        }
    }
    figures.check();
}

#[test]
fn a_download_does_not_push_it_out() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        for (source, name) in [(Source::Ladder, "layers"), (PLENTY, "elastic")] {
            let mut world = world(3_000_000, source, seed);
            world.run_until(s(10));
            world.compete(true);
            world.run_until(s(70));
            let flow = &world.flows[0];
            figures.least(
                format!("download, {name}: least estimate, Mbit/s"),
                mbps(flow.estimate_min(s(10), s(70))),
                0.12,
            );
            figures.least(
                format!("download, {name}: mean estimate, Mbit/s"),
                mbps(flow.estimate_mean(s(10), s(70))),
                0.3,
            );
            let others_bps = world.competitor_bytes() * 8 / 60;
            figures.least(format!("download, {name}: what it leaves, Mbit/s"), mbps(others_bps), 0.5);
            figures.most(
                format!("download, {name}: audio lost, %"),
                flow.audio_loss(s(10), s(70)) * 100.0,
                2.0,
            );
        }
    }
    figures.check();
}

#[test]
fn loss_without_a_queue_is_no_congestion() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        for (loss, burst) in [(0.05, 1), (0.15, 3), (0.3, 1)] {
            let mut world = world(2_000_000, Source::Ladder, seed);
            world.change(|config| (config.loss, config.burst) = (loss, burst));
            world.run_until(s(60));
            let flow = &world.flows[0];
            let name = format!("{:.0} % lost, {burst} at once", loss * 100.0);
            figures.least(
                format!("{name}: least estimate, Mbit/s"),
                mbps(flow.estimate_min(s(2), s(60))),
                0.25,
            );
            figures.least(
                format!("{name}: mean estimate, Mbit/s"),
                mbps(flow.estimate_mean(s(10), s(60))),
                1.0,
            );
        }
        // A policer that lets 600 kbit/s through, and has no queue to speak of.
        let mut world = world(600_000, Source::Ladder, seed);
        world.change(|config| config.queue = ms(15));
        world.run_until(s(60));
        let flow = &world.flows[0];
        let lost = 1.0 - flow.arrived_bps(s(10), s(60)) as f64 / flow.sent_bps(s(10), s(60)) as f64;
        figures.most("shallow queue, 0.6 Mbit/s: lost, %", lost * 100.0, 10.0);
        figures.least(
            "shallow queue, 0.6 Mbit/s: mean, Mbit/s",
            mbps(flow.estimate_mean(s(10), s(60))),
            0.25,
        );
    }
    figures.check();
}

#[test]
fn what_is_no_queue_is_not_taken_for_one() {
    let mut figures = Figures::default();
    let late = |held| Reports { held: ms(held), ..Reports::default() };
    let drift = |drift_ppm| Reports { drift_ppm, ..Reports::default() };
    for seed in SEEDS {
        for (name, reports, jitter) in [
            ("jitter of 30 ms", Reports::default(), 30),
            ("reports held by 50 ms", late(50), 0),
            ("reports held by 100 ms", late(100), 0),
            ("reports every 100 ms", Reports { interval: ms(100), ..Reports::default() }, 0),
            ("clock too fast by 200 ppm", drift(200), 0),
            ("clock too slow by 200 ppm", drift(-200), 0),
        ] {
            for (source, kind) in [(Source::Ladder, "layers"), (PLENTY, "elastic")] {
                let mut config = line(2_000_000);
                config.jitter = ms(jitter);
                let mut world = World::new(config, seed);
                world.add(source, reports, seed);
                world.run_until(s(60));
                let flow = &world.flows[0];
                figures.least(
                    format!("{name}, {kind}: least, Mbit/s"),
                    mbps(flow.estimate_min(s(5), s(60))),
                    1.0,
                );
                figures.least(
                    format!("{name}, {kind}: mean, Mbit/s"),
                    mbps(flow.estimate_mean(s(5), s(60))),
                    1.7,
                );
            }
        }
    }
    figures.check();
}

#[test]
fn pauses_and_other_routes_are_survived() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        for (source, kind) in [(Source::Ladder, "layers"), (PLENTY, "elastic")] {
            let mut paused = world(2_000_000, source, seed);
            for second in (20..60).step_by(4) {
                paused.run_until(s(second));
                paused.paused_until = paused.at() + ms(300);
            }
            paused.run_until(s(60));
            let flow = &paused.flows[0];
            figures.least(
                format!("pauses of 300 ms, {kind}: least, Mbit/s"),
                mbps(flow.estimate_min(s(20), s(60))),
                1.0,
            );
            figures.least(
                format!("pauses of 300 ms, {kind}: mean, Mbit/s"),
                mbps(flow.estimate_mean(s(20), s(60))),
                1.7,
            );

            let mut moved = world(2_000_000, source, seed);
            moved.run_until(s(20));
            moved.change(|config| config.delay = ms(105));
            moved.run_until(s(50));
            moved.change(|config| config.delay = ms(25));
            moved.run_until(s(60));
            let flow = &moved.flows[0];
            figures.least(
                format!("80 ms longer, {kind}: least, Mbit/s"),
                mbps(flow.estimate_min(s(20), s(50))),
                0.3,
            );
            figures.least(
                format!("80 ms longer, {kind}: mean from 5 s on, Mbit/s"),
                mbps(flow.estimate_mean(s(25), s(50))),
                1.6,
            );
            figures.least(
                format!("80 ms shorter, {kind}: least, Mbit/s"),
                mbps(flow.estimate_min(s(50), s(60))),
                1.3,
            );
        }
    }
    figures.check();
}

#[test]
fn who_sends_little_loses_nothing_and_climbs_when_wanted() {
    let mut figures = Figures::default();
    for seed in SEEDS {
        let mut world = world(2_000_000, Source::Small, seed);
        world.run_until(s(60));
        let estimate_bps = world.flows[0].estimator.estimate_bps();
        world.flows[0].source = Source::Ladder;
        world.run_until(s(80));
        let flow = &world.flows[0];
        figures.least("60 s of little: estimate, Mbit/s", mbps(estimate_bps), 0.95);
        figures.most("60 s of little: estimate, Mbit/s at most", mbps(estimate_bps), 1.05);
        figures.most("then more is wanted: s to 1.8 Mbit/s", reaches(flow, s(60), 1_800_000), 3.0);
        figures.least("then more is wanted: time at the largest", flow.steps(s(63), s(80))[2], 0.95);
    }
    figures.check();
}
