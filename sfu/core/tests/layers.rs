//! Which layer a consumer gets.

mod common;

use std::time::Duration;

use broletto_control::{Codec, Content};
use broletto_loadtest::link::LinkConfig;
use common::report::Shown;
use common::{Camera, Plan, World, size};

fn encodings(shown: &[Shown]) -> Vec<u8> {
    let mut encodings: Vec<u8> = shown.iter().map(|frame| frame.stamp.encoding).collect();
    encodings.dedup();
    encodings
}

fn viewers() -> (World, usize, usize) {
    let mut world = World::new();
    let publisher = world.join(Plan { camera: Some(Camera::simulcast(Codec::H264)), ..Plan::default() });
    let viewer = world.join(Plan { camera: None, video_slots: 1, ..Plan::default() });
    (world, publisher, viewer)
}

#[test]
fn a_small_tile_gets_the_small_layer_and_a_large_one_the_large() {
    let (mut world, publisher, viewer) = viewers();
    let camera = world.peers[publisher].producer(Content::Camera);
    for (tile, encoding) in [(size(320, 180), 0), (size(1280, 720), 2), (size(640, 360), 1)] {
        world.pin(viewer, 0, camera, tile);
        world.run_ms(6_000);
        let (shown, broken) = world.peers[viewer].received(false, 0).shown();
        assert_eq!(shown.last().expect("frames").stamp.encoding, encoding, "{tile:?}");
        assert_eq!(broken, 0, "{tile:?}");
    }
    let received = world.peers[viewer].received(false, 0);
    assert_eq!(received.missing(world.now), 0);
    assert!(received.gap_max() < Duration::from_millis(600), "{:?}", received.gap_max());
    assert_eq!(world.worker.stats().dropped.payload_malformed, 0);
}

#[test]
fn a_path_that_narrows_gets_a_lower_layer_and_climbs_back_without_a_broken_picture() {
    let (mut world, publisher, viewer) = viewers();
    let camera = world.peers[publisher].producer(Content::Camera);
    world.pin(viewer, 0, camera, size(1280, 720));
    let wide =
        LinkConfig { rate_bps: Some(4_000_000), delay: Duration::from_millis(20), ..Default::default() };
    let now = world.now;
    world.peers[viewer].down.set_config(wide, now);
    world.run_ms(10_000);
    let (shown, _) = world.peers[viewer].received(false, 0).shown();
    assert_eq!(shown.last().expect("frames").stamp.encoding, 2, "{:?}", encodings(&shown));

    let narrow = LinkConfig { rate_bps: Some(300_000), ..wide };
    let now = world.now;
    world.peers[viewer].down.set_config(narrow, now);
    // What was sent before it was known waits in the queues of the path.
    world.run_ms(6_000);
    world.peers[viewer].forget_received();
    world.run_ms(12_000);
    let (shown, _) = world.peers[viewer].received(false, 0).shown();
    assert_eq!(encodings(&shown), [0], "the lower layer goes on");
    assert!(shown.len() > 200, "{} frames in 12 s", shown.len());
    let audio = world.peers[viewer].received(true, 0);
    assert_eq!(audio.missing(world.now), 0, "audio loses nothing");

    let now = world.now;
    world.peers[viewer].down.set_config(wide, now);
    world.run_ms(20_000);
    let received = world.peers[viewer].received(false, 0);
    let (shown, broken) = received.shown();
    assert_eq!(shown.last().expect("frames").stamp.encoding, 2, "{:?}", encodings(&shown));
    assert_eq!(broken, 0);
    assert!(received.gap_max() < Duration::from_millis(700), "{:?}", received.gap_max());
}
