use std::os::unix::fs::PermissionsExt;

use crate::common::{Scratch, Server, bearer, get, request};

#[tokio::test]
async fn w9_metrics_need_the_token_that_was_made_at_the_first_start() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    let file = dir.path().join("broletto-data/ops-token");
    let mode = std::fs::metadata(&file).expect("made").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let token = std::fs::read_to_string(&file).expect("readable").trim().to_owned();
    assert!(token.len() >= 32, "no default password: {token:?}");

    assert_eq!(get(server.ops(), "/healthz").await.status, 200);
    let metrics = request(server.ops(), "GET", "/metrics", &[&bearer(&token)], "").await;
    assert_eq!(metrics.status, 200);
    assert!(metrics.text().contains("broletto_rooms 0"), "{}", metrics.text());

    let short = &token[..token.len() - 1];
    for header in
        ["x: y".to_owned(), bearer(""), bearer(short), bearer("x"), format!("authorization: {token}")]
    {
        let refused = request(server.ops(), "GET", "/metrics", &[&header], "").await;
        assert_eq!((refused.status, refused.header("www-authenticate")), (401, "Bearer"), "{header}");
        assert!(!refused.text().contains("broletto_rooms"));
    }
}

#[tokio::test]
async fn w9_operations_are_not_on_the_public_listener() {
    let dir = Scratch::new();
    let server = Server::start(dir.path(), &[]);
    for path in ["/metrics", "/healthz", "/readyz"] {
        assert_eq!(get(server.http(), path).await.status, 404, "{path}");
    }
    assert_eq!(get(server.ops(), "/api/v1/openapi.json").await.status, 404);
}
