//! Lobby, moderation and chat over real WebSockets, byte by byte where it matters.

use futures_util::StreamExt;
use serde_json::{Value, json};
use tokio::time::timeout;
use tokio_tungstenite::tungstenite::Message;

use crate::common::{Client, JSON, PATIENCE, Scratch, Server, bearer, create_room, request, word};

/// One microphone, as a browser offers it.
const SDP: &str = "v=0\r\n\
    o=- 1 2 IN IP4 127.0.0.1\r\n\
    s=-\r\n\
    t=0 0\r\n\
    a=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
    c=IN IP4 0.0.0.0\r\n\
    a=rtcp:9 IN IP4 0.0.0.0\r\n\
    a=ice-ufrag:abcd\r\n\
    a=ice-pwd:abcdefghijklmnopqrstuvwx\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n\
    a=setup:actpass\r\n\
    a=mid:0\r\n\
    a=sendonly\r\n\
    a=rtcp-mux\r\n\
    a=rtpmap:111 opus/48000/2\r\n\
    a=ssrc:1111 cname:x\r\n";

fn offer() -> Value {
    let send = json!([{"mid": "0", "source": "microphone"}]);
    json!({"type": "offer", "sdp": SDP, "fresh": true, "send": send, "receive": []})
}

/// Joins by the room's moderator token.
async fn moderator(server: &Server, room: &Value) -> (Client, Value) {
    let mut client = Client::open(server.http()).await;
    let token = word(&room["moderator_token"]);
    let joined = client.ask(json!({"type": "join", "version": 1, "token": token, "name": "Ada"})).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    (client, joined)
}

/// Every frame until the WebSocket ends, as it came.
async fn frames(client: &mut Client) -> Vec<String> {
    let mut frames = Vec::new();
    loop {
        match timeout(PATIENCE, client.socket.next()).await.expect("a frame") {
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
            Some(Ok(Message::Text(text))) => frames.push(text.to_string()),
            Some(Ok(Message::Close(_)) | Err(_)) | None => return frames,
            Some(Ok(other)) => panic!("{other:?}"),
        }
    }
}

async fn metric(server: &Server, dir: &Scratch, name: &str) -> String {
    let token = std::fs::read_to_string(dir.path().join("broletto-data/ops-token")).expect("made");
    let answer = request(server.ops(), "GET", "/metrics", &[&bearer(token.trim())], "").await;
    let text = answer.text();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
}

#[tokio::test]
async fn w4_a_waiting_client_gets_no_byte_of_the_room() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_ROOMS__LOBBY", "guests")]);
    let room = create_room(server.http()).await;
    let (mut ada, joined) = moderator(&server, &room).await;
    assert_eq!(joined["room"]["lobby"], "guests", "as the server is configured");

    let mut eve = Client::open(server.http()).await;
    let join = json!({"id": 1, "type": "join", "version": 1, "room": room["code"], "name": "Eve"});
    eve.send(join.to_string()).await;
    let lobby = ada.until(|message| message["type"] == "lobby").await;
    assert_eq!(lobby["waiting"][0]["name"], "Eve");
    for (id, message) in [
        (2, json!({"type": "ping"})),
        (3, offer()),
        (4, json!({"type": "view", "slots": []})),
        (5, json!({"type": "publish", "publishing": {"microphone": true}})),
        (6, json!({"type": "chat", "text": "who is there?"})),
        (7, json!({"type": "admit", "waiting": [lobby["waiting"][0]["id"]]})),
        (8, json!({"type": "set_room", "lobby": "off"})),
    ] {
        let mut message = message;
        message["id"] = id.into();
        eve.send(message.to_string()).await;
    }
    // Meanwhile the room is busy.
    for message in [
        json!({"type": "publish", "publishing": {"microphone": true}}),
        json!({"type": "chat", "text": "the figures are secret"}),
        json!({"type": "hand", "raised": true}),
        json!({"type": "react", "reaction": "heart"}),
        json!({"type": "spotlight", "participants": [joined["you"]]}),
    ] {
        assert_eq!(ada.ask(message).await["type"], "ok");
    }
    // All of them were answered before Ada sends Eve away.
    while metric(&server, &dir, "broletto_client_errors_total{code=\"state\"}").await != "6" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert_eq!(metric(&server, &dir, "broletto_waiting").await, "1");
    for gauge in ["broletto_sfu_transports", "broletto_sfu_routers"] {
        assert_eq!(metric(&server, &dir, gauge).await, "0", "{gauge}");
    }
    let refuse = json!({"type": "refuse", "waiting": [lobby["waiting"][0]["id"]]});
    assert_eq!(ada.ask(refuse).await["type"], "ok");

    let wait = "wait until a moderator admits you";
    let mut expected =
        vec![r#"{"reply_to":1,"type":"waiting"}"#.to_owned(), r#"{"reply_to":2,"type":"pong"}"#.to_owned()];
    let refused = |id| format!(r#"{{"reply_to":{id},"type":"error","code":"state","message":"{wait}"}}"#);
    expected.extend((3..=8).map(refused));
    expected.push(r#"{"type":"closed","reason":"refused"}"#.to_owned());
    assert_eq!(frames(&mut eve).await, expected, "nothing else went over the wire");

    // The same offer of one who is in the room makes a transport, so there was one to count.
    let answer = ada.ask(offer()).await;
    assert_eq!(answer["type"], "answer", "{answer}");
    while metric(&server, &dir, "broletto_sfu_transports").await != "1" {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn w4_whoever_is_admitted_joins_and_whoever_disconnects_stops_waiting() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let body = r#"{"title":"Giunta","lobby":"everyone"}"#;
    let room = request(server.http(), "POST", "/api/v1/rooms", &[JSON], body).await.json();
    let (mut ada, _) = moderator(&server, &room).await;

    let mut gone = Client::open(server.http()).await;
    let join = json!({"type": "join", "version": 1, "room": room["code"], "name": "Bruno"});
    assert_eq!(gone.ask(join.clone()).await["type"], "waiting");
    drop(gone);
    let mut bruno = Client::open(server.http()).await;
    assert_eq!(bruno.ask(join).await, json!({"reply_to": 1, "type": "waiting"}));
    let two_came_and_one_went = |message: &Value| {
        message["type"] == "lobby" && message["waiting"].as_array().is_some_and(|list| list.len() == 1)
    };
    let mut waiting = Value::Null;
    // The list with the first alone looks the same, so it is the last that counts.
    for _ in 0..2 {
        waiting = ada.until(two_came_and_one_went).await["waiting"].take();
    }
    assert_eq!(ada.ask(json!({"type": "admit", "waiting": [waiting[0]["id"]]})).await["type"], "ok");
    let joined = bruno.until(|message| message["type"] == "joined").await;
    assert_eq!((&joined["you"], joined.get("reply_to")), (&waiting[0]["id"], None));
    assert_eq!(joined["room"]["title"], "Giunta");
    assert_eq!(joined["room"]["url"], room["url"]);
    assert!(joined.get("waiting").is_none(), "{joined}");
}

#[tokio::test]
async fn w5_a_guest_does_not_moderate_and_a_moderator_does() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let (mut ada, adas) = moderator(&server, &room).await;
    let mut eve = Client::open(server.http()).await;
    let eves = eve.join(&word(&room["code"]), "Eve").await;
    assert_eq!(ada.ask(json!({"type": "publish", "publishing": {"microphone": true}})).await["type"], "ok");
    for message in [
        json!({"type": "mute", "participants": [adas["you"]], "sources": ["microphone"]}),
        json!({"type": "remove_participant", "participant": adas["you"]}),
        json!({"type": "set_role", "participant": eves["you"], "role": "moderator"}),
        json!({"type": "set_room", "locked": true}),
        json!({"type": "spotlight", "participants": [eves["you"]]}),
        json!({"type": "admit", "waiting": []}),
        json!({"type": "refuse", "waiting": []}),
        json!({"type": "hand", "raised": false, "participant": adas["you"]}),
    ] {
        let answer = eve.ask(message.clone()).await;
        assert_eq!(answer["code"], "forbidden", "{message}: {answer}");
    }
    // Whoever asks cannot say to be somebody else.
    let forged = json!({"type": "set_room", "locked": true, "participant": adas["you"]});
    assert_eq!(eve.ask(forged).await["code"], "malformed");

    let set = json!({"type": "set_room", "allowed": {"microphone": false, "camera": true}});
    assert_eq!(ada.ask(set).await["type"], "ok");
    let changed = eve.until(|message| message["type"] == "room_changed").await;
    assert_eq!(changed["room"]["allowed"]["microphone"], false);
    assert_eq!(changed["room"]["url"], room["url"], "with the address that the client came to");
    let answer = eve.ask(json!({"type": "publish", "publishing": {"microphone": true}})).await;
    assert_eq!((&answer["code"], &answer["field"]), (&json!("forbidden"), &json!("publishing.microphone")));
    assert_eq!(
        ada.ask(json!({"type": "remove_participant", "participant": eves["you"]})).await["type"],
        "ok"
    );
    let closed = eve.until(|message| message["type"] == "closed").await;
    assert_eq!(closed["reason"], "removed");
    let mut again = Client::open(server.http()).await;
    let resume = json!({"type": "resume", "version": 1, "resume": eves["resume"]});
    assert_eq!(again.ask(resume).await["code"], "not_resumable");
}

#[tokio::test]
async fn w6_chat_is_told_as_it_was_typed_and_kept_nowhere() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_LOG__FILTER", "trace")]);
    let room = create_room(server.http()).await;
    let (mut ada, _) = moderator(&server, &room).await;
    let mut bruno = Client::open(server.http()).await;
    let joined = bruno.join(&word(&room["code"]), "Bruno").await;
    let texts = [
        "<img src=x onerror=alert(1)> &amp; \"quotes\" \\",
        "\u{202e}gnp.exe\u{202c} zero\u{200b}width \u{2066}isolated\u{2069}\n\tsecond line",
        "👩\u{200d}👩\u{200d}👧 e\u{301} \u{2028} مرحبا",
    ];
    let mut serial = json!(0);
    for text in texts {
        assert_eq!(ada.ask(json!({"type": "chat", "text": text})).await["type"], "ok");
        let told = bruno.until(|message| message["type"] == "chat_message").await;
        assert_eq!((word(&told["text"]).as_str(), &told["name"]), (text, &json!("Ada")));
        serial = told["serial"].clone();
    }
    for text in ["bell\u{7}", "\u{1b}[2J", ""] {
        let refused = ada.ask(json!({"type": "chat", "text": text})).await;
        assert_eq!((&refused["code"], &refused["field"]), (&json!("invalid"), &json!("text")), "{text:?}");
    }

    // Told again to who resumes, once.
    drop(bruno);
    assert_eq!(ada.ask(json!({"type": "chat", "text": "said meanwhile"})).await["type"], "ok");
    let mut again = Client::open(server.http()).await;
    let resume = json!({"type": "resume", "version": 1, "resume": joined["resume"], "chat_after": serial});
    assert_eq!(again.ask(resume).await["type"], "joined");
    let told = again.until(|message| message["type"] == "chat_message").await;
    assert_eq!(told["text"], "said meanwhile");
    assert!(server.terminate().0.success());
    let log = std::fs::read_to_string(dir.path().join("log")).expect("a log");
    let database = std::fs::read_dir(dir.path().join("broletto-data")).expect("a directory");
    let files = database.map(|file| std::fs::read(file.expect("a file").path()).unwrap_or_default());
    let kept: Vec<_> = files.chain([log.into_bytes()]).collect();
    assert!(kept.iter().any(|bytes| contains(bytes, "Giunta")), "the room is kept");
    assert!(!kept.iter().any(|bytes| contains(bytes, "said meanwhile") || contains(bytes, "gnp.exe")));
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}
