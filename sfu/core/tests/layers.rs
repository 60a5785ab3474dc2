//! Which layer a consumer gets.

mod common;

use std::time::Duration;

use broletto_control::{Codec, Content};
use common::{Camera, Plan, World, size};

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
