//! Sessions over HTTP: WHIP and WHEP, in virtual time.

mod common;

use std::time::Duration;

use broletto_control::{
    CloseReason, Codec, ConsumerRule, ControlError, Notification, Request, TransportId, TransportState,
};
use broletto_protocol::rest::CreateRoom;
use broletto_protocol::server::{Participant, ServerMessage};
use broletto_protocol::{Kind, Role};
use broletto_signaling_core::{
    Claims, Door, HttpRequestId, NewSession, SessionError, SessionPatch, SessionReply,
};
use common::*;
use serde_json::json;

/// The stand-in's node reads the codecs in the session's name.
fn sdp(lines: &[(&str, &str)]) -> String {
    let mut text =
        "v=0\r\ns=opus h264 vp8\r\na=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\n".to_owned();
    for (mid, (kind, direction)) in lines.iter().enumerate() {
        text += &format!("m={kind} 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:{mid}\r\na={direction}\r\n");
    }
    text
}

fn publication() -> String {
    sdp(&[("audio", "sendonly"), ("video", "sendonly")])
}

fn fragment(ufrag: &str) -> String {
    format!("a=ice-ufrag:{ufrag}\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 x 0\r\na=mid:0\r\n")
}

struct Session {
    room: String,
    secret: String,
    etag: String,
    transport: TransportId,
}

/// Sessions of the world that the tests of the WebSocket share.
trait Http {
    fn knock(&mut self, new: NewSession) -> Option<Result<SessionReply, SessionError>>;
    fn open(&mut self, door: Door, room: &str, sdp: String) -> Session;
    fn patch(
        &mut self,
        session: &Session,
        if_match: Option<&str>,
        fragment: String,
    ) -> Result<SessionReply, SessionError>;
    fn end(&mut self, session: &Session) -> Result<(), SessionError>;
    fn roster(&mut self, room: &str) -> Vec<Participant>;
    /// What the node follows: a rule for a producer that is gone shows nothing.
    fn shows(&self, transport: TransportId) -> Vec<ConsumerRule>;
}

impl Http for World {
    fn knock(&mut self, new: NewSession) -> Option<Result<SessionReply, SessionError>> {
        let request = HttpRequestId(1_000 + u64::try_from(self.http.len()).expect("few"));
        self.conference.handle_session_offer(request, new, self.now);
        self.settle();
        self.http.get(&request).cloned()
    }

    fn open(&mut self, door: Door, room: &str, sdp: String) -> Session {
        let new = new(door, room, sdp);
        let Some(Ok(SessionReply::Created { session, sdp, etag, .. })) = self.knock(new) else {
            panic!("{:?}", self.http)
        };
        assert_eq!(sdp, "answer");
        let transport = self.node.last_offer.expect("the node was asked");
        Session { room: room.to_owned(), secret: session, etag, transport }
    }

    fn patch(
        &mut self,
        session: &Session,
        if_match: Option<&str>,
        fragment: String,
    ) -> Result<SessionReply, SessionError> {
        let request = HttpRequestId(2_000 + u64::try_from(self.http.len()).expect("few"));
        let patch = SessionPatch {
            room: session.room.clone(),
            session: session.secret.clone(),
            if_match: if_match.map(str::to_owned),
            fragment,
        };
        self.conference.handle_session_patch(request, patch, self.now);
        self.settle();
        self.http.remove(&request).expect("an answer")
    }

    fn end(&mut self, session: &Session) -> Result<(), SessionError> {
        let ended = self.conference.end_session(&session.room, &session.secret, self.now);
        self.settle();
        ended
    }

    fn roster(&mut self, room: &str) -> Vec<Participant> {
        let connection = self.connect();
        let reply = self.ask(connection, join(room, "Onlooker"));
        let ServerMessage::Joined { participants, you, .. } = reply else { panic!("{reply:?}") };
        self.ask(connection, json!({ "type": "leave" }));
        participants.into_iter().filter(|one| one.id != you).collect()
    }

    fn shows(&self, transport: TransportId) -> Vec<ConsumerRule> {
        let known = |id| self.node.transports.values().any(|one| one.producers.contains_key(&id));
        let rules = self.node.transports[&transport].consumers.values().copied();
        let shown = rules.map(|rule| match rule {
            ConsumerRule::Producer { producer } if !known(producer) => ConsumerRule::Off,
            rule => rule,
        });
        shown.collect()
    }
}

fn new(door: Door, room: &str, sdp: String) -> NewSession {
    NewSession { door, room: room.to_owned(), token: None, name: None, sdp }
}

fn moderator(world: &mut World, body: CreateRoom) -> (String, Claims) {
    let made = world.conference.create_room(body, source(), world.now).expect("a room");
    world.settle();
    (made.room.id, made.moderator)
}

fn token(claims: &Claims) -> Option<String> {
    Some(serde_json::to_string(claims).expect("claims serialise"))
}

fn state(transport: TransportId, state: TransportState) -> Notification {
    Notification::TransportState { transport, state }
}

#[test]
fn a_publisher_is_in_the_roster_for_as_long_as_its_media_is_there() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.news(ada.connection);
    let named = NewSession { name: Some("Aula".to_owned()), ..new(Door::Whip, &room.id, publication()) };
    let Some(Ok(SessionReply::Created { .. })) = world.knock(named) else { panic!("{:?}", world.http) };
    let transport = world.node.last_offer.expect("the node was asked");
    let [joined, ..] = &world.news(ada.connection)[..] else { panic!("nobody was told") };
    let ServerMessage::ParticipantJoined { participant } = joined else { panic!("{joined:?}") };
    assert_eq!(
        (participant.name.as_str(), participant.kind, participant.role),
        ("Aula", Kind::Whip, Role::Guest)
    );
    assert_eq!(participant.publishing, published(true, true));
    assert!(!participant.connected, "its media is not there yet");
    assert_eq!(world.node.transports[&transport].producers.values().collect::<Vec<_>>(), [&false, &false]);

    for (is, connected) in [
        (TransportState::Connecting, false),
        (TransportState::Connected, true),
        (TransportState::Disconnected, false),
        (TransportState::Connected, true),
    ] {
        world.notify(state(transport, is));
        assert_eq!(world.roster(&room.id)[1].connected, connected, "{is:?}");
    }
    world.news(ada.connection);
    world.notify(Notification::TransportClosed { transport, reason: CloseReason::TimedOut });
    let news = world.news(ada.connection);
    assert!(matches!(&news[..], [ServerMessage::ParticipantLeft { .. }]), "{news:?}");
    assert_eq!(world.conference.totals().participants, 1);
    assert_eq!(world.saved_participants().count(), 1);
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn a_session_ends_when_it_is_deleted_and_is_then_unknown() {
    let mut world = World::new();
    let room = world.room();
    let session = world.open(Door::Whip, &room.id, publication());
    let elsewhere =
        Session { room: world.room().id, secret: session.secret.clone(), etag: String::new(), ..session };
    assert_eq!(world.end(&elsewhere), Err(SessionError::NotFound));
    let session = Session { room: room.id.clone(), ..elsewhere };
    assert_eq!(world.end(&session), Ok(()));
    assert_eq!(world.end(&session), Err(SessionError::NotFound));
    assert_eq!(world.patch(&session, Some("*"), fragment("efgh")), Err(SessionError::NotFound));
    assert!(world.node.transports.is_empty() && world.roster(&room.id).is_empty());
}

#[test]
fn w3_what_a_session_may_not_enter_it_cannot_tell_from_what_is_not_there() {
    let mut world = World::new();
    let (room, claims) = moderator(&mut world, CreateRoom::default());
    let other = world.room();
    let mut refused = |new: NewSession| match world.knock(new) {
        Some(Err(error)) => (error.status(), error.api_error()),
        other => panic!("{other:?}"),
    };
    let knock = |room: &str, token| NewSession { token, ..new(Door::Whip, room, publication()) };
    let missing = refused(knock("aaaaaaaaaaaaaaaaaaaaaaaaaa", None));
    assert_eq!(missing.0, 404);
    // A code opens nothing here, so nobody can try them.
    assert_eq!(refused(knock(&other.code, None)), missing);
    assert_eq!(refused(knock(&other.id, token(&claims))), missing);
    assert_eq!(refused(knock(&room, Some("no token".to_owned()))), missing);
    assert_eq!(refused(knock(&room, token(&Claims { exp: 1, nbf: 0, ..claims.clone() }))), missing);
    // What is wrong with the request itself is told whether the room is there or not.
    let bad = |room: &str| new(Door::Whip, room, "v=0".to_owned());
    assert_eq!(refused(bad(&room)), refused(bad("aaaaaaaaaaaaaaaaaaaaaaaaaa")));
    let nameless =
        |room: &str| NewSession { name: Some("\u{7}".to_owned()), ..new(Door::Whip, room, publication()) };
    assert_eq!(refused(nameless(&room)), refused(nameless("aaaaaaaaaaaaaaaaaaaaaaaaaa")));
    assert_eq!(world.conference.totals().participants, 0);
}

#[test]
fn w4_who_would_wait_in_the_lobby_is_refused() {
    let mut world = World::new();
    let body = CreateRoom { lobby: Some(broletto_protocol::Lobby::Guests), ..CreateRoom::default() };
    let (room, claims) = moderator(&mut world, body);
    for door in [Door::Whip, Door::Whep] {
        let sdp = match door {
            Door::Whip => publication(),
            Door::Whep => sdp(&[("audio", "recvonly")]),
        };
        let Some(Err(error)) = world.knock(new(door, &room, sdp.clone())) else { panic!("a guest came in") };
        assert_eq!((error.status(), error.api_error().code.as_str()), (403, "forbidden"));
        let by_token = NewSession { token: token(&claims), ..new(door, &room, sdp) };
        assert!(matches!(world.knock(by_token), Some(Ok(_))));
    }
    assert_eq!(world.conference.totals().participants, 2);
}

#[test]
fn a_role_and_a_room_bound_what_is_sent() {
    let mut world = World::new();
    let (room, claims) = moderator(&mut world, CreateRoom::default());
    let viewer = Claims { role: Role::Viewer, name: Some("Vera".to_owned()), ..claims.clone() };
    let publishing = NewSession { token: token(&viewer), ..new(Door::Whip, &room, publication()) };
    assert!(matches!(world.knock(publishing), Some(Err(SessionError::Forbidden(_)))));

    let connection = world.connect();
    let reply = world.ask(connection, join_by_token(&claims));
    assert!(matches!(reply, ServerMessage::Joined { .. }), "{reply:?}");
    let allowed = json!({ "microphone": true, "camera": false, "screen": true, "chat": true });
    let reply = world.ask(connection, json!({ "type": "set_room", "allowed": allowed }));
    assert_eq!(reply, ServerMessage::Ok);
    let refused = world.knock(new(Door::Whip, &room, publication()));
    assert!(matches!(refused, Some(Err(SessionError::Forbidden(_)))), "{refused:?}");
    world.open(Door::Whip, &room, sdp(&[("audio", "sendonly")]));

    // The token's name wins, and who watches is a viewer whatever the token says.
    let watching = NewSession {
        token: token(&viewer),
        name: Some("X".to_owned()),
        ..new(Door::Whep, &room, sdp(&[("audio", "recvonly")]))
    };
    assert!(matches!(world.knock(watching), Some(Ok(_))));
    let watching =
        NewSession { token: token(&claims), ..new(Door::Whep, &room, sdp(&[("audio", "recvonly")])) };
    assert!(matches!(world.knock(watching), Some(Ok(_))));
    let roster: Vec<_> = world.roster(&room).into_iter().map(|one| (one.name, one.kind, one.role)).collect();
    assert_eq!(
        roster[1..],
        [
            ("WHIP".to_owned(), Kind::Whip, Role::Guest),
            ("Vera".to_owned(), Kind::Whep, Role::Viewer),
            ("WHEP".to_owned(), Kind::Whep, Role::Viewer),
        ]
    );
}

#[test]
fn m8_an_offer_has_the_lines_that_the_door_is_for() {
    let mut world = World::new();
    let room = world.room();
    let many = vec![("audio", "recvonly"); 9];
    for (door, lines, part) in [
        (Door::Whip, &[("audio", "recvonly")][..], "no m-line of it sends"),
        (Door::Whip, &[("video", "sendonly"), ("video", "sendrecv")], "one audio and one video m-line"),
        (Door::Whep, &[("audio", "sendonly")], "no m-line of it receives"),
        (Door::Whep, &many, "at most 8 slots of kind audio"),
    ] {
        let Some(Err(error)) = world.knock(new(door, &room.id, sdp(lines))) else { panic!("{part}") };
        assert_eq!((error.status(), error.api_error().field.as_deref()), (422, Some("sdp")));
        assert!(error.to_string().contains(part), "{error}");
    }
    assert_eq!(world.conference.totals().participants, 0);
    // What goes the other way is answered inactive, as is a dead line.
    let session = world.open(Door::Whip, &room.id, sdp(&[("audio", "sendrecv"), ("video", "recvonly")]));
    assert_eq!(world.producers(session.transport).len(), 1);
    assert!(world.consumers(session.transport).is_empty());
}

#[test]
fn a_session_that_the_node_refuses_or_does_not_answer_leaves_again() {
    let mut world = World::new();
    let room = world.room();
    world.node.refusal = Some(ControlError::invalid("sdp", "no codec fits"));
    let refused = world.knock(new(Door::Whip, &room.id, publication()));
    assert!(matches!(&refused, Some(Err(error)) if error.status() == 422), "{refused:?}");
    assert!(world.roster(&room.id).is_empty());

    world.node.holding = true;
    assert_eq!(world.knock(new(Door::Whip, &room.id, publication())), None);
    assert_eq!(world.roster(&room.id).len(), 1);
    world.advance(Duration::from_secs(11));
    let answers: Vec<_> = world.http.values().cloned().collect();
    assert!(matches!(&answers[..], [_, Err(error)] if error.status() == 503), "{answers:?}");
    assert!(world.roster(&room.id).is_empty());
    world.release_node();
    assert!(world.node.transports.is_empty(), "what nobody waits for is closed");
}

#[test]
fn ice_is_restarted_by_other_credentials_only() {
    let mut world = World::new();
    let room = world.room();
    let session = world.open(Door::Whip, &room.id, publication());
    let before = world.node.transports[&session.transport].producers.clone();
    assert_eq!(world.patch(&session, None, fragment("abcd")), Err(SessionError::NoPrecondition));
    assert_eq!(world.patch(&session, Some("\"other\""), fragment("abcd")), Err(SessionError::Stale));
    let tags = format!("\"other\", {}", session.etag);
    assert_eq!(world.patch(&session, Some(&tags), fragment("abcd")), Ok(SessionReply::Trickled));
    let half = world.patch(&session, Some("*"), "a=ice-ufrag:efgh\r\n".to_owned());
    assert!(matches!(&half, Err(error) if error.status() == 422), "{half:?}");

    let restarted = world.patch(&session, Some("*"), fragment("efgh"));
    let Ok(SessionReply::Restarted { etag, .. }) = restarted else { panic!("{restarted:?}") };
    assert_ne!(etag, session.etag);
    let Some(Request::Offer { transport, sdp, .. }) = world.node.requests.last() else { panic!("no offer") };
    assert_eq!(*transport, session.transport);
    assert!(sdp.contains("a=ice-ufrag:efgh\r\n") && !sdp.contains("abcd"), "{sdp}");
    assert_eq!(world.node.transports[&session.transport].producers, before);
    assert_eq!(world.patch(&session, Some(&session.etag), fragment("efgh")), Err(SessionError::Stale));
    // The state of ICE outlives signaling.
    world.restart();
    world.connect_node();
    assert_eq!(world.patch(&session, Some(&etag), fragment("efgh")), Ok(SessionReply::Trickled));
}

#[test]
fn a_session_outlives_signaling_with_its_media_and_not_without() {
    let mut world = World::new();
    let room = world.room();
    let stays = world.open(Door::Whip, &room.id, publication());
    let goes = world.open(Door::Whep, &room.id, sdp(&[("audio", "recvonly"), ("video", "recvonly")]));
    for session in [&stays, &goes] {
        world.notify(state(session.transport, TransportState::Connected));
    }
    world.restart();
    world.node.transports.remove(&goes.transport);
    world.connect_node();
    world.notify(state(stays.transport, TransportState::Connected));
    // Longer than a WebSocket's participant is waited for.
    world.advance(Duration::from_secs(60));
    let roster: Vec<_> = world.roster(&room.id).into_iter().map(|one| (one.kind, one.connected)).collect();
    assert_eq!(roster, [(Kind::Whip, true)]);
    assert_eq!(world.end(&goes), Err(SessionError::NotFound));
    assert_eq!(world.end(&stays), Ok(()));

    // One that the node never tells of is not waited for longer than others.
    let lost = world.open(Door::Whip, &room.id, publication());
    world.restart();
    world.advance(Duration::from_secs(31));
    assert_eq!(world.conference.totals().participants, 0, "{}", lost.secret.len());
    assert_eq!(world.saved_participants().count(), 0);
}

#[test]
fn w5_the_secret_of_a_session_opens_no_websocket() {
    let mut world = World::new();
    let room = world.room();
    let session = world.open(Door::Whip, &room.id, publication());
    let connection = world.connect();
    let (code, _) = world.refused(connection, resume(&session.secret));
    assert_eq!(code, broletto_protocol::server::ErrorCode::NotResumable);
    // Nor does that of a WebSocket end a participant.
    let ada = world.join(&room.id, "Ada");
    let foreign = Session { secret: ada.secret, ..session };
    assert_eq!(world.end(&foreign), Err(SessionError::NotFound));
    assert!(world.saved.values().all(|value| !value.contains(&foreign.secret)));
}

#[test]
fn a_watcher_sees_the_speaker_and_the_screen_that_is_shared() {
    let mut world = World::new();
    let room = world.room();
    let one = world.open(Door::Whep, &room.id, sdp(&[("audio", "recvonly"), ("video", "recvonly")]));
    let lines = [("video", "recvonly"), ("video", "recvonly"), ("video", "recvonly")];
    let three = world.open(Door::Whep, &room.id, sdp(&lines));
    use ConsumerRule::{Off, Producer, Speaker};
    assert_eq!(world.shows(one.transport), [Speaker, Speaker]);
    assert_eq!(world.shows(three.transport), [Speaker, Off, Speaker]);

    let share = |world: &mut World, name: &str| {
        let member = world.join(&room.id, name);
        let send = json!([{ "mid": "0", "source": "screen" }]);
        let offer = json!({ "type": "offer", "sdp": "h264", "fresh": true, "send": send, "receive": [] });
        let reply = world.ask(member.connection, offer);
        assert!(matches!(reply, ServerMessage::Answer { .. }), "{reply:?}");
        let screen = world.producers(world.node.last_offer.expect("asked"))[0];
        (member, Producer { producer: screen })
    };
    let switch = |world: &mut World, member: &Member, on: bool| {
        let publishing = json!({ "type": "publish", "publishing": { "screen": on } });
        assert_eq!(world.ask(member.connection, publishing), ServerMessage::Ok);
    };
    let (ada, ada_screen) = share(&mut world, "Ada");
    let (bo, bo_screen) = share(&mut world, "Bo");
    assert_eq!(world.shows(one.transport), [Speaker, Speaker], "nothing is shared yet");
    switch(&mut world, &bo, true);
    assert_eq!(world.shows(one.transport), [Speaker, bo_screen]);
    assert_eq!(world.shows(three.transport), [Speaker, bo_screen, Speaker]);
    // Another one does not push out what is shown.
    switch(&mut world, &ada, true);
    assert_eq!(world.shows(one.transport), [Speaker, bo_screen]);
    switch(&mut world, &bo, false);
    assert_eq!(world.shows(one.transport), [Speaker, ada_screen]);
    // One whose media is lost shows nothing until it has offered again.
    switch(&mut world, &bo, true);
    let shown = world.saved_participants().find(|one| one["name"] == "Ada").expect("she is there");
    let lost = serde_json::from_value(shown["media"]["transport"].clone()).expect("an id");
    world.notify(Notification::TransportClosed { transport: lost, reason: CloseReason::TimedOut });
    assert_eq!(world.shows(one.transport), [Speaker, bo_screen]);
    world.ask(bo.connection, json!({ "type": "leave" }));
    assert_eq!(world.shows(one.transport), [Speaker, Speaker]);
    // Nor does one that says that it shares and has no m-line for it.
    world.offer(&ada, "opus h264");
    assert_eq!(world.shows(one.transport), [Speaker, Speaker]);
    world.ask(ada.connection, json!({ "type": "leave" }));
    assert_eq!(world.shows(one.transport), [Speaker, Speaker]);
    assert_eq!(world.shows(three.transport), [Speaker, Off, Speaker]);
    assert_eq!(world.node.complaints, Vec::<String>::new());
}

#[test]
fn who_publishes_only_does_not_choose_the_codec_of_the_room() {
    let mut world = World::new();
    let room = world.room();
    let ada = world.join(&room.id, "Ada");
    world.offer(&ada, "opus h264 vp8");
    let only_vp8 = publication().replace("h264", "");
    world.open(Door::Whip, &room.id, only_vp8.clone());
    let preferred = |world: &World| world.node.routers.values().next().expect("a router")[0];
    assert_eq!(preferred(&world), Codec::H264);
    world.open(Door::Whep, &room.id, only_vp8.replace("sendonly", "recvonly"));
    assert_eq!(preferred(&world), Codec::Vp8);
}
