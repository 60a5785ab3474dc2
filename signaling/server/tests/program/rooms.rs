use broletto_protocol::rest::{CreatedRoom, Room};
use serde_json::Value;

use crate::common::{JSON, Scratch, Server, bearer, broletto, create_room, get, request, word};

#[tokio::test]
async fn a_room_is_made_read_and_ended() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let answer = request(server.http(), "POST", "/api/v1/rooms", &[JSON], r#"{"title":"Giunta"}"#).await;
    assert_eq!(answer.status, 201);
    assert_eq!(answer.header("cache-control"), "no-store");
    let CreatedRoom { room, moderator_token } = serde_json::from_slice(&answer.body).expect("a room");
    assert_eq!(room.title, "Giunta");
    assert_eq!(room.id.len(), 26, "128 bits in base32 (W3): {}", room.id);
    assert!(room.url.starts_with(&format!("http://localhost:{}/", server.http().port())), "{}", room.url);

    let path = format!("/api/v1/rooms/{}", room.id);
    assert_eq!(answer.header("location"), path);
    let token = bearer(&moderator_token);
    let read = request(server.http(), "GET", &path, &[&token], "").await;
    assert_eq!(serde_json::from_slice::<Room>(&read.body).expect("a room"), room);
    assert_eq!(request(server.http(), "DELETE", &path, &[&token], "").await.status, 204);
    assert_eq!(request(server.http(), "GET", &path, &[&token], "").await.status, 404);
}

#[tokio::test]
async fn w3_missing_and_forbidden_rooms_cannot_be_told_apart() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let (room, other) = (create_room(server.http()).await, create_room(server.http()).await);
    let there = format!("/api/v1/rooms/{}", word(&room["id"]));
    let missing = format!("/api/v1/rooms/{}", "a".repeat(26));
    let foreign = bearer(&word(&other["moderator_token"]));
    for method in ["GET", "DELETE"] {
        for header in ["x: y", &foreign, "authorization: Bearer x", "authorization: Basic eDp5"] {
            let forbidden = request(server.http(), method, &there, &[header], "").await;
            let absent = request(server.http(), method, &missing, &[header], "").await;
            assert_eq!(forbidden.status, 404, "{method} {header}");
            assert_eq!(
                (forbidden.status, &forbidden.body),
                (absent.status, &absent.body),
                "{method} {header}"
            );
        }
    }
}

#[tokio::test]
async fn w1_a_token_that_this_server_did_not_sign_opens_nothing() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let path = format!("/api/v1/rooms/{}", word(&room["id"]));
    let good = word(&room["moderator_token"]);
    let claims = good.split('.').nth(1).expect("three parts");
    // `{"alg":"none"}` in base64url.
    let none = format!("eyJhbGciOiJub25lIn0.{claims}.");
    let elsewhere = Scratch::new();
    let id = word(&room["id"]);
    let foreign = broletto(elsewhere.path(), &["token", "--room", &id], &[]).output().expect("it runs");
    let foreign = String::from_utf8(foreign.stdout).expect("text").trim().to_owned();
    assert_eq!(foreign.split('.').count(), 3, "{foreign}");
    for token in [none, foreign, good[..good.len() - 2].to_owned()] {
        assert_eq!(request(server.http(), "GET", &path, &[&bearer(&token)], "").await.status, 404, "{token}");
    }
    assert_eq!(request(server.http(), "GET", &path, &[&bearer(&good)], "").await.status, 200);
}

#[tokio::test]
async fn w5_what_changes_something_needs_an_allowed_origin_and_json() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_HTTP__ALLOWED_ORIGINS", "https://www.example.org")]);
    let own = format!("origin: http://localhost:{}", server.http().port());
    for (headers, body, status) in [
        (&[JSON, &own][..], "{}", 201),
        (&[JSON, "origin: https://www.example.org"], "{}", 201),
        (&[JSON], "{}", 201),
        (&[JSON, "origin: https://evil.example"], "{}", 403),
        (&[JSON, "origin: null"], "{}", 403),
        (&["content-type: text/plain"], "{}", 415),
        (&[JSON], "{", 400),
        (&[JSON], r#"{"colour":"red"}"#, 400),
        (&[JSON], r#"{"title":"a","title":"b"}"#, 400),
        (&[JSON], r#"{"title":1}"#, 400),
    ] {
        let answer = request(server.http(), "POST", "/api/v1/rooms", headers, body).await;
        assert_eq!(answer.status, status, "{headers:?} {body}: {}", answer.text());
        assert_eq!(answer.json()["message"].is_string(), status >= 400, "{}", answer.text());
    }
    let long = format!(r#"{{"title":"{}"}}"#, "x".repeat(20_000));
    assert_eq!(request(server.http(), "POST", "/api/v1/rooms", &[JSON], &long).await.status, 413);
    let title = format!(r#"{{"title":"{}"}}"#, "x".repeat(121));
    let answer = request(server.http(), "POST", "/api/v1/rooms", &[JSON], &title).await;
    assert_eq!((answer.status, answer.json()["field"].as_str()), (422, Some("title")));
}

#[tokio::test]
async fn w5_no_get_changes_state() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let answer = get(server.http(), "/api/v1/rooms").await;
    assert_eq!((answer.status, answer.json()["code"].as_str()), (405, Some("method")));
}

#[tokio::test]
async fn rooms_can_be_left_to_bearers_of_a_token() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[("BROLETTO_ROOMS__CREATE", "token")]);
    let token = |arguments: &[&str]| {
        let output = broletto(dir.path(), &[&["token"], arguments].concat(), &[]).output().expect("it runs");
        bearer(String::from_utf8(output.stdout).expect("text").trim())
    };
    let create = async |header: &str| {
        request(server.http(), "POST", "/api/v1/rooms", &[JSON, header], "{}").await.status
    };
    assert_eq!(create("x: y").await, 401);
    assert_eq!(create("authorization: Bearer x").await, 401);
    assert_eq!(create(&token(&["--room", "abc"])).await, 403);
    assert_eq!(create(&token(&["--room", "*", "--role", "guest"])).await, 403);
    assert_eq!(create(&token(&["--room", "*"])).await, 201);
}

#[tokio::test]
async fn the_description_names_every_operation() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let description = get(server.http(), "/api/v1/openapi.json").await.json();
    assert_eq!(description["openapi"], "3.1.0");
    let paths = &description["paths"];
    for (path, method) in
        [("/api/v1/rooms", "post"), ("/api/v1/rooms/{id}", "get"), ("/api/v1/rooms/{id}", "delete")]
    {
        assert!(paths[path][method]["responses"].is_object(), "{method} {path}");
    }
    let fields = &description["components"]["schemas"]["ApiError"]["properties"];
    assert!(fields["code"] != Value::Null && fields["message"] != Value::Null, "{description}");
}

#[tokio::test]
async fn one_source_cannot_flood_the_api() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let mut statuses = Vec::new();
    for _ in 0..80 {
        statuses.push(get(server.http(), "/api/v1/rooms/abc").await.status);
    }
    assert_eq!(statuses[0], 404);
    assert!(statuses.contains(&429), "{statuses:?}");
}

#[tokio::test]
async fn a_trusted_proxy_tells_sources_apart_and_nobody_else_can() {
    let one_room = ("BROLETTO_ROOMS__CREATED_PER_HOUR_MAX", "1");
    let from = |ip: &str| format!("x-forwarded-for: 198.51.100.1, {ip}");
    for (trusted, other_source) in [("127.0.0.0/8", 201), ("192.0.2.1", 429)] {
        let dir = Scratch::new();
        let server = Server::start(dir.path(), &[one_room, ("BROLETTO_HTTP__TRUSTED_PROXIES", trusted)]);
        for (ip, status) in [("203.0.113.7", 201), ("203.0.113.7", 429), ("203.0.113.8", other_source)] {
            let answer = request(server.http(), "POST", "/api/v1/rooms", &[JSON, &from(ip)], "{}").await;
            assert_eq!(answer.status, status, "{ip} over {trusted}");
        }
    }
}
