//! Hands, reactions, chat, real-time text, and what is told of networks.

mod common;

use std::time::Duration;

use broletto_control::{Notification, TransportStats};
use broletto_protocol::server::{ErrorCode, ParticipantQuality, ServerMessage};
use broletto_protocol::{ParticipantId, Quality, Reaction, Role};
use common::*;
use serde_json::{Value, json};

fn raise(raised: bool) -> Value {
    json!({ "type": "hand", "raised": raised })
}

fn chat(text: &str) -> Value {
    json!({ "type": "chat", "text": text })
}

fn chat_to(to: &Member, text: &str) -> Value {
    json!({ "type": "chat", "text": text, "to": to.id })
}

/// Serial, text and addressee of the chat messages among the news.
fn said(news: &[ServerMessage]) -> Vec<(u64, &str, Option<&str>)> {
    let message = |message| match message {
        &ServerMessage::ChatMessage { serial, ref text, ref to, .. } => {
            Some((serial, text.as_str(), to.as_ref().map(|to| to.0.as_str())))
        }
        _ => None,
    };
    news.iter().filter_map(message).collect()
}

fn texts(news: &[ServerMessage]) -> Vec<&str> {
    said(news).into_iter().map(|(_, text, _)| text).collect()
}

/// The hands that the roster shows to one who resumes, by participant.
fn hands(world: &mut World, member: &Member) -> Vec<Option<u64>> {
    let connection = world.connect();
    let reply = world.ask(connection, resume(&member.secret));
    let ServerMessage::Joined { participants, .. } = reply else { panic!("{reply:?}") };
    participants.iter().map(|one| one.hand).collect()
}

#[test]
fn hands_are_numbered_as_they_are_raised_and_kept() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({}));
    let bo = world.join(&room, "Bo");
    let viewer = world.join_as(&claims, Role::Viewer);
    world.news(bo.connection);
    for member in [&viewer, &ada] {
        assert_eq!(world.ask(member.connection, raise(true)), ServerMessage::Ok);
    }
    let raised: Vec<_> = world
        .news(bo.connection)
        .into_iter()
        .map(|message| match message {
            ServerMessage::ParticipantChanged { participant } => (participant.id.0, participant.hand),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(raised, [(viewer.id.clone(), Some(1)), (ada.id.clone(), Some(2))]);
    // Raised again: it keeps its place, and nobody hears of it.
    world.ask(viewer.connection, raise(true));
    assert_eq!(world.news(bo.connection), []);
    let own = json!({ "type": "hand", "raised": true, "participant": bo.id });
    assert_eq!(world.ask(bo.connection, own), ServerMessage::Ok);

    world.restart();
    assert_eq!(hands(&mut world, &ada), [Some(2), Some(3), Some(1)]);
}

#[test]
fn a_hand_is_lowered_by_its_owner_by_a_moderator_and_by_leaving() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({}));
    let members = ["Bo", "Cy", "Dan"].map(|name| world.join(&room, name));
    let [bo, cy, dan] = &members;
    for member in &members {
        world.ask(member.connection, raise(true));
    }
    world.news(ada.connection);
    assert_eq!(world.ask(bo.connection, raise(false)), ServerMessage::Ok);
    let lower = |of: &str| json!({ "type": "hand", "raised": false, "participant": of });
    assert_eq!(world.ask(ada.connection, lower(&cy.id)), ServerMessage::Ok);
    assert_eq!(world.ask(ada.connection, lower("9.9")), ServerMessage::Ok, "gone meanwhile");
    for news in world.news(ada.connection) {
        let ServerMessage::ParticipantChanged { participant } = news else { panic!("{news:?}") };
        assert_eq!(participant.hand, None);
    }
    let for_another = json!({ "type": "hand", "raised": true, "participant": cy.id });
    let refused = world.refused(ada.connection, for_another);
    assert_eq!(refused, (ErrorCode::Invalid, Some("raised".to_owned())));
    world.ask(dan.connection, json!({ "type": "leave" }));
    world.ask(bo.connection, raise(true));
    assert_eq!(hands(&mut world, &ada), [None, Some(1), None], "nobody was before Bo any more");
}

#[test]
fn everyone_sees_a_reaction() {
    let mut world = World::new();
    let (room, claims, ada) = world.moderated(json!({ "allowed": { "chat": false } }));
    let viewer = world.join_as(&claims, Role::Viewer);
    let bo = world.join(&room, "Bo");
    for member in [&ada, &bo, &viewer] {
        world.news(member.connection);
    }
    let message = json!({ "type": "react", "reaction": "celebrate" });
    assert_eq!(world.ask(viewer.connection, message), ServerMessage::Ok);
    let participant = ParticipantId(viewer.id.clone());
    let reaction = ServerMessage::Reaction { participant, reaction: Reaction::Celebrate };
    for member in [&ada, &bo, &viewer] {
        assert_eq!(world.news(member.connection), [reaction.clone()]);
    }
}

#[test]
fn w6_chat_passes_through_as_it_was_typed() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "<b>Ada</b>"), world.join(&room.id, "Bo"));
    world.news(ada.connection);
    for text in [
        " two lines,\n\ta tab and blanks ",
        "<script>alert(1)</script> &lt; %3Cimg%20src=x%3E javascript:alert(1)",
        "\u{202e}gnp.exe\u{202c} zero\u{200b}width \u{2066}isolated\u{2069} \u{feff}",
        "e\u{301} 👩\u{200d}👩\u{200d}👧 مرحبا",
        "\"quotes\" \\n {\"type\":\"closed\"}",
        &"€".repeat(2_000),
    ] {
        let before = world.now.unix_ms;
        assert_eq!(world.ask(ada.connection, chat(text)), ServerMessage::Ok);
        for member in [&ada, &bo] {
            let news = world.news(member.connection);
            let [ServerMessage::ChatMessage { participant, name, text: told, at_ms, to: None, .. }] =
                &news[..]
            else {
                panic!("{news:?}")
            };
            assert_eq!(
                (participant.0.as_str(), name.as_str(), told.as_str()),
                (&*ada.id, "<b>Ada</b>", text)
            );
            assert_eq!(*at_ms, before);
        }
        world.advance(Duration::from_millis(1_700));
    }
    let too_long = "x".repeat(2_001);
    for text in ["", &too_long, "bell\u{7}", "\u{1b}[2J", "a\r\nb", "\u{0}", "\u{9f}"] {
        let refused = world.refused(ada.connection, chat(text));
        assert_eq!(refused, (ErrorCode::Invalid, Some("text".to_owned())), "{text:?}");
    }
    assert_eq!(world.news(bo.connection), []);
}

#[test]
fn a_private_message_reaches_two_and_serials_rise() {
    let mut world = World::new();
    let room = world.room();
    let members = ["Ada", "Bo", "Cy"].map(|name| world.join(&room.id, name));
    let [ada, bo, cy] = &members;
    world.ask(ada.connection, chat("to all"));
    world.ask(ada.connection, chat_to(bo, "to Bo"));
    world.ask(bo.connection, chat("and on"));
    let heard = members.each_ref().map(|member| world.news(member.connection));
    assert_eq!(texts(&heard[0]), ["to all", "to Bo", "and on"]);
    assert_eq!(said(&heard[0]), said(&heard[1]));
    assert_eq!(texts(&heard[2]), ["to all", "and on"]);
    let told = said(&heard[0]);
    assert_eq!(told[1].2, Some(bo.id.as_str()));
    assert!(told.windows(2).all(|pair| pair[0].0 < pair[1].0), "{told:?}");
    let elsewhere = world.room();
    let stranger = world.join(&elsewhere.id, "Eve");
    for to in [ada.id.as_str(), "9.9", "x", stranger.id.as_str()] {
        let refused = world.refused(ada.connection, json!({ "type": "chat", "text": "x", "to": to }));
        assert_eq!(refused, (ErrorCode::Invalid, Some("to".to_owned())), "{to}");
    }
    assert_eq!((world.news(cy.connection), world.news(stranger.connection)), (vec![], vec![]));
}

#[test]
fn whoever_resumes_is_told_again_what_was_for_it() {
    let mut world = World::new();
    let room = world.room();
    let early = world.join(&room.id, "Ada");
    world.ask(early.connection, chat("before Bo came"));
    let (bo, cy) = (world.join(&room.id, "Bo"), world.join(&room.id, "Cy"));
    assert_eq!(
        texts(&world.news(bo.connection)),
        Vec::<&str>::new(),
        "whoever comes late sees nothing older"
    );
    world.ask(cy.connection, chat("first"));
    let last = said(&world.news(bo.connection))[0].0;
    world.disconnect(bo.connection);
    world.ask(cy.connection, chat("second"));
    world.ask(cy.connection, chat_to(&early, "not for Bo"));
    world.ask(cy.connection, chat_to(&bo, "for Bo"));

    let mut secret = bo.secret;
    let everything = ["first", "second", "for Bo"];
    for (after, expected) in [
        (Some(last), &everything[1..]),
        // As a client that had none yet.
        (None, &everything),
        (Some(0), &everything),
        (Some(u64::MAX), &[]),
    ] {
        let mut message = resume(&secret);
        if let Some(after) = after {
            message["chat_after"] = after.into();
        }
        let connection = world.connect();
        let id = world.say(connection, message);
        let inbox = world.inboxes[&connection].clone();
        assert_eq!(inbox[0].reply_to, Some(id), "the reply is the first");
        secret = Member::of(connection, &inbox[0].message).secret;
        let news = world.news(connection);
        assert_eq!(texts(&news), expected, "after {after:?}");
    }
}

#[test]
fn chat_ends_with_the_meeting_and_with_the_process() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.ask(ada.connection, chat("gone"));
    let before = said(&world.news(ada.connection))[0].0;
    assert!(!world.saved.values().any(|record| record.contains("gone")), "no record has it");
    world.restart();
    let connection = world.connect();
    let mut message = resume(&ada.secret);
    message["chat_after"] = before.into();
    world.ask(connection, message);
    assert_eq!(texts(&world.news(connection)), Vec::<&str>::new());
    world.ask(connection, chat("after the restart"));
    let after = said(&world.news(connection))[0].0;
    assert!(after > before, "serials rise across processes");
    // Clients read them as doubles.
    assert!(after < 1 << 53);
}

#[test]
fn chat_that_is_not_allowed_is_for_moderators_and_real_time_text_for_all() {
    let mut world = World::new();
    let (room, _, ada) = world.moderated(json!({ "allowed": { "chat": false } }));
    let (bo, cy) = (world.join(&room, "Bo"), world.join(&room, "Cy"));
    assert_eq!(world.refused(bo.connection, chat("x")), (ErrorCode::Forbidden, None));
    assert_eq!(world.refused(bo.connection, chat_to(&ada, "x")), (ErrorCode::Forbidden, None));
    assert_eq!(world.ask(ada.connection, chat("x")), ServerMessage::Ok);
    for member in [&ada, &bo, &cy] {
        world.news(member.connection);
    }
    for (text, done) in
        [("I agr", false), ("I agree \u{202e}", true), ("", false), (&*"€".repeat(500), false)]
    {
        let message = json!({ "type": "text", "text": text, "done": done });
        assert_eq!(world.ask(bo.connection, message), ServerMessage::Ok);
        let participant = ParticipantId(bo.id.clone());
        let line = ServerMessage::TextLine { participant, text: text.to_owned(), done };
        for member in [&ada, &cy] {
            assert_eq!(world.news(member.connection), [line.clone()]);
        }
        assert_eq!(world.news(bo.connection), []);
    }
    for text in ["two\nlines", "\u{8}", &"x".repeat(501)] {
        let refused = world.refused(bo.connection, json!({ "type": "text", "text": text }));
        assert_eq!(refused, (ErrorCode::Invalid, Some("text".to_owned())), "{text:?}");
    }
}

#[test]
fn a_viewer_chats_and_types() {
    let mut world = World::new();
    let (_, claims, ada) = world.moderated(json!({}));
    let viewer = world.join_as(&claims, Role::Viewer);
    world.news(ada.connection);
    assert_eq!(world.ask(viewer.connection, chat("a question")), ServerMessage::Ok);
    let line = json!({ "type": "text", "text": "a question" });
    assert_eq!(world.ask(viewer.connection, line), ServerMessage::Ok);
    assert_eq!(world.news(ada.connection).len(), 2);
}

#[test]
fn the_quality_of_networks_is_told_when_it_changes_and_not_too_often() {
    let mut world = World::new();
    let room = world.room();
    let (ada, bo) = (world.join(&room.id, "Ada"), world.join(&room.id, "Bo"));
    let (adas, bos) = (world.offer(&ada, "opus h264"), world.offer(&bo, "opus h264"));
    world.news(ada.connection);
    let stats = |loss: f32| TransportStats {
        estimate_bps: Some(2_000_000),
        rtt_ms: Some(30.0),
        loss_in: Some(loss),
        ..TransportStats::default()
    };
    let told = |world: &mut World| {
        let news = world.news(ada.connection);
        let qualities = news.into_iter().map(|message| match message {
            ServerMessage::Quality { qualities } => qualities,
            other => panic!("{other:?}"),
        });
        qualities
            .map(|list| {
                let pair = |one: ParticipantQuality| (one.participant.0, one.quality);
                list.into_iter().map(pair).collect::<Vec<_>>()
            })
            .collect::<Vec<_>>()
    };
    let (adas_id, bos_id) = (ada.id.clone(), bo.id.clone());
    // The first is told at once, the next, which comes a moment later, when 3 s have passed.
    world.notify(Notification::TransportStats { transport: adas, stats: stats(0.0) });
    assert_eq!(told(&mut world), [[(adas_id.clone(), Quality::Good)]]);
    world.notify(Notification::TransportStats { transport: bos, stats: stats(0.3) });
    assert_eq!(told(&mut world), Vec::<Vec<_>>::new());
    let connection = world.connect();
    let reply = world.ask(connection, resume(&bo.secret));
    let ServerMessage::Joined { participants, .. } = reply else { panic!("{reply:?}") };
    let known: Vec<_> = participants.iter().map(|one| one.quality).collect();
    assert_eq!(known, [Some(Quality::Good), None], "the roster says what was told");
    world.news(ada.connection);
    world.advance(Duration::from_secs(3));
    assert_eq!(told(&mut world), [[(bos_id, Quality::Poor)]]);

    // While nothing changes, nothing is told.
    for _ in 0..10 {
        world.advance(Duration::from_secs(2));
        world.notify(Notification::TransportStats { transport: adas, stats: stats(0.0) });
        world.ask(ada.connection, json!({ "type": "ping" }));
    }
    assert_eq!(told(&mut world), Vec::<Vec<_>>::new());
    for _ in 0..2 {
        world.notify(Notification::TransportStats { transport: adas, stats: stats(0.05) });
    }
    assert_eq!(told(&mut world), [[(adas_id, Quality::Fair)]]);
    // What is measured of a transport that is none any more says nothing.
    world.ask(ada.connection, json!({ "type": "leave" }));
    world.notify(Notification::TransportStats { transport: adas, stats: stats(0.5) });
    world.advance(Duration::from_secs(10));
}
