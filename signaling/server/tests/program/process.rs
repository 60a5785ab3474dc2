use std::time::Duration;

use serde_json::json;

use crate::common::{Client, PATIENCE, Scratch, Server, broletto, create_room, get, word};

#[tokio::test]
async fn sigterm_tells_clients_to_resume_and_ends_cleanly() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let mut client = Client::open(server.http()).await;
    let joined = client.join(&word(&room["code"]), "Ada").await;
    let http = server.http();
    let ended = tokio::task::spawn_blocking(|| server.terminate());
    let closed = client.until(|message| message["type"] == "closed").await;
    assert_eq!(closed["reason"], "restarting");
    client.close_code().await;
    let (status, took) = ended.await.expect("waited for");
    assert_eq!(status.code(), Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    assert!(tokio::net::TcpStream::connect(http).await.is_err(), "nobody listens any more");

    let server = Server::start(dir.path(), &[]);
    resume(&server, &joined).await;
}

#[tokio::test]
async fn after_a_kill_the_next_process_goes_on_from_the_saved_state() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let mut ada = Client::open(server.http()).await;
    let joined = ada.join(&word(&room["code"]), "Ada").await;
    let mut bruno = Client::open(server.http()).await;
    bruno.join(&word(&room["code"]), "Bruno").await;
    server.kill();

    let server = Server::start(dir.path(), &[]);
    let resumed = resume(&server, &joined).await;
    let names = resumed["participants"].as_array().expect("a list").iter().map(|one| word(&one["name"]));
    assert_eq!(names.collect::<Vec<_>>(), ["Ada", "Bruno"]);

    let mut again = Client::open(server.http()).await;
    let used = again.ask(json!({"type": "resume", "version": 1, "resume": joined["resume"]})).await;
    assert_eq!(used["code"], "not_resumable", "a resume secret is good for one use: {used}");
}

async fn resume(server: &Server, joined: &serde_json::Value) -> serde_json::Value {
    let mut client = Client::open(server.http()).await;
    let resumed = client.ask(json!({"type": "resume", "version": 1, "resume": joined["resume"]})).await;
    assert_eq!(resumed["type"], "joined", "{resumed}");
    assert_eq!(resumed["you"], joined["you"]);
    assert_eq!(resumed["room"]["id"], joined["room"]["id"]);
    assert_ne!(resumed["resume"], joined["resume"]);
    // Until the client is heard again, the server takes the former secret too.
    assert_eq!(client.ask(json!({"type": "ping"})).await["type"], "pong");
    resumed
}

#[tokio::test]
async fn one_process_is_ready_once_its_own_node_is() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    until_ready(&server).await;
}

async fn until_ready(server: &Server) {
    let started = std::time::Instant::now();
    loop {
        let answer = get(server.ops(), "/readyz").await;
        if answer.status == 200 {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "not ready: {}", answer.text());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Certificates for `names` in a new directory, with an authority of their own.
fn certificates(names: &[&str]) -> Scratch {
    let dir = Scratch::new();
    for name in names {
        let arguments = ["certs", "--dir", ".", "--name", name];
        let output = broletto(dir.path(), &arguments, &[]).output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    dir
}

/// Of `broletto sfu`.
fn node_files(certs: &Scratch) -> Vec<(String, String)> {
    let keys = [("CERTIFICATE", "node-certificate"), ("PRIVATE_KEY", "node-key"), ("CLIENT_CA", "ca")];
    keys.map(|(key, file)| (format!("BROLETTO_MEDIA__CONTROL__{key}"), pem(certs, file))).into()
}

/// Of `broletto signaling`, which trusts the authority in `trusted`.
fn signaling_files(certs: &Scratch, trusted: &Scratch) -> Vec<(String, String)> {
    let keys = [
        ("CERTIFICATE", pem(certs, "signaling-certificate")),
        ("KEY", pem(certs, "signaling-key")),
        ("CA", pem(trusted, "ca")),
    ];
    keys.map(|(key, file)| (format!("BROLETTO_SIGNALING__{key}"), file)).into()
}

fn pem(dir: &Scratch, name: &str) -> String {
    dir.path().join(format!("{name}.pem")).display().to_string()
}

fn start_with(dir: &Scratch, role: &str, environment: &[(String, String)], more: &[(&str, &str)]) -> Server {
    let pairs = environment.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    Server::start_role(dir.path(), &[role], &pairs.chain(more.iter().copied()).collect::<Vec<_>>())
}

#[tokio::test]
async fn c1_two_processes_speak_over_mutual_tls_and_signaling_may_restart() {
    let certs = certificates(&["node", "signaling"]);
    let (node_dir, dir) = (Scratch::new(), Scratch::new());
    let node = start_with(&node_dir, "sfu", &node_files(&certs), &[]);
    let address = format!("wss://{}", node.control());
    let own = signaling_files(&certs, &certs);
    let server = start_with(&dir, "signaling", &own, &[("BROLETTO_SIGNALING__NODE", &address)]);
    until_ready(&server).await;
    let room = create_room(server.http()).await;
    let mut ada = Client::open(server.http()).await;
    let joined = ada.join(&word(&room["code"]), "Ada").await;
    server.kill();

    let server = start_with(&dir, "signaling", &own, &[("BROLETTO_SIGNALING__NODE", &address)]);
    until_ready(&server).await;
    resume(&server, &joined).await;
}

#[tokio::test]
async fn c1_a_node_refuses_a_certificate_of_another_cluster() {
    let (certs, foreign) = (certificates(&["node"]), certificates(&["signaling"]));
    let (node_dir, dir) = (Scratch::new(), Scratch::new());
    let node = start_with(&node_dir, "sfu", &node_files(&certs), &[]);
    let address = format!("wss://{}", node.control());
    // It trusts the node, but the node does not trust it.
    let own = signaling_files(&foreign, &certs);
    let server = start_with(&dir, "signaling", &own, &[("BROLETTO_SIGNALING__NODE", &address)]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let answer = get(server.ops(), "/readyz").await;
    assert_eq!((answer.status, answer.text().as_str()), (503, "the media node is not connected\n"));
}

#[tokio::test]
async fn a_mistake_in_the_configuration_is_one_sentence_before_any_port_is_bound() {
    let dir = Scratch::new();
    std::fs::write(dir.path().join("wrong.toml"), "[http]\nport = 1\n").expect("written");
    std::fs::write(dir.path().join("broken.toml"), "[http]\nlisten = [\n\n= 3").expect("written");
    for (arguments, environment, sentence) in [
        (&["--config", "wrong.toml"][..], ("X", ""), "broletto: http: unknown field `port`"),
        (&["--config", "broken.toml"], ("X", ""), "broletto: broken.toml, line 4: "),
        (&["--config", "absent.toml"], ("X", ""), "broletto: absent.toml: cannot be read"),
        (
            &["config", "check"],
            ("BROLETTO_MEDIA__WORKERS", "x"),
            "broletto: BROLETTO_MEDIA__WORKERS: expected",
        ),
        (
            &["config", "check", "--workers", "x"],
            ("X", ""),
            "broletto: media.workers: expected a whole number",
        ),
        (&["signaling"], ("X", ""), "broletto: signaling.node: is needed by `broletto signaling`"),
        (&["sfu"], ("X", ""), "broletto: media.control.certificate: is needed by `broletto sfu`"),
    ] {
        let output = broletto(dir.path(), arguments, &[environment]).output().expect("it runs");
        let error = String::from_utf8(output.stderr).expect("text");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {error}");
        assert!(error.starts_with(sentence), "{arguments:?}: {error}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
}

#[tokio::test]
async fn the_printed_example_is_a_good_configuration() {
    let dir = Scratch::new();
    let example = broletto(dir.path(), &["config", "example"], &[]).output().expect("it runs");
    std::fs::write(dir.path().join("broletto.toml"), example.stdout).expect("written");
    let check = broletto(dir.path(), &["config", "check"], &[]).output().expect("it runs");
    assert_eq!(check.stdout, b"The configuration is good.\n");
    assert_eq!(check.status.code(), Some(0));
}

#[tokio::test]
async fn two_processes_do_not_share_a_data_directory_or_a_port() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let failure = |dir: &Scratch, environment: &[(&str, &str)]| {
        let output = broletto(dir.path(), &[], environment).output().expect("it runs");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8(output.stderr).expect("text")
    };
    let error = failure(&dir, &[]);
    assert!(error.contains("data_dir: broletto-data is in use by another Broletto"), "{error}");
    let taken = server.http().to_string();
    let error = failure(&Scratch::new(), &[("BROLETTO_HTTP__LISTEN", &taken)]);
    assert!(error.contains(&format!("cannot listen on {taken}")), "{error}");
}

#[tokio::test]
async fn the_log_can_be_json() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_LOG__FORMAT", "json")]);
    assert!(server.terminate().0.success());
    let log = std::fs::read_to_string(dir.path().join("log")).expect("a log");
    let mut messages = log.lines().map(|line| {
        let entry = serde_json::from_str::<serde_json::Value>(line).unwrap_or_else(|_| panic!("{line}"));
        word(&entry["fields"]["message"])
    });
    assert_eq!(messages.next_back().as_deref(), Some("stopped"));
}
