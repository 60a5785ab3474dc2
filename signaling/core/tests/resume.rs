//! Broken WebSockets, restarted processes, lost nodes.

mod common;

use std::time::Duration;

use broletto_control::{ConsumerRule, Epoch, Request};
use broletto_protocol::server::{ClosedReason, ErrorCode, ServerMessage};
use broletto_signaling_core::{Event, Leave};
use common::*;

fn connected_flags(news: &[ServerMessage]) -> Vec<bool> {
    let flag = |message: &ServerMessage| match message {
        ServerMessage::ParticipantChanged { participant } => Some(participant.connected),
        _ => None,
    };
    news.iter().filter_map(flag).collect()
}

#[test]
fn a_broken_websocket_resumes_and_the_media_is_not_touched() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    let transport = world.offer(&bo, "opus h264");
    let requests = world.node.requests.len();

    world.disconnect(bo.connection);
    world.advance(Duration::from_secs(29));
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let again = Member::of(connection, &reply);
    assert_eq!((again.id.as_str(), again.media), (bo.id.as_str(), true));
    assert_ne!(again.secret, bo.secret);
    assert_eq!(connected_flags(&world.news(ada.connection)), [false, true]);
    assert_eq!(world.node.requests.len(), requests, "the node heard nothing of it");
    assert!(world.node.transports.contains_key(&transport));

    // A secret is good for one use, once its owner is known to have the next.
    world.ask(connection, serde_json::json!({ "type": "ping" }));
    let thief = world.connect();
    assert_eq!(world.refused(thief, resume(&bo.secret)).0, ErrorCode::NotResumable);
}

#[test]
fn a_secret_stays_good_until_the_client_is_heard_with_the_next() {
    let mut world = World::new();
    let room = world.room();
    let bo = world.join(&room.id, "Bo");
    // Twice the reply to the resume is lost with its WebSocket, and once the process as well.
    world.disconnect(bo.connection);
    for restart in [false, true] {
        let connection = world.connect();
        world.say(connection, resume(&bo.secret));
        world.disconnect(connection);
        if restart {
            world.restart();
        }
    }
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let again = Member::of(connection, &reply);
    assert_eq!(again.id, bo.id);
    assert_eq!(world.conference.totals().participants, 1);

    // The client is heard: from now on only the newest secret counts, after a restart too.
    world.ask(connection, serde_json::json!({ "type": "ping" }));
    world.restart();
    let thief = world.connect();
    assert_eq!(world.refused(thief, resume(&bo.secret)).0, ErrorCode::NotResumable);
    let connection = world.connect();
    let reply = world.ask(connection, resume(&again.secret));
    assert_eq!(Member::of(connection, &reply).id, bo.id);
}

#[test]
fn a_secret_that_the_client_never_received_is_dropped_when_it_uses_the_former() {
    let mut world = World::new();
    let room = world.room();
    let bo = world.join(&room.id, "Bo");
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let lost = Member::of(connection, &reply).secret;
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    assert_eq!(Member::of(connection, &reply).id, bo.id);
    let thief = world.connect();
    assert_eq!(world.refused(thief, resume(&lost)).0, ErrorCode::NotResumable);
}

#[test]
fn who_does_not_resume_leaves_after_the_grace() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    world.offer(&bo, "opus h264");
    world.disconnect(bo.connection);
    for _ in 0..3 {
        world.advance(Duration::from_secs(10));
        world.ask(ada.connection, serde_json::json!({ "type": "ping" }));
    }
    assert_eq!(world.conference.totals().participants, 1);
    assert!(world.node.transports.is_empty());
    assert!(world.events.contains(&Event::ParticipantLeft { how: Leave::ResumeTimedOut }));
    let connection = world.connect();
    assert_eq!(world.refused(connection, resume(&bo.secret)).0, ErrorCode::NotResumable);
}

#[test]
fn a_resume_takes_over_a_websocket_that_still_stands() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    let connection = world.connect();
    let reply = world.ask(connection, resume(&ada.secret));
    assert_eq!(Member::of(connection, &reply).id, ada.id);
    assert_eq!(world.news(ada.connection), [ServerMessage::Closed { reason: ClosedReason::Replaced }]);
    assert!(world.closed.contains(&ada.connection));
    // What the old one says late changes nothing.
    world.disconnect(ada.connection);
    assert_eq!(world.ask(connection, publish(true, true)), ServerMessage::Ok);
}

#[test]
fn a_silent_websocket_is_dropped_and_one_that_never_joins_too() {
    let mut world = World::new();
    let room = world.room();
    let (ada, idle) = (world.join(&room.id, "Ada"), world.connect());
    world.advance(Duration::from_secs(15));
    assert!(world.closed.contains(&idle) && !world.closed.contains(&ada.connection));
    for _ in 0..3 {
        world.advance(Duration::from_secs(20));
        world.ask(ada.connection, serde_json::json!({ "type": "ping" }));
    }
    assert!(!world.closed.contains(&ada.connection));
    world.advance(Duration::from_secs(60));
    assert!(world.closed.contains(&ada.connection));
}

#[test]
fn a_restarted_process_goes_on_from_what_it_saved() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    let (seen_by, transport) = (world.offer(&ada, "opus h264"), world.offer(&bo, "opus h264"));
    world.ask(bo.connection, publish(true, true));
    world.ask(ada.connection, view("3", &bo.id, "camera"));
    let camera = world.producers(transport)[1];
    assert!(!world.saved.values().any(|value| value.contains(&ada.secret)), "secrets are not saved");

    world.restart();
    let early = world.connect();
    let reply = world.ask(early, resume(&ada.secret));
    let ServerMessage::Joined { slots, media: true, resume: secret, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(slots, [], "nobody knows yet what Ada's slots show, and so she keeps showing it");
    let ada = Member { secret, ..ada };
    world.connect_node();
    assert_eq!(world.node.transports.len(), 2, "no media was disturbed");
    assert!(world.node.epoch_max > Epoch(1));
    let Some(Request::Sync { routers, .. }) =
        world.node.requests.iter().rev().find(|request| matches!(request, Request::Sync { .. }))
    else {
        panic!("the node was told the wished state")
    };
    let wish = routers[0].transports.iter().find(|wish| wish.transport == seen_by).expect("Ada's");
    assert!(wish.wishes.iter().any(|wish| wish.rule == ConsumerRule::Producer { producer: camera }));

    for member in [ada, bo] {
        let connection = world.connect();
        let reply = world.ask(connection, resume(&member.secret));
        let ServerMessage::Joined { you, media, participants, .. } = reply else { panic!("{reply:?}") };
        assert_eq!((you.0, media, participants.len()), (member.id, true, 2));
    }
    assert_eq!(world.node.complaints, Vec::<String>::new());
    world.advance(Duration::from_secs(31));
    assert_eq!(world.conference.totals().participants, 2);
}

#[test]
fn after_a_restart_who_does_not_resume_leaves() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.offer(&ada, "opus h264");
    world.restart();
    world.connect_node();
    world.advance(Duration::from_secs(30));
    assert_eq!(world.conference.totals().participants, 0);
    assert_eq!(world.saved_participants().count(), 0);
    assert!(world.node.routers.is_empty());
}

#[test]
fn a_node_that_lost_everything_is_offered_again_by_all() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.offer(&ada, "opus h264");
    world.lose_node();
    world.node.forget();
    world.connect_node();
    assert_eq!(world.news(ada.connection), [ServerMessage::OfferNeeded]);
    world.offer(&ada, "opus h264");
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn an_offer_without_a_node_waits_for_it() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.lose_node();
    let id = world.say(ada.connection, offer("opus h264", true));
    assert_eq!(world.reply(ada.connection, id), None);
    world.connect_node();
    let reply = world.reply(ada.connection, id);
    assert!(matches!(reply, Some(ServerMessage::Answer { .. })), "{reply:?}");
}

#[test]
fn an_offer_whose_answer_was_lost_with_the_node_is_answered_once_it_is_back() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.node.holding = true;
    let id = world.say(ada.connection, offer("opus h264", true));
    world.lose_node();
    world.node.holding = false;
    world.connect_node();
    let reply = world.reply(ada.connection, id);
    assert!(matches!(reply, Some(ServerMessage::Answer { .. })), "{reply:?}");
    assert_eq!(world.node.transports.len(), 1);
    assert!(!world.news(ada.connection).contains(&ServerMessage::OfferNeeded));
}

#[test]
fn an_answer_that_came_after_its_websocket_broke_leaves_no_transport() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.node.holding = true;
    world.say(ada.connection, offer("opus h264", true));
    world.disconnect(ada.connection);
    world.release_node();
    assert!(world.node.transports.is_empty());
    let connection = world.connect();
    let reply = world.ask(connection, resume(&ada.secret));
    assert!(!Member::of(connection, &reply).media);
}

#[test]
fn c2_a_process_rises_above_its_node_once_and_stops_when_another_has_taken_over() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.restart();
    world.node.epoch_max = Epoch(40);
    world.connect_node();
    let connection = world.connect();
    let reply = world.ask(connection, resume(&ada.secret));
    let ada = Member::of(connection, &reply);
    world.offer(&ada, "opus h264");
    assert_eq!(world.node.epoch_max, Epoch(41));
    assert!(world.saved["instance/epoch"].contains("41"));

    world.lose_node();
    world.node.epoch_max = Epoch(50);
    let requests = world.node.requests.len();
    world.connect_node();
    assert_eq!(world.node.requests.len(), requests + 1, "nothing but the greeting");
    assert_eq!(world.refused(ada.connection, offer("opus", true)).0, ErrorCode::Unavailable);
}
