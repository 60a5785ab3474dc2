//! Who is shown and heard where, and what signaling is told.

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use broletto_control::{
    Codec, ConsumerRule, ConsumerWish, Content, Generation, Notification, Request, Response, RouterId,
    RouterWish, TransportState, TransportWish,
};
use broletto_sfu_core::io::{Protocol, Received};
use common::{Camera, Layer, Plan, World, router_config, size};

/// Everyone sends a voice and three encodings of a camera at the rates of a browser, sees the last
/// nine speakers, the first of them larger, and hears the three loudest.
#[test]
fn fifty_participants_see_the_last_nine() {
    let mut world = World::new();
    let plan = Plan {
        camera: Some(Camera::simulcast(Codec::Vp8)),
        audio_slots: 3,
        video_slots: 9,
        ..Plan::default()
    };
    for _ in 0..50 {
        let peer = world.join(plan.clone());
        world.peers[peer].voice = Some(127);
    }
    for peer in 0..50 {
        world.wish(peer, 0, ConsumerRule::Speaker, size(640, 360));
        for slot in 1..9 {
            world.wish(peer, slot, ConsumerRule::Speaker, size(320, 180));
        }
    }
    world.run_ms(2_000);
    let mut spoke: Vec<usize> = Vec::new();
    for pair in [[41, 47], [3, 20], [44, 9]] {
        for (peer, participant) in world.peers.iter_mut().enumerate() {
            participant.voice = Some(if pair.contains(&peer) { 35 } else { 127 });
        }
        spoke.extend(pair);
        world.run_ms(2_000);
        for (index, peer) in world.peers.iter().enumerate() {
            let last = |audio, slot| Some(peer.received(audio, slot).last()?.stamp?.publisher);
            let shown: BTreeSet<usize> =
                (0..9).filter_map(|slot| last(false, slot)).map(usize::from).collect();
            let heard: BTreeSet<usize> =
                (0..3).filter_map(|slot| last(true, slot)).map(usize::from).collect();
            assert_eq!(shown.len(), 9, "peer {index} sees {shown:?}");
            assert!(!shown.contains(&index), "peer {index} sees himself");
            let others = |speaker: &&usize| **speaker != index;
            assert!(spoke.iter().filter(others).all(|s| shown.contains(s)), "peer {index} sees {shown:?}");
            assert!(pair.iter().filter(others).all(|s| heard.contains(s)), "peer {index} hears {heard:?}");
        }
    }
    let (mut packets, mut frames, mut switches) = (0, 0, 0);
    for (index, peer) in world.peers.iter().enumerate() {
        for slot in 0..9 {
            let received = peer.received(false, slot);
            let (shown, broken) = received.shown();
            let of = format!("{} packets of peer {index}, slot {slot}, worker seed 7", received.packets());
            assert_eq!((received.missing(world.now), received.repeated(), broken), (0, 0, 0), "{of}");
            let steps = shown.windows(2).map(|pair| pair[1].timestamp.wrapping_sub(pair[0].timestamp));
            assert!(steps.into_iter().all(|step| step.cast_signed() > 0), "time goes back in {of}");
            packets += received.packets();
            frames += shown.len();
            switches += received.publishers().len() - 1;
        }
        for slot in 0..3 {
            let received = peer.received(true, slot);
            assert_eq!((received.missing(world.now), received.repeated()), (0, 0), "peer {index} hears");
        }
    }
    // 450 slots of 25 frames a second, for most of eight seconds.
    assert!(frames > 75_000 && packets > frames, "{frames} frames, {packets} packets");
    assert!(switches >= 100, "{switches} switches");
    let speakers = world.notified(|notification| matches!(notification, Notification::Speakers { .. }));
    let Some((_, Notification::Speakers { speakers, .. })) = speakers.last() else { panic!("nobody spoke") };
    let told: BTreeSet<_> = speakers.iter().map(|speaker| speaker.producer).collect();
    for speaker in [44, 9] {
        assert!(told.contains(&world.peers[speaker].producer(Content::Microphone)), "{told:?}");
    }
}

#[test]
fn a_source_may_be_switched_and_switched_off() {
    let mut world = World::new();
    let publishers: Vec<usize> = (0..3).map(|_| world.join(Plan::default())).collect();
    let viewer = world.join(Plan { camera: None, video_slots: 1, ..Plan::default() });
    for publisher in publishers.iter().chain(&publishers) {
        let camera = world.peers[*publisher].producer(Content::Camera);
        world.pin(viewer, 0, camera, size(640, 360));
        world.run_ms(1_500);
        let last = world.peers[viewer].received(false, 0).last().expect("packets").stamp.expect("a stamp");
        assert_eq!(usize::from(last.publisher), *publisher);
    }
    let (shown, broken) = world.peers[viewer].received(false, 0).shown();
    assert!(shown.len() > 180 && broken == 0, "{} shown, {broken} broken", shown.len());

    world.wish(viewer, 0, ConsumerRule::Off, None);
    world.run_ms(200);
    world.peers[viewer].forget_received();
    world.run_ms(1_000);
    assert_eq!(world.peers[viewer].received(false, 0).packets(), 0);
}

#[test]
fn a_paused_producer_is_not_shown_and_comes_back() {
    let mut world = World::new();
    let publisher = world.join(Plan::default());
    let viewer = world.join(Plan { camera: None, ..Plan::default() });
    world.run_ms(2_000);
    let (transport, producer) =
        (world.peers[publisher].transport, world.peers[publisher].producer(Content::Camera));
    world.request(Request::PauseProducer { transport, producer, paused: true }).expect("it is there");
    world.run_ms(200);
    world.peers[viewer].forget_received();
    world.run_ms(1_000);
    assert_eq!(world.peers[viewer].received(false, 0).packets(), 0);
    let sources = |world: &World| {
        world.notified(|n| {
            matches!(n, Notification::ConsumerSource { transport, .. }
            if *transport == world.peers[viewer].transport)
        })
    };
    let Some((_, Notification::ConsumerSource { source: None, .. })) = sources(&world).last() else {
        panic!("signaling was not told: {:?}", sources(&world));
    };
    world.request(Request::PauseProducer { transport, producer, paused: false }).expect("it is there");
    world.run_ms(1_500);
    assert!(world.peers[viewer].received(false, 0).shown().0.len() > 20);
}

#[test]
fn a_publisher_may_change_codec_and_who_cannot_follow_sees_nothing() {
    let mut world = World::new();
    let publisher =
        world.join(Plan { camera: Some(Camera::single(Codec::H264, Layer::MIDDLE)), ..Plan::default() });
    let viewer = world.join(Plan { camera: None, ..Plan::default() });
    let poor = world.join(Plan { camera: None, codecs: vec![Codec::Vp8], ..Plan::default() });
    world.run_ms(3_000);
    assert!(world.peers[viewer].received(false, 0).packets() > 50);
    assert_eq!(world.peers[poor].received(false, 0).packets(), 0, "nothing is better than garbage");

    world.peers[publisher].camera_codec = Codec::Vp8;
    world.run_ms(3_000);
    for peer in [viewer, poor] {
        let received = world.peers[peer].received(false, 0);
        let (shown, broken) = received.shown();
        assert_eq!(shown.last().expect("frames").stamp.codec, Codec::Vp8);
        assert_eq!((broken, received.missing(world.now)), (0, 0));
    }
}

#[test]
fn who_leaves_is_replaced_and_his_slot_is_free() {
    let mut world = World::new();
    let viewer = world.join(Plan { camera: None, video_slots: 1, ..Plan::default() });
    let first = world.join(Plan::default());
    let second = world.join(Plan::default());
    world.run_ms(2_000);
    let shown = world.peers[viewer].received(false, 0).last().expect("packets").stamp.expect("a stamp");
    let (leaves, stays) =
        if usize::from(shown.publisher) == first { (first, second) } else { (second, first) };
    let transport = world.peers[leaves].transport;
    world.request(Request::CloseTransport { transport }).expect("it is there");
    world.run_ms(1_500);
    let shown = world.peers[viewer].received(false, 0).last().expect("packets").stamp.expect("a stamp");
    assert_eq!(usize::from(shown.publisher), stays);
    let error = world.request(Request::CloseTransport { transport }).expect_err("it is gone");
    assert!(error.to_string().contains("there is no transport"), "{error}");
}

#[test]
fn a_sync_removes_what_is_absent_names_what_is_missing_and_tells_everything() {
    let mut world = World::new();
    let (a, b, c) = (world.join(Plan::default()), world.join(Plan::default()), world.join(Plan::default()));
    world.run_ms(2_000);
    let unknown = broletto_control::TransportId(world.id());
    let wish_of = |world: &World, peer: usize| TransportWish {
        transport: world.peers[peer].transport,
        paused: Vec::new(),
        wishes: vec![ConsumerWish {
            consumer: world.peers[peer].inlet(false, 0).consumer,
            rule: ConsumerRule::Speaker,
            size: size(320, 180),
        }],
    };
    let transports = vec![
        wish_of(&world, a),
        wish_of(&world, b),
        TransportWish { transport: unknown, paused: Vec::new(), wishes: Vec::new() },
    ];
    let other = RouterId(world.id());
    let config = router_config(&[Codec::H264, Codec::Vp8]);
    world.request(Request::CreateRouter { router: other, config: config.clone() }).expect("it is made");
    world.notifications.clear();
    let routers = vec![RouterWish { router: world.router, config, transports }];
    let response = world.request(Request::Sync { generation: Generation(1), routers });
    assert_eq!(response, Ok(Response::Synced { missing: vec![unknown] }));

    let Ok(Response::Routers { routers }) = world.request(Request::List) else { panic!("it is a list") };
    assert_eq!(routers.len(), 1, "the other router is closed");
    assert_eq!(routers[0].transports, [world.peers[a].transport, world.peers[b].transport]);
    for peer in [a, b] {
        let transport = world.peers[peer].transport;
        let state = Notification::TransportState { transport, state: TransportState::Connected };
        assert_eq!(world.notified(|notification| *notification == state).len(), 1);
        let told = world.notified(|notification| {
            matches!(notification, Notification::ConsumerSource { transport: of, .. } if *of == transport)
        });
        assert!(told.len() >= world.peers[peer].inlets.len(), "every slot is told");
    }
    world.peers[a].forget_received();
    world.run_ms(2_000);
    let gone = world.peers[a].received(false, 0).publishers().contains(&(c as u16));
    assert!(!gone, "the absent one is not shown");
    assert!(world.peers[a].received(false, 0).packets() > 20);
}

/// Packets wait for the turns of their receivers; what a request changes is for those that follow.
#[test]
fn what_came_before_a_request_is_sent_as_it_was() {
    let mut world = World::new();
    let publisher = world.join(Plan { microphone: false, video_slots: 0, ..Plan::default() });
    let viewer = world.join(Plan { microphone: false, camera: None, video_slots: 1, ..Plan::default() });
    let camera = world.peers[publisher].producer(Content::Camera);
    world.pin(viewer, 0, camera, size(640, 360));
    world.run_ms(4_000);

    let forwarded = world.worker.stats().forwarded;
    let (mut now, mut sent) = (world.now, Vec::new());
    for _ in 0..100 {
        now += Duration::from_millis(1);
        world.peers[publisher].advance(now, &mut sent);
    }
    let source = world.peers[publisher].address;
    for transmit in &sent {
        let contents = &transmit.contents;
        let received = Received { protocol: Protocol::Udp, source, destination: common::bound(), contents };
        world.worker.handle_received(received, now);
    }
    world.now = now;
    world.wish(viewer, 0, ConsumerRule::Off, None);
    // 25 frames a second, of two packets.
    let of_the_batch = world.worker.stats().forwarded - forwarded;
    assert!((4..=6).contains(&of_the_batch), "{of_the_batch} of {} datagrams", sent.len());
    world.run_ms(500);
    assert_eq!(world.worker.stats().forwarded, forwarded + of_the_batch, "it is off");
    assert_eq!(world.peers[viewer].received(false, 0).shown().1, 0, "the picture broke");
}
