//! linphone proves its password by SHA-256, which neither SIPp nor baresip know, and dials in.

use std::io::Write;
use std::process::{Child, Command, Stdio};

use broletto_sip::sdp::AudioCodec;
use broletto_sip::{Algorithm, Caller, Config, EndReason, Event, Secret};

use crate::is_installed;
use crate::server::{Manner, News, Server};

struct Linphone(Child, std::path::PathBuf);

impl Linphone {
    fn start(server: &Server) -> Linphone {
        let home = std::env::temp_dir().join(format!("broletto-linphone-{}", server.port));
        // It does not make this folder by itself, and fails without it.
        std::fs::create_dir_all(home.join(".local/share/linphone")).unwrap();
        let port = server.port;
        let account = format!(
            "[sip]\nsip_port=-1\nsip_tcp_port=-1\nsip_tls_port=-1\ndefault_proxy=0\n\
             [auth_info_0]\nusername=sala\npasswd=segreto\nrealm=broletto\n\
             [proxy_0]\nreg_proxy=<sip:127.0.0.1:{port};transport=udp>\nreg_identity=sip:sala@127.0.0.1:{port}\n\
             reg_expires=600\nreg_sendregister=1\n[net]\nmtu=1300\nfirewall_policy=0\n"
        );
        let file = home.join("linphonerc");
        std::fs::write(&file, account).unwrap();
        let child = Command::new("linphonec")
            .args(["-c", file.to_str().unwrap()])
            .env("HOME", &home)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Linphone(child, home)
    }

    fn say(&mut self, line: &str) {
        writeln!(self.0.stdin.as_mut().unwrap(), "{line}").unwrap();
    }
}

impl Drop for Linphone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = std::fs::remove_dir_all(&self.1);
    }
}

#[test]
fn linphone_registers_with_sha_256_and_dials_in() {
    if !is_installed("linphonec") {
        return;
    }
    for algorithms in [vec![Algorithm::Sha256], vec![Algorithm::Sha256, Algorithm::Md5]] {
        let config = Config { algorithms, ..Config::default() };
        let server = Server::start(config, Manner::default(), |agent| {
            agent.set_account("sala", Some(Secret::new("sala", "broletto", "segreto")));
        });
        let mut linphone = Linphone::start(&server);
        server.wait_for("binding", |event| *event == Event::Bindings { user: "sala".to_owned(), count: 1 });
        linphone.say("soundcard use files");
        linphone.say(&format!("call sip:1234@127.0.0.1:{}", server.port));
        let caller = server.wait("call", |news| match news {
            News::Event(Event::Incoming(incoming)) => Some(incoming.caller.clone()),
            News::Event(_) | News::Agreed(..) | News::Refused(_) => None,
        });
        assert_eq!(caller, Caller::Account("sala".to_owned()));
        let (call, leg) = server.wait_agreed();
        assert_eq!(leg.audio.unwrap().codec.codec, AudioCodec::Opus);
        server.wait_for("confirmation", |event| *event == Event::Confirmed { call });
        linphone.say("terminate");
        server.wait_for("end", |event| *event == Event::Ended { call, reason: EndReason::HungUp });
    }
}
