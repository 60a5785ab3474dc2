use serde_json::json;
use tokio_tungstenite::tungstenite::{Error, Message};

use crate::common::{Client, Scratch, Server, bearer, create_room, request, word};

#[tokio::test]
async fn two_clients_meet_by_token_and_by_code() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;

    let mut ada = Client::open(server.http()).await;
    let token = word(&room["moderator_token"]);
    let joined = ada.ask(json!({"type": "join", "version": 1, "token": token, "name": "Ada"})).await;
    assert_eq!(joined["type"], "joined", "{joined}");
    assert_eq!(joined["participants"][0]["role"], "moderator");
    assert_eq!(joined["room"]["id"], room["id"]);
    assert_eq!(joined["room"]["url"], room["url"]);

    let mut bruno = Client::open(server.http()).await;
    let joined = bruno.join(&word(&room["code"]), "Bruno").await;
    assert_eq!(joined["participants"].as_array().map(Vec::len), Some(2));
    let seen = ada.until(|message| message["type"] == "participant_joined").await;
    assert_eq!(seen["participant"]["name"], "Bruno");

    assert_eq!(bruno.ask(json!({"type": "ping"})).await["type"], "pong");
    assert_eq!(bruno.ask(json!({"type": "leave"})).await["type"], "ok");
    assert_eq!(bruno.close_code().await, Some(1000));
    let left = ada.until(|message| message["type"] == "participant_left").await;
    assert_eq!(left["participant"], joined["you"]);
}

#[tokio::test]
async fn ending_the_room_closes_its_sessions() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let mut ada = Client::open(server.http()).await;
    ada.join(&word(&room["code"]), "Ada").await;
    let path = format!("/api/v1/rooms/{}", word(&room["id"]));
    let token = bearer(&word(&room["moderator_token"]));
    assert_eq!(request(server.http(), "DELETE", &path, &[&token], "").await.status, 204);
    let closed = ada.until(|message| message["type"] == "closed").await;
    assert_eq!(closed["reason"], "room_ended");
    assert_eq!(ada.close_code().await, Some(1000));
}

#[tokio::test]
async fn w5_a_session_opens_for_this_host_and_listed_origins_only() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_HTTP__ALLOWED_ORIGINS", "https://www.example.org")]);
    let own = format!("http://localhost:{}", server.http().port());
    for (origin, opens) in [
        (Some(own.as_str()), true),
        (Some("https://www.example.org"), true),
        (None, true),
        (Some("https://evil.example"), false),
        (Some("http://localhost"), false),
        (Some("null"), false),
    ] {
        match Client::open_from(server.http(), origin).await {
            Ok(_) => assert!(opens, "{origin:?}"),
            Err(Error::Http(answer)) => {
                assert!(!opens, "{origin:?}");
                assert_eq!(answer.status(), 403);
            }
            Err(error) => panic!("{origin:?}: {error}"),
        }
    }
}

#[tokio::test]
async fn w5_a_frame_over_64_kib_ends_its_session_and_no_other() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let mut bystander = Client::open(server.http()).await;
    bystander.join(&word(&room["code"]), "Bruno").await;

    let mut client = Client::open(server.http()).await;
    let longest = format!(r#"{{"id":1,"type":"text","text":"{}"}}"#, "x".repeat(65_536 - 32));
    client.send(longest).await;
    let refused = client.until(|message| message["type"] == "error").await;
    assert_eq!(refused["reply_to"], 1, "{refused}");
    client.send("x".repeat(65_537)).await;
    assert_eq!(client.close_code().await, Some(1009));

    let mut binary = Client::open(server.http()).await;
    binary.socket.send_all_bytes(&[1, 2, 3]).await;
    assert_eq!(binary.close_code().await, Some(1003));
    assert_eq!(bystander.ask(json!({"type": "ping"})).await["type"], "pong");
}

/// A binary message, which this protocol has none of.
trait SendBytes {
    async fn send_all_bytes(&mut self, bytes: &[u8]);
}

impl<S: futures_util::Sink<Message, Error = Error> + Unpin> SendBytes for S {
    async fn send_all_bytes(&mut self, bytes: &[u8]) {
        use futures_util::SinkExt;
        self.send(Message::binary(bytes.to_vec())).await.expect("sent");
    }
}

#[tokio::test]
async fn w5_a_malformed_message_is_answered_with_the_field_and_the_session_goes_on() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let mut client = Client::open(server.http()).await;
    client.join(&word(&room["code"]), "Ada").await;
    for (text, part) in [
        (r#"{"id":7,"type":"fly"}"#, "unknown variant `fly`"),
        (r#"{"id":7,"type":"leave","now":8}"#, "unknown field `now`"),
        (r#"{"id":7,"type":"publish","publishing":{"camera":1}}"#, "expected a boolean"),
    ] {
        client.send(text).await;
        let error = client.until(|message| message["type"] == "error").await;
        assert_eq!((&error["code"], &error["reply_to"]), (&json!("malformed"), &json!(7)), "{text}: {error}");
        assert!(word(&error["message"]).contains(part), "{text}: {error}");
    }
    assert_eq!(client.ask(json!({"type": "ping"})).await["type"], "pong");
}

#[tokio::test]
async fn w5_a_message_that_cannot_be_named_ends_its_session_with_an_error_first() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    for (text, part) in [
        ("{", "not a JSON message"),
        ("[]", "a message is a JSON object"),
        (r#"{"id":7,"type":"leave","type":"ping"}"#, "\"type\" stands twice"),
        (r#"{"type":"ping"}"#, "id: expected a whole number"),
    ] {
        let mut client = Client::open(server.http()).await;
        client.send(text).await;
        let error = client.until(|message| message["type"] == "error").await;
        assert!(word(&error["message"]).contains(part), "{text}: {error}");
        let closed = client.until(|message| message["type"] == "closed").await;
        assert_eq!(closed["reason"], "protocol");
        assert_eq!(client.close_code().await, Some(1000));
    }
}

#[tokio::test]
async fn w1_a_session_refuses_tokens_that_this_server_did_not_sign() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let good = word(&room["moderator_token"]);
    let claims = good.split('.').nth(1).expect("three parts");
    for token in [format!("eyJhbGciOiJub25lIn0.{claims}."), good.clone(), "x.y.z".to_owned()] {
        let mut client = Client::open(server.http()).await;
        let message = json!({"type": "join", "version": 1, "token": token, "name": "Eva"});
        let answer = client.ask(message).await;
        match token == good {
            true => assert_eq!(answer["type"], "joined", "{answer}"),
            false => assert_eq!(answer["code"], "not_admitted", "{answer}"),
        }
    }
}

#[tokio::test]
async fn w2_neither_tokens_nor_names_nor_secrets_are_logged() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_LOG__FILTER", "trace")]);
    let room = create_room(server.http()).await;
    let token = word(&room["moderator_token"]);
    let path = format!("/api/v1/rooms/{}", word(&room["id"]));
    assert_eq!(request(server.http(), "GET", &path, &[&bearer(&token)], "").await.status, 200);

    let name = "Nausicaa Bianchi";
    let mut client = Client::open(server.http()).await;
    let joined = client.ask(json!({"type": "join", "version": 1, "token": token, "name": name})).await;
    let resume = word(&joined["resume"]);
    let mut wrong = Client::open(server.http()).await;
    let forged = format!("{}x", token);
    wrong.ask(json!({"type": "join", "version": 1, "token": forged, "name": name})).await;
    let ops_token = std::fs::read_to_string(dir.path().join("broletto-data/ops-token")).expect("made");
    let metrics = request(server.ops(), "GET", "/metrics", &[&bearer(ops_token.trim())], "").await.text();
    client.ask(json!({"type": "leave"})).await;
    assert!(server.terminate().0.success());

    let log = std::fs::read_to_string(dir.path().join("log")).expect("a log");
    assert!(log.lines().count() > 2, "the log is captured: {log}");
    let signature = token.rsplit('.').next().expect("three parts");
    for secret in [&token, signature, resume.as_str(), ops_token.trim(), "Nausicaa", "Bianchi"] {
        assert!(!log.contains(secret), "{secret} is in the log");
        assert!(!metrics.contains(secret), "{secret} is in the metrics");
    }
}

#[tokio::test]
async fn sessions_are_counted_for_each_source_and_places_are_given_back() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_SESSION__CONNECTIONS_PER_SOURCE_MAX", "2")]);
    let first = Client::open(server.http()).await;
    let _second = Client::open(server.http()).await;
    match Client::open_from(server.http(), None).await {
        Err(Error::Http(answer)) => {
            assert_eq!(answer.status(), 503);
            assert!(answer.headers().contains_key("retry-after"));
        }
        Err(error) => panic!("{error}"),
        Ok(_) => panic!("a third session was opened"),
    }
    drop(first);
    let mut tries = 0;
    while Client::open_from(server.http(), None).await.is_err() {
        tries += 1;
        assert!(tries < 100, "no place was given back");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

#[tokio::test]
async fn a_silent_client_is_disconnected() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_SESSION__SILENCE_S", "5")]);
    let mut client = Client::open(server.http()).await;
    // While nothing is read here, no ping is answered.
    tokio::time::sleep(std::time::Duration::from_millis(5_500)).await;
    assert_eq!(client.close_code().await, Some(4000));
}
