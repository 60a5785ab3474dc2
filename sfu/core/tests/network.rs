//! Bad networks and unlucky numbers.

mod common;

use std::time::Duration;

use broletto_control::{Codec, Content, Response};
use broletto_loadtest::link::LinkConfig;
use common::{Camera, Layer, Plan, World, size};

#[test]
fn of_five_percent_loss_retransmission_leaves_less_than_a_thousandth() {
    let lossy = LinkConfig { loss: 0.05, delay: Duration::from_millis(25), ..LinkConfig::default() };
    let plan = Plan {
        camera: Some(Camera::single(Codec::Vp8, Layer::MIDDLE)),
        up: lossy,
        down: lossy,
        ..Plan::default()
    };
    let mut world = World::new();
    let a = world.join(plan.clone());
    let b = world.join(plan);
    world.run_ms(60_000);
    let settled = world.now - Duration::from_secs(2);
    for peer in [a, b] {
        let video = world.peers[peer].received(false, 0);
        assert!(video.packets() > 3_500, "{}", video.packets());
        let missing = video.missing(settled);
        assert!(missing * 1_000 < video.packets(), "{missing} of {}", video.packets());
        assert_eq!(video.repeated(), 0);
    }
}

#[test]
fn numbers_wrap_without_a_seam() {
    let mut world = World::new();
    let a = world.add(Plan { camera: Some(Camera::simulcast(Codec::Vp8)), ..Plan::default() }, 65_400);
    world.offer(a).expect("the offer is good");
    let b = world.join(Plan { camera: None, ..Plan::default() });
    world.run_ms(15_000);
    for audio in [true, false] {
        let received = world.peers[b].received(audio, 0);
        assert_eq!((received.missing(world.now), received.repeated()), (0, 0));
    }
    let (shown, broken) = world.peers[b].received(false, 0).shown();
    assert!(shown.len() > 300 && broken == 0, "{} shown, {broken} broken", shown.len());
    let backwards =
        shown.windows(2).filter(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed() <= 0);
    assert_eq!(backwards.count(), 0);
}

#[test]
fn an_hour_of_switching_never_breaks_the_picture() {
    let mut world = World::new();
    let small = Layer { width: 320, height: 180, bitrate_bps: 24_000 };
    let camera = |codec| Some(Camera { codec, layers: vec![small], frames_per_second: 4 });
    let codecs = [Codec::Vp8, Codec::H264, Codec::Vp8];
    let publishers: Vec<usize> = codecs
        .into_iter()
        .map(|codec| {
            let (audio_slots, video_slots) = (0, 0);
            world.join(Plan {
                microphone: false,
                camera: camera(codec),
                audio_slots,
                video_slots,
                ..Plan::default()
            })
        })
        .collect();
    let plan = Plan { microphone: false, camera: None, audio_slots: 0, video_slots: 1, ..Plan::default() };
    let viewer = world.join(plan);
    let mut switches = 0;
    let mut last = None;
    for round in 0..1_200_usize {
        let publisher = publishers[round * 7 % 5 % publishers.len()];
        switches += usize::from(last.replace(publisher) != Some(publisher));
        let camera = world.peers[publisher].producer(Content::Camera);
        world.pin(viewer, 0, camera, size(320, 180));
        world.run_ms(3_000);
    }
    let received = world.peers[viewer].received(false, 0);
    let (shown, broken) = received.shown();
    assert_eq!((broken, received.missing(world.now), received.repeated()), (0, 0, 0));
    let seen = received.publishers().len();
    assert!(seen + 2 >= switches, "{seen} of {switches} switches were seen");
    assert!(received.gap_max() < Duration::from_millis(800), "{:?}", received.gap_max());
    let elapsed = (shown.last().expect("frames").timestamp).wrapping_sub(shown[0].timestamp);
    let real = shown.last().expect("frames").at - shown[0].at;
    let wrapped = (real.as_secs_f64() * 90_000.0) as u64 as u32;
    let drift = elapsed.wrapping_sub(wrapped).cast_signed().abs();
    assert!(drift < 90_000, "after an hour time is off by {drift} ticks");
}

#[test]
fn an_ice_restart_keeps_the_worker_s_index_and_the_picture() {
    let mut world = World::new();
    let a = world.join(Plan::default());
    let b = world.join(Plan::default());
    world.run_ms(3_000);
    let sdp = world.peers[b].restart_ice();
    let request = world.offer_of(b, sdp);
    let Ok(Response::Answer { sdp, .. }) = world.request(request) else { panic!("a restart is answered") };
    let ufrag = sdp.lines().find_map(|line| line.strip_prefix("a=ice-ufrag:")).expect("there is a ufrag");
    assert!(ufrag.starts_with("0003"), "{ufrag}");
    world.peers[b].accept(&sdp);
    world.run_ms(3_000);
    for peer in [a, b] {
        let (shown, broken) = world.peers[peer].received(false, 0).shown();
        assert!(shown.len() > 130 && broken == 0, "{} shown, {broken} broken", shown.len());
    }
}

#[test]
fn a_nat_that_gives_another_port_is_followed() {
    let mut world = World::new();
    let a = world.join(Plan::default());
    let b = world.join(Plan::default());
    world.run_ms(3_000);
    world.peers[b].rebind(7);
    world.run_ms(8_000);
    world.peers[a].forget_received();
    world.peers[b].forget_received();
    world.run_ms(3_000);
    for peer in [a, b] {
        let (shown, broken) = world.peers[peer].received(false, 0).shown();
        assert!(
            shown.len() > 60 && broken == 0,
            "{} shown, {broken} broken, {:?}",
            shown.len(),
            world.worker.stats()
        );
    }
}
