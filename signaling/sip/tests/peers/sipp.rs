//! SIPp plays scenarios, and fails where anything else comes than they expect.

use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use broletto_sip::sdp::{self, Policy};
use broletto_sip::{
    Callee, Caller, Config, Dial, DialOut, EndReason, Event, Flow, Identity, Login, NameAddr, Network,
    NumberPlan, NumberRule, RegistrarLimits, Registration, Secret, SessionTimes, Trunk, TrunkId, Uri,
};

use crate::is_installed;
use crate::server::{LOOPBACK, Manner, News, Server, local};

/// Plays a scenario against the server and wants it to end well.
fn play(server: &Server, scenario: &str, more: &[&str]) {
    let output = run(server, scenario, more);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{scenario}: {}\n{}", text(&output.stdout), text(&output.stderr));
}

fn run(server: &Server, scenario: &str, more: &[&str]) -> Output {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/scenarios").join(scenario);
    Command::new("sipp")
        .arg(format!("127.0.0.1:{}", server.port))
        .args(["-sf", file.to_str().unwrap(), "-i", "127.0.0.1", "-p", &free_port().to_string(), "-m", "1"])
        .args(["-nostdin", "-timeout", "30s", "-timeout_error", "-s", "1234"])
        .args(more)
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// A port for SIPp. They are counted up, because tests run side by side, and are below those that the
/// system gives to whoever asks for any.
fn free_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(20_000);
    (0..1_000)
        .map(|_| NEXT.fetch_add(1, Ordering::Relaxed))
        .find(|port| {
            UdpSocket::bind((LOOPBACK, *port)).is_ok() && TcpListener::bind((LOOPBACK, *port)).is_ok()
        })
        .expect("one of a thousand ports is free")
}

fn guests() -> Config {
    Config { guests: true, ..Config::default() }
}

#[test]
fn registration_with_a_digest() {
    if !is_installed("sipp") {
        return;
    }
    // SIPp reads the first challenge only, and knows MD5 only.
    use broletto_sip::Algorithm::{Md5, Sha256};
    for algorithms in [vec![Md5], vec![Md5, Sha256]] {
        let config = Config { algorithms, ..Config::default() };
        let server = Server::start(config, Manner::default(), |agent| {
            agent.set_account("sala", Some(Secret::new("sala", "broletto", "segreto")));
        });
        play(&server, "register.xml", &[]);
        for expected in [1, 0] {
            server.wait_for("binding", |event| {
                *event == Event::Bindings { user: "sala".to_owned(), count: expected }
            });
        }
    }
}

#[test]
fn a_call_with_hold_and_resume_over_udp_and_tcp() {
    if !is_installed("sipp") {
        return;
    }
    for transport in ["u1", "t1"] {
        let server = Server::start(guests(), Manner::default(), |_| {});
        play(&server, "hold.xml", &["-t", transport]);
        let (call, leg) = server.wait_agreed();
        let audio = leg.audio.unwrap();
        assert!(audio.send && audio.receive && !audio.held);
        let audio = server.wait_agreed().1.audio.unwrap();
        assert!(!audio.send && audio.receive && audio.held);
        let audio = server.wait_agreed().1.audio.unwrap();
        assert!(audio.send && audio.receive && !audio.held);
        server.wait_for("end", |event| *event == Event::Ended { call, reason: EndReason::HungUp });
    }
}

#[test]
fn a_call_is_cancelled() {
    if !is_installed("sipp") {
        return;
    }
    let server = Server::start(guests(), Manner { answer_after: None, ..Manner::default() }, |_| {});
    play(&server, "cancel.xml", &[]);
    server.wait_for("end", |event| matches!(event, Event::Ended { reason: EndReason::Cancelled, .. }));
    assert_eq!(server.with(|shell, _| shell.agent.load().0), 0);
}

#[test]
fn an_offer_that_comes_late() {
    if !is_installed("sipp") {
        return;
    }
    let server = Server::start(guests(), Manner::default(), |_| {});
    play(&server, "delayed.xml", &[]);
    let (_, leg) = server.wait_agreed();
    assert_eq!(leg.audio.unwrap().codec.codec, sdp::AudioCodec::Pcma);
    assert!(leg.video.is_none());
}

#[test]
fn a_reliable_ringing_is_acknowledged() {
    if !is_installed("sipp") {
        return;
    }
    let manner = Manner { answer_after: Some(Duration::from_millis(800)), ..Manner::default() };
    let server = Server::start(guests(), manner, |_| {});
    play(&server, "prack.xml", &[]);
}

#[test]
fn sessions_are_refreshed_by_either_side_and_end_without() {
    if !is_installed("sipp") {
        return;
    }
    let seconds = Duration::from_secs;
    let session = SessionTimes { expires: seconds(4), expires_min: seconds(2), ringing: seconds(60) };
    let server = Server::start(Config { session, ..guests() }, Manner::default(), |_| {});
    play(&server, "refresh_by_us.xml", &[]);
    server.wait_for("end", |event| matches!(event, Event::Ended { reason: EndReason::HungUp, .. }));
    play(&server, "refresh_by_them.xml", &[]);
    server.wait_for("end", |event| matches!(event, Event::Ended { reason: EndReason::HungUp, .. }));
    play(&server, "session_expires.xml", &[]);
    server.wait_for("end", |event| matches!(event, Event::Ended { reason: EndReason::SessionExpired, .. }));
}

#[test]
fn a_trunk_calls_the_numbers_of_its_plan() {
    if !is_installed("sipp") {
        return;
    }
    let rule = NumberRule { pattern: "12*".to_owned(), target: "room-{rest}".to_owned() };
    let trunk = Trunk {
        identity: Identity::Addresses(vec![Network::parse("127.0.0.0/8").unwrap()]),
        announced_host: None,
        number_plan: NumberPlan(vec![rule]),
        media: Policy::default(),
    };
    let server =
        Server::start(Config { trunks: vec![trunk], ..Config::default() }, Manner::default(), |_| {});
    play(&server, "hold.xml", &[]);
    let incoming = server.wait("call", |news| match news {
        News::Event(Event::Incoming(incoming)) => Some(incoming.clone()),
        News::Event(_) | News::Agreed(..) | News::Refused(_) => None,
    });
    assert_eq!((incoming.called.as_str(), incoming.caller), ("room-34", Caller::Trunk(TrunkId(0))));
    play(&server, "refused.xml", &["-s", "99", "-key", "status", "404"]);
}

#[test]
fn s1_an_unknown_caller_is_challenged() {
    if !is_installed("sipp") {
        return;
    }
    let server = Server::start(Config::default(), Manner::default(), |_| {});
    play(&server, "challenged.xml", &[]);
    assert_eq!(server.with(|shell, _| shell.agent.load()), (0, 0));
}

#[test]
fn s5_a_flood_of_invites_leaves_room_for_others() {
    if !is_installed("sipp") {
        return;
    }
    let server = Server::start(guests(), Manner { answer_after: None, ..Manner::default() }, |_| {});
    run(&server, "flood.xml", &["-r", "100", "-m", "500", "-timeout", "6s"]);
    let (counters, load) = server.with(|shell, _| (shell.agent.counters(), shell.agent.load()));
    assert!(counters.limited + counters.dropped + counters.full > 300, "{counters:?}");
    let calls_max = Config::default().limits.calls_per_guest_max;
    // SIPp cancels what it gives up, so that others of its calls come in; two transactions for each.
    assert!(load.0 <= calls_max && load.1 <= 150, "{load:?}");
    // Somebody else, from another address.
    play(&server, "cancel.xml", &["-i", "127.0.0.2"]);
}

#[test]
fn we_call_with_a_password_and_hang_up() {
    if !is_installed("sipp") {
        return;
    }
    let dial_out =
        DialOut { domains: vec!["127.0.0.1".to_owned()], calls_per_hour_max: 10, ..DialOut::default() };
    let config = Config { dial_out: Some(dial_out), ..Config::default() };
    let server = Server::start(config, Manner::default(), |_| {});
    let port = free_port();
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/scenarios/answer_with_password.xml");
    let mut sipp = Command::new("sipp")
        .args(["-sf", file.to_str().unwrap(), "-i", "127.0.0.1", "-p", &port.to_string(), "-m", "1"])
        .args(["-nostdin", "-timeout", "20s", "-timeout_error"])
        .current_dir(std::env::temp_dir())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    std::thread::sleep(Duration::from_millis(500));
    let call = server.with(move |shell, now| {
        let offered = sdp::offer(&Policy::default(), &local());
        let dial = Dial {
            callee: Callee::Uri {
                target: Uri::sip(Some("sala"), "127.0.0.1", Some(port)),
                flow: Flow::udp(SocketAddr::new(LOOPBACK, port)),
            },
            from: NameAddr::new(Uri::sip(Some("giunta"), "example.org", None)),
            login: Some(Login { user: "us".to_owned(), password: "segreto".to_owned() }),
            offer: offered.sdp.clone(),
            trunk: None,
        };
        let call = shell.agent.dial(dial, now).unwrap();
        shell.offered.insert(call, offered);
        call
    });
    server.wait_for("ringing", |event| *event == Event::Ringing { call });
    server.wait_for("acceptance", |event| *event == Event::Accepted { call });
    server.with(move |shell, now| shell.agent.hang_up(call, now).unwrap());
    assert!(sipp.wait().unwrap().success());
}

#[test]
fn we_register_at_a_pbx() {
    if !is_installed("sipp") {
        return;
    }
    // The PBX is another agent of ours; that SIPp and baresip register at it is shown elsewhere.
    let pbx = Server::start(
        Config { registrar: RegistrarLimits::default(), ..Config::default() },
        Manner::default(),
        |agent| agent.set_account("trunk", Some(Secret::new("trunk", "broletto", "segreto"))),
    );
    let registration = Registration {
        flow: Flow::udp(SocketAddr::new(LOOPBACK, pbx.port)),
        registrar: "example.org".to_owned(),
        user: "trunk".to_owned(),
        credentials: Login { user: "trunk".to_owned(), password: "segreto".to_owned() },
        expires: Duration::from_secs(300),
    };
    let config = Config { registrations: vec![registration], ..Config::default() };
    let server = Server::start(config, Manner::default(), |_| {});
    server.wait_for("registration", |event| *event == Event::Registered { registration: 0, accepted: true });
    pbx.wait_for("binding", |event| *event == Event::Bindings { user: "trunk".to_owned(), count: 1 });
}
