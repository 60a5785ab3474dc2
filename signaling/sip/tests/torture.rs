//! Messages that try a parser, after the cases that RFC 4475 and RFC 5118 describe: what has to be
//! understood is, and what has not is refused with the right status, or not answered.

mod common;

use std::net::SocketAddr;

use broletto_sip::{Event, Message, Uri, name};
use proptest::prelude::*;

use common::{SDP, Talk, World, config};

/// A request with the usual fields, of which a case replaces some.
fn message(start: &str, replaced: &[(&str, &str)], body: &str) -> String {
    let mut fields = vec![
        ("Via", "SIP/2.0/UDP 192.0.2.10:5060;branch=z9hG4bK-t;rport".to_owned()),
        ("Max-Forwards", "70".to_owned()),
        ("From", "<sip:caller@elsewhere.example>;tag=1".to_owned()),
        ("To", "<sip:123@example.org>".to_owned()),
        ("Call-ID", "torture".to_owned()),
        ("CSeq", format!("1 {}", start.split(' ').next().unwrap())),
        ("Contact", "<sip:caller@192.0.2.10>".to_owned()),
        ("Content-Length", body.len().to_string()),
    ];
    for (name, value) in replaced {
        fields.retain(|(known, _)| known != name);
        if !value.is_empty() {
            fields.push((name, (*value).to_owned()));
        }
    }
    let head: String = fields.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
    format!("{start}\r\n{head}\r\n{body}")
}

fn statuses(text: &str) -> Vec<u16> {
    let mut world = World::new(config());
    world.receive(text);
    world.statuses()
}

const OPTIONS: &str = "OPTIONS sip:123@example.org SIP/2.0";
const INVITE: &str = "INVITE sip:123@example.org SIP/2.0";

#[test]
fn strange_but_right_messages_are_understood() {
    // Section 3.1.1.1: folding, compact forms, odd cases, spaces and unknown fields all at once.
    let wild = "INVITE sip:aula@example.org;colour=green SIP/2.0\r\nfROM:\r\n\t\"Sala \\\"Verde\\\" \\\\\"\r\n <sip:verde@elsewhere.example> ;\r\n\
        \ttag =  77\r\nt  :   sip:aula@example.org  ;  room   = \r\nI: wild.1@192.0.2.10\r\nmax-FORWARDS :   0070\r\n\
        CSEQ:\r\n 00012\r\n\tINVITE\r\nv : SIP / 2.0\r\n  / UDP   192.0.2.10 ; branch=z9hG4bKwild ;rport ,\r\n\
        \tSIP/ 2.0 /TCP  proxy.elsewhere.example ;branch = z9hG4bKp1\r\nVia   :SIP/2.0/SCTP 198.51.100.9;branch=z9hG4bKp2\r\n\
        k:\r\nX-Odd: ,;,,;=;\r\nX-Folded: one\r\n  two\r\n\tthree\r\nsubject:\r\nC: application/sdp\r\n\
        ROUTE: <sip:example.org;lr;a;b=c>\r\nM : \"a > b, \\\"c\\\"\" <sip:verde@192.0.2.10>; q\r\n = 0.5 ;x\r\n\r\n";
    let wild = format!("{wild}{SDP}");
    let mut world = World::new(config());
    world.receive(&wild);
    assert_eq!(world.statuses(), [100]);
    let event = world.events().pop();
    let Some(Event::Incoming(incoming)) = event else { panic!("{event:?}") };
    assert_eq!(incoming.called, "aula");
    assert_eq!(incoming.from.display.as_deref(), Some("Sala \"Verde\" \\"));
    assert_eq!(incoming.offer.as_deref(), Some(SDP));

    for (what, text) in [
        ("escapes in the user part (3.1.1.3)", message("OPTIONS sip:%61%00b@example.org SIP/2.0", &[], "")),
        (
            "a percent sign that escapes nothing (3.1.1.5)",
            message(OPTIONS, &[("From", "\"100%\" <sip:room%20a@elsewhere.example>;tag=f")], ""),
        ),
        (
            "no space before the bracket (3.1.1.6)",
            message(OPTIONS, &[("From", "caller<sip:caller@elsewhere.example>;tag=3")], ""),
        ),
        ("octets behind the message (3.1.1.8)", message(OPTIONS, &[], "") + "SIP/2.0 200 OK\r\nrubbish"),
        (
            "semicolons in the user part (3.1.1.9)",
            message("OPTIONS sip:sala;piano=2%3b@example.org SIP/2.0", &[], ""),
        ),
        (
            "transports that nobody has (3.1.1.10)",
            message(
                OPTIONS,
                &[(
                    "Via",
                    "SIP/2.0/UDP a.elsewhere.example;branch=z9hG4bKa, SIP/2.0/SCTP b;branch=z9hG4bKb, SIP/2.0/PIGEON c;branch=z9hG4bKc",
                )],
                "",
            ),
        ),
        ("Max-Forwards of zero (3.3.10)", message(OPTIONS, &[("Max-Forwards", "0")], "")),
        ("no Max-Forwards", message(OPTIONS, &[("Max-Forwards", "")], "")),
        ("a Via of RFC 2543 (3.4.1)", message(OPTIONS, &[("Via", "SIP/2.0/UDP 192.0.2.10")], "")),
        (
            "a From without a tag, as in RFC 2543",
            message(OPTIONS, &[("From", "<sip:caller@elsewhere.example>")], ""),
        ),
        ("lines that end with a line feed", message(OPTIONS, &[], "").replace("\r\n", "\n")),
        (
            "a name that is no token (3.1.2.15)",
            message(OPTIONS, &[("From", "Rossi, Maria <sip:a@elsewhere.example>;tag=4")], ""),
        ),
        (
            "IPv6 in a request URI and a Via (RFC 5118, 4.1)",
            message(
                "OPTIONS sip:[2001:db8::10] SIP/2.0",
                &[("Via", "SIP/2.0/UDP [2001:db8::9:1];received=[2001:db8::9:255];branch=z9hG4bKas3-111")],
                "",
            ),
        ),
    ] {
        assert_eq!(statuses(&text), [200], "{what}");
    }
}

#[test]
fn wrong_messages_are_refused_with_the_right_status() {
    for (status, what, text) in [
        (
            400,
            "separators that are too many (3.1.2.1)",
            message(INVITE, &[("Via", "SIP/2.0/UDP 192.0.2.10,,;;"), ("CSeq", ""), ("Contact", "")], ""),
        ),
        (
            400,
            "a Content-Length beyond the datagram (3.1.2.2)",
            message(INVITE, &[("Content-Length", "9999")], SDP),
        ),
        (400, "a negative Content-Length (3.1.2.3)", message(INVITE, &[("Content-Length", "-999")], SDP)),
        (
            400,
            "numbers that are too large (3.1.2.4)",
            message(OPTIONS, &[("CSeq", "99999999999999999999 OPTIONS")], ""),
        ),
        (400, "Max-Forwards that is too large (3.1.2.4)", message(OPTIONS, &[("Max-Forwards", "300")], "")),
        (
            400,
            "a quoted string without an end (3.1.2.6)",
            message(INVITE, &[("To", "\"Sala senza fine <sip:sala@example.org>")], ""),
        ),
        (
            400,
            "brackets around the request URI (3.1.2.7)",
            message("INVITE <sip:123@example.org> SIP/2.0", &[], ""),
        ),
        (
            400,
            "spaces within the request URI (3.1.2.8)",
            message("INVITE sip:123@example.org; lr SIP/2.0", &[], ""),
        ),
        (
            400,
            "spaces within the request line (3.1.2.9)",
            message("INVITE  sip:123@example.org  SIP/2.0", &[], ""),
        ),
        (
            400,
            "spaces behind the request line (3.1.2.10)",
            message("OPTIONS sip:123@example.org SIP/2.0  ", &[], ""),
        ),
        (
            400,
            "headers of a URI without brackets (3.1.2.13)",
            message(OPTIONS, &[("From", "sip:caller@elsewhere.example?Route=x;tag=1")], ""),
        ),
        (
            505,
            "a version that nobody has (3.1.2.16)",
            message("OPTIONS sip:123@example.org SIP/7.0", &[], ""),
        ),
        (400, "a method that CSeq does not have (3.1.2.17)", message(OPTIONS, &[("CSeq", "1 INVITE")], "")),
        (501, "a method that nobody has", message("NEWMETHOD sip:123@example.org SIP/2.0", &[], "")),
        (
            405,
            "a method that is not taken here",
            message("MESSAGE sip:123@example.org SIP/2.0", &[], "hello"),
        ),
        (400, "no From (3.3.1)", message(OPTIONS, &[("From", "")], "")),
        (400, "no Call-ID (3.3.1)", message(OPTIONS, &[("Call-ID", "")], "")),
        (416, "a scheme that nobody has (3.3.2)", message("OPTIONS carrier-pigeon:loft-7 SIP/2.0", &[], "")),
        (416, "a scheme that is not spoken (3.3.3)", message("OPTIONS http://203.0.113.1/ SIP/2.0", &[], "")),
        (
            420,
            "an extension that nobody has (3.3.5)",
            message(OPTIONS, &[("Require", "telepathy, levitation")], ""),
        ),
        (
            415,
            "a body that nobody reads (3.3.6)",
            message(INVITE, &[("Content-Type", "application/x-invented")], "<audio/>"),
        ),
        (
            415,
            "a body in a strange encoding",
            message(INVITE, &[("Content-Type", "application/sdp"), ("Content-Encoding", "gzip")], "x"),
        ),
        (
            400,
            "two of what may stand once (3.3.8)",
            message(INVITE, &[("Other", "x\r\nCSeq: 5 INVITE\r\nCall-ID: other")], ""),
        ),
        (400, "two lengths (3.3.9)", message(INVITE, &[("Other", "x\r\nl: 0")], SDP)),
        (400, "no Contact to call back", message(INVITE, &[("Contact", "")], "")),
        (400, "a Contact that is no SIP", message(INVITE, &[("Contact", "<mailto:a@b>")], "")),
        (400, "a field without a colon", message(OPTIONS, &[("Other", "x\r\nrubbish")], "")),
        (400, "a NUL in a field", message(OPTIONS, &[("Other", "a\0b")], "")),
        (400, "a lone carriage return in a field", message(OPTIONS, &[("Other", "a\rVia: b")], "")),
        (404, "a domain that is not ours", message("INVITE sip:123@example.net SIP/2.0", &[], SDP)),
    ] {
        assert_eq!(statuses(&text), [status], "{what}");
    }
    let mut world = World::new(config());
    world.receive(&message(OPTIONS, &[("Require", "100rel, a, b")], ""));
    assert_eq!(world.response().headers.first(name::UNSUPPORTED), Some("a, b"));
    world.receive_from(world.peer, &[message(OPTIONS, &[], "").as_bytes(), b""].concat());
    let mut latin = message(OPTIONS, &[("Subject", "x")], "").into_bytes();
    let at = latin.iter().rposition(|byte| *byte == b'x').unwrap();
    latin[at] = 0xe0;
    world.sent();
    world.receive_from(world.peer, &latin);
    assert_eq!(world.statuses(), [400], "what is not UTF-8");
}

#[test]
fn what_cannot_be_answered_is_not() {
    let ack = |fields| message("ACK sip:123@example.org SIP/2.0", fields, "");
    for (what, text) in [
        ("nothing", String::new()),
        ("keep-alives (RFC 5626, 4.4.1)", "\r\n\r\n".to_owned()),
        ("another protocol", "GET / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
        ("a head without an end", message(OPTIONS, &[], "").trim_end().to_owned()),
        ("no Via to answer to", message(OPTIONS, &[("Via", "")], "")),
        ("a Via that is none", message(OPTIONS, &[("Via", "SIP/3.0/UDP x")], "")),
        ("an ACK of nothing", ack(&[])),
        ("an ACK that is wrong", ack(&[("CSeq", "1 INVITE")])),
        ("a response to nothing (3.1.2.19)", "SIP/2.0 99999999999 too much\r\n\r\n".to_owned()),
        ("a response of nobody", message("SIP/2.0 200 OK", &[("CSeq", "1 OPTIONS")], "")),
        (
            "a response with two Vias",
            message("SIP/2.0 200 OK", &[("CSeq", "1 OPTIONS"), ("Via", "SIP/2.0/UDP a, SIP/2.0/UDP b")], ""),
        ),
        ("a response without a reason (3.1.1.13)", message("SIP/2.0 100 ", &[("CSeq", "1 OPTIONS")], "")),
    ] {
        assert_eq!(statuses(&text), [0; 0], "{what}");
    }
}

#[test]
fn responses_go_where_the_request_came_from_and_tell_where_that_is() {
    let mut world = World::new(config());
    let source: SocketAddr = "198.51.100.7:7777".parse().unwrap();
    for (via, port, told) in [
        (
            "SIP/2.0/UDP 10.1.1.1:4540;rport;branch=z9hG4bKa",
            7777,
            "rport=7777;branch=z9hG4bKa;received=198.51.100.7",
        ),
        ("SIP/2.0/UDP 10.1.1.1:4540;branch=z9hG4bKb", 4540, "branch=z9hG4bKb;received=198.51.100.7"),
        ("SIP/2.0/UDP 198.51.100.7;branch=z9hG4bKc", 5060, "branch=z9hG4bKc"),
    ] {
        world.receive_from(source, message(OPTIONS, &[("Via", via)], "").as_bytes());
        let (flow, bytes) = world.sent().pop().unwrap();
        assert_eq!(flow.address, SocketAddr::new(source.ip(), port), "{via}");
        let Message::Response(response) = Message::parse(&bytes).unwrap() else { panic!("a request") };
        assert!(response.headers.first(name::VIA).unwrap().ends_with(told), "{response:?}");
    }
}

/// What a peer says in a call, from beginning to end.
fn conversation() -> Vec<String> {
    let mut talk = Talk::new("fuzz");
    talk.extra = "Supported: timer, 100rel\r\nSession-Expires: 300;refresher=uac\r\nEvent: conference\r\n\
        Authorization: Digest username=\"sala\", realm=\"broletto\", nonce=\"x\", uri=\"sip:x\", response=\"y\"\r\n\
        Record-Route: <sip:192.0.2.99;lr>\r\nRAck: 1 1 INVITE\r\n"
        .to_owned();
    let mut messages = vec![talk.invite(SDP)];
    for method in
        ["REGISTER", "OPTIONS", "SUBSCRIBE", "PRACK", "UPDATE", "INFO", "CANCEL", "BYE", "ACK", "MESSAGE"]
    {
        messages.push(talk.next(method, SDP));
    }
    messages.push("SIP/2.0 200 OK\r\nVia: SIP/2.0/UDP x;branch=z9hG4bKy\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
        Call-ID: x\r\nCSeq: 1 INVITE\r\nWWW-Authenticate: Digest realm=\"a\", nonce=\"b\"\r\n\r\n".to_owned());
    messages
}

fn mutated() -> impl Strategy<Value = Vec<u8>> {
    let edits = prop::collection::vec((any::<prop::sample::Index>(), 0_u8..4, any::<u8>()), 0..12);
    (0..conversation().len(), edits, any::<prop::sample::Index>(), any::<bool>()).prop_map(
        |(which, edits, cut, cuts)| {
            let mut bytes = conversation()[which].clone().into_bytes();
            for (at, kind, byte) in edits {
                if bytes.is_empty() {
                    break;
                }
                let at = at.index(bytes.len());
                match kind {
                    0 => bytes[at] = byte,
                    1 => bytes.insert(at, b"\r\n\t ;,:<>\"\\%=0@[]"[usize::from(byte) % 17]),
                    2 => drop(bytes.remove(at)),
                    _ => {
                        let piece = bytes[at..(at + usize::from(byte)).min(bytes.len())].to_vec();
                        let end = at + piece.len();
                        bytes.splice(end..end, piece);
                    }
                }
            }
            if cuts {
                bytes.truncate(cut.index(bytes.len() + 1));
            }
            bytes
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_500))]

    /// Whatever comes, nothing panics, everything that goes out begins as one, and a call goes on.
    #[test]
    fn mutated_messages_harm_nobody(messages in prop::collection::vec(mutated(), 1..8), step in 1_usize..700) {
        let mut world = World::new(config());
        let (call, _) = world.established();
        let elsewhere: SocketAddr = "198.51.100.1:5060".parse().unwrap();
        let id = broletto_sip::ConnectionId(1);
        world.agent.handle_connected(id, broletto_sip::Transport::Tcp, elsewhere, Vec::new(), world.now);
        for message in &messages {
            world.receive_from(elsewhere, message);
            for piece in message.chunks(step) {
                world.agent.handle_stream(id, piece, world.now);
            }
            world.drain();
            world.pass(common::seconds(5));
            for (_, bytes) in world.sent() {
                // A refusal repeats what could not be read.
                let fine = bytes == b"\r\n" || bytes.starts_with(b"SIP/2.0 ") || Message::parse(&bytes).is_ok();
                prop_assert!(fine, "{}", String::from_utf8_lossy(&bytes));
            }
        }
        let of_the_call = |event: &Event| matches!(event, Event::Ended { call: ended, .. } if *ended == call);
        prop_assert!(!world.events().iter().any(of_the_call));
    }

    #[test]
    fn whatever_is_read_is_written_and_read_the_same(bytes in mutated()) {
        if let Ok(message) = Message::parse(&bytes) {
            let written = match &message {
                Message::Request(request) => request.bytes(),
                Message::Response(response) => response.bytes(),
            };
            let (Ok(Message::Request(again)), Message::Request(first)) = (Message::parse(&written), &message) else {
                return Ok(());
            };
            prop_assert_eq!((&again.head, &again.uri, &again.body), (&first.head, &first.uri, &first.body));
        }
    }

    #[test]
    fn uris_never_panic_and_are_written_as_they_were_read(text in "(sip|sips|tel|x):[ -~]{0,40}") {
        if let Some(uri) = Uri::parse(&text) {
            let _ = (uri.user(), uri.host());
            prop_assert_eq!(Uri::parse(&uri.to_string()), Some(uri));
        }
    }
}
