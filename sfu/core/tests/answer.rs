//! What the answer to an offer says.

mod common;

use broletto_control::{Codec, ControlError, ProducerSlot, Request, Response};
use common::{Camera, Layer, Plan, World};

fn answered(video_codecs: &[Codec], plan: Plan) -> (String, Vec<Codec>) {
    let mut world = World::with(Default::default(), video_codecs);
    let peer = world.add(plan, 1);
    world.offer(peer).expect("the offer is good")
}

fn video_line(answer: &str) -> &str {
    answer.lines().find(|line| line.starts_with("m=video")).expect("there is video")
}

/// Names of the codecs of the first video line, in its order.
fn video_order(answer: &str) -> Vec<String> {
    let named = video_line(answer).split(' ').skip(3).filter_map(|payload_type| {
        let prefix = format!("a=rtpmap:{payload_type} ");
        let map = answer.lines().find_map(|line| line.strip_prefix(prefix.as_str()))?;
        Some(map.split('/').next()?.to_owned())
    });
    let mut names: Vec<String> = named.filter(|name| name != "rtx").collect();
    names.dedup();
    names
}

#[test]
fn the_candidates_are_the_announced_addresses_and_the_ufrag_names_the_worker() {
    let (answer, _) = answered(&[Codec::H264, Codec::Vp8], Plan::default());
    let candidates: Vec<&str> = answer.lines().filter(|line| line.starts_with("a=candidate:")).collect();
    assert_eq!(candidates.len(), 2, "{answer}");
    assert!(candidates.iter().all(|line| line.contains(" 198.51.100.1 7000 typ host")), "{candidates:?}");
    assert!(candidates.iter().any(|line| line.contains(" tcptype passive")), "{candidates:?}");
    assert!(answer.lines().any(|line| line == "a=ice-lite"), "{answer}");
    let ufrags = answer.lines().filter(|line| line.starts_with("a=ice-ufrag:"));
    assert!(ufrags.clone().count() > 0 && ufrags.clone().all(|line| line.starts_with("a=ice-ufrag:0003")));
}

#[test]
fn opus_has_forward_error_correction_and_silence() {
    let (answer, _) = answered(&[Codec::H264], Plan::default());
    let format = answer.lines().find(|line| line.starts_with("a=fmtp:") && line.contains("useinbandfec"));
    let format = format.expect(&answer);
    assert!(format.contains("useinbandfec=1") && format.contains("usedtx=1"), "{format}");
}

#[test]
fn the_room_s_order_of_codecs_is_the_answer_s() {
    let (answer, codecs) = answered(&[Codec::H264, Codec::Vp8], Plan::default());
    assert_eq!(video_order(&answer), ["H264", "VP8"], "{answer}");
    assert_eq!(codecs, [Codec::H264, Codec::Vp8]);
    let (answer, codecs) = answered(&[Codec::Vp8, Codec::H264], Plan::default());
    assert_eq!(video_order(&answer), ["VP8", "H264"], "{answer}");
    assert_eq!(codecs, [Codec::Vp8, Codec::H264]);
}

#[test]
fn constrained_baseline_in_packetization_mode_1_is_the_only_h264() {
    let (answer, _) = answered(&[Codec::H264], Plan::default());
    let first = video_line(&answer).split(' ').nth(3).expect("a payload type").to_owned();
    let format = answer.lines().find(|line| line.starts_with(&format!("a=fmtp:{first} "))).expect(&answer);
    assert!(format.contains("42e01f") && format.contains("packetization-mode=1"), "{format}");
    assert!(!answer.contains("packetization-mode=0"), "{answer}");
}

#[test]
fn a_peer_without_h264_says_so_by_its_codecs() {
    let plan = Plan { codecs: vec![Codec::Vp8], ..Plan::default() };
    let (answer, codecs) = answered(&[Codec::H264, Codec::Vp8], plan);
    assert_eq!(codecs, [Codec::Vp8]);
    assert_eq!(video_order(&answer), ["VP8"]);
}

#[test]
fn video_orientation_is_never_negotiated_and_simulcast_is() {
    let camera = Some(Camera::simulcast(Codec::H264));
    let mut world = World::new();
    let peer = world.add(Plan { camera, ..Plan::default() }, 1);
    let offer = world.peers[peer].offer({
        let mut serial = 50;
        move || {
            serial += 1;
            broletto_control::Id::new(broletto_control::Epoch(1), serial)
        }
    });
    assert!(offer.contains("video-orientation"), "the test offers it: {offer}");
    let (answer, _) = world.negotiate(peer, offer).expect("the offer is good");
    assert!(!answer.contains("video-orientation"), "{answer}");
    assert!(answer.contains("a=simulcast:recv q;h;f"), "{answer}");
    for extension in ["sdes:mid", "rtp-stream-id", "transport-wide-cc", "abs-send-time", "ssrc-audio-level"] {
        assert!(answer.contains(extension), "{extension}: {answer}");
    }
}

#[test]
fn a_line_that_no_slot_names_is_answered_inactive() {
    let mut world = World::new();
    let peer = world.add(Plan { audio_slots: 1, video_slots: 1, ..Plan::default() }, 1);
    let mut serial = 50;
    let sdp = world.peers[peer].offer(|| {
        serial += 1;
        broletto_control::Id::new(broletto_control::Epoch(1), serial)
    });
    let Request::Offer { router, transport, sdp, producers, .. } = world.offer_of(peer, sdp) else {
        unreachable!("it is an offer");
    };
    let request = Request::Offer { router, transport, sdp, producers, consumers: Vec::new() };
    let Ok(Response::Answer { sdp, .. }) = world.request(request) else { panic!("the offer is good") };
    assert_eq!(sdp.lines().filter(|line| *line == "a=inactive").count(), 2, "{sdp}");
    assert_eq!(sdp.lines().filter(|line| *line == "a=recvonly").count(), 2, "{sdp}");
}

#[test]
fn a_slot_that_does_not_fit_its_line_is_named() {
    let mut world = World::new();
    let peer = world.add(Plan::default(), 1);
    let mut serial = 50;
    let sdp = world.peers[peer].offer(|| {
        serial += 1;
        broletto_control::Id::new(broletto_control::Epoch(1), serial)
    });
    let offered = world.offer_of(peer, sdp);
    let refused = |world: &mut World, change: &dyn Fn(&mut Vec<ProducerSlot>)| {
        let Request::Offer { router, transport, sdp, mut producers, consumers } = offered.clone() else {
            unreachable!("it is an offer");
        };
        change(&mut producers);
        let error = world.request(Request::Offer { router, transport, sdp, producers, consumers });
        let Err(ControlError::Invalid { field, message }) = error else { panic!("{error:?}") };
        (field, message)
    };
    let (field, message) = refused(&mut world, &|slots| slots[1].mid = "nope".into());
    assert_eq!((field.as_str(), message.contains("nope")), ("producers[1].mid", true));
    let (field, _) = refused(&mut world, &|slots| slots[0].content = broletto_control::Content::Camera);
    assert_eq!(field, "producers[0].mid");
    let (field, _) = refused(&mut world, &|slots| slots[0].mid = slots[1].mid.clone());
    assert!(field.starts_with("producers["), "{field}");
}

#[test]
fn a_pool_grows_by_a_second_offer() {
    let mut world = World::new();
    let a = world.join(Plan::default());
    let b = world.join(Plan { video_slots: 1, ..Plan::default() });
    world.join(Plan { camera: Some(Camera::single(Codec::H264, Layer::SMALL)), ..Plan::default() });
    world.run_ms(3_000);
    assert!(world.peers[b].received(false, 0).packets() > 50);
    world.peers[b].plan.video_slots = 2;
    world.offer(b).expect("a second offer is good");
    world.run_ms(3_000);
    assert!(world.peers[b].received(false, 1).packets() > 50, "the new slot shows the other one");
    let (shown, broken) = world.peers[b].received(false, 0).shown();
    // A larger picture may begin before the last packet of the smaller one was sent.
    assert!(broken <= 1, "the old slot went on, and {broken} frames are cut");
    assert!(shown.len() > 130, "{}", shown.len());
    assert!(world.peers[a].received(false, 0).packets() > 100);
}
