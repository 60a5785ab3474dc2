//! A clean link: nothing that the server does may be seen.

#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

mod common;

use std::time::Duration;

use broletto_control::{Codec, Notification};
use common::{Camera, Layer, Plan, World};

/// The longest time without a frame, of every slot that shows somebody.
fn gaps(plans: Vec<Plan>, length_ms: u64) -> Vec<Duration> {
    let mut world = World::new();
    let peers: Vec<usize> = plans.into_iter().map(|plan| world.join(plan)).collect();
    world.run_ms(length_ms);
    let slots = peers.iter().flat_map(|peer| (0..peers.len() - 1).map(move |slot| (*peer, slot)));
    let gaps = slots.map(|(peer, slot)| {
        let received = world.peers[peer].received(false, slot);
        let (shown, broken) = received.shown();
        assert!(shown.len() > 100 && broken == 0, "{} shown, {broken} broken", shown.len());
        received.gap_max()
    });
    gaps.collect()
}

#[test]
fn on_a_clean_link_no_picture_stands_still() {
    for people in [2, 3, 5] {
        for camera in [
            Camera::single(Codec::Vp8, Layer::MIDDLE),
            Camera::simulcast(Codec::Vp8),
            Camera::simulcast(Codec::H264),
        ] {
            let plan = Plan { camera: Some(camera.clone()), ..Plan::default() };
            let gaps = gaps(vec![plan; people], 10_000);
            let worst = gaps.iter().max().expect("there are slots");
            println!("{people} people, {:?}, {} encodings: {worst:?}", camera.codec, camera.layers.len());
            assert!(*worst < Duration::from_millis(200), "{gaps:?}");
        }
    }
}

#[test]
fn what_is_lost_on_the_way_here_is_told() {
    let mut world = World::new();
    let mut plan = Plan::default();
    plan.up.loss = 0.08;
    let lossy = world.join(plan);
    let clean = world.join(Plan::default());
    world.run_ms(30_000);
    for (peer, expected) in [(lossy, 0.06..0.10), (clean, -0.001..0.001)] {
        let transport = world.peers[peer].transport;
        let shares: Vec<f32> = world
            .notifications
            .iter()
            .filter_map(|(_, notification)| match notification {
                Notification::TransportStats { transport: of, stats } if *of == transport => stats.loss_in,
                _ => None,
            })
            .collect();
        let mean = shares.iter().sum::<f32>() / shares.len() as f32;
        assert!(shares.len() > 8 && expected.contains(&mean), "{mean} of {shares:?}");
    }
}
