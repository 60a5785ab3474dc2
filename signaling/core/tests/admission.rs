//! Who gets in, and what everyone else can learn (W1, W3, W5).

mod common;

use std::time::Duration;

use broletto_protocol::Role;
use broletto_protocol::parse::client_frame;
use broletto_protocol::rest::{CreateRoom, Room};
use broletto_protocol::server::{ClosedReason, ErrorCode, ServerMessage};
use broletto_signaling_core::{Claims, Config, Limits, RestError, Turn};
use common::*;
use serde_json::json;

fn text(claims: &Claims) -> String {
    serde_json::to_string(claims).expect("claims serialise")
}

#[test]
fn w1_a_token_gives_its_role_in_its_room_and_no_other() {
    let mut world = World::new();
    let (room, claims) = world.room_and_token();
    let other = world.room();
    let connection = world.connect();
    let reply = world.ask(connection, join_by_token(&claims));
    let ServerMessage::Joined { participants, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(participants[0].role, Role::Moderator);

    for bad in [
        Claims { exp: world.now.unix_s() - 31, ..claims.clone() },
        Claims { nbf: world.now.unix_s() + 60, ..claims.clone() },
        Claims { aud: broletto_signaling_core::Audience::One("x".to_owned()), ..claims.clone() },
        Claims { tenant: Some("another".to_owned()), ..claims.clone() },
        Claims { room: "missing".to_owned(), ..claims.clone() },
    ] {
        let connection = world.connect();
        assert_eq!(world.refused(connection, join_by_token(&bad)), (ErrorCode::NotAdmitted, None));
    }
    let connection = world.connect();
    let mut elsewhere = join_by_token(&claims);
    elsewhere["room"] = other.id.into();
    assert_eq!(world.refused(connection, elsewhere).0, ErrorCode::NotAdmitted);
    let connection = world.connect();
    let mut same = join_by_token(&Claims { name: Some("Signed".to_owned()), ..claims });
    same["room"] = room.into();
    let ServerMessage::Joined { participants, .. } = world.ask(connection, same) else { panic!("joined") };
    assert_eq!(participants[1].name, "Signed", "the name of the token wins");
}

#[test]
fn w1_a_viewer_sends_nothing() {
    let mut world = World::new();
    let (_, claims) = world.room_and_token();
    let connection = world.connect();
    world.ask(connection, join_by_token(&Claims { role: Role::Viewer, ..claims }));
    let refused = world.refused(connection, publish(true, false));
    assert_eq!(refused, (ErrorCode::Forbidden, Some("publishing".to_owned())));
    let refused = world.refused(connection, offer("opus h264", true));
    assert_eq!(refused, (ErrorCode::Forbidden, Some("send".to_owned())));
    let mut receiving = offer("opus h264", true);
    receiving["send"] = json!([]);
    assert!(matches!(world.ask(connection, receiving), ServerMessage::Answer { .. }));
}

#[test]
fn w3_missing_and_forbidden_rooms_cannot_be_told_apart() {
    let mut world = World::new();
    let (room, claims) = world.room_and_token();
    let (other, _) = world.room_and_token();
    let mut forbidden = join_by_token(&claims);
    forbidden["room"] = other.clone().into();
    let mut missing = join_by_token(&claims);
    missing["room"] = "zzzzzzzzzzzzzzzzzzzzzzzzzz".into();
    let expired = join_by_token(&Claims { exp: 1, nbf: 0, ..claims.clone() });
    let replies =
        [forbidden, missing, expired, join("000 000 000", "Eve"), join("nowhere", "Eve")].map(|message| {
            let connection = world.connect();
            world.ask(connection, message)
        });
    for reply in &replies {
        assert_eq!(reply, &replies[0]);
    }
    // A bad name is refused before the room is looked for.
    let names = [room.as_str(), "nowhere"].map(|room| {
        let connection = world.connect();
        world.ask(connection, join(room, "\u{7}"))
    });
    assert_eq!(names[0], names[1]);

    let token = text(&claims);
    let answers = [
        world.conference.read_room(&other, Some(&token), world.now),
        world.conference.read_room("missing", Some(&token), world.now),
        world.conference.read_room(&room, None, world.now),
        world.conference.read_room(&room, Some("x"), world.now),
    ];
    assert!(answers.iter().all(|answer| *answer == Err(RestError::NotFound)), "{answers:?}");
    assert_eq!(world.conference.read_room(&room, Some(&token), world.now).expect("its own").id, room);
}

#[test]
fn w3_failed_attempts_lock_their_source_only() {
    let mut world = World::new();
    let (_, claims) = world.room_and_token();
    let Room { id, code, .. } = world.room();
    for _ in 0..20 {
        let connection = world.connect();
        assert_eq!(world.refused(connection, join("1", "Eve")).0, ErrorCode::NotAdmitted);
    }
    let connection = world.connect();
    assert_eq!(world.refused(connection, join(&code, "Eve")).0, ErrorCode::Limit);
    assert!(matches!(world.ask(connection, join(&id, "Cy")), ServerMessage::Joined { .. }), "by a link");
    let connection = world.connect();
    assert!(matches!(world.ask(connection, join_by_token(&claims)), ServerMessage::Joined { .. }));
    let elsewhere = world.connect_from("192.0.2.9".parse().expect("an address"));
    assert!(matches!(world.ask(elsewhere, join(&code, "Ada")), ServerMessage::Joined { .. }));
    world.advance(Duration::from_secs(2));
    let connection = world.connect();
    assert!(matches!(world.ask(connection, join(&code, "Ada")), ServerMessage::Joined { .. }));
}

#[test]
fn w3_what_nobody_can_guess_is_not_counted() {
    let mut world = World::new();
    let (room, claims) = world.room_and_token();
    let expired = join_by_token(&Claims { exp: 1, nbf: 0, ..claims });
    // An office that follows the links of a meeting which is over.
    for _ in 0..30 {
        let connection = world.connect();
        assert_eq!(world.refused(connection, expired.clone()).0, ErrorCode::NotAdmitted);
        let ended = join("zzzzzzzzzzzzzzzzzzzzzzzzzz", "Ada");
        assert_eq!(world.refused(connection, ended).0, ErrorCode::NotAdmitted);
    }
    let code = world.room().code;
    for room in [room, code] {
        let connection = world.connect();
        assert!(matches!(world.ask(connection, join(&room, "Bo")), ServerMessage::Joined { .. }));
    }
}

#[test]
fn w3_room_ids_and_codes_are_drawn_anew() {
    let mut world = World::new();
    let (one, two) = (world.room(), world.room());
    assert!(one.id.len() == 26 && one.id != two.id && one.code != two.code);
    assert!(one.url.ends_with(&format!("/r/{}", one.id)));
}

#[test]
fn w5_identity_comes_from_the_session_alone() {
    let mut world = World::new();
    let room = world.room();
    let stranger = world.connect();
    for message in
        [offer("opus", true), publish(true, true), view("3", "1.2", "camera"), json!({ "type": "leave" })]
    {
        assert_eq!(world.refused(stranger, message).0, ErrorCode::State);
    }
    let ada = world.join(&room.id, "Ada");
    assert_eq!(world.refused(ada.connection, join(&room.id, "Bo")).0, ErrorCode::State);
    assert_eq!(world.refused(ada.connection, resume(&ada.secret)).0, ErrorCode::State);
}

#[test]
fn w5_a_malformed_message_ends_itself_or_its_websocket_and_nobody_else_notices() {
    let mut world = World::new();
    let room = world.room();
    let (ada, eve) = (world.join(&room.id, "Ada"), world.join(&room.id, "Eve"));
    world.news(ada.connection);
    assert_eq!(world.refused(eve.connection, json!({ "type": "fly" })).0, ErrorCode::Malformed);
    assert!(!world.closed.contains(&eve.connection));
    let twice = client_frame(r#"{"id":1,"type":"ping","type":"leave"}"#);
    world.conference.handle_client(eve.connection, twice, world.now);
    world.settle();
    assert!(world.closed.contains(&eve.connection));
    let last = world.news(eve.connection).pop();
    assert_eq!(last, Some(ServerMessage::Closed { reason: ClosedReason::Protocol }));
    assert!(matches!(world.ask(ada.connection, json!({ "type": "ping" })), ServerMessage::Pong));
}

#[test]
fn w5_a_flood_ends_its_websocket() {
    let mut world = World::new();
    let room = world.room();
    let eve = world.join(&room.id, "Eve");
    for _ in 0..120 {
        world.say(eve.connection, json!({ "type": "ping" }));
    }
    assert!(world.closed.contains(&eve.connection));
}

#[test]
fn versions_that_the_server_does_not_speak_are_refused() {
    let mut world = World::new();
    let connection = world.connect();
    let message = json!({ "type": "join", "version": 9, "room": "1", "name": "Ada" });
    assert_eq!(world.refused(connection, message), (ErrorCode::Version, Some("version".to_owned())));
}

#[test]
fn m8_rooms_participants_and_connections_are_capped() {
    let limits = Limits {
        connections_max: 3,
        rooms_per_tenant_max: 2,
        participants_per_room_max: 2,
        rooms_per_source_hour_max: 1,
        ..Limits::default()
    };
    let mut world = World::with(Config { limits, ..Config::default() });
    let room = world.room();
    let create = |world: &mut World, source: &str| {
        let source = source.parse().expect("an address");
        world.conference.create_room(CreateRoom::default(), source, world.now)
    };
    assert!(matches!(create(&mut world, SOURCE), Err(RestError::Limit { retry_after_s: Some(3_600), .. })));
    assert!(create(&mut world, "192.0.2.2").is_ok());
    assert!(matches!(create(&mut world, "192.0.2.3"), Err(RestError::Limit { retry_after_s: None, .. })));
    world.join(&room.id, "Ada");
    world.join(&room.id, "Bo");
    let third = world.connect();
    assert_eq!(world.refused(third, join(&room.id, "Cy")).0, ErrorCode::Limit);
    let fourth = world.connect();
    assert!(world.closed.contains(&fourth));
}

#[test]
fn a_room_is_made_as_asked_or_the_field_is_named() {
    let mut world = World::new();
    use broletto_protocol::Codec::{Av1, H264, Vp8};
    for (title, video_codecs, field) in [
        ("x".repeat(121), None, "title"),
        ("a\nb".to_owned(), None, "title"),
        (String::new(), Some(vec![]), "video_codecs"),
        (String::new(), Some(vec![H264, H264]), "video_codecs"),
        (String::new(), Some(vec![Av1]), "video_codecs"),
    ] {
        let refused = world.conference.create_room(
            CreateRoom { title, video_codecs, lobby: None },
            source(),
            world.now,
        );
        assert!(
            matches!(&refused, Err(RestError::Invalid { field: named, .. }) if *named == field),
            "{refused:?}"
        );
    }
    let body = CreateRoom { title: " Giunta ".to_owned(), video_codecs: Some(vec![Vp8]), lobby: None };
    let made = world.conference.create_room(body, source(), world.now).expect("a room");
    assert_eq!((made.room.title.as_str(), made.room.video_codecs), ("Giunta", vec![Vp8]));
}

#[test]
fn a_moderator_ends_the_room_for_everyone() {
    let mut world = World::new();
    let (room, claims) = world.room_and_token();
    let ada = world.join(&room, "Ada");
    world.offer(&ada, "opus h264");
    let viewer = text(&Claims { role: Role::Participant, ..claims.clone() });
    assert_eq!(world.conference.end_room(&room, Some(&viewer), world.now), Err(RestError::Forbidden));
    assert_eq!(world.conference.end_room(&room, None, world.now), Err(RestError::NotFound));
    let token = text(&claims);
    assert_eq!(world.conference.end_room(&room, Some(&token), world.now), Ok(()));
    world.settle();
    assert_eq!(world.news(ada.connection), [ServerMessage::Closed { reason: ClosedReason::RoomEnded }]);
    assert!(world.node.routers.is_empty() && world.node.transports.is_empty());
    assert_eq!(world.saved.keys().collect::<Vec<_>>(), ["instance/epoch"]);
    assert_eq!(world.conference.end_room(&room, Some(&token), world.now), Err(RestError::NotFound));
    let totals = world.conference.totals();
    assert_eq!((totals.rooms, totals.rooms_live, totals.participants, totals.connections), (0, 0, 0, 0));
}

#[test]
fn w7_each_participant_gets_turn_credentials_of_its_own() {
    let turn = Turn {
        urls: vec!["turn:turn.example.org".to_owned()],
        secret: "a secret that coturn knows too".to_owned(),
        lifetime: Duration::from_secs(3_600),
    };
    let mut world = World::with(Config { turn: Some(turn), ..Config::default() });
    let room = world.room();
    let named = |world: &mut World, message| {
        let connection = world.connect();
        let reply = world.ask(connection, message);
        let ServerMessage::Joined { you, resume, ice_servers, .. } = reply else { panic!("{reply:?}") };
        let [server] = &ice_servers[..] else { panic!("{ice_servers:?}") };
        let until = world.now.unix_s() + 3_600;
        assert_eq!(server.username, Some(format!("{until}:{you}")));
        (server.credential.clone().expect("TURN needs one"), resume)
    };
    let (ada, secret) = named(&mut world, join(&room.id, "Ada"));
    let (bo, _) = named(&mut world, join(&room.id, "Bo"));
    assert_ne!(ada, bo);
    // Whoever comes back later gets one that lasts for as long again.
    world.advance(Duration::from_secs(10));
    let (again, _) = named(&mut world, resume(&secret));
    assert_ne!(ada, again);
}
