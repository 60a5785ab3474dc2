//! A meeting, message by message.

mod common;

use std::time::Duration;

use broletto_control::{
    CloseReason, ConsumerRule, ControlError, Notification, Request, SpeakerLevel, TransportState,
};
use broletto_protocol::server::{ErrorCode, MediaState, ServerMessage, Slot, SlotSource, Speaker};
use broletto_protocol::{Codec, ParticipantId, Source};
use common::*;
use serde_json::{Value, json};

#[test]
fn everyone_learns_who_comes_changes_and_goes() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.code, " Ada ");
    let spaced = format!("{} {}-{}", &room.code[..3], &room.code[3..6], &room.code[6..]);
    let bo = world.join(&spaced, "Bo");
    assert!(!bo.media);
    let [ServerMessage::ParticipantJoined { participant }] = &world.news(ada.connection)[..] else {
        panic!("Ada learns of Bo and nothing else")
    };
    assert_eq!((participant.id.0.as_str(), participant.name.as_str()), (bo.id.as_str(), "Bo"));

    assert_eq!(world.ask(bo.connection, publish(true, false)), ServerMessage::Ok);
    for member in [&ada, &bo] {
        let [ServerMessage::ParticipantChanged { participant }] = &world.news(member.connection)[..] else {
            panic!("one change")
        };
        assert_eq!(participant.publishing, published(true, false));
    }

    assert_eq!(world.ask(bo.connection, json!({ "type": "leave" })), ServerMessage::Ok);
    assert!(world.closed.contains(&bo.connection));
    let left = ServerMessage::ParticipantLeft { participant: ParticipantId(bo.id) };
    assert_eq!(world.news(ada.connection), [left]);
    assert_eq!(world.conference.totals().participants, 1);
}

#[test]
fn an_offer_makes_a_transport_and_a_fresh_one_replaces_it() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.ask(ada.connection, publish(true, false));
    let first = world.offer(&ada, "opus h264 vp8");
    // The camera is not published, so it starts paused.
    assert_eq!(world.node.transports[&first].producers.values().collect::<Vec<_>>(), [&false, &true]);
    let rules: Vec<_> = world.node.transports[&first].consumers.values().copied().collect();
    assert_eq!(rules, [ConsumerRule::Speaker, ConsumerRule::Off, ConsumerRule::Off]);

    world.ask(ada.connection, publish(true, true));
    assert_eq!(world.node.transports[&first].producers.values().collect::<Vec<_>>(), [&false, &false]);

    let again = world.ask(ada.connection, offer("opus h264 vp8", false));
    assert!(matches!(again, ServerMessage::Answer { .. }));
    assert_eq!(world.node.last_offer, Some(first), "a renegotiation keeps the transport");

    let second = world.offer(&ada, "opus h264 vp8");
    assert_ne!(second, first);
    assert_eq!(world.node.transports.keys().collect::<Vec<_>>(), [&second]);
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn what_the_node_refuses_is_told_in_the_clients_words() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    let unavailable = ControlError::Unavailable { reason: "draining".to_owned() };
    let internal = ControlError::Internal { message: "at line 7".to_owned() };
    for (refusal, code, field) in [
        (ControlError::invalid("producers[1].mid", "no such line"), ErrorCode::Invalid, Some("send[1].mid")),
        (ControlError::invalid("consumers[0].mid", "x"), ErrorCode::Invalid, Some("receive[0].mid")),
        (ControlError::invalid("sdp", "not SDP"), ErrorCode::Invalid, Some("sdp")),
        (unavailable, ErrorCode::Unavailable, None),
        (internal, ErrorCode::Internal, None),
    ] {
        world.node.refusal = Some(refusal);
        let refused = world.refused(ada.connection, offer("opus", true));
        assert_eq!(refused, (code, field.map(str::to_owned)));
    }
    world.offer(&ada, "opus h264");
}

#[test]
fn a_wish_comes_true_when_its_source_appears_and_follows_it() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    let seen_by = world.offer(&ada, "opus h264");
    assert_eq!(world.ask(ada.connection, view("3", &bo.id, "camera")), ServerMessage::Ok);
    let slot = world.consumers(seen_by)[1];
    assert_eq!(world.node.transports[&seen_by].consumers[&slot], ConsumerRule::Off);

    for offers in 0..2 {
        let transport = world.offer(&bo, "opus h264");
        let camera = world.producers(transport)[1];
        let rule = world.node.transports[&seen_by].consumers[&slot];
        assert_eq!(rule, ConsumerRule::Producer { producer: camera });
        world.news(ada.connection);
        world.notify(Notification::ConsumerSource {
            transport: seen_by,
            consumer: slot,
            source: Some(camera),
        });
        let shows = SlotSource { participant: ParticipantId(bo.id.clone()), source: Source::Camera };
        let slots = vec![Slot { mid: "3".to_owned(), shows: Some(shows) }];
        let news = world.news(ada.connection);
        // The second offer's camera is still Bo's camera: nothing has changed for Ada.
        let expected = if offers == 0 { vec![ServerMessage::Slots { slots }] } else { vec![] };
        assert_eq!(news, expected);
    }

    world.ask(bo.connection, json!({ "type": "leave" }));
    let emptied = ServerMessage::Slots { slots: vec![Slot { mid: "3".to_owned(), shows: None }] };
    assert_eq!(world.news(ada.connection)[0], emptied);
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn a_publisher_learns_which_of_its_layers_are_seen() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.code, "Ada"), world.join(&room.code, "Bo"));
    let transport = world.offer(&bo, "opus h264");
    world.offer(&ada, "opus h264");
    let camera = world.producers(transport)[1];
    world.news(ada.connection);
    world.news(bo.connection);
    let demand = |layers: Vec<u8>| Notification::ProducerDemand { transport, producer: camera, layers };
    let told = |layers: Vec<u8>| ServerMessage::Demand { source: Source::Camera, layers };
    world.notify(demand(vec![0, 2]));
    assert_eq!(world.news(bo.connection), [told(vec![0, 2])]);
    assert_eq!(world.news(ada.connection), [], "it is nobody else's business");

    // What came while the WebSocket was broken is told after the first message.
    world.disconnect(bo.connection);
    world.notify(demand(vec![]));
    let back = world.connect();
    world.ask(back, resume(&bo.secret));
    world.ask(back, publish(true, true));
    assert!(world.news(back).contains(&told(vec![])));

    // A producer that is not its own is nobody's.
    let own = world.producers(transport);
    let stranger = broletto_control::ProducerId(broletto_control::Id::new(own[0].0.epoch, u32::MAX));
    world.notify(Notification::ProducerDemand { transport, producer: stranger, layers: vec![0] });
    assert_eq!(world.news(back), []);
}

fn wish(mid: &str, show: &str) -> Value {
    json!({ "type": "view", "slots": [{ "mid": mid, "show": { "type": show } }] })
}

#[test]
fn what_is_wished_while_an_offer_is_answered_holds() {
    use ConsumerRule::{Off, Speaker};
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    let rules = |world: &World| {
        let transport = world.node.last_offer.expect("the node was asked");
        world.node.transports[&transport].consumers.values().copied().collect::<Vec<_>>()
    };
    let mut meanwhile = |fresh: bool, refusal: Option<ControlError>, wishes: &[(&str, &str)]| {
        (world.node.holding, world.node.refusal) = (true, refusal);
        let offered = world.say(ada.connection, offer("opus h264", fresh));
        for (mid, show) in wishes {
            assert_eq!(world.ask(ada.connection, wish(mid, show)), ServerMessage::Ok);
        }
        world.release_node();
        let reply = world.reply(ada.connection, offered).expect("a reply");
        (matches!(reply, ServerMessage::Answer { .. }), rules(&world))
    };
    // No size goes with them.
    assert_eq!(meanwhile(true, None, &[("2", "off"), ("3", "speaker")]), (true, vec![Off, Speaker, Off]));
    assert_eq!(meanwhile(false, None, &[("3", "off"), ("2", "speaker")]), (true, vec![Speaker, Off, Off]));
    let refusal = Some(ControlError::invalid("sdp", "no"));
    assert_eq!(meanwhile(false, refusal, &[("4", "speaker")]), (false, vec![Speaker, Off, Speaker]));
    world.restart();
    world.node.transports.values_mut().for_each(|transport| transport.consumers.clear());
    world.connect_node();
    assert_eq!(rules(&world), [Speaker, Off, Speaker], "they were saved");
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn which_layers_are_seen_outlives_another_offer() {
    let mut world = World::new();
    let room = world.room();
    let bo = world.join(&room.id, "Bo");
    let transport = world.offer(&bo, "opus h264");
    let [microphone, camera] = world.producers(transport)[..] else { panic!("two producers") };
    let demand = |producer, layers| Notification::ProducerDemand { transport, producer, layers };
    world.notify(demand(microphone, vec![0]));
    world.notify(demand(camera, vec![2]));
    world.node.holding = true;
    world.say(bo.connection, offer("opus h264", false));
    world.notify(demand(camera, vec![0, 1]));
    world.release_node();
    world.disconnect(bo.connection);
    let back = world.connect();
    world.ask(back, resume(&bo.secret));
    world.news(back);
    world.ask(back, json!({ "type": "ping" }));
    let told = |source, layers| ServerMessage::Demand { source, layers };
    let expected = [told(Source::Microphone, vec![0]), told(Source::Camera, vec![0, 1])];
    assert_eq!(world.news(back), expected);
}

#[test]
fn a_wish_that_cannot_be_is_refused_by_field() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    assert_eq!(world.refused(ada.connection, view("3", "1.9", "camera")).0, ErrorCode::State);
    world.offer(&ada, "opus h264");
    for (message, field) in [
        (view("9", "1.9", "camera"), "slots[0].mid"),
        (view("3", "1.9", "microphone"), "slots[0].show.source"),
        (view("2", "1.9", "screen"), "slots[0].show.source"),
        (view("3", "Bo", "camera"), "slots[0].show.participant"),
        (view("3", &ada.id, "camera"), "slots[0].show.participant"),
        (
            json!({ "type": "view", "slots": [{ "mid": "3", "show": { "type": "off" }, "width": 0, "height": 1 }] }),
            "slots[0].width",
        ),
    ] {
        let refused = world.refused(ada.connection, message);
        assert_eq!(refused, (ErrorCode::Invalid, Some(field.to_owned())));
    }
}

#[test]
fn the_codec_follows_who_is_there() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    world.offer(&ada, "opus h264 vp8");
    world.news(ada.connection);
    world.offer(&bo, "opus vp8");
    assert_eq!(world.news(ada.connection), [ServerMessage::VideoCodec { codec: Codec::Vp8 }]);
    let control = [
        broletto_control::Codec::Vp8,
        broletto_control::Codec::H264,
        broletto_control::Codec::Vp9,
        broletto_control::Codec::Av1,
    ];
    assert_eq!(world.node.routers.values().next().expect("the room's router"), &control);

    world.ask(bo.connection, json!({ "type": "leave" }));
    let news = world.news(ada.connection);
    assert!(news.contains(&ServerMessage::VideoCodec { codec: Codec::H264 }), "{news:?}");
}

#[test]
fn who_speaks_is_told_by_participant() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    let transport = world.offer(&bo, "opus h264");
    let (voice, router) = (world.producers(transport)[0], world.node.transports[&transport].router);
    let unknown = broletto_control::ProducerId(broletto_control::Id::new(broletto_control::Epoch(9), 9));
    world.news(ada.connection);
    let levels = [(unknown, 10), (voice, 20)];
    let speakers = levels.map(|(producer, level)| SpeakerLevel { producer, level }).to_vec();
    world.notify(Notification::Speakers { router, speakers });
    let speakers = vec![Speaker { participant: ParticipantId(bo.id), level: 20 }];
    assert_eq!(world.news(ada.connection), [ServerMessage::Speakers { speakers }]);
}

#[test]
fn lost_media_is_offered_again() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    let transport = world.offer(&ada, "opus h264");
    world.notify(Notification::TransportState { transport, state: TransportState::Connected });
    assert_eq!(world.news(ada.connection), [ServerMessage::Media { state: MediaState::Connected }]);
    world.notify(Notification::TransportClosed { transport, reason: CloseReason::TimedOut });
    assert_eq!(world.news(ada.connection), [ServerMessage::OfferNeeded]);
    assert_eq!(world.refused(ada.connection, offer("opus", false)).0, ErrorCode::State);
    assert_ne!(world.offer(&ada, "opus h264"), transport);
}

#[test]
fn an_offer_that_nobody_answers_times_out_and_leaves_nothing() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.node.holding = true;
    let id = world.say(ada.connection, offer("opus h264", true));
    assert_eq!(world.refused(ada.connection, offer("opus h264", true)).0, ErrorCode::State);
    world.advance(Duration::from_secs(10));
    let reply = world.reply(ada.connection, id).expect("in the end");
    assert!(matches!(reply, ServerMessage::Error { code: ErrorCode::Unavailable, .. }), "{reply:?}");
    world.release_node();
    assert!(world.node.transports.is_empty());
    world.offer(&ada, "opus h264");
}

#[test]
fn an_empty_room_gives_its_router_back_and_is_removed_in_the_end() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.offer(&ada, "opus h264");
    world.ask(ada.connection, json!({ "type": "leave" }));
    assert!(world.node.routers.is_empty());
    assert!(world.node.requests.iter().any(|request| matches!(request, Request::CloseRouter { .. })));
    world.advance(Duration::from_secs(30 * 24 * 3_600 - 1));
    assert_eq!(world.conference.totals().rooms, 1);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.conference.totals().rooms, 0);
    assert_eq!(world.saved.keys().collect::<Vec<_>>(), ["instance/epoch"]);
}

#[test]
fn a_room_that_nobody_ever_joined_is_removed_after_a_week() {
    let mut world = World::new();
    let week = Duration::from_secs(7 * 24 * 3_600);
    let (_unjoined, joined) = (world.room(), world.room());
    let ada = world.join(&joined.id, "Ada");
    world.ask(ada.connection, json!({ "type": "leave" }));
    world.advance(week / 2);
    world.restart();
    world.advance(week / 2 - Duration::from_secs(1));
    assert_eq!(world.conference.totals().rooms, 2);
    world.advance(Duration::from_secs(1));
    assert_eq!(world.conference.totals().rooms, 1);
    world.restart();
    world.join(&joined.id, "Ada");
}

#[test]
fn a_room_whose_people_were_in_it_at_a_restart_counts_as_joined() {
    let mut world = World::new();
    let room = world.room();
    world.join(&room.id, "Ada");
    world.restart();
    world.advance(Duration::from_secs(8 * 24 * 3_600));
    let totals = world.conference.totals();
    assert_eq!((totals.rooms, totals.participants), (1, 0));
}
