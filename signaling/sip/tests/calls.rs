//! Calls in virtual time: what SIPp cannot show, because it would take minutes or a bad network.

mod common;

use std::time::Duration;

use broletto_sip::{
    Callee, CommandError, Config, Dial, DialOut, EndReason, Event, Flow, Login, Message, Method, NameAddr,
    Uri, name,
};

use common::{ANSWER, SDP, Talk, World, config, respond, seconds};

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn dialing() -> World {
    let dial_out = DialOut {
        domains: vec!["rooms.example.org".to_owned()],
        calls_per_hour_max: 9,
        ..DialOut::default()
    };
    World::new(Config { dial_out: Some(dial_out), ..config() })
}

fn dial(world: &mut World, login: bool) -> broletto_sip::CallId {
    let dial = Dial {
        callee: Callee::Uri {
            target: Uri::parse("sip:sala@rooms.example.org").unwrap(),
            flow: Flow::udp("192.0.2.10:5060".parse().unwrap()),
        },
        from: NameAddr::new(Uri::parse("sip:123@example.org").unwrap()),
        login: login.then(|| Login { user: "u".to_owned(), password: "p".to_owned() }),
        offer: ANSWER.to_owned(),
        trunk: None,
    };
    world.agent.dial(dial, world.now).unwrap()
}

#[test]
fn a_lost_ack_gets_the_2xx_again_and_then_the_call_ends() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    world.receive(&talk.invite(SDP));
    let call = world.incoming();
    world.agent.answer(call, ANSWER.to_owned(), world.now).unwrap();
    assert_eq!(world.statuses(), [100, 200]);
    // 500 ms, 1, 2 and then every 4 s until 32 s have passed (RFC 3261, section 13.3.1.4).
    for pause in [500, 1_000, 2_000, 4_000, 4_000] {
        world.pass(ms(pause - 1));
        assert_eq!(world.statuses(), []);
        world.pass(ms(1));
        assert_eq!(world.statuses(), [200]);
    }
    world.pass(seconds(21));
    let last = world.messages().pop().unwrap();
    assert!(matches!(last, Message::Request(request) if request.method == Method::Bye));
    assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::Lost }]);
    world.pass(seconds(100));
    assert_eq!(world.agent.load(), (0, 0));
}

#[test]
fn a_bye_waits_for_the_ack() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    world.receive(&talk.invite(SDP));
    let call = world.incoming();
    world.agent.answer(call, ANSWER.to_owned(), world.now).unwrap();
    talk.learn(&world.response());
    world.agent.hang_up(call, world.now).unwrap();
    assert_eq!(world.messages(), []);
    world.receive(&talk.ack(1, ""));
    let bye = world.request();
    assert_eq!(bye.method, Method::Bye);
    world.receive(&respond(&bye, 200, "", "", ""));
    assert_eq!(world.agent.load().0, 0);
}

#[test]
fn a_request_that_comes_again_gets_the_same_response() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    let invite = talk.invite(SDP);
    world.receive(&invite);
    world.receive(&invite);
    assert_eq!(world.statuses(), [100, 100]);
    let call = world.incoming();
    world.agent.ring(call, world.now).unwrap();
    let ringing = world.response();
    world.receive(&invite);
    assert_eq!(world.response(), ringing);
    world.agent.reject(call, 486, world.now).unwrap();
    let busy = world.response();
    world.receive(&invite);
    assert_eq!(world.response(), busy);
    world.pass(ms(500));
    assert_eq!(world.statuses(), [486], "without an ACK it comes by itself");
    talk.to_tag = busy.head.to.tag().map(str::to_owned);
    world.receive(&talk.numbered("ACK", 1, "a-1", ""));
    world.pass(seconds(60));
    assert_eq!(world.statuses(), []);
    assert_eq!(world.agent.load(), (0, 0));
}

#[test]
fn a_request_of_two_ways_is_one_call() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    world.receive(&talk.invite(SDP));
    world.sent();
    world.receive(&talk.numbered("INVITE", 1, "other", SDP));
    assert_eq!(world.statuses(), [482]);
}

#[test]
fn reliable_ringing_comes_until_its_prack() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    talk.extra = "Require: 100rel\r\n".to_owned();
    world.receive(&talk.invite(SDP));
    let call = world.incoming();
    world.sent();
    world.agent.ring(call, world.now).unwrap();
    let ringing = world.response();
    let sequence = ringing.headers.number(name::RSEQ).unwrap();
    talk.learn(&ringing);
    for pause in [500, 1_000, 2_000] {
        world.pass(ms(pause));
        assert_eq!(world.statuses(), [180]);
    }
    talk.extra = format!("RAck: {} 1 INVITE\r\n", sequence + 1);
    world.receive(&talk.next("PRACK", ""));
    assert_eq!(world.statuses(), [481]);
    talk.extra = format!("RAck: {sequence} 1 INVITE\r\n");
    world.receive(&talk.next("PRACK", ""));
    assert_eq!(world.statuses(), [200]);
    world.pass(seconds(30));
    assert_eq!(world.statuses(), []);

    let mut other = Talk::new("b");
    other.extra = "Require: 100rel\r\n".to_owned();
    world.receive(&other.invite(SDP));
    let call = world.incoming();
    world.agent.ring(call, world.now).unwrap();
    world.pass(seconds(32));
    assert_eq!(world.statuses().last(), Some(&504), "nobody acknowledges it");
    assert!(world.events().contains(&Event::Ended { call, reason: EndReason::Lost }));
}

#[test]
fn changes_that_meet_are_kept_apart() {
    let mut world = World::new(config());
    let (call, mut talk) = world.established();
    world.agent.offer(call, ANSWER.to_owned(), world.now).unwrap();
    let ours = world.request();
    assert_eq!(ours.method, Method::Invite);
    world.receive(&talk.invite(SDP));
    assert_eq!(world.statuses(), [100, 491][1..]);
    world.receive(&talk.next("UPDATE", SDP));
    assert_eq!(world.statuses(), [491]);
    assert_eq!(world.agent.offer(call, ANSWER.to_owned(), world.now), Err(CommandError::Unfit));
    world.receive(&respond(&ours, 491, "", "", ""));
    assert_eq!(world.request().method, Method::Ack);
    assert_eq!(world.events(), []);
    // They made the Call-ID, so we wait for 2 s at most (section 14.1).
    world.pass(seconds(2));
    assert_eq!(world.events(), [Event::OfferRefused { call, status: 491 }]);

    // And the other way round: an offer of theirs that we have not answered.
    world.receive(&talk.invite(&SDP.replace("4000", "4002")));
    assert!(matches!(world.events().as_slice(), [Event::Offer { .. }]));
    assert_eq!(world.agent.offer(call, ANSWER.to_owned(), world.now), Err(CommandError::Unfit));
    world.receive(&talk.next("UPDATE", SDP));
    let response = world.response();
    assert_eq!(response.status, 500);
    assert!(response.headers.number(name::RETRY_AFTER).unwrap() <= 10);
    world.agent.reject(call, 488, world.now).unwrap();
    assert_eq!(world.statuses(), [488]);
    assert_eq!(world.agent.load().0, 1, "the call goes on as before");
}

#[test]
fn an_offer_that_was_agreed_before_is_answered_at_once() {
    let mut world = World::new(config());
    let (call, mut talk) = world.established();
    world.receive(&talk.invite(SDP));
    let response = world.response();
    assert_eq!((response.status, response.body.as_slice()), (200, ANSWER.as_bytes()));
    world.receive(&talk.ack(talk.cseq, ""));
    world.receive(&talk.next("UPDATE", SDP));
    assert_eq!(world.response().body, ANSWER.as_bytes());
    world.receive(&talk.next("UPDATE", &SDP.replace("m=audio", "a=sendonly\r\nm=audio")));
    assert!(matches!(world.events().as_slice(), [Event::Confirmed { .. }, Event::Offer { .. }]));
    world.agent.answer(call, ANSWER.to_owned(), world.now).unwrap();
    assert_eq!(world.statuses(), [200]);
}

#[test]
fn requests_out_of_order_and_unknown_dialogs_are_refused() {
    let mut world = World::new(config());
    let (_, mut talk) = world.established();
    talk.cseq = 10;
    world.receive(&talk.next("OPTIONS", ""));
    assert_eq!(world.statuses(), [200]);
    world.receive(&talk.numbered("INFO", 5, "late", ""));
    assert_eq!(world.statuses(), [500]);
    for method in ["BYE", "INFO", "UPDATE", "PRACK", "INVITE", "SUBSCRIBE"] {
        let mut stranger = Talk::new("call-1");
        stranger.to_tag = Some("guessed".to_owned());
        world.receive(&stranger.numbered(method, 20, &format!("s-{method}"), ""));
        assert_eq!(world.statuses(), [481], "{method}");
    }
    let mut wrong = talk.clone();
    wrong.call_id = "call-2".to_owned();
    world.receive(&wrong.next("BYE", ""));
    assert_eq!(world.statuses(), [481]);
    world.receive(&talk.next("BYE", ""));
    assert_eq!(world.statuses(), [200]);
    assert_eq!(world.agent.load().0, 0);
}

#[test]
fn digits_and_key_frames_come_by_info() {
    let mut world = World::new(config());
    let (call, mut talk) = world.established();
    talk.extra = "Content-Type: application/dtmf-relay\r\n".to_owned();
    world.receive(&talk.next("INFO", "Signal=7\r\nDuration=200\r\n"));
    talk.extra = "Content-Type: application/media_control+xml\r\n".to_owned();
    world.receive(&talk.next("INFO", "<media_control><picture_fast_update/></media_control>"));
    talk.extra = "Content-Type: text/plain\r\n".to_owned();
    world.receive(&talk.next("INFO", "hello"));
    talk.extra = "Info-Package: x\r\nContent-Type: text/plain\r\n".to_owned();
    world.receive(&talk.next("INFO", "hello"));
    assert_eq!(world.statuses(), [200, 200, 415, 469]);
    let digit = Event::Digit { call, digit: '7', duration: ms(200) };
    assert_eq!(world.events(), [digit, Event::KeyFrameWanted { call }]);
    world.agent.request_key_frame(call, world.now).unwrap();
    let request = world.request();
    assert_eq!(
        (request.method, request.uri.to_string().as_str()),
        (Method::Info, "sip:room@192.0.2.10:5060")
    );
    assert!(String::from_utf8(request.body).unwrap().contains("picture_fast_update"));
}

#[test]
fn sessions_are_bargained_for() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    talk.extra = "Supported: timer\r\nSession-Expires: 60\r\n".to_owned();
    world.receive(&talk.invite(SDP));
    let response = world.response();
    assert_eq!((response.status, response.headers.number(name::MIN_SE)), (422, Some(90)));
    talk.extra = "Supported: timer\r\nSession-Expires: 90\r\nMin-SE: 90\r\n".to_owned();
    world.receive(&talk.invite(SDP));
    let call = world.incoming();
    world.agent.answer(call, ANSWER.to_owned(), world.now).unwrap();
    let response = world.response();
    assert_eq!(response.headers.first(name::SESSION_EXPIRES), Some("90;refresher=uac"));
    assert!(response.headers.lists(name::REQUIRE, "timer"));
    talk.learn(&response);
    world.receive(&talk.ack(2, ""));
    world.pass(seconds(59));
    talk.extra = "Supported: timer\r\nSession-Expires: 90;refresher=uac\r\n".to_owned();
    world.receive(&talk.next("UPDATE", ""));
    assert_eq!(world.statuses(), [200]);
    world.pass(seconds(59));
    assert_eq!(world.events(), [Event::Confirmed { call }]);
    world.pass(seconds(1));
    assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::SessionExpired }]);
    assert_eq!(world.request().method, Method::Bye);
}

#[test]
fn a_peer_without_session_timers_that_is_gone_is_noticed() {
    let mut world = World::new(config());
    let (call, _) = world.established();
    world.pass(seconds(900));
    let refresh = world.request();
    assert_eq!((refresh.method.clone(), refresh.body.as_slice()), (Method::Invite, ANSWER.as_bytes()));
    world.receive(&respond(&refresh, 200, "", "", SDP));
    assert_eq!(world.request().method, Method::Ack);
    assert_eq!(world.events(), [], "nothing has changed");
    world.pass(seconds(900));
    assert_eq!(world.request().method, Method::Invite);
    world.pass(seconds(32));
    assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::Lost }]);
}

#[test]
fn a_call_of_ours_is_acknowledged_refreshed_and_ended() {
    let mut world = dialing();
    let call = dial(&mut world, false);
    let invite = world.request();
    assert_eq!(invite.uri.to_string(), "sip:sala@rooms.example.org");
    world.receive(&respond(&invite, 100, "", "", ""));
    world.receive(&respond(&invite, 183, "t", "Require: 100rel\r\nRSeq: 7\r\n", SDP));
    let prack = world.request();
    assert_eq!(prack.headers.first(name::RACK), Some("7 1 INVITE"));
    assert_eq!(world.events(), [Event::Answer { call, sdp: SDP.to_owned() }]);
    world.receive(&respond(&invite, 183, "t", "Require: 100rel\r\nRSeq: 7\r\n", SDP));
    assert_eq!(world.messages(), [], "it came before");
    world.receive(&respond(&prack, 200, "", "", ""));
    world.receive(&respond(&invite, 180, "t", "", ""));
    let extra = "Session-Expires: 200;refresher=uac\r\nAllow: INVITE, UPDATE\r\nSupported: timer\r\n";
    let success = respond(&invite, 200, "t", extra, SDP);
    world.receive(&success);
    let ack = world.request();
    assert_eq!((ack.method.clone(), ack.head.cseq.number), (Method::Ack, 1));
    assert_eq!(world.events(), [Event::Ringing { call }, Event::Accepted { call }]);
    world.receive(&success);
    assert_eq!(world.request(), ack);
    world.pass(seconds(100));
    assert_eq!(world.request().method, Method::Update);
    world.agent.hang_up(call, world.now).unwrap();
    assert_eq!(world.request().method, Method::Bye);
}

#[test]
fn a_fork_that_answers_twice_is_hung_up_once() {
    let mut world = dialing();
    let call = dial(&mut world, false);
    let invite = world.request();
    world.receive(&respond(&invite, 200, "first", "", SDP));
    assert_eq!(world.request().method, Method::Ack);
    world.receive(&respond(&invite, 200, "second", "", SDP));
    let methods: Vec<Method> = world
        .messages()
        .into_iter()
        .map(|message| match message {
            Message::Request(request) => {
                assert_eq!(request.head.to.tag(), Some("second"));
                request.method
            }
            Message::Response(_) => panic!("nothing is to be answered"),
        })
        .collect();
    assert_eq!(methods, [Method::Ack, Method::Bye]);
    assert!(world.events().contains(&Event::Accepted { call }));
}

#[test]
fn a_call_of_ours_is_cancelled_when_it_can_be() {
    let mut world = dialing();
    let call = dial(&mut world, false);
    let invite = world.request();
    world.agent.hang_up(call, world.now).unwrap();
    assert_eq!(world.messages(), [], "nothing came yet");
    world.receive(&respond(&invite, 180, "t", "", ""));
    let cancel = world.request();
    assert_eq!((cancel.method.clone(), cancel.head.via.branch()), (Method::Cancel, invite.head.via.branch()));
    // The answer was on its way already.
    world.receive(&respond(&invite, 200, "t", "", SDP));
    let messages = world.messages();
    assert!(matches!(&messages[..], [Message::Request(ack), Message::Request(bye)]
        if ack.method == Method::Ack && bye.method == Method::Bye));
    assert_eq!(world.events(), []);
}

#[test]
fn a_peer_that_never_comes_to_an_end_leaves_nothing_behind() {
    let mut world = dialing();
    let call = dial(&mut world, false);
    let invite = world.request();
    world.receive(&respond(&invite, 180, "t", "", ""));
    world.agent.hang_up(call, world.now).unwrap();
    world.pass(seconds(400));
    assert_eq!(world.agent.load(), (0, 0));
    let (_, mut talk) = world.established();
    world.receive(&talk.next("UPDATE", ""));
    assert_eq!(world.statuses(), [200]);
}

#[test]
fn a_call_of_ours_that_fails_says_why() {
    let mut world = dialing();
    for status in [302, 404, 486, 500, 603] {
        let call = dial(&mut world, false);
        let invite = world.request();
        world.receive(&respond(&invite, status, "t", "", ""));
        assert_eq!(world.request().method, Method::Ack);
        assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::Refused(status) }]);
    }
    let call = dial(&mut world, false);
    world.pass(seconds(32));
    assert_eq!(world.sent().len(), 7, "the INVITE, and again at 0.5, 1.5, 3.5, 7.5, 15.5 and 31.5 s");
    assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::Lost }]);
    let call = dial(&mut world, false);
    let invite = world.request();
    world.receive(&respond(&invite, 180, "t", "", ""));
    world.pass(seconds(120));
    assert_eq!(world.events(), [Event::Ringing { call }, Event::Ended { call, reason: EndReason::NoAnswer }]);
}

#[test]
fn a_password_is_given_once_and_a_longer_session_agreed() {
    let mut world = dialing();
    let call = dial(&mut world, true);
    let invite = world.request();
    let challenge = "WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-512-256\r\n\
        WWW-Authenticate: Digest realm=\"r\", nonce=\"n\", algorithm=SHA-256, qop=\"auth\"\r\n";
    world.receive(&respond(&invite, 401, "t", challenge, ""));
    let messages = world.messages();
    let [Message::Request(_), Message::Request(again)] = &messages[..] else { panic!("{messages:?}") };
    assert!(again.headers.first(name::AUTHORIZATION).unwrap().contains("algorithm=SHA-256"));
    assert_eq!(again.head.cseq.number, 2);
    assert_ne!(again.head.via.branch(), invite.head.via.branch());
    world.receive(&respond(again, 422, "t", "Min-SE: 3600\r\n", ""));
    let messages = world.messages();
    let [Message::Request(_), Message::Request(longer)] = &messages[..] else { panic!("{messages:?}") };
    assert_eq!(longer.headers.number(name::SESSION_EXPIRES), Some(3_600));
    world.receive(&respond(longer, 401, "t", challenge, ""));
    assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::Refused(401) }]);
}

#[test]
fn a_server_that_drains_keeps_its_calls_and_takes_no_others() {
    let mut world = World::new(config());
    let (_, mut talk) = world.established();
    world.agent.drain();
    world.receive(&Talk::new("new").invite(SDP));
    let response = world.response();
    assert_eq!((response.status, response.headers.number(name::RETRY_AFTER)), (503, Some(30)));
    world.receive(&talk.invite(SDP));
    assert_eq!(world.response().status, 200);
}

#[test]
fn a_late_offer_that_nobody_answers_ends_the_call() {
    let mut world = World::new(config());
    let mut talk = Talk::new("a");
    world.receive(&talk.invite(""));
    let call = world.incoming();
    world.agent.answer(call, ANSWER.to_owned(), world.now).unwrap();
    talk.learn(&world.response());
    world.receive(&talk.ack(1, ""));
    assert_eq!(world.request().method, Method::Bye);
    assert_eq!(world.events(), [Event::Ended { call, reason: EndReason::Protocol }]);
}

#[test]
fn the_roster_goes_to_who_is_in_the_call() {
    let mut world = World::new(config());
    let (call, mut talk) = world.established();
    let roster = broletto_sip::Roster {
        entity: "sip:1@example.org".to_owned(),
        subject: "Giunta".to_owned(),
        users: Vec::new(),
    };
    assert_eq!(world.agent.roster(call, &roster, world.now), Ok(false));
    // Outside of the dialog, by our Contact.
    let mut outside = Talk::new("subscription");
    outside.target = talk.target.clone();
    outside.extra = "Event: conference\r\nExpires: 600\r\n".to_owned();
    world.receive(&outside.next("SUBSCRIBE", ""));
    outside.learn(&world.response());
    assert_eq!(world.events(), [Event::RosterWanted { call }]);
    assert_eq!(world.agent.roster(call, &roster, world.now), Ok(true));
    let notify = world.request();
    assert_eq!((notify.head.call_id.as_str(), notify.head.cseq.number), ("subscription", 1));
    assert_eq!(notify.headers.first(name::SUBSCRIPTION_STATE), Some("active;expires=600"));
    outside.extra = "Event: conference\r\nExpires: 0\r\n".to_owned();
    world.receive(&outside.next("SUBSCRIBE", ""));
    let messages = world.messages();
    assert!(matches!(&messages[..], [Message::Response(ok), Message::Request(notify)]
        if ok.status == 200 && notify.headers.first(name::SUBSCRIPTION_STATE).unwrap().starts_with("terminated")));
    // Within the dialog of the call.
    talk.extra = "Event: conference\r\n".to_owned();
    world.receive(&talk.next("SUBSCRIBE", ""));
    world.sent();
    assert_eq!(world.agent.roster(call, &roster, world.now), Ok(true));
    assert_eq!(world.request().head.call_id, "call-1");
    talk.extra = "Event: presence\r\n".to_owned();
    world.receive(&talk.next("SUBSCRIBE", ""));
    assert_eq!(world.statuses(), [489]);
}
