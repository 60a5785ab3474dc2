//! The listener for operators (W9): health for anyone who reaches it, metrics for whoever has the
//! token that was made at the first start.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::TextEncoder;
use prometheus::proto::MetricFamily;
use tracing::error;

use crate::secrets;

pub const TOKEN_FILE_NAME: &str = "ops-token";
pub const TOKEN_CHARS: usize = 32;

/// What there is to tell.
pub trait Health: Send + Sync + 'static {
    /// What is missing before new participants can be taken, if anything is.
    fn not_ready(&self) -> impl Future<Output = Option<&'static str>> + Send;

    fn metrics(&self) -> Vec<MetricFamily>;
}

struct Ops<H> {
    token: String,
    health: H,
}

pub fn router<H: Health>(token: String, health: H) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready::<H>))
        .route("/metrics", get(metrics::<H>))
        .with_state(Arc::new(Ops { token, health }))
}

async fn ready<H: Health>(State(ops): State<Arc<Ops<H>>>) -> Response {
    match ops.health.not_ready().await {
        None => "ready\n".into_response(),
        Some(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

async fn metrics<H: Health>(State(ops): State<Arc<Ops<H>>>, headers: HeaderMap) -> Response {
    let given = headers.get(header::AUTHORIZATION).map_or(&[][..], |value| value.as_bytes());
    let wanted = format!("Bearer {}", ops.token);
    if !secrets::equal(given, wanted.as_bytes()) {
        let challenge = [(header::WWW_AUTHENTICATE, "Bearer")];
        return (StatusCode::UNAUTHORIZED, challenge, "the token is in data_dir/ops-token\n").into_response();
    }
    match TextEncoder::new().encode_to_string(&ops.health.metrics()) {
        Ok(text) => ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response(),
        Err(failure) => {
            error!(error = %failure, "metrics cannot be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
