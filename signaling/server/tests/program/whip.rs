//! WHIP and WHEP over HTTP. That media flows is shown by the peers of `tests/peers`.

use crate::common::*;

const SDP: &str = "content-type: application/sdp";
const FRAGMENT: &str = "content-type: application/trickle-ice-sdpfrag";
const OFFER: &str = "v=0\r\n\
    o=- 1 1 IN IP4 127.0.0.1\r\n\
    s=-\r\n\
    t=0 0\r\n\
    a=group:BUNDLE 0\r\n\
    m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
    c=IN IP4 0.0.0.0\r\n\
    a=mid:0\r\n\
    a=sendonly\r\n\
    a=rtcp-mux\r\n\
    a=rtpmap:111 opus/48000/2\r\n\
    a=setup:actpass\r\n\
    a=ice-ufrag:abcd\r\n\
    a=ice-pwd:0123456789012345678901\r\n\
    a=fingerprint:sha-256 00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF:00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF\r\n";

#[tokio::test]
async fn a_session_is_made_changed_and_ended() {
    let dir = Scratch::new();
    let turn = [
        ("BROLETTO_ICE__TURN_URLS", "turn:turn.example.org?transport=udp,turns:turn.example.org:443"),
        ("BROLETTO_ICE__TURN_SECRET", "a secret that coturn knows too"),
    ];
    let server = Server::start(dir.path(), &turn);
    let room = create_room(server.http()).await;
    let path = format!("/api/v1/whip/{}", word(&room["id"]));
    let token = bearer(&word(&room["moderator_token"]));
    let made = request(server.http(), "POST", &format!("{path}?name=Aula"), &[SDP, &token], OFFER).await;
    assert_eq!(made.status, 201, "{}", made.text());
    assert_eq!(made.header("content-type"), "application/sdp");
    assert_eq!(made.header("accept-patch"), "application/trickle-ice-sdpfrag");
    assert!(made.text().starts_with("v=0") && made.text().contains("a=ice-lite"), "{}", made.text());
    let links: Vec<_> = made.headers.iter().filter(|(name, _)| name == "link").collect();
    assert_eq!(links.len(), 2);
    assert!(links[0].1.starts_with("<turn:turn.example.org?transport=udp>; rel=\"ice-server\"; username=\""));
    let (session, etag) = (made.header("location").to_owned(), format!("if-match: {}", made.header("etag")));
    assert!(session.starts_with(&format!("{path}/")) && session.len() >= path.len() + 33, "{session}");

    let mut ada = Client::open(server.http()).await;
    let joined = ada.join(&word(&room["id"]), "Ada").await;
    let publisher = &joined["participants"][0];
    assert_eq!((&publisher["name"], &publisher["kind"]), (&"Aula".into(), &"whip".into()));

    let candidates = "a=ice-ufrag:abcd\r\na=ice-pwd:0123456789012345678901\r\nm=audio 9 x 0\r\na=mid:0\r\n";
    let again = candidates.replace("abcd", "efgh");
    for (headers, body, status) in [
        (&[FRAGMENT, &etag][..], candidates, 204),
        (&[FRAGMENT], candidates, 428),
        (&[FRAGMENT, "if-match: \"x\""], candidates, 412),
        (&[SDP, &etag], candidates, 415),
        (&[FRAGMENT, &etag], "a=ice-ufrag:abcd", 422),
        (&[FRAGMENT, "if-match: *"], &again, 200),
        (&[FRAGMENT, &etag], candidates, 412),
    ] {
        let answer = request(server.http(), "PATCH", &session, headers, body).await;
        assert_eq!(answer.status, status, "{headers:?} {}", answer.text());
        if status == 200 {
            assert!(answer.text().contains("a=ice-pwd:") && !answer.header("etag").is_empty());
            assert_eq!(answer.header("content-type"), "application/trickle-ice-sdpfrag");
        }
    }
    assert_eq!(request(server.http(), "DELETE", &session, &[], "").await.status, 200);
    assert_eq!(request(server.http(), "DELETE", &session, &[], "").await.status, 404);
    ada.until(|message| message["type"] == "participant_left").await;
}

#[tokio::test]
async fn w3_whoever_may_not_in_gets_one_answer_and_a_mistake_is_named() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let room = create_room(server.http()).await;
    let other = create_room(server.http()).await;
    let path = format!("/api/v1/whip/{}", word(&room["id"]));
    let missing = request(server.http(), "POST", "/api/v1/whip/missing", &[SDP], OFFER).await;
    let foreign = bearer(&word(&other["moderator_token"]));
    let forbidden = request(server.http(), "POST", &path, &[SDP, &foreign], OFFER).await;
    assert_eq!((missing.status, &missing.body), (404, &forbidden.body));
    assert_eq!(missing.status, forbidden.status);
    let long = "x".repeat(65 * 1024);
    for (headers, body, status) in [
        (&[SDP][..], "v=0", 422),
        (&[SDP], &OFFER.replace("sendonly", "recvonly"), 422),
        (&[SDP], &OFFER.replace("sha-256", "sha-1"), 422),
        (&[], OFFER, 415),
        (&[SDP, "accept: application/json"], OFFER, 406),
        (&[SDP, "origin: https://evil.example"], OFFER, 403),
        (&[SDP], &long, 413),
    ] {
        let answer = request(server.http(), "POST", &path, headers, body).await;
        assert_eq!(answer.status, status, "{headers:?} {}", answer.text());
    }
    for method in ["GET", "HEAD", "PUT"] {
        let answer = request(server.http(), method, &path, &[], "").await;
        assert_eq!(answer.status, 405, "{method}");
    }
}

#[tokio::test]
async fn w5_pages_of_allowed_origins_alone_may_use_the_doors() {
    let dir = Scratch::new();
    let server =
        Server::start(dir.path(), &[("BROLETTO_HTTP__ALLOWED_ORIGINS", "https://player.example.org")]);
    let path = format!("/api/v1/whep/{}", word(&create_room(server.http()).await["id"]));
    let asked = "access-control-request-method: POST";
    for (origin, allowed) in
        [("https://player.example.org", "https://player.example.org"), ("https://evil.example", "")]
    {
        let answer =
            request(server.http(), "OPTIONS", &path, &[&format!("origin: {origin}"), asked], "").await;
        assert_eq!(answer.status, 204);
        assert_eq!(answer.header("access-control-allow-origin"), allowed);
        assert_eq!(answer.header("accept-post"), "application/sdp");
    }
    let offer = OFFER.replace("sendonly", "recvonly");
    let answer =
        request(server.http(), "POST", &path, &[SDP, "origin: https://player.example.org"], &offer).await;
    assert_eq!(answer.status, 201, "{}", answer.text());
    assert_eq!(answer.header("access-control-allow-origin"), "https://player.example.org");
    assert!(answer.header("access-control-expose-headers").contains("Location"));
}
