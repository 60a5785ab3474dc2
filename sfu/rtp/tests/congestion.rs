//! The estimator on emulated links: what each test shows is in its name, and what all of them measure
//! is printed with `--nocapture`.

mod path;

use std::time::Duration;

use broletto_loadtest::link::LinkConfig;
use path::{Reports, Source, World, ms, s};

fn line(rate_bps: u64) -> LinkConfig {
    LinkConfig { rate_bps: Some(rate_bps), queue: ms(300), delay: ms(25), ..LinkConfig::default() }
}

#[test]
fn trace() {
    let name = std::env::var("TRACE").unwrap_or_default();
    let seed: u64 = std::env::var("SEED").ok().and_then(|s| s.parse().ok()).unwrap_or(1);
    let source = match std::env::var("SOURCE").as_deref() {
        Ok("elastic") => Source::Elastic(20_000_000),
        Ok("small") => Source::Small,
        _ => Source::Ladder,
    };
    let mut world = World::new(line(2_000_000), seed);
    let mut reports = Reports::default();
    let mut events: Vec<(u64, Box<dyn Fn(&mut World)>)> = Vec::new();
    let mut end = 60;
    match name.as_str() {
        "" => return,
        "start500" => world = World::new(line(500_000), seed),
        "start10" => world = World::new(line(10_000_000), seed),
        "start2" => {}
        "fall" => {
            events.push((20_000, Box::new(|w| w.change(|c| c.rate_bps = Some(300_000)))));
            end = 50;
        }
        "rise" => {
            events.push((20_000, Box::new(|w| w.change(|c| c.rate_bps = Some(300_000)))));
            events.push((50_000, Box::new(|w| w.change(|c| c.rate_bps = Some(2_000_000)))));
            end = 70;
        }
        "loss30" => world.change(|c| {
            c.loss = 0.3;
        }),
        "loss15" => world.change(|c| {
            c.loss = 0.15;
            c.burst = 3;
        }),
        "jitter" => world.change(|c| {
            c.jitter = ms(30);
        }),
        "held" => reports.held = ms(100),
        "two" => {
            world = World::new(line(3_000_000), seed);
            events.push((
                20_000,
                Box::new(move |w| {
                    w.add(Source::Elastic(20_000_000), Reports::default(), seed + 5);
                }),
            ));
            end = 90;
        }
        "compete" => {
            world = World::new(line(3_000_000), seed);
            events.push((20_000, Box::new(|w| w.compete(true))));
            end = 80;
        }
        "route" => {
            events.push((20_000, Box::new(|w| w.change(|c| c.delay = ms(105)))));
            events.push((40_000, Box::new(|w| w.change(|c| c.delay = ms(25)))));
        }
        "pause" => {
            for n in 0..10 {
                events.push((20_000 + n * 3_000, Box::new(move |w| w.paused_until = w.at() + ms(300))))
            }
        }
        _ => panic!(),
    }
    world.add(source, reports, seed);
    let mut said = 0;
    for tick in 0..end * 10 {
        for (at, event) in &events {
            if *at == tick * 100 {
                event(&mut world);
            }
        }
        world.run_until(ms(tick * 100 + 100));
        let verbose = std::env::var("FINE").ok().and_then(|s| s.parse::<u64>().ok());
        let every = std::env::var("EVERY").ok().and_then(|s| s.parse::<u64>().ok()).unwrap_or(10);
        if tick % every == every - 1 || verbose.is_some_and(|at| (at * 10..at * 10 + 50).contains(&tick)) {
            said += 1;
            eprint!("{:5.1} ", (tick + 1) as f64 / 10.0);
            for flow in &world.flows {
                let state = flow.estimator.state(std::time::Instant::now() + world.at());
                let sample = flow.samples.last().unwrap();
                eprint!(
                    "E {:5} ack {:5} q {:3}/{:3} tr {:5.2} loss {:.2} {:11} step {} dl {:3} pr {:3} dr {} aud {:.2} | ",
                    state.estimate_bps / 1000,
                    state.acknowledged_bps / 1000,
                    state.queue.as_millis(),
                    state.queue_max.as_millis(),
                    state.trend,
                    state.loss,
                    format!("{:?}", state.limited_by),
                    sample.step,
                    sample.delays.iter().max().map_or(0, |d| d.as_millis()),
                    flow.probes,
                    flow.dropped,
                    sample.audio_lost
                );
            }
            eprintln!();
        }
    }
    let _ = (said, Duration::ZERO);
}
