use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use tokio::net::TcpStream;

use crate::common::{Scratch, Server, get, request, request_on};

#[tokio::test]
async fn the_page_is_served_at_its_addresses_and_nowhere_else() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let page = get(server.http(), "/").await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().contains("<title>"), "{}", page.text());
    assert_eq!(get(server.http(), "/r/abcdefgh").await.body, page.body);
    assert_eq!(get(server.http(), "/help").await.body, page.body);

    let etag = format!("if-none-match: {}", page.header("etag"));
    let unchanged = request(server.http(), "GET", "/", &[&etag], "").await;
    assert_eq!((unchanged.status, unchanged.body.len()), (304, 0));
    let head = request(server.http(), "HEAD", "/", &[], "").await;
    assert_eq!((head.status, head.body.len()), (200, 0));

    for path in ["/nothing", "/assets/../../etc/passwd", "/index.html/x", "/R/abc"] {
        assert_eq!(get(server.http(), path).await.status, 404, "{path}");
    }
    let nothing = get(server.http(), "/api/v1/nothing").await;
    assert_eq!((nothing.status, nothing.json()["code"].as_str()), (404, Some("not_found")));
    assert_eq!(request(server.http(), "POST", "/", &[], "").await.status, 405);
}

#[tokio::test]
async fn w6_every_answer_has_a_policy_without_unsafe_inline() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    for path in ["/", "/r/abc", "/nothing", "/api/v1/rooms/abc", "/api/v1/openapi.json"] {
        let answer = get(server.http(), path).await;
        let policy = answer.header("content-security-policy");
        assert!(policy.starts_with("default-src 'self';"), "{path}: {policy}");
        assert!(!policy.contains("unsafe-inline") && !policy.contains("'unsafe-eval'"), "{path}: {policy}");
        for part in ["frame-ancestors 'none'", "object-src 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{path}: {policy}");
        }
        let socket = format!("ws://localhost:{}", server.http().port());
        assert!(policy.contains(&socket), "{path}: {policy}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert!(answer.header("permissions-policy").contains("camera=(self)"), "{path}");
        // W2: what stands in an address goes to no other site.
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("strict-transport-security"), "", "{path}");
    }
}

#[tokio::test]
async fn w6_a_host_header_cannot_widen_the_policy() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let stream = TcpStream::connect(server.http()).await.expect("connected");
    let answer = request_on(stream, "evil.example; script-src *", "GET", "/", &[], "").await;
    assert!(!answer.header("content-security-policy").contains("evil"), "{answer:?}");
}

#[tokio::test]
async fn https_is_there_from_the_first_start_with_a_certificate_that_is_kept() {
    let dir = Scratch::new();
    let certificate = dir.path().join("broletto-data/https-certificate.pem");
    let server = Server::start(dir.path(), &[]);
    let made = std::fs::read(&certificate).expect("made");
    drop(server);
    let server = Server::start(dir.path(), &[]);
    assert_eq!(std::fs::read(&certificate).expect("kept"), made);

    broletto::install_crypto();
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(&certificate).expect("PEM")).expect("a certificate");
    let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    let stream = TcpStream::connect(server.https()).await.expect("connected");
    let name = ServerName::try_from("localhost").expect("a name");
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config));
    let stream = connector.connect(name, stream).await.expect("the certificate names localhost");
    let answer = request_on(stream, "localhost", "GET", "/", &[], "").await;
    assert_eq!(answer.status, 200);
    assert!(answer.header("strict-transport-security").starts_with("max-age="));
}
