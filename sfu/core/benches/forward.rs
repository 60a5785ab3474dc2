//! What a worker needs for a packet that it forwards: all but the system calls of the shell around it.
//!
//! One publishes, and so many watch, over links without delay and loss, in virtual time. Only what the
//! worker does is counted. The others, which are str0m, take much longer, and leave the caches to it as
//! cold as a kernel would.
#![allow(clippy::disallowed_methods, clippy::print_stdout)] // It measures time, and tells it.

#[path = "../tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::time::{Duration, Instant};

use broletto_control::{Codec, Content};
use common::{Camera, Layer, Plan, World};

const SECONDS: u64 = 4;
const ROUNDS: usize = 3;

thread_local! {
    static BEGUN: Cell<Option<Instant>> = const { Cell::new(None) };
    static SPENT: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

fn main() {
    println!("nanoseconds of a worker for a forwarded packet, best of {ROUNDS} rounds of {SECONDS} s");
    for (name, video) in [("video, 2 packets a frame", true), ("audio", false)] {
        for watchers in [1, 10, 50] {
            println!("{name:<26} {watchers:>3} watchers {:>6}", cost(video, watchers));
        }
    }
}

fn cost(video: bool, watchers: usize) -> u128 {
    let mut world = World::new();
    let layer = Layer { bitrate_bps: 1_600_000, ..Layer::LARGE };
    let camera = Camera { frames_per_second: 100, ..Camera::single(Codec::Vp8, layer) };
    let camera = video.then_some(camera);
    let plan = Plan { microphone: !video, camera, audio_slots: 0, video_slots: 0, ..Plan::default() };
    let publisher = world.join(plan);
    for _ in 0..watchers {
        let plan =
            Plan { microphone: false, camera: None, audio_slots: 1, video_slots: 1, ..Plan::default() };
        let watcher = world.join(plan);
        if video {
            let camera = world.peers[publisher].producer(Content::Camera);
            world.pin(watcher, 0, camera, common::size(1280, 720));
        }
    }
    world.run(Duration::from_secs(6));
    world.before_worker = || BEGUN.set(Some(Instant::now()));
    world.after_worker = || {
        if let Some(begun) = BEGUN.take() {
            SPENT.set(SPENT.get() + begun.elapsed());
        }
    };
    let round = |_| {
        let forwarded = world.worker.stats().forwarded;
        SPENT.set(Duration::ZERO);
        world.run(Duration::from_secs(SECONDS));
        let forwarded = world.worker.stats().forwarded - forwarded;
        assert!(forwarded > 0, "nothing was forwarded");
        SPENT.get().as_nanos() / u128::from(forwarded)
    };
    (0..ROUNDS).map(round).min().unwrap_or_default()
}
