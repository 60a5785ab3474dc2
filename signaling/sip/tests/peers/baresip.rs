//! baresip registers with a password and dials in.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use broletto_sip::sdp::{self, AudioCodec, Encryption, EncryptionPolicy, Policy};
use broletto_sip::{
    Algorithm, Callee, Caller, Config, Dial, DialOut, EndReason, Event, Incoming, NameAddr, Secret, Uri,
};

use crate::is_installed;
use crate::server::{LOOPBACK, Manner, News, Server, local};

/// A baresip that registers, and perhaps dials `1234`, as soon as it runs, and leaves after some seconds.
struct Baresip {
    child: Child,
    folder: PathBuf,
}

impl Baresip {
    fn dial(server: &Server, transport: &str, encryption: &str) -> Baresip {
        let dial = format!("/dial sip:1234@127.0.0.1:{};transport={transport}", server.port);
        Baresip::start(server, transport, encryption, &["-e", &dial])
    }

    fn start(server: &Server, transport: &str, account: &str, arguments: &[&str]) -> Baresip {
        let folder = std::env::temp_dir().join(format!("broletto-baresip-{}", server.port));
        std::fs::create_dir_all(&folder).unwrap();
        let modules = ["g711.so", "g722.so", "srtp.so", "dtls_srtp.so", "aubridge.so", "uuid.so"];
        let modules: String = modules.iter().map(|module| format!("module {module}\n")).collect();
        let control = TcpListener::bind((LOOPBACK, 0)).unwrap().local_addr().unwrap().port();
        write(
            &folder,
            "config",
            &format!(
                "sip_listen 127.0.0.1:0\nnet_interface 127.0.0.1\nmodule_path /usr/lib/baresip/modules\n\
             audio_player aubridge,x\naudio_source aubridge,x\naudio_alert aubridge,y\nrtp_timeout 0\n\
             ctrl_tcp_listen 127.0.0.1:{control}\n{modules}module_tmp account.so\nmodule_app menu.so\n"
            ),
        );
        let port = server.port;
        write(
            &folder,
            "accounts",
            &format!(
                "\"Sala\" <sip:sala@127.0.0.1:{port};transport={transport}>;auth_user=sala;auth_pass=segreto;\
             regint=60;audio_codecs=G722/16000/1,PCMA/8000/1{account}\n"
            ),
        );
        write(&folder, "contacts", "");
        let child = Command::new("baresip")
            .args(["-f", folder.to_str().unwrap(), "-t", "20"])
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(std::fs::File::create(folder.join("output")).unwrap())
            .stderr(std::fs::File::create(folder.join("errors")).unwrap())
            .spawn()
            .unwrap();
        Baresip { child, folder }
    }
}

impl Drop for Baresip {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let _ = std::io::copy(
                &mut std::fs::File::open(self.folder.join("output")).unwrap(),
                &mut std::io::stderr(),
            );
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).unwrap();
}

fn server(encryption: EncryptionPolicy) -> Server {
    let policy = Policy { encryption, ..Policy::default() };
    // This version gives up where it reads of SHA-256, wherever it stands.
    let config = Config { algorithms: vec![Algorithm::Md5], ..Config::default() };
    Server::start(config, Manner { policy, ..Manner::default() }, |agent| {
        agent.set_account("sala", Some(Secret::new("sala", "broletto", "segreto")));
    })
}

fn incoming(server: &Server) -> Incoming {
    server.wait("call", |news| match news {
        News::Event(Event::Incoming(incoming)) => Some(*incoming.clone()),
        News::Event(_) | News::Agreed(..) | News::Refused(_) => None,
    })
}

#[test]
fn baresip_registers_and_dials_in() {
    if !is_installed("baresip") {
        return;
    }
    for (transport, encryption, policy) in [
        ("udp", "", EncryptionPolicy::BestEffort),
        ("tcp", "", EncryptionPolicy::Off),
        ("udp", ";mediaenc=srtp", EncryptionPolicy::BestEffort),
        ("tcp", ";mediaenc=srtp-mand", EncryptionPolicy::Mandatory),
        ("udp", ";mediaenc=dtls_srtp", EncryptionPolicy::Mandatory),
    ] {
        let server = server(policy);
        let baresip = Baresip::dial(&server, transport, encryption);
        let call = incoming(&server);
        assert_eq!((&call.caller, call.called.as_str()), (&Caller::Account("sala".to_owned()), "1234"));
        let (id, leg) = server.wait_agreed();
        let audio = leg.audio.unwrap();
        assert_eq!(audio.codec.codec, AudioCodec::G722, "{transport}{encryption}");
        let agreed = match audio.encryption {
            Encryption::None => "",
            Encryption::Sdes { .. } => "srtp",
            Encryption::Dtls { .. } => "dtls_srtp",
        };
        let wanted = encryption.trim_start_matches(";mediaenc=").trim_end_matches("-mand");
        assert_eq!(agreed, wanted, "{transport}{encryption}");
        server.wait_for("confirmation", |event| *event == Event::Confirmed { call: id });
        server.with(move |shell, now| shell.agent.hang_up(id, now).unwrap());
        drop(baresip);
    }
}

#[test]
fn baresip_hangs_up_when_its_time_is_over() {
    if !is_installed("baresip") {
        return;
    }
    let server = server(EncryptionPolicy::BestEffort);
    let baresip = Baresip::dial(&server, "udp", "");
    server.wait_for("binding", |event| matches!(event, Event::Bindings { count: 1, .. }));
    let (call, _) = server.wait_agreed();
    // SIGTERM makes it end its calls and its registration.
    let pid = baresip.child.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    server.wait_for("end", |event| *event == Event::Ended { call, reason: EndReason::HungUp });
}

#[test]
fn we_call_a_registered_baresip() {
    if !is_installed("baresip") {
        return;
    }
    for (transport, encryption) in [("udp", EncryptionPolicy::Off), ("tcp", EncryptionPolicy::BestEffort)] {
        let policy = Policy { encryption, dtls: false, ..Policy::default() };
        let dial_out = Some(DialOut { calls_per_hour_max: 5, ..DialOut::default() });
        let config = Config { algorithms: vec![Algorithm::Md5], dial_out, ..Config::default() };
        let server = Server::start(config, Manner { policy: policy.clone(), ..Manner::default() }, |agent| {
            agent.set_account("sala", Some(Secret::new("sala", "broletto", "segreto")));
        });
        let account = if encryption == EncryptionPolicy::Off { "" } else { ";mediaenc=srtp" };
        let _baresip = Baresip::start(&server, transport, &format!("{account};answermode=auto"), &[]);
        server.wait_for("binding", |event| matches!(event, Event::Bindings { count: 1, .. }));
        let call = server.with(move |shell, now| {
            let offered = sdp::offer(&policy, &local());
            let binding = shell.agent.bindings("sala")[0].clone();
            let dial = Dial {
                callee: Callee::Device { user: "sala".to_owned(), binding },
                from: NameAddr::new(Uri::sip(Some("giunta"), "example.org", None)),
                login: None,
                offer: offered.sdp.clone(),
                trunk: None,
            };
            let call = shell.agent.dial(dial, now).unwrap();
            shell.offered.insert(call, offered);
            call
        });
        let (agreed, leg) = server.wait_agreed();
        let audio = leg.audio.unwrap();
        assert_eq!((agreed, audio.codec.codec), (call, AudioCodec::G722));
        assert_eq!(audio.encryption == Encryption::None, encryption == EncryptionPolicy::Off);
        server.wait_for("acceptance", |event| *event == Event::Accepted { call });
        server.with(move |shell, now| shell.agent.hang_up(call, now).unwrap());
        // The BYE was answered when nothing of the call is left.
        let end = Instant::now() + Duration::from_secs(5);
        while server.with(|shell, _| shell.agent.load().0) > 0 {
            assert!(Instant::now() < end, "baresip did not answer the BYE");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
