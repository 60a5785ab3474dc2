//! `/api/v1/rooms`, and its description.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Bytes;
use axum::extract::{Path, Request, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{HeaderName, HeaderValue, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use broletto_protocol::Role;
use broletto_protocol::rest::{ApiError, CreateRoom, CreatedRoom, Room};
use broletto_signaling_core::{NewRoom, RestError, SessionError, grant};
use tokio::time::timeout;
use tracing::error;
use utoipa::OpenApi;

use crate::App;
use crate::conference_task::{Stopping, now};
use crate::config::WhoCreates;
use crate::listener::Peer;
use crate::origin;
use crate::tokens::{ANY_ROOM, AUDIENCE};
use crate::whip;

/// Longest body taken, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024;
/// After so many seconds a server that restarts should be back.
const RESTART_S: u64 = 2;
/// Answers with a room, or a token, in them.
const NOT_STORED: [(HeaderName, &str); 1] = [(header::CACHE_CONTROL, "no-store")];
/// For a request's body to come and its answer to be ready, so that slow senders do not pile up.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(15);

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Broletto",
        description = "Rooms of a Broletto server. Meetings themselves run over the WebSocket at /api/v1/session."
    ),
    paths(create_room, read_room, end_room, whip::publish, whip::watch, whip::change, whip::end),
    components(schemas(CreateRoom, CreatedRoom, Room, ApiError))
)]
struct Description;

/// `GET /api/v1/openapi.json`.
pub async fn openapi() -> Response {
    Json(Description::openapi()).into_response()
}

/// Makes a room. The token in the answer makes its bearer the room's moderator.
#[utoipa::path(
    post,
    path = "/api/v1/rooms",
    request_body = CreateRoom,
    responses(
        (status = 201, description = "The room was made.", body = CreatedRoom),
        (status = 400, description = "Not JSON, or a field is unknown or of the wrong type.", body = ApiError),
        (status = 401, description = "This server lets bearers of a token make rooms only.", body = ApiError),
        (status = 403, description = "The page's origin, or the token, may not make rooms.", body = ApiError),
        (status = 415, description = "The body is not application/json.", body = ApiError),
        (status = 422, description = "A field's value is not acceptable.", body = ApiError),
        (status = 429, description = "Too many rooms or requests.", body = ApiError),
    )
)]
pub async fn create_room(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    may_change(&app, peer, &headers)?;
    may_create(&app, &headers)?;
    let NewRoom { mut room, moderator } =
        app.conference.create_room(parse(&headers, &body)?, peer.ip).await??;
    let moderator_token = app.tokens.sign(&moderator).map_err(|failure| {
        error!(error = %failure, "a token was not signed");
        Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed")
    })?;
    app.complete_url(&mut room.url, &app.site(&headers, peer));
    let location = [(header::LOCATION, format!("/api/v1/rooms/{}", room.id))];
    Ok((StatusCode::CREATED, NOT_STORED, location, Json(CreatedRoom { room, moderator_token }))
        .into_response())
}

/// Reads a room, with a token for it.
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{id}",
    params(("id" = String, Path, description = "The room's id.")),
    responses(
        (status = 200, description = "The room.", body = Room),
        (status = 403, description = "Who bears the token would wait in the lobby.", body = ApiError),
        (status = 404, description = "No such room, or no token for it; they cannot be told apart.", body = ApiError),
        (status = 429, description = "Too many requests.", body = ApiError),
    )
)]
pub async fn read_room(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    within_rate(&app, peer)?;
    let mut room = app.conference.read_room(id, bearer(&headers).map(str::to_owned)).await??;
    app.complete_url(&mut room.url, &app.site(&headers, peer));
    Ok((NOT_STORED, Json(room)).into_response())
}

/// Ends a room for everyone in it, with a moderator's token.
#[utoipa::path(
    delete,
    path = "/api/v1/rooms/{id}",
    params(("id" = String, Path, description = "The room's id.")),
    responses(
        (status = 204, description = "The room was ended."),
        (status = 403, description = "The token is for the room but not a moderator's.", body = ApiError),
        (status = 404, description = "No such room, or no token for it; they cannot be told apart.", body = ApiError),
        (status = 429, description = "Too many requests.", body = ApiError),
    )
)]
pub async fn end_room(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    may_change(&app, peer, &headers)?;
    app.conference.end_room(id, bearer(&headers).map(str::to_owned)).await??;
    Ok(StatusCode::NO_CONTENT)
}

/// Why a request is not carried out: an [`ApiError`] with its status.
#[derive(Debug)]
pub struct Refusal {
    status: StatusCode,
    error: ApiError,
    retry_after_s: Option<u64>,
}

impl Refusal {
    pub fn new(status: StatusCode, code: &str, message: impl Into<String>) -> Self {
        let error = ApiError { code: code.to_owned(), field: None, message: message.into() };
        Refusal { status, error, retry_after_s: None }
    }

    /// It may be tried again after `seconds`.
    pub fn for_now(status: StatusCode, code: &str, message: &str, seconds: u64) -> Self {
        Refusal { retry_after_s: Some(seconds), ..Refusal::new(status, code, message) }
    }
}

impl From<RestError> for Refusal {
    fn from(error: RestError) -> Self {
        let retry_after_s = match &error {
            RestError::Limit { retry_after_s, .. } => *retry_after_s,
            RestError::Invalid { .. } | RestError::NotFound | RestError::Forbidden => None,
        };
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal { status, error: error.api_error(), retry_after_s }
    }
}

impl From<SessionError> for Refusal {
    fn from(error: SessionError) -> Self {
        let retry_after_s = match &error {
            SessionError::Unavailable(_) => Some(RESTART_S),
            SessionError::Invalid { .. }
            | SessionError::NotFound
            | SessionError::Forbidden(_)
            | SessionError::Busy
            | SessionError::NoPrecondition
            | SessionError::Stale
            | SessionError::Internal(_) => None,
        };
        let status = StatusCode::from_u16(error.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        Refusal { status, error: error.api_error(), retry_after_s }
    }
}

impl From<Stopping> for Refusal {
    fn from(stopping: Stopping) -> Self {
        let message = stopping.to_string();
        Refusal::for_now(StatusCode::SERVICE_UNAVAILABLE, "unavailable", &message, RESTART_S)
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.error)).into_response();
        if let Some(seconds) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, seconds.into());
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// For addresses below `/api/` that are none.
pub fn not_found() -> Refusal {
    Refusal::new(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
}

pub async fn method_not_allowed() -> Refusal {
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method", "this address does not take this method")
}

pub async fn within_time(request: Request, next: Next) -> Response {
    match timeout(REQUEST_TIMEOUT, next.run(request)).await {
        Ok(response) => response,
        Err(_) => {
            Refusal::new(StatusCode::REQUEST_TIMEOUT, "timeout", "the request took too long").into_response()
        }
    }
}

fn within_rate(app: &App, peer: Peer) -> Result<(), Refusal> {
    if app.requests.allows(peer.ip.into(), Instant::now()) {
        return Ok(());
    }
    Err(Refusal::for_now(StatusCode::TOO_MANY_REQUESTS, "limit", "too many requests", 1))
}

/// A request that changes something comes from a page of this host, or from no page at all (W5).
pub fn may_change(app: &App, peer: Peer, headers: &HeaderMap) -> Result<(), Refusal> {
    within_rate(app, peer)?;
    if origin::is_allowed(headers, &app.config.http) {
        return Ok(());
    }
    app.metrics.origins_refused.inc();
    Err(Refusal::new(StatusCode::FORBIDDEN, "origin", "this origin may not change anything"))
}

fn may_create(app: &App, headers: &HeaderMap) -> Result<(), Refusal> {
    match app.config.rooms.create {
        WhoCreates::Anyone => return Ok(()),
        WhoCreates::Token => {}
    }
    let unauthorized = |message| Refusal::new(StatusCode::UNAUTHORIZED, "unauthorized", message);
    let token = bearer(headers).ok_or_else(|| unauthorized("a bearer token is needed to make a room"))?;
    let granted = app.tokens.open(token).and_then(|claims| grant(claims, AUDIENCE, now().unix_s()));
    let grant = granted.map_err(|_| unauthorized("the token is not valid"))?;
    if grant.room == ANY_ROOM && grant.role == Role::Moderator {
        return Ok(());
    }
    Err(Refusal::new(StatusCode::FORBIDDEN, "forbidden", "this token does not let you make rooms"))
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<CreateRoom, Refusal> {
    if body.is_empty() {
        return Ok(CreateRoom::default());
    }
    // A form of another site can send no JSON without asking first.
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        let message = "expected application/json";
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message));
    }
    serde_json::from_slice(body)
        .map_err(|error| Refusal::new(StatusCode::BAD_REQUEST, "malformed", error.to_string()))
}

pub fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}
