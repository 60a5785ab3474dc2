//! Bad networks and unlucky numbers.

mod common;

use std::time::Duration;

use broletto_control::{Codec, Content, Response};
use broletto_loadtest::link::LinkConfig;
use common::report::Shown;
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
        let (up, down) = (world.peers[peer].up.stats(), world.peers[peer].down.stats());
        for link in [up, down] {
            let share = link.lost as f64 / (link.lost + link.passed) as f64;
            assert!((0.04..0.06).contains(&share), "{link:?} of peer {peer}");
        }
        let video = world.peers[peer].received(false, 0);
        let (packets, missing) = (video.packets(), video.missing(settled));
        let seeds = "links 1000 and 1001, worker 7";
        assert!(packets > 3_500, "{packets} packets, seeds: {seeds}");
        assert!(missing * 1_000 < packets, "{missing} missing of {packets}, seeds: {seeds}");
        assert_eq!(video.repeated(), 0, "of {packets} packets, seeds: {seeds}");
        let (shown, broken) = video.shown();
        let frames = shown.len() + broken;
        assert!(frames > 1_400, "{frames} frames, seeds: {seeds}");
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
        assert!(received.packets() > 500, "{} packets, audio: {audio}", received.packets());
        assert_eq!((received.missing(world.now), received.repeated()), (0, 0), "audio: {audio}");
    }
    let (shown, broken) = world.peers[b].received(false, 0).shown();
    assert!(shown.len() > 300 && broken == 0, "{} shown, {broken} broken", shown.len());
    assert_eq!(backwards(&shown), 0, "of {} frames", shown.len());
    // The publisher counts frames from where its sequence numbers start: past 65,536 its picture ids
    // have wrapped, and its numbers too. Its timestamps start 136,000 ticks before their end.
    let (first, last) = (shown[0].stamp.frame, shown.last().expect("frames").stamp.frame);
    assert!(first < 65_500 && last > 65_700, "frames {first} to {last}");
}

/// How often time went back, or stood still, from one frame to the next.
fn backwards(shown: &[Shown]) -> usize {
    let steps = shown.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp).cast_signed());
    steps.filter(|step| *step <= 0).count()
}

/// Three publishers of two encodings each, and a viewer whose slot goes from one to the next and
/// from size to size every three seconds.
#[test]
fn an_hour_of_switching_never_breaks_the_picture() {
    const ROUNDS: usize = 1_200;
    let mut world = World::new();
    let layers = vec![
        Layer { width: 320, height: 180, bitrate_bps: 24_000 },
        Layer { width: 640, height: 360, bitrate_bps: 96_000 },
    ];
    let publishers = [Codec::Vp8, Codec::H264, Codec::Vp8].map(|codec| {
        world.join(Plan {
            microphone: false,
            camera: Some(Camera { codec, layers: layers.clone(), frames_per_second: 5 }),
            audio_slots: 0,
            video_slots: 0,
            ..Plan::default()
        })
    });
    let plan = Plan { microphone: false, camera: None, audio_slots: 0, video_slots: 1, ..Plan::default() };
    let viewer = world.join(plan);
    world.run_ms(3_000);
    let (mut sources, mut sizes, mut layers_right, mut last) = (0, 0, 0, None);
    for round in 0..ROUNDS {
        let publisher = publishers[round * 7 % 5 % publishers.len()];
        let encoding = (round / 2 % 2) as u8;
        let (source_before, encoding_before) = last.replace((publisher, encoding)).unzip();
        sources += usize::from(source_before != Some(publisher));
        sizes += usize::from(encoding_before != Some(encoding));
        let camera = world.peers[publisher].producer(Content::Camera);
        let tile = if encoding == 0 { size(320, 180) } else { size(640, 360) };
        world.pin(viewer, 0, camera, tile);
        world.run_ms(3_000);
        let stamp = world.peers[viewer].received(false, 0).last().and_then(|arrival| arrival.stamp);
        let stamp = stamp.expect("there is video");
        assert_eq!(usize::from(stamp.publisher), publisher, "round {round}, worker seed 7");
        layers_right += usize::from(stamp.encoding == encoding);
    }
    let received = world.peers[viewer].received(false, 0);
    let (shown, broken) = received.shown();
    let of = format!("{} frames, {sources} sources, {sizes} sizes, worker seed 7", shown.len());
    assert!(shown.len() > ROUNDS * 14 && sources > 700 && sizes > 500, "{of}");
    assert!(layers_right > ROUNDS * 98 / 100, "{layers_right} rounds ended at the right layer, {of}");
    assert_eq!((broken, received.missing(world.now), received.repeated()), (0, 0, 0), "{of}");
    assert_eq!(backwards(&shown), 0, "{of}");
    assert!(received.gap_max() < Duration::from_millis(800), "{:?} in {of}", received.gap_max());
    let elapsed = (shown.last().expect("frames").timestamp).wrapping_sub(shown[0].timestamp);
    let real = shown.last().expect("frames").at - shown[0].at;
    let wrapped = (real.as_secs_f64() * 90_000.0) as u64 as u32;
    let drift = elapsed.wrapping_sub(wrapped).cast_signed().abs();
    assert!(drift < 90_000, "after an hour time is off by {drift} ticks, {of}");
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
