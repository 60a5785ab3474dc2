//! The lobby: who waits, what moderators see of it, and that nobody who waits sees anything (W3, W4).

mod common;

use std::time::Duration;

use broletto_protocol::rest::CreateRoom;
use broletto_protocol::server::{ClosedReason, ErrorCode, ServerMessage};
use broletto_protocol::{Kind, Lobby, Role, ServerFrame};
use broletto_signaling_core::{Claims, Config, ConnectionId, Event, Limits, LobbyStep, RestError};
use common::*;
use serde_json::json;

/// Joins and is told to wait.
fn wait(world: &mut World, room: &str, name: &str) -> ConnectionId {
    let connection = world.connect();
    assert_eq!(world.ask(connection, join(room, name)), ServerMessage::Waiting);
    connection
}

/// Ids and names of the last list that the moderator was told.
fn listed(world: &mut World, moderator: &Member) -> Vec<(String, String)> {
    world.advance(Duration::from_millis(300));
    let news = world.news(moderator.connection);
    let list = news.into_iter().rev().find_map(|message| match message {
        ServerMessage::Lobby { waiting } => Some(waiting),
        _ => None,
    });
    list.expect("a list").into_iter().map(|one| (one.id.0, one.name)).collect()
}

fn ids(list: &[(String, String)]) -> Vec<&str> {
    list.iter().map(|(id, _)| id.as_str()).collect()
}

fn names(list: &[(String, String)]) -> Vec<&str> {
    list.iter().map(|(_, name)| name.as_str()).collect()
}

#[test]
fn w4_whoever_waits_is_told_nothing_of_the_room() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({ "lobby": "guests" }));
    let bo = world.join_as(&claims, Role::Participant);
    world.offer(&bo, "opus h264");
    let eve = wait(&mut world, &room, "Eve");
    let requests = world.node.requests.len();

    // Whatever happens in the room, and whatever is asked for.
    world.ask(bo.connection, publish(true, true));
    world.ask(bo.connection, json!({ "type": "chat", "text": "the figures are secret" }));
    world.ask(bo.connection, json!({ "type": "hand", "raised": true }));
    world.ask(bo.connection, json!({ "type": "react", "reaction": "heart" }));
    world.ask(bo.connection, json!({ "type": "text", "text": "typed" }));
    world.ask(ada.connection, json!({ "type": "spotlight", "participants": [bo.id] }));
    world.ask(ada.connection, json!({ "type": "set_room", "allowed": { "chat": false } }));
    let changes = world.node.requests.len();
    for message in [
        offer("opus h264", true),
        publish(true, true),
        view("3", &bo.id, "camera"),
        json!({ "type": "chat", "text": "let me in" }),
        json!({ "type": "text", "text": "let me in" }),
        json!({ "type": "hand", "raised": true }),
        json!({ "type": "react", "reaction": "heart" }),
        json!({ "type": "admit", "waiting": ["1.1"] }),
        json!({ "type": "mute", "participants": [bo.id], "sources": ["microphone"] }),
        json!({ "type": "remove_participant", "participant": bo.id }),
        json!({ "type": "set_role", "participant": bo.id, "role": "viewer" }),
        json!({ "type": "spotlight", "participants": [] }),
        json!({ "type": "set_room", "lobby": "off" }),
        join(&room, "Eve"),
        resume(&bo.secret),
    ] {
        assert_eq!(world.refused(eve, message), (ErrorCode::State, None));
    }
    assert_eq!(world.node.requests.len(), changes, "the node heard nothing of Eve");
    assert!(changes > requests, "and of Bo it did");
    assert_eq!(world.ask(eve, json!({ "type": "ping" })), ServerMessage::Pong);
    world.ask(bo.connection, json!({ "type": "leave" }));
    assert_eq!(world.news(eve), []);
    assert!(!world.saved.values().any(|record| record.contains("Eve")), "nor is she kept");
    assert_eq!((world.conference.totals().participants, world.conference.totals().waiting), (1, 1));
}

#[test]
fn whoever_is_admitted_joins_under_the_id_that_the_list_named() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({ "lobby": "guests" }));
    let bo = world.join_as(&claims, Role::Participant);
    let (cy, dan) = (wait(&mut world, &room, " Cy "), wait(&mut world, &room, "Dan"));
    let list = listed(&mut world, &ada);
    assert_eq!(names(&list), ["Cy", "Dan"]);
    let (cys, dans) = (list[0].0.clone(), list[1].0.clone());
    world.news(bo.connection);

    // Twice, one who is not there, and what is no id are passed over.
    let chosen = json!({ "type": "admit", "waiting": [cys, cys, "9.9", "x", bo.id] });
    assert_eq!(world.ask(ada.connection, chosen), ServerMessage::Ok);
    let inbox = world.inboxes.remove(&cy).expect("Cy was told");
    let [ServerFrame { reply_to: None, message }] = &inbox[..] else { panic!("{inbox:?}") };
    let ServerMessage::Joined { you, participants, waiting, .. } = message else { panic!("{message:?}") };
    assert_eq!((you.0.as_str(), participants.len(), waiting.len()), (cys.as_str(), 3, 0));
    let [ServerMessage::ParticipantJoined { participant }] = &world.news(bo.connection)[..] else {
        panic!("Bo is told that Cy came, and nothing of the lobby")
    };
    assert_eq!((participant.id.0.as_str(), participant.role), (cys.as_str(), Role::Guest));
    assert_eq!(names(&listed(&mut world, &ada)), ["Dan"]);
    let member = Member::of(cy, message);
    world.offer(&member, "opus h264");
    assert_eq!(world.node.complaints, Vec::<String>::new());

    assert_eq!(world.ask(ada.connection, json!({ "type": "refuse", "waiting": [dans] })), ServerMessage::Ok);
    assert_eq!(world.news(dan), [ServerMessage::Closed { reason: ClosedReason::Refused }]);
    assert!(world.closed.contains(&dan));
    assert_eq!(listed(&mut world, &ada), []);
    for step in [LobbyStep::Came, LobbyStep::Admitted, LobbyStep::Refused] {
        assert!(world.events.contains(&Event::Lobby { step }), "{step:?}");
    }
    // It may try again.
    wait(&mut world, &room, "Dan");
    assert_eq!(names(&listed(&mut world, &ada)), ["Dan"]);
}

#[test]
fn the_lobby_is_for_moderators_only() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({ "lobby": "guests" }));
    let bo = world.join_as(&claims, Role::Participant);
    wait(&mut world, &room, "Cy");
    let list = listed(&mut world, &ada);
    for kind in ["admit", "refuse"] {
        let refused = world.refused(bo.connection, json!({ "type": kind, "waiting": ids(&list) }));
        assert_eq!(refused, (ErrorCode::Forbidden, None));
    }
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let ServerMessage::Joined { waiting, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(waiting, []);
    // Another moderator sees it at once, one who is made a moderator too.
    let connection = world.connect();
    let reply = world.ask(connection, join_by_token(&claims));
    let ServerMessage::Joined { waiting, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((waiting[0].name.as_str(), waiting[0].kind), ("Cy", Kind::Browser));
    let bo = world.join_as(&claims, Role::Participant);
    let message = json!({ "type": "set_role", "participant": bo.id, "role": "moderator" });
    assert_eq!(world.ask(ada.connection, message), ServerMessage::Ok);
    assert_eq!(names(&listed(&mut world, &bo)), ["Cy"]);
}

#[test]
fn who_waits_follows_from_the_room_and_the_token() {
    let mut world = World::new();
    let (room, claims) = world.room_and_token();
    let ada = world.join_as(&claims, Role::Moderator);
    for (set, waits) in [
        (json!({ "lobby": "off" }), vec![]),
        (json!({ "lobby": "guests" }), vec![Role::Viewer, Role::Guest]),
        (json!({ "lobby": "everyone" }), vec![Role::Viewer, Role::Guest, Role::Participant]),
        (json!({ "lobby": "off", "locked": true }), vec![Role::Viewer, Role::Guest, Role::Participant]),
    ] {
        let mut message = set.clone();
        message["type"] = "set_room".into();
        assert_eq!(world.ask(ada.connection, message), ServerMessage::Ok);
        for role in [Role::Viewer, Role::Guest, Role::Participant, Role::Moderator] {
            let connection = world.connect();
            let reply = world.ask(connection, join_by_token(&Claims { role, ..claims.clone() }));
            assert_eq!(reply == ServerMessage::Waiting, waits.contains(&role), "{set} {role:?}");
            world.ask(connection, json!({ "type": "leave" }));
        }
        let connection = world.connect();
        let reply = world.ask(connection, join(&room, "Cy"));
        assert_eq!(reply == ServerMessage::Waiting, waits.contains(&Role::Guest), "{set}, by the room's id");
        world.disconnect(connection);
    }
}

#[test]
fn those_whom_nothing_holds_back_any_more_are_let_in() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({ "lobby": "everyone", "locked": true }));
    let guest = wait(&mut world, &room, "Guest");
    let participant = world.connect();
    let token = join_by_token(&Claims { role: Role::Participant, ..claims });
    assert_eq!(world.ask(participant, token), ServerMessage::Waiting);

    // Locked still: nobody.
    world.ask(ada.connection, json!({ "type": "set_room", "lobby": "guests" }));
    assert_eq!(world.conference.totals().waiting, 2);
    world.ask(ada.connection, json!({ "type": "set_room", "locked": false }));
    assert_eq!(world.conference.totals().waiting, 1);
    let news = world.news(participant);
    assert!(matches!(&news[..], [ServerMessage::Joined { .. }]), "{news:?}");
    assert_eq!(world.news(guest), []);
    world.ask(ada.connection, json!({ "type": "set_room", "lobby": "off" }));
    let news = world.news(guest);
    assert!(matches!(&news[..], [ServerMessage::Joined { .. }]), "{news:?}");
    assert_eq!(listed(&mut world, &ada), []);
    assert_eq!(world.conference.totals().participants, 3);
}

#[test]
fn whoever_stops_waiting_leaves_the_list() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({ "lobby": "guests" }));
    let waiting = ["Cy", "Dan", "Eve", "Fay"].map(|name| wait(&mut world, &room, name));
    let [cy, dan, eve, fay] = waiting;
    assert_eq!(world.ask(cy, json!({ "type": "leave" })), ServerMessage::Ok);
    assert_eq!(world.news(cy), [ServerMessage::Closed { reason: ClosedReason::Left }]);
    world.disconnect(dan);
    for _ in 0..120 {
        world.say(eve, json!({ "type": "ping" }));
    }
    assert_eq!(world.news(eve).pop(), Some(ServerMessage::Closed { reason: ClosedReason::Protocol }));
    assert_eq!(names(&listed(&mut world, &ada)), ["Fay"]);
    // Whoever pings goes on waiting, whoever falls silent does not.
    for _ in 0..4 {
        world.advance(Duration::from_secs(20));
        world.ask(ada.connection, json!({ "type": "ping" }));
        world.ask(fay, json!({ "type": "ping" }));
    }
    for _ in 0..3 {
        world.advance(Duration::from_secs(20));
        world.ask(ada.connection, json!({ "type": "ping" }));
    }
    assert!(world.closed.contains(&fay));
    assert_eq!(listed(&mut world, &ada), []);
    let totals = world.conference.totals();
    assert_eq!((totals.waiting, totals.connections), (0, 1));
}

#[test]
fn whoever_resumes_is_not_sent_to_the_lobby() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({ "lobby": "off" }));
    let bo = world.join(&room, "Bo");
    world.ask(ada.connection, json!({ "type": "set_room", "lobby": "everyone", "locked": true }));
    world.disconnect(bo.connection);
    world.restart();
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    assert_eq!(Member::of(connection, &reply).id, bo.id);
    // Others still wait after the restart.
    wait(&mut world, &room, "Cy");
}

#[test]
fn m8_a_lobby_takes_no_more_than_its_bound_and_a_room_no_more_than_its_own() {
    let limits = Limits { waiting_per_room_max: 2, participants_per_room_max: 2, ..Limits::default() };
    let mut world = World::with(Config { limits, ..Config::default() });
    let (room, _, ada) = world.moderated(json!({ "lobby": "guests" }));
    let (bo, cy) = (wait(&mut world, &room, "Bo"), wait(&mut world, &room, "Cy"));
    let third = world.connect();
    assert_eq!(world.refused(third, join(&room, "Dan")), (ErrorCode::Limit, None));
    let list = listed(&mut world, &ada);
    let both = json!({ "type": "admit", "waiting": ids(&list) });
    assert_eq!(world.refused(ada.connection, both), (ErrorCode::Limit, Some("waiting".to_owned())));
    assert_eq!(world.conference.totals().waiting, 2, "all of them or none");
    // Nobody holds Cy back but the number of places, so a place that is left is Cy's.
    world.ask(ada.connection, json!({ "type": "set_room", "lobby": "off" }));
    let news = world.news(bo);
    let Some(joined @ ServerMessage::Joined { .. }) = news.first() else { panic!("{news:?}") };
    let bo = Member::of(bo, joined);
    assert_eq!(world.news(cy), []);
    world.ask(bo.connection, json!({ "type": "leave" }));
    let news = world.news(cy);
    assert!(matches!(&news[..], [ServerMessage::Joined { .. }]), "{news:?}");
}

#[test]
fn a_list_is_told_at_once_and_then_no_more_than_three_times_a_second() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({ "lobby": "guests" }));
    let lists = |world: &mut World| {
        let news = world.news(ada.connection);
        news.iter().filter(|message| matches!(message, ServerMessage::Lobby { .. })).count()
    };
    wait(&mut world, &room, "Bo");
    assert_eq!(lists(&mut world), 1);
    for _ in 0..50 {
        let connection = wait(&mut world, &room, "Eve");
        world.disconnect(connection);
    }
    assert_eq!(lists(&mut world), 0);
    world.advance(Duration::from_millis(300));
    assert_eq!(lists(&mut world), 1);
    world.advance(Duration::from_secs(9));
    assert_eq!(lists(&mut world), 0);
}

#[test]
fn w3_a_name_is_judged_before_the_room_and_its_lobby() {
    let mut world = World::new();
    let (room, _, _) = world.moderated(json!({ "lobby": "everyone" }));
    let answers = [room.as_str(), "nowhere"].map(|room| {
        let connection = world.connect();
        world.ask(connection, join(room, "\u{200b}"))
    });
    assert_eq!(answers[0], answers[1]);
    assert!(matches!(&answers[0], ServerMessage::Error { field: Some(field), .. } if field == "name"));
}

#[test]
fn a_room_that_ends_ends_for_those_who_wait_and_they_do_not_keep_it() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({ "lobby": "guests" }));
    let bo = wait(&mut world, &room, "Bo");
    world.ask(ada.connection, json!({ "type": "leave" }));
    assert_eq!((world.conference.totals().rooms_live, world.conference.totals().waiting), (0, 1));
    let token = serde_json::to_string(&claims).expect("claims serialise");
    assert_eq!(world.conference.end_room(&room, Some(&token), world.now), Ok(()));
    world.settle();
    assert_eq!(world.news(bo), [ServerMessage::Closed { reason: ClosedReason::RoomEnded }]);
    assert_eq!(world.conference.totals().waiting, 0);

    // An empty room is removed at its time, whoever waits for it.
    let (room, _, ada) = world.moderated(json!({ "lobby": "guests" }));
    world.ask(ada.connection, json!({ "type": "leave" }));
    world.advance(Duration::from_secs(30 * 24 * 3_600 - 30));
    let cy = wait(&mut world, &room, "Cy");
    world.advance(Duration::from_secs(30));
    assert_eq!(world.news(cy), [ServerMessage::Closed { reason: ClosedReason::RoomEnded }]);
    let totals = world.conference.totals();
    assert_eq!((totals.rooms, totals.waiting, totals.connections), (0, 0, 0));
}

#[test]
fn at_a_shutdown_whoever_waits_is_told_and_nobody_else_hears_of_it() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({ "lobby": "guests" }));
    let bo = wait(&mut world, &room, "Bo");
    listed(&mut world, &ada);
    world.conference.handle_shutdown(world.now);
    world.settle();
    let restarting = [ServerMessage::Closed { reason: ClosedReason::Restarting }];
    assert_eq!((world.news(bo), world.news(ada.connection)), (restarting.to_vec(), restarting.to_vec()));
}

#[test]
fn a_room_is_made_with_a_lobby_or_as_the_server_is_configured() {
    for (configured, asked, made) in [
        (Lobby::Off, None, Lobby::Off),
        (Lobby::Guests, None, Lobby::Guests),
        (Lobby::Guests, Some(Lobby::Off), Lobby::Off),
        (Lobby::Off, Some(Lobby::Everyone), Lobby::Everyone),
    ] {
        let mut world = World::with(Config { lobby: configured, ..Config::default() });
        let body = CreateRoom { lobby: asked, ..CreateRoom::default() };
        let room = world.conference.create_room(body, source(), world.now).expect("a room");
        world.settle();
        for restarted in [false, true] {
            if restarted {
                world.restart();
            }
            let connection = world.connect();
            let reply = world.ask(connection, join_by_token(&room.moderator));
            let ServerMessage::Joined { room, .. } = reply else { panic!("{reply:?}") };
            assert_eq!(room.lobby, made, "{configured:?} {asked:?}");
        }
    }
}

#[test]
fn w4_whoever_would_wait_reads_nothing_of_the_room_over_rest_either() {
    let mut world = World::new();
    let (room, claims, _moderator) = world.moderated(json!({ "lobby": "guests", "locked": false }));
    let read = |world: &World, role| {
        let token = serde_json::to_string(&Claims { role, ..claims.clone() }).expect("claims serialise");
        world.conference.read_room(&room, Some(&token), world.now).map(|room| room.title)
    };
    let title = Ok(String::new());
    for (role, expected) in [
        (Role::Viewer, Err(RestError::Forbidden)),
        (Role::Guest, Err(RestError::Forbidden)),
        (Role::Participant, title.clone()),
        (Role::Moderator, title),
    ] {
        assert_eq!(read(&world, role), expected, "{role:?}");
    }
}
