//! What must hold under attack (M1 to M9 of SECURITY.md; M6 is tested beside the worker).

mod common;

use std::net::SocketAddr;
use std::time::Duration;

use broletto_control::{
    CloseReason, Codec, Content, ControlError, Notification, Request, RouterId, TransportState,
};
use broletto_loadtest::link::LinkConfig;
use broletto_sfu_core::io::Limits;
use common::{Camera, Layer, Plan, World, router_config, size};

fn stranger() -> SocketAddr {
    SocketAddr::from(([203, 0, 113, 66], 666))
}

/// A client hello as far as the record layer goes (RFC 6347 section 4.1).
fn client_hello() -> Vec<u8> {
    let mut hello = vec![22, 254, 253, 0, 0, 0, 0, 0, 0, 0, 0, 0, 100, 1];
    hello.resize(113, 0);
    hello
}

fn pair() -> World {
    let mut world = World::new();
    world.join(Plan::default());
    world.join(Plan::default());
    world
}

/// An offer of a new peer, and the request it makes.
fn offered(world: &mut World) -> (usize, Request) {
    let peer = world.add(Plan::default(), 1);
    let mut serial = 5_000 + 100 * peer as u32;
    let sdp = world.peers[peer].offer(|| {
        serial += 1;
        broletto_control::Id::new(broletto_control::Epoch(1), serial)
    });
    let request = world.offer_of(peer, sdp);
    (peer, request)
}

fn with_sdp(request: &Request, change: impl Fn(&str) -> String) -> Request {
    let Request::Offer { router, transport, sdp, producers, consumers } = request.clone() else {
        unreachable!("it is an offer");
    };
    Request::Offer { router, transport, sdp: change(&sdp), producers, consumers }
}

#[test]
fn m1_what_comes_from_unchecked_sources_is_dropped() {
    let mut world = World::new();
    world.join(Plan::default());
    // Before anybody is connected, a forged hello must not spoil the join.
    world.inject(stranger(), &client_hello());
    let early = world.peers[0].address;
    world.inject(early, &client_hello());
    world.join(Plan::default());
    world.run_ms(2_000);
    assert!(world.peers.iter().all(|peer| peer.connected));
    assert_eq!(world.worker.stats().dropped.unknown_source, 2);

    let rtp = world.peers[0].rtp_sent.clone();
    let before = world.peers[1].received(false, 0).packets();
    for contents in [client_hello(), rtp.clone(), vec![128, 200, 0, 1, 0, 0, 0, 0]] {
        world.inject(stranger(), &contents);
    }
    assert_eq!(world.worker.stats().dropped.unknown_source, 5);
    assert_eq!(world.peers[1].received(false, 0).packets(), before);

    // A check with a wrong password opens no door.
    let mut forged = world.peers[0].stun_sent.clone();
    let end = forged.len() - 12;
    forged[end] ^= 1;
    world.inject(stranger(), &forged);
    assert_eq!(world.worker.stats().dropped.stun_forged, 1);
    world.inject(stranger(), &rtp);
    assert_eq!(world.worker.stats().dropped.unknown_source, 6);
    assert!(world.strays.is_empty(), "and nobody answered");
    world.run_ms(2_000);
    assert_eq!(world.peers[1].received(false, 0).shown().1, 0);
}

#[test]
fn m1_an_address_in_use_is_not_taken_over_by_another_session() {
    let mut world = pair();
    world.run_ms(2_000);
    let (victim, check) = (world.peers[0].address, world.peers[1].stun_sent.clone());
    world.inject(victim, &check);
    assert_eq!(world.worker.stats().dropped.address_refused, 1);
    world.peers[1].forget_received();
    world.run_ms(2_000);
    assert!(world.peers[1].received(false, 0).packets() > 50, "the victim's packets are still his");
}

#[test]
fn m2_an_unchecked_source_gets_no_more_than_it_sent() {
    let mut world = pair();
    world.run_ms(2_000);
    let check = world.peers[0].stun_sent.clone();
    let mut forged = check.clone();
    let end = forged.len() - 12;
    forged[end] ^= 1;
    let mut unknown = check.clone();
    unknown[28] ^= 1;
    let mut sent = 0;
    for contents in [forged, unknown, client_hello(), vec![0; 20], vec![128; 200], Vec::new(), check] {
        sent += contents.len();
        world.inject(stranger(), &contents);
        let got: usize = world
            .strays
            .iter()
            .filter(|stray| stray.destination == stranger())
            .map(|stray| stray.contents.len())
            .sum();
        assert!(got <= sent, "{got} bytes for {sent}");
    }
}

#[test]
fn m3_a_replayed_packet_is_forwarded_once_and_a_forged_one_never() {
    let mut world = pair();
    world.run_ms(2_000);
    let (source, rtp) = (world.peers[0].address, world.peers[0].rtp_sent.clone());
    let refused = world.worker.stats().dropped.rtp_refused;
    for _ in 0..20 {
        world.inject(source, &rtp);
    }
    let mut forged = rtp.clone();
    // A number that did not come yet, under a tag that is not its own.
    forged[3] = forged[3].wrapping_add(9);
    for _ in 0..20 {
        world.inject(source, &forged);
    }
    assert_eq!(world.worker.stats().dropped.rtp_refused, refused + 40);
    world.run_ms(2_000);
    for audio in [true, false] {
        let received = world.peers[1].received(audio, 0);
        assert_eq!(received.repeated(), 0);
        assert_eq!(received.missing(world.now), 0);
    }
    let (shown, broken) = world.peers[1].received(false, 0).shown();
    assert!(shown.len() > 80 && broken == 0, "{} shown, {broken} broken", shown.len());
    let closed = world.notified(|notification| matches!(notification, Notification::TransportClosed { .. }));
    assert!(closed.is_empty(), "{closed:?}");
}

#[test]
fn m3_a_forged_packet_does_not_take_the_place_of_a_stream() {
    let mut world = pair();
    // The first packets of a stream name its m-line.
    while world.peers[0].rtp_sent.is_empty() {
        world.run_ms(10);
    }
    let (source, mut forged) = (world.peers[0].address, world.peers[0].rtp_sent.clone());
    world.run_ms(2_000);
    world.peers[1].forget_received();
    let refused = world.worker.stats().dropped.ssrc_refused;
    for round in 0..500_u32 {
        forged[8..12].copy_from_slice(&(0xbad0_0000 + round % 7).to_be_bytes());
        world.inject(source, &forged);
        world.run_ms(20);
    }
    assert_eq!(world.worker.stats().dropped.ssrc_refused, refused + 500);
    for (audio, packets) in [(true, 480), (false, 720)] {
        let received = world.peers[1].received(audio, 0);
        assert!(received.packets() > packets, "{} packets, audio: {audio}", received.packets());
        assert_eq!((received.missing(world.now), received.repeated()), (0, 0), "audio: {audio}");
    }
    assert_eq!(world.peers[1].received(false, 0).shown().1, 0);
}

#[test]
fn m4_nothing_is_sent_after_consent_was_lost() {
    let mut world = pair();
    world.run_ms(3_000);
    let (lost, address) = (world.peers[1].transport, world.peers[1].address);
    world.peers[1].unplugged = true;
    let since = world.elapsed();
    world.run(Duration::from_secs(45));

    let silent_after = world.sent_at[&address] - since;
    assert!(silent_after <= Duration::from_secs(11), "{silent_after:?}");
    let states = world.notified(|notification| {
        matches!(notification, Notification::TransportState { transport, state: TransportState::Disconnected }
            if *transport == lost)
    });
    let noticed_after = states[0].0 - since;
    assert!((4..=7).contains(&noticed_after.as_secs()), "{noticed_after:?}");
    let closed = world.notified(|notification| {
        matches!(notification, Notification::TransportClosed { transport, reason: CloseReason::TimedOut }
            if *transport == lost)
    });
    let closed_after = closed[0].0 - since;
    assert!((30..=40).contains(&closed_after.as_secs()), "{closed_after:?}");
}

#[test]
fn m4_who_comes_back_in_time_goes_on() {
    let mut world = pair();
    world.run_ms(3_000);
    world.peers[1].unplugged = true;
    world.run_ms(12_000);
    world.peers[1].unplugged = false;
    world.peers[1].forget_received();
    world.run_ms(6_000);
    let (shown, broken) = world.peers[1].received(false, 0).shown();
    assert!(shown.len() > 50 && broken == 0, "{} shown, {broken} broken", shown.len());
}

#[test]
fn m5_an_offer_without_dtls_is_refused() {
    let mut world = World::new();
    let (_, request) = offered(&mut world);
    let drop_lines = |name: &'static str| {
        move |sdp: &str| -> String {
            sdp.lines().filter(|line| !line.starts_with(name)).map(|line| format!("{line}\r\n")).collect()
        }
    };
    let refused = |world: &mut World, change: &dyn Fn(&str) -> String, word: &str| {
        let error = world.request(with_sdp(&request, change)).expect_err(word);
        let ControlError::Invalid { field, message } = &error else { panic!("{error:?}") };
        assert_eq!(field, "sdp");
        assert!(message.contains(word), "{message}");
    };
    refused(&mut world, &drop_lines("a=fingerprint"), "a=fingerprint");
    refused(&mut world, &drop_lines("a=ice-pwd"), "a=ice-pwd");
    refused(&mut world, &|sdp| sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/SAVPF"), "profile");
    refused(&mut world, &|sdp| sdp.replace("UDP/TLS/RTP/SAVPF", "RTP/AVP"), "profile");
    let sdes = |sdp: &str| {
        sdp.replacen("a=rtcp-mux", "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:abc\r\na=rtcp-mux", 1)
    };
    refused(&mut world, &sdes, "a=crypto");
    refused(&mut world, &|sdp| sdp.replace("sha-256", "sha-1"), "sha-256");
    // Of several hash functions the one that is compared counts, and it says the same in every m-line.
    let first = "a=fingerprint:sha-256 ";
    let also = |sdp: &str| sdp.replace(first, &format!("a=fingerprint:sha-1 00:11\r\n{first}"));
    let differing = |sdp: &str| {
        let (before, last) = sdp.rsplit_once(first).expect("it has fingerprints");
        let (value, after) = last.split_once("\r\n").expect("more lines follow");
        let other: Vec<&str> = value.split(':').rev().collect();
        format!("{before}{first}{}\r\n{after}", other.join(":"))
    };
    let Request::Offer { sdp, .. } = &request else { panic!("an offer") };
    assert!(sdp.matches(first).count() > 1, "each m-line has one");
    refused(&mut world, &differing, "a=fingerprint differs");
    refused(&mut world, &|sdp| also(&differing(sdp)), "a=fingerprint differs");
    refused(&mut world, &|sdp| also(sdp).replace(first, "a=fingerprint:sha-512 "), "a=fingerprint");
    refused(&mut world, &|_| "hello".into(), "v=0");
    refused(&mut world, &|sdp| sdp.replace("m=audio", "m=application"), "audio or video");
    world.request(request).expect("what was offered is good without these changes");
}

#[test]
fn m5_a_certificate_that_does_not_match_ends_the_session() {
    let mut world = World::new();
    let (peer, request) = offered(&mut world);
    let other = with_sdp(&request, |sdp| {
        let swap = |line: &str| match line.strip_prefix("a=fingerprint:sha-256 ") {
            Some(value) => {
                let digits: Vec<&str> = value.split(':').rev().collect();
                format!("a=fingerprint:sha-256 {}\r\n", digits.join(":"))
            }
            None => format!("{line}\r\n"),
        };
        sdp.lines().map(swap).collect()
    });
    let Ok(broletto_control::Response::Answer { sdp, .. }) = world.request(other) else {
        panic!("the fingerprint is well formed");
    };
    world.peers[peer].accept(&sdp);
    world.run_ms(5_000);
    let closed = world.notified(|notification| {
        matches!(notification, Notification::TransportClosed { reason: CloseReason::Failed { .. }, .. })
    });
    assert_eq!(closed.len(), 1, "{:?}", world.notifications);
}

#[test]
fn m7_a_forged_claim_gets_the_top_layer_and_no_more() {
    let mut world = World::new();
    let publisher = world.join(Plan { camera: Some(Camera::simulcast(Codec::Vp8)), ..Plan::default() });
    let liar = world.join(Plan { camera: None, ..Plan::default() });
    let thin =
        LinkConfig { rate_bps: Some(400_000), delay: Duration::from_millis(10), ..LinkConfig::default() };
    let modest = world.join(Plan { camera: None, down: thin, ..Plan::default() });
    for _ in 0..100 {
        world.run_ms(100);
        let mid = world.peers[liar].inlet(false, 0).mid;
        world.peers[liar].claim(mid, str0m::bwe::Bitrate::bps(1_000_000_000));
    }
    let before = world.peers[liar].down.stats().passed_bytes;
    world.run_ms(5_000);
    let bps = (world.peers[liar].down.stats().passed_bytes - before) * 8 / 5;
    assert!(bps < 3_000_000, "{bps}");
    let encoding = |peer: usize| {
        let (shown, _) = world.peers[peer].received(false, 0).shown();
        shown.last().expect("something is shown").stamp.encoding
    };
    assert_eq!(encoding(liar), 2);
    assert_eq!(encoding(modest), 0, "the other one's path is what it was");
    assert!(world.peers[publisher].connected);
}

#[test]
fn m7_forged_feedback_gets_the_top_layer_and_no_more() {
    // The feedback says that everything came in the moment it was sent, or all of it at one moment.
    for hold in [Duration::ZERO, Duration::from_millis(50)] {
        let mut world = World::new();
        let publisher = world.join(Plan { camera: Some(Camera::simulcast(Codec::Vp8)), ..Plan::default() });
        let thin =
            LinkConfig { rate_bps: Some(400_000), delay: Duration::from_millis(10), ..LinkConfig::default() };
        let liar = world.join(Plan { camera: None, ..Plan::default() });
        let modest = world.join(Plan { camera: None, down: thin, ..Plan::default() });
        let honest = world.join(Plan { camera: None, ..Plan::default() });
        world.run_ms(1_000);
        world.peers[liar].down.set_config(thin, world.now);
        world.peers[liar].lie = Some(hold);
        world.run_ms(12_000);
        let before = world.peers[liar].bytes_offered;
        world.peers[modest].forget_received();
        world.peers[honest].forget_received();
        world.run_ms(5_000);

        let bps = (world.peers[liar].bytes_offered - before) * 8 / 5;
        assert!((1_500_000..2_500_000).contains(&bps), "{bps} bit/s to one who holds by {hold:?}");
        let last = |peer: usize| {
            let (shown, broken) = world.peers[peer].received(false, 0).shown();
            (shown.last().expect("something is shown").stamp.encoding, broken)
        };
        assert_eq!(last(liar).0, 2, "holding by {hold:?}");
        assert_eq!(last(modest), (0, 0), "holding by {hold:?}: the other one's path is what it was");
        assert_eq!(last(honest), (2, 0), "holding by {hold:?}");
        let honest = world.peers[honest].received(false, 0);
        assert_eq!(honest.missing(world.now), 0, "holding by {hold:?}");
        assert!(world.peers[publisher].key_frames_asked.iter().sum::<u32>() < 20);
    }
}

#[test]
fn m8_everything_that_a_client_can_multiply_is_capped() {
    let limits = Limits {
        routers_max: 2,
        transports_per_router_max: 2,
        consumers_max: 8,
        sdp_bytes_max: 30_000,
        ..Limits::default()
    };
    let mut world = World::with(limits, &[Codec::Vp8]);
    let is_limit = |result: Result<broletto_control::Response, ControlError>, word: &str| match result {
        Err(ControlError::Limit { what, max, got }) => {
            assert!(what.contains(word) && got > max, "{what} {max} {got}");
        }
        other => panic!("{word}: {other:?}"),
    };
    let create = |world: &mut World| {
        let router = RouterId(world.id());
        world.request(Request::CreateRouter { router, config: router_config(&[Codec::Vp8]) })
    };
    create(&mut world).expect("the second fits");
    is_limit(create(&mut world), "routers");

    let (_, request) = offered(&mut world);
    is_limit(world.request(with_sdp(&request, |sdp| sdp.to_owned() + &"a=x\r\n".repeat(8_000))), "bytes");
    let more = |line: &'static str, count: usize| {
        move |sdp: &str| {
            let lines: String = (0..count).map(|n| line.replace('#', &n.to_string()) + "\r\n").collect();
            sdp.to_owned() + &lines
        }
    };
    is_limit(world.request(with_sdp(&request, more("a=rid:r# send", 4))), "encodings");
    is_limit(world.request(with_sdp(&request, more("a=ssrc:10# cname:x", 9))), "SSRCs");
    let candidate = "a=candidate:1 1 udp 1 192.0.2.1 # typ host";
    is_limit(world.request(with_sdp(&request, more(candidate, 200))), "candidates");
    let media = "m=audio 9 UDP/TLS/RTP/SAVPF 111";
    is_limit(world.request(with_sdp(&request, more(media, 20))), "m-lines");
    let many = Request::Offer {
        router: world.router,
        transport: world.peers[0].transport,
        sdp: "v=0\r\n".into(),
        producers: Vec::new(),
        consumers: (0..9)
            .map(|n| broletto_control::ConsumerSlot {
                mid: n.to_string(),
                consumer: broletto_control::ConsumerId(broletto_control::Id::new(
                    broletto_control::Epoch(9),
                    n,
                )),
                rule: Default::default(),
            })
            .collect(),
    };
    is_limit(world.request(many), "consumers");

    world.request(request).expect("the first transport fits");
    let (_, second) = offered(&mut world);
    world.request(second).expect("the second fits");
    let (_, third) = offered(&mut world);
    is_limit(world.request(third), "transports");
}

#[test]
fn m8_a_flood_of_ssrcs_is_refused_and_the_session_goes_on() {
    let mut world = pair();
    world.run_ms(2_000);
    let (source, mut rtp) = (world.peers[0].address, world.peers[0].rtp_sent.clone());
    // Without header extensions: nothing that could be refused for what it claims to be.
    rtp[0] &= !0x10;
    for ssrc in 0..10_000_u32 {
        rtp[8..12].copy_from_slice(&ssrc.to_be_bytes());
        world.inject(source, &rtp);
    }
    assert!(world.worker.stats().dropped.ssrc_refused > 9_900);
    world.peers[1].forget_received();
    world.run_ms(2_000);
    assert!(world.peers[1].received(false, 0).packets() > 50);

    // What was forged does not keep out for ever what the peer itself adds.
    world.run_ms(8_500);
    let refused = world.worker.stats().dropped.ssrc_refused;
    rtp[8..12].copy_from_slice(&77_777_u32.to_be_bytes());
    world.inject(source, &rtp);
    assert_eq!(world.worker.stats().dropped.ssrc_refused, refused);
}

#[test]
fn m9_a_storm_of_key_frame_requests_does_not_reach_the_publisher() {
    let mut world = World::new();
    let publisher = world.join(Plan::default());
    let storm = world.join(Plan { camera: None, ..Plan::default() });
    world.run_ms(2_000);
    let before = world.peers[publisher].key_frames_asked[0];
    for _ in 0..200 {
        let mid = world.peers[storm].inlet(false, 0).mid;
        world.peers[storm].ask_for_key_frame(mid);
        world.run_ms(50);
    }
    let asked = world.peers[publisher].key_frames_asked[0] - before;
    assert!((5..=13).contains(&asked), "{asked} in ten seconds");

    // A switch is served at once all the same.
    let late = world.join(Plan { camera: None, ..Plan::default() });
    let producer = world.peers[publisher].producer(Content::Camera);
    world.pin(late, 0, producer, size(640, 360));
    world.run_ms(1_500);
    let (shown, _) = world.peers[late].received(false, 0).shown();
    assert!(shown.len() > 10, "{}", shown.len());
    assert_eq!(Layer::MIDDLE.width, 640);
}
