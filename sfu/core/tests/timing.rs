//! Voices and pictures at the right time: capture times, redundant audio, and layers that rest.

#![allow(clippy::print_stdout, reason = "what was measured is worth reading")]

mod common;

use std::time::{Duration, UNIX_EPOCH};

use broletto_control::{
    Codec, ConsumerRule, Content, Generation, Notification, Request, RouterWish, TransportWish,
};
use broletto_loadtest::link::LinkConfig;
use common::{Camera, Layer, Plan, World, router_config, size};

/// Half the range of what the timestamps of voice and picture have in common, in seconds.
const COMMON_S: f64 = (1_u64 << 29) as f64 / 90_000.0;

/// By how much two times are apart that are known but for a multiple of [`COMMON_S`], in ms.
fn apart_ms(a: f64, b: f64) -> f64 {
    let difference = (a - b).rem_euclid(COMMON_S);
    (if difference > COMMON_S / 2.0 { difference - COMMON_S } else { difference }) * 1_000.0
}

/// Two publishers whose pictures take 60 and 140 ms longer to encode than their voices.
fn publishers(world: &mut World) -> [usize; 2] {
    [60, 140].map(|picture_ms| {
        let link = LinkConfig { delay: Duration::from_millis(picture_ms / 2), ..LinkConfig::default() };
        let encoding = (Duration::from_millis(20), Duration::from_millis(20 + picture_ms));
        world.join(Plan { encoding, up: link, ..Plan::default() })
    })
}

/// How far the voice that arrives last is from the picture that does: in capture time by the
/// timestamps alone, by the last sender reports, and in truth.
fn skew_ms(world: &World, viewer: usize) -> (f64, Option<f64>, f64) {
    let peer = &world.peers[viewer];
    let voice = peer.received(true, 0).last().expect("a voice");
    let picture = peer.received(false, 0).last().expect("a picture");
    let by_timestamps =
        apart_ms(f64::from(voice.timestamp) / 48_000.0, f64::from(picture.timestamp) / 90_000.0);
    let by_report = |arrival: &common::report::Arrival, rate: f64| {
        let (time, timestamp) = arrival.report?;
        let since = f64::from(arrival.timestamp.wrapping_sub(timestamp).cast_signed()) / rate;
        Some(time.duration_since(UNIX_EPOCH).ok()?.as_secs_f64() + since)
    };
    let reports = by_report(voice, 48_000.0).zip(by_report(picture, 90_000.0));
    // The stamps count frames from when the connection was there, 20 ms a voice's and 40 ms a
    // picture's: the first voice has number 1, the first picture 101.
    let frame = |arrival: &common::report::Arrival| f64::from(arrival.stamp.expect("a stamp").frame);
    let publisher = &world.peers[usize::from(picture.stamp.expect("a stamp").publisher)].plan;
    // Both encoders begin when the connection is there, and the first packets leave at once.
    let took = publisher.encoding.1.as_secs_f64() - publisher.encoding.0.as_secs_f64();
    let truth = (frame(voice) - 1.0) * 20.0 - ((frame(picture) - 101.0) * 40.0 - took * 1_000.0);
    (by_timestamps, reports.map(|(voice, picture)| (voice - picture) * 1_000.0), truth)
}

#[test]
fn capture_times_of_voice_and_picture_agree_also_right_after_a_switch() {
    let mut world = World::new();
    let publishers = publishers(&mut world);
    let viewer = world.join(Plan {
        camera: None,
        microphone: false,
        audio_slots: 1,
        video_slots: 1,
        ..Plan::default()
    });
    // Until every stream had its first sender report, and was led back to the line.
    world.run_ms(20_000);
    for round in 0..6 {
        let publisher = publishers[round % 2];
        for (nth, peer) in publishers.into_iter().enumerate() {
            world.peers[peer].voice = Some(if nth == round % 2 { 20 } else { 127 });
        }
        let camera = world.peers[publisher].producer(Content::Camera);
        world.pin(viewer, 0, camera, size(640, 360));
        let of = |world: &World, audio| {
            let received = world.peers[viewer].received(audio, 0);
            received.last().and_then(|arrival| arrival.stamp).map(|stamp| usize::from(stamp.publisher))
        };
        let mut steps = 0;
        while of(&world, false) != Some(publisher) || of(&world, true) != Some(publisher) {
            world.run_ms(5);
            steps += 1;
            assert!(steps < 1_000, "round {round}: the slots did not switch");
        }
        let (by_timestamps, _, truth) = skew_ms(&world, viewer);
        println!("round {round}: {by_timestamps:.1} ms by timestamps, {truth:.1} ms in truth");
        assert!((by_timestamps - truth).abs() < 25.0, "round {round}: {by_timestamps} and not {truth} ms");
        world.run_ms(8_000);
        let (by_timestamps, by_reports, truth) = skew_ms(&world, viewer);
        let by_reports = by_reports.expect("sender reports came");
        assert!((by_timestamps - truth).abs() < 20.0, "round {round}: {by_timestamps} and not {truth} ms");
        assert!((by_reports - truth).abs() < 20.0, "round {round}: {by_reports} and not {truth} ms");
    }
}

#[test]
fn redundant_audio_goes_to_those_who_take_it_and_the_frame_alone_to_the_others() {
    let mut world = World::new();
    let listener = |red| Plan {
        red,
        camera: None,
        microphone: false,
        audio_slots: 1,
        video_slots: 0,
        ..Plan::default()
    };
    let speaker = world.join(Plan { red: true, camera: None, ..Plan::default() });
    let takes = world.join(listener(true));
    let refuses = world.join(listener(false));
    world.run_ms(3_000);
    let [whole, alone] = [takes, refuses].map(|peer| {
        let arrivals = world.peers[peer].received(true, 0).arrivals();
        assert!(arrivals.len() > 100);
        arrivals.last().map(|arrival| (arrival.bytes, arrival.stamp.expect("a stamp"))).expect("a voice")
    });
    let frame = common::media::audio(0, 1).len();
    assert_eq!((whole.0, alone.0), (5 + 2 * frame, frame));
    assert_eq!((usize::from(whole.1.publisher), usize::from(alone.1.publisher)), (speaker, speaker));
    // What came before a switch is not sent after it.
    let first = world.peers[takes].received(true, 0).arrivals()[0];
    assert_eq!(first.bytes, frame);

    // Levels are still read, and a muted voice is silent.
    let told = world.notified(|notification| matches!(notification, Notification::Speakers { speakers, .. } if !speakers.is_empty()));
    assert!(!told.is_empty(), "who speaks is known");
    let (transport, producer) =
        (world.peers[speaker].transport, world.peers[speaker].producer(Content::Microphone));
    world.request(Request::PauseProducer { transport, producer, paused: true }).expect("it is there");
    world.run_ms(200);
    world.peers[takes].forget_received();
    world.run_ms(1_000);
    assert_eq!(world.peers[takes].received(true, 0).packets(), 0);
    assert_eq!(world.worker.stats().dropped.payload_malformed, 0);
}

/// A publisher that does what it is told, as the page does.
fn obey(world: &mut World, publisher: usize, heard: &mut usize) {
    let producer = world.peers[publisher].producer(Content::Camera);
    for (_, notification) in &world.notifications[*heard..] {
        if let Notification::ProducerDemand { producer: of, layers, .. } = notification
            && *of == producer
        {
            let resting = (0..3).filter(|layer| !layers.contains(layer)).map(usize::from);
            world.peers[publisher].resting = resting.collect();
        }
    }
    *heard = world.notifications.len();
}

fn run(world: &mut World, publisher: usize, heard: &mut usize, millis: u64) {
    for _ in 0..millis / 10 {
        world.run_ms(10);
        obey(world, publisher, heard);
    }
}

#[test]
fn layers_that_nobody_watches_rest_and_are_back_at_once() {
    let mut world = World::new();
    let publisher = world.join(Plan { camera: Some(Camera::simulcast(Codec::Vp8)), ..Plan::default() });
    let viewer = world.join(Plan { camera: None, microphone: false, video_slots: 1, ..Plan::default() });
    let camera = world.peers[publisher].producer(Content::Camera);
    let mut heard = 0;
    let told = |world: &World| {
        let told = world
            .notified(|n| matches!(n, Notification::ProducerDemand { producer, .. } if *producer == camera));
        told.last().map(|(at, n)| match n {
            Notification::ProducerDemand { layers, .. } => (*at, layers.clone()),
            other => unreachable!("{other:?}"),
        })
    };

    // Somebody sees a small picture of it.
    world.pin(viewer, 0, camera, size(320, 180));
    run(&mut world, publisher, &mut heard, 12_000);
    assert_eq!(told(&world).map(|(_, layers)| layers), Some(vec![0]));
    assert_eq!(world.peers[publisher].resting, [1, 2]);

    // From the small tile to a large one and back, again and again.
    let mut slowest = Duration::ZERO;
    for round in 0..4 {
        world.peers[viewer].forget_received();
        let asked = world.now;
        world.pin(viewer, 0, camera, size(1280, 720));
        let at = world.elapsed();
        run(&mut world, publisher, &mut heard, 4_000);
        let told_at = told(&world).expect("it was told").0;
        assert!(told_at - at < Duration::from_millis(20), "told after {:?}", told_at - at);
        let received = world.peers[viewer].received(false, 0);
        let (shown, broken) = received.shown();
        let large = shown.iter().find(|frame| frame.stamp.encoding == 2).expect("the large picture comes");
        slowest = slowest.max(large.at - asked);
        assert_eq!(broken, 0);
        assert!(received.gap_max() < Duration::from_millis(150), "round {round}: {:?}", received.gap_max());
        let encodings: Vec<u8> = shown.iter().map(|frame| frame.stamp.encoding).collect();
        let changes = encodings.windows(2).filter(|pair| pair[0] != pair[1]).count();
        assert_eq!(changes, 1, "it goes up once: {encodings:?}");
        world.pin(viewer, 0, camera, size(320, 180));
        run(&mut world, publisher, &mut heard, 9_000);
        assert_eq!(world.peers[publisher].resting, [1, 2], "round {round}");
    }
    println!("from a small to a large tile: {slowest:?}");
    assert!(slowest < Duration::from_millis(300), "{slowest:?}");

    // Nobody watches.
    world.wish(viewer, 0, ConsumerRule::Off, None);
    let at = world.elapsed();
    run(&mut world, publisher, &mut heard, 7_000);
    let (told_at, layers) = told(&world).expect("it was told");
    assert!(layers.is_empty(), "{layers:?}");
    assert!((4_700..5_400).contains(&(told_at - at).as_millis()), "{:?}", told_at - at);
    world.peers[viewer].forget_received();
    let asked = world.now;
    world.pin(viewer, 0, camera, size(640, 360));
    run(&mut world, publisher, &mut heard, 2_000);
    let shown = world.peers[viewer].received(false, 0).shown().0;
    let first = shown.first().expect("it is back").at - asked;
    println!("from nothing to a picture: {first:?}");
    assert!(first < Duration::from_millis(250), "{first:?}");

    // A signaling process that may be new is told again.
    world.notifications.clear();
    let transports = vec![
        TransportWish { transport: world.peers[publisher].transport, paused: vec![], wishes: vec![] },
        TransportWish { transport: world.peers[viewer].transport, paused: vec![], wishes: vec![] },
    ];
    let routers = vec![RouterWish {
        router: world.router,
        config: router_config(&[Codec::H264, Codec::Vp8]),
        transports,
    }];
    world.request(Request::Sync { generation: Generation(1), routers }).expect("it is a sync");
    assert!(told(&world).is_some_and(|(_, layers)| layers.contains(&1)), "{:?}", told(&world));
}

#[test]
fn an_encoding_that_does_not_come_when_asked_is_done_without() {
    let mut world = World::new();
    let layers = vec![Layer::SMALL, Layer::MIDDLE, Layer::LARGE];
    let camera = Camera { codec: Codec::Vp8, layers, frames_per_second: 25 };
    let publisher = world.join(Plan { camera: Some(camera), ..Plan::default() });
    let viewer = world.join(Plan { camera: None, microphone: false, video_slots: 1, ..Plan::default() });
    let camera = world.peers[publisher].producer(Content::Camera);
    let mut heard = 0;
    world.pin(viewer, 0, camera, size(320, 180));
    run(&mut world, publisher, &mut heard, 9_000);
    // The machine has become too slow for the largest.
    world.pin(viewer, 0, camera, size(1280, 720));
    for _ in 0..900 {
        world.run_ms(10);
        obey(&mut world, publisher, &mut heard);
        world.peers[publisher].resting.push(2);
    }
    let (shown, broken) = world.peers[viewer].received(false, 0).shown();
    assert_eq!((shown.last().map(|frame| frame.stamp.encoding), broken), (Some(1), 0));
}
