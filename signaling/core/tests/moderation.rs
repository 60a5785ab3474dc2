//! What moderators do, and that nobody else can (W5).

mod common;

use broletto_protocol::server::{ClosedReason, ErrorCode, ServerMessage};
use broletto_protocol::{Allowed, Lobby, ParticipantId, Role, Source};
use broletto_signaling_core::{Event, Leave, Moderation};
use common::*;
use serde_json::{Value, json};

fn set_role(of: &Member, role: &str) -> Value {
    json!({ "type": "set_role", "participant": of.id, "role": role })
}

fn mute(of: &[&Member], sources: &[&str]) -> Value {
    let ids: Vec<_> = of.iter().map(|member| member.id.as_str()).collect();
    json!({ "type": "mute", "participants": ids, "sources": sources })
}

/// The last that was told of the participant.
fn last_change(news: &[ServerMessage], of: &Member) -> broletto_protocol::server::Participant {
    let change = news.iter().rev().find_map(|message| match message {
        ServerMessage::ParticipantChanged { participant } if participant.id.0 == of.id => Some(participant),
        _ => None,
    });
    change.unwrap_or_else(|| panic!("no change in {news:?}")).clone()
}

#[test]
fn w5_only_moderators_moderate_and_who_asks_follows_from_the_websocket() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let bo = world.join_as(&claims, Role::Participant);
    let cy = world.join_as(&claims, Role::Participant);
    world.ask(cy.connection, publish(true, true));
    world.ask(cy.connection, json!({ "type": "hand", "raised": true }));
    let viewer = world.join_as(&claims, Role::Viewer);
    for member in [&ada, &cy] {
        world.news(member.connection);
    }
    for who in [&bo, &viewer] {
        for message in [
            json!({ "type": "admit", "waiting": [] }),
            json!({ "type": "refuse", "waiting": [] }),
            mute(&[&cy], &["microphone"]),
            mute(&[who], &["microphone"]),
            json!({ "type": "remove_participant", "participant": cy.id }),
            set_role(who, "moderator"),
            set_role(&ada, "viewer"),
            json!({ "type": "spotlight", "participants": [who.id] }),
            json!({ "type": "set_room", "locked": true }),
            json!({ "type": "set_room" }),
        ] {
            assert_eq!(world.refused(who.connection, message), (ErrorCode::Forbidden, None));
        }
        let lower = json!({ "type": "hand", "raised": false, "participant": cy.id });
        let refused = world.refused(who.connection, lower);
        assert_eq!(refused, (ErrorCode::Forbidden, Some("participant".to_owned())));
    }
    for member in [&ada, &cy] {
        assert_eq!(world.news(member.connection), [], "nothing has happened");
    }
    // A field that claims to be somebody else is no field of any message.
    for key in ["by", "from", "role_of", "as"] {
        let mut message = mute(&[&cy], &["microphone"]);
        message[key] = ada.id.clone().into();
        assert_eq!(world.refused(bo.connection, message).0, ErrorCode::Malformed, "{key}");
    }
}

#[test]
fn a_moderator_mutes_at_the_node_and_the_muted_may_switch_on_again() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let (bo, cy) = (world.join_as(&claims, Role::Participant), world.join_as(&claims, Role::Moderator));
    let transport = world.offer(&bo, "opus h264");
    world.ask(bo.connection, publish(true, true));
    world.ask(cy.connection, publish(true, false));
    for member in [&ada, &bo, &cy] {
        world.news(member.connection);
    }
    // Nobody, and somebody twice, are passed over; a moderator is muted as others are.
    let mut message = mute(&[&bo, &bo, &cy, &ada], &["microphone", "screen"]);
    message["participants"].as_array_mut().expect("a list").extend(["9.9".into(), "x".into()]);
    assert_eq!(world.ask(ada.connection, message), ServerMessage::Ok);
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&true, &false]);
    let muted = ServerMessage::Muted { by: ParticipantId(ada.id.clone()), sources: vec![Source::Microphone] };
    for (member, on) in [(&bo, published(false, true)), (&cy, published(false, false))] {
        let news = world.news(member.connection);
        let told: Vec<_> = news.iter().filter(|one| matches!(one, ServerMessage::Muted { .. })).collect();
        assert_eq!(told, [&muted]);
        assert_eq!(last_change(&news, member).publishing, on);
    }
    let news = world.news(ada.connection);
    assert_eq!(last_change(&news, &bo).publishing, published(false, true));
    assert_eq!(last_change(&news, &cy).publishing, published(false, false));
    assert_eq!(news.len(), 2, "{news:?}");

    // Muted once more: there is nothing left to switch off, and nobody hears of it.
    assert_eq!(world.ask(ada.connection, mute(&[&bo], &["microphone"])), ServerMessage::Ok);
    assert_eq!(world.news(bo.connection), []);
    assert_eq!(world.ask(bo.connection, publish(true, true)), ServerMessage::Ok);
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&false, &false]);
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn whoever_is_muted_while_away_comes_back_muted() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let bo = world.join_as(&claims, Role::Participant);
    world.ask(bo.connection, publish(true, true));
    world.disconnect(bo.connection);
    world.ask(ada.connection, mute(&[&bo], &["microphone", "camera"]));
    world.restart();
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let ServerMessage::Joined { participants, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(participants[1].publishing, published(false, false));
}

#[test]
fn whoever_is_removed_is_gone_and_cannot_resume() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let (bo, cy) = (world.join_as(&claims, Role::Participant), world.join_as(&claims, Role::Participant));
    world.offer(&bo, "opus h264");
    world.news(cy.connection);
    let remove = |of: &Member| json!({ "type": "remove_participant", "participant": of.id });
    assert_eq!(world.ask(ada.connection, remove(&bo)), ServerMessage::Ok);
    let last = world.news(bo.connection).pop();
    assert_eq!(last, Some(ServerMessage::Closed { reason: ClosedReason::Removed }));
    assert!(world.closed.contains(&bo.connection) && world.node.transports.is_empty());
    let left = ServerMessage::ParticipantLeft { participant: ParticipantId(bo.id.clone()) };
    assert_eq!(world.news(cy.connection), [left], "and not that Bo is being waited for");
    let connection = world.connect();
    assert_eq!(world.refused(connection, resume(&bo.secret)).0, ErrorCode::NotResumable);
    assert!(world.events.contains(&Event::ParticipantLeft { how: Leave::Removed }));
    assert!(world.events.contains(&Event::Moderated { what: Moderation::Remove }));

    // One who is away too, and one who is gone is as gone as was asked for.
    world.disconnect(cy.connection);
    for _ in 0..2 {
        assert_eq!(world.ask(ada.connection, remove(&cy)), ServerMessage::Ok);
    }
    let connection = world.connect();
    assert_eq!(world.refused(connection, resume(&cy.secret)).0, ErrorCode::NotResumable);
    assert_eq!(world.saved_participants().count(), 1);
    let refused = world.refused(ada.connection, remove(&ada));
    assert_eq!(refused, (ErrorCode::Invalid, Some("participant".to_owned())));
}

#[test]
fn a_viewer_who_becomes_more_may_publish_and_who_becomes_viewer_is_silenced() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let bo = world.join_as(&claims, Role::Viewer);
    let mut receiving = offer("opus h264", true);
    receiving["send"] = json!([]);
    world.ask(bo.connection, receiving);
    assert_eq!(world.refused(bo.connection, publish(true, false)).0, ErrorCode::Forbidden);
    world.news(ada.connection);

    assert_eq!(world.ask(ada.connection, set_role(&bo, "participant")), ServerMessage::Ok);
    assert_eq!(last_change(&world.news(ada.connection), &bo).role, Role::Participant);
    let reply = world.ask(bo.connection, offer("opus h264", false));
    assert!(matches!(reply, ServerMessage::Answer { .. }), "{reply:?}");
    assert_eq!(world.ask(bo.connection, publish(true, true)), ServerMessage::Ok);
    let transport = world.node.last_offer.expect("an offer");
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&false, &false]);

    world.news(bo.connection);
    assert_eq!(world.ask(ada.connection, set_role(&bo, "viewer")), ServerMessage::Ok);
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&true, &true]);
    let news = world.news(bo.connection);
    let sources = vec![Source::Microphone, Source::Camera];
    assert_eq!(news[0], ServerMessage::Muted { by: ParticipantId(ada.id.clone()), sources });
    let changed = last_change(&news, &bo);
    assert_eq!((changed.role, changed.publishing), (Role::Viewer, published(false, false)));
    assert_eq!(news.len(), 2, "{news:?}");
    assert_eq!(world.refused(bo.connection, publish(true, false)).0, ErrorCode::Forbidden);
    // The m-lines that are there stay, so that the pool can grow; a new connection has none.
    let reply = world.ask(bo.connection, offer("opus h264", false));
    assert!(matches!(reply, ServerMessage::Answer { .. }), "{reply:?}");
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&true, &true]);
    let mut more = offer("opus h264", false);
    more["send"].as_array_mut().expect("a list").push(json!({ "mid": "9", "source": "screen" }));
    for message in [more, offer("opus h264", true)] {
        assert_eq!(world.refused(bo.connection, message), (ErrorCode::Forbidden, Some("send".to_owned())));
    }
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn whoever_is_silenced_while_an_offer_is_on_its_way_is_silent_when_it_is_answered() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let bo = world.join_as(&claims, Role::Participant);
    world.ask(bo.connection, publish(true, true));
    world.node.holding = true;
    world.say(bo.connection, offer("opus h264", true));
    world.ask(ada.connection, set_role(&bo, "viewer"));
    world.release_node();
    let transport = world.node.last_offer.expect("an offer");
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&true, &true]);
}

#[test]
fn the_last_moderator_stays_one() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({}));
    let bo = world.join(&room, "Bo");
    let refused = (ErrorCode::State, Some("role".to_owned()));
    assert_eq!(world.refused(ada.connection, set_role(&ada, "participant")), refused);
    assert_eq!(world.ask(ada.connection, set_role(&ada, "moderator")), ServerMessage::Ok, "no change");
    // A moderator who is away may never come back.
    let cy = world.join_as(&claims, Role::Moderator);
    world.disconnect(cy.connection);
    assert_eq!(world.refused(ada.connection, set_role(&ada, "guest")), refused);
    assert_eq!(world.ask(ada.connection, set_role(&bo, "moderator")), ServerMessage::Ok);
    assert_eq!(world.ask(ada.connection, set_role(&ada, "guest")), ServerMessage::Ok);
    assert_eq!(world.refused(ada.connection, set_role(&ada, "moderator")).0, ErrorCode::Forbidden);
    assert_eq!(world.ask(bo.connection, set_role(&cy, "guest")), ServerMessage::Ok);
    let nobody = json!({ "type": "set_role", "participant": "9.9", "role": "guest" });
    let refused = world.refused(bo.connection, nobody);
    assert_eq!(refused, (ErrorCode::Invalid, Some("participant".to_owned())));

    world.restart();
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let ServerMessage::Joined { participants, .. } = reply else { panic!("{reply:?}") };
    let roles: Vec<_> = participants.iter().map(|one| one.role).collect();
    assert_eq!(roles, [Role::Guest, Role::Moderator, Role::Guest], "roles are kept");
}

#[test]
fn the_spotlight_is_seen_by_all_and_by_who_comes_later() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({}));
    let (bo, cy) = (world.join(&room, "Bo"), world.join(&room, "Cy"));
    let spotlight = |ids: &[&str]| json!({ "type": "spotlight", "participants": ids });
    let in_front = |news: &[ServerMessage]| {
        news.iter().rev().find_map(|message| match message {
            ServerMessage::RoomChanged { room } => {
                Some(room.spotlight.iter().map(|id| id.0.clone()).collect::<Vec<_>>())
            }
            _ => None,
        })
    };
    world.news(bo.connection);
    let message = spotlight(&[&cy.id, "9.9", "x", &bo.id, &cy.id]);
    assert_eq!(world.ask(ada.connection, message), ServerMessage::Ok);
    for member in [&ada, &bo, &cy] {
        let news = world.news(member.connection);
        assert_eq!(in_front(&news), Some(vec![cy.id.clone(), bo.id.clone()]));
    }
    let nine = vec![ada.id.as_str(); 9];
    let refused = world.refused(ada.connection, spotlight(&nine));
    assert_eq!(refused, (ErrorCode::Limit, Some("participants".to_owned())));

    let connection = world.connect();
    let reply = world.ask(connection, join(&room, "Dan"));
    let ServerMessage::Joined { room: info, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(info.spotlight.len(), 2);
    world.news(ada.connection);
    world.ask(cy.connection, json!({ "type": "leave" }));
    assert_eq!(in_front(&world.news(ada.connection)), Some(vec![bo.id.clone()]));

    world.restart();
    let connection = world.connect();
    let reply = world.ask(connection, resume(&ada.secret));
    let ServerMessage::Joined { room: info, .. } = reply else { panic!("{reply:?}") };
    assert_eq!(info.spotlight, [ParticipantId(bo.id)], "it is kept");
}

#[test]
fn what_the_room_does_not_allow_is_not_switched_on_and_what_is_on_stays() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({}));
    let (bo, cy) = (world.join(&room, "Bo"), world.join(&room, "Cy"));
    world.ask(bo.connection, publish(true, false));
    world.news(cy.connection);
    let allowed = json!({ "microphone": false, "camera": true, "screen": false, "chat": true });
    let message = json!({ "type": "set_room", "allowed": allowed });
    assert_eq!(world.ask(ada.connection, message.clone()), ServerMessage::Ok);
    let [ServerMessage::RoomChanged { room: info }] = &world.news(cy.connection)[..] else {
        panic!("everybody is told, once")
    };
    let expected = Allowed { microphone: false, screen: false, ..Allowed::default() };
    assert_eq!((info.allowed, info.lobby, info.locked), (expected, Lobby::Off, false));
    assert_eq!(world.ask(ada.connection, message), ServerMessage::Ok);
    assert_eq!(world.news(cy.connection), [], "nothing has changed");

    assert_eq!(world.ask(bo.connection, publish(true, true)), ServerMessage::Ok, "the microphone was on");
    assert_eq!(world.ask(bo.connection, publish(false, true)), ServerMessage::Ok);
    let voice = (ErrorCode::Forbidden, Some("publishing.microphone".to_owned()));
    assert_eq!(world.refused(bo.connection, publish(true, true)), voice);
    let screen = json!({ "type": "publish", "publishing": { "screen": true, "screen_audio": true } });
    let refused = world.refused(cy.connection, screen.clone());
    assert_eq!(refused, (ErrorCode::Forbidden, Some("publishing.screen".to_owned())));
    assert_eq!(world.ask(ada.connection, screen), ServerMessage::Ok, "moderators may");

    // The rules outlive the process, and who joins later is told them.
    world.restart();
    let dan = world.join_as(&claims, Role::Participant);
    assert_eq!(world.refused(dan.connection, publish(true, false)), voice);
}

#[test]
fn what_set_room_leaves_out_stays() {
    let mut world = World::new();
    let (_, _, ada) = world.moderated(json!({ "lobby": "guests", "allowed": { "chat": false } }));
    let mut expected = (Lobby::Guests, false, Allowed { chat: false, ..Allowed::default() });
    for (mut message, change) in [
        (json!({ "locked": true }), (None, Some(true))),
        (json!({ "lobby": "everyone" }), (Some(Lobby::Everyone), None)),
        (json!({}), (None, None)),
        (json!({ "locked": false }), (None, Some(false))),
    ] {
        message["type"] = "set_room".into();
        assert_eq!(world.ask(ada.connection, message), ServerMessage::Ok);
        expected.0 = change.0.unwrap_or(expected.0);
        expected.1 = change.1.unwrap_or(expected.1);
        for news in world.news(ada.connection) {
            let ServerMessage::RoomChanged { room } = news else { panic!("{news:?}") };
            assert_eq!((room.lobby, room.locked, room.allowed), expected);
        }
    }
}

#[test]
fn records_of_an_earlier_version_are_read() {
    let mut world = World::new();
    let room = world.room();
    let bo = world.join(&room.id, "Bo");
    for value in world.saved.values_mut() {
        let mut record: Value = serde_json::from_str(value).expect("a record is JSON");
        let fields = record.as_object_mut().expect("an object");
        for field in ["lobby", "locked", "allowed", "spotlight", "hand"] {
            fields.remove(field);
        }
        *value = record.to_string();
    }
    world.restart();
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let ServerMessage::Joined { room, participants, .. } = reply else { panic!("{reply:?}") };
    assert_eq!((room.lobby, room.locked, room.allowed), (Lobby::Off, false, Allowed::default()));
    assert_eq!((room.spotlight.len(), participants[0].hand), (0, None));
}
