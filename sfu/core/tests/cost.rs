//! What a participant costs a worker, in memory and allocations.
#![allow(clippy::disallowed_methods)]

mod common;
#[path = "../../rtp/tests/counting/mod.rs"]
mod counting;

use std::cell::Cell;

use broletto_control::{Codec, Content};
use common::{Camera, Layer, Plan, World};

thread_local! {
    static BEFORE: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
    static SPENT: Cell<(u64, i64)> = const { Cell::new((0, 0)) };
}

/// Counts from now on what the worker allocates, and nothing of the world around it.
fn watch(world: &mut World) {
    world.before_worker = || BEFORE.set((counting::allocations(), counting::live_bytes()));
    world.after_worker = || {
        let ((calls, bytes), (calls_before, bytes_before)) = (SPENT.get(), BEFORE.get());
        let calls = calls + counting::allocations() - calls_before;
        SPENT.set((calls, bytes + counting::live_bytes() - bytes_before));
    };
}

/// A camera of 200 packets of 1,000 bytes a second, and so many who watch it and nothing else.
fn lecture(watchers: usize) -> (World, usize) {
    let mut world = World::new();
    let layer = Layer { bitrate_bps: 1_600_000, ..Layer::LARGE };
    watch(&mut world);
    let camera = Some(Camera { frames_per_second: 100, ..Camera::single(Codec::Vp8, layer) });
    let publisher = world.join(Plan { camera, audio_slots: 0, video_slots: 0, ..Plan::default() });
    let camera = world.peers[publisher].producer(Content::Camera);
    for _ in 0..watchers {
        let plan =
            Plan { microphone: false, camera: None, audio_slots: 3, video_slots: 1, ..Plan::default() };
        let watcher = world.join(plan);
        world.pin(watcher, 0, camera, common::size(1280, 720));
    }
    (world, publisher)
}

/// Signalling, reports and ticks allocate a little; what is forwarded does not.
#[test]
fn a_packet_that_is_forwarded_allocates_nothing() {
    let (mut world, _) = lecture(8);
    world.run_ms(12_000);
    let (allocations, forwarded) = (SPENT.get().0, world.worker.stats().forwarded);
    world.run_ms(5_000);
    let allocations = SPENT.get().0 - allocations;
    let forwarded = world.worker.stats().forwarded - forwarded;
    assert!(forwarded > 5 * 8 * 150, "{forwarded} packets are too few to tell");
    let share = allocations as f64 / forwarded as f64;
    assert!(share < 0.5, "{allocations} allocations for {forwarded} packets");
}

/// Histories of a second are most of it.
#[test]
fn who_only_watches_takes_less_than_300_kib() {
    let bytes_with = |watchers| {
        SPENT.set((0, 0));
        let (mut world, _) = lecture(watchers);
        world.run_ms(12_000);
        SPENT.get().1
    };
    let (few, many) = (bytes_with(2), bytes_with(10));
    let each = (many - few) / 8;
    assert!((20 * 1_024..300 * 1_024).contains(&each), "{each} bytes for each watcher");
}
