//! `/api/v1/rooms`, and its description.

use std::sync::Arc;
use std::time::Instant;

use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::header::{self, HeaderMap};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{Extension, Json};
use broletto_protocol::Role;
use broletto_protocol::rest::{ApiError, CreateRoom, CreatedRoom, Room};
use broletto_signaling_core::{RestError, grant};
use tracing::error;
use utoipa::OpenApi;

use crate::App;
use crate::conference_task::{Stopping, now};
use crate::config::WhoCreates;
use crate::listener::Peer;
use crate::origin;
use crate::tokens::{ANY_ROOM, AUDIENCE};

/// Longest body taken, in bytes.
pub const BODY_BYTES_MAX: usize = 16 * 1024;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Broletto",
        description = "Rooms of a Broletto server. Meetings themselves run over the WebSocket at /api/v1/session."
    ),
    paths(create_room, read_room, end_room),
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
) -> Response {
    if let Err(refusal) = may_change(&app, peer, &headers).and_then(|()| may_create(&app, &headers)) {
        return refusal;
    }
    let body = match parse(&headers, &body) {
        Ok(body) => body,
        Err(refusal) => return refusal,
    };
    let new = match app.conference.create_room(body, peer.ip).await {
        Ok(Ok(new)) => new,
        Ok(Err(refusal)) => return refused(&refusal),
        Err(Stopping) => return stopping(),
    };
    let moderator_token = match app.tokens.sign(&new.moderator) {
        Ok(token) => token,
        Err(failure) => {
            error!(error = %failure, "a token was not signed");
            return error(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed");
        }
    };
    let mut room = new.room;
    app.complete_url(&mut room.url, &app.site(&headers, peer));
    let location = HeaderValue::try_from(format!("/api/v1/rooms/{}", room.id));
    let mut response = (StatusCode::CREATED, Json(CreatedRoom { room, moderator_token })).into_response();
    if let Ok(location) = location {
        response.headers_mut().insert(header::LOCATION, location);
    }
    not_stored(response)
}

/// Reads a room, with a token for it.
#[utoipa::path(
    get,
    path = "/api/v1/rooms/{id}",
    params(("id" = String, Path, description = "The room's id.")),
    responses(
        (status = 200, description = "The room.", body = Room),
        (status = 404, description = "No such room, or no token for it; they cannot be told apart.", body = ApiError),
        (status = 429, description = "Too many requests.", body = ApiError),
    )
)]
pub async fn read_room(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Response {
    if let Err(refusal) = within_rate(&app, peer) {
        return refusal;
    }
    match app.conference.read_room(id, bearer(&headers).map(str::to_owned)).await {
        Ok(Ok(mut room)) => {
            app.complete_url(&mut room.url, &app.site(&headers, peer));
            not_stored(Json(room).into_response())
        }
        Ok(Err(refusal)) => refused(&refusal),
        Err(Stopping) => stopping(),
    }
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
) -> Response {
    if let Err(refusal) = may_change(&app, peer, &headers) {
        return refusal;
    }
    match app.conference.end_room(id, bearer(&headers).map(str::to_owned)).await {
        Ok(Ok(())) => StatusCode::NO_CONTENT.into_response(),
        Ok(Err(refusal)) => refused(&refusal),
        Err(Stopping) => stopping(),
    }
}

pub fn not_found() -> Response {
    error(StatusCode::NOT_FOUND, "not_found", "there is nothing at this address")
}

pub fn error(status: StatusCode, code: &str, message: &str) -> Response {
    let error = ApiError { code: code.to_owned(), field: None, message: message.to_owned() };
    (status, Json(error)).into_response()
}

/// Answers of the framework itself, such as for a wrong method, in the form of all others.
pub async fn method_not_allowed() -> Response {
    error(StatusCode::METHOD_NOT_ALLOWED, "method", "this address does not take this method")
}

fn within_rate(app: &App, peer: Peer) -> Result<(), Response> {
    if app.requests.allows(peer.ip.into(), Instant::now()) {
        return Ok(());
    }
    let refusal = error(StatusCode::TOO_MANY_REQUESTS, "limit", "too many requests");
    Err(([(header::RETRY_AFTER, "1")], refusal).into_response())
}

/// A request that changes something comes from a page of this host, or from no page at all (W5).
fn may_change(app: &App, peer: Peer, headers: &HeaderMap) -> Result<(), Response> {
    within_rate(app, peer)?;
    if origin::is_allowed(headers, &app.config.http.allowed_origins) {
        return Ok(());
    }
    app.metrics.origins_refused.inc();
    Err(error(StatusCode::FORBIDDEN, "origin", "this origin may not change anything"))
}

fn may_create(app: &App, headers: &HeaderMap) -> Result<(), Response> {
    match app.config.rooms.create {
        WhoCreates::Anyone => return Ok(()),
        WhoCreates::Token => {}
    }
    let unauthorized = |message| {
        let refusal = error(StatusCode::UNAUTHORIZED, "unauthorized", message);
        ([(header::WWW_AUTHENTICATE, "Bearer")], refusal).into_response()
    };
    let Some(token) = bearer(headers) else {
        return Err(unauthorized("a bearer token is needed to make a room"));
    };
    let granted = app.tokens.open(token).and_then(|claims| grant(claims, AUDIENCE, now().unix_s));
    match granted {
        Ok(grant) if grant.room == ANY_ROOM && grant.role == Role::Moderator => Ok(()),
        Ok(_) => Err(error(StatusCode::FORBIDDEN, "forbidden", "this token does not let you make rooms")),
        Err(_) => Err(unauthorized("the token is not valid")),
    }
}

fn parse(headers: &HeaderMap, body: &[u8]) -> Result<CreateRoom, Response> {
    if body.is_empty() {
        return Ok(CreateRoom::default());
    }
    // A form of another site can send no JSON without asking first.
    let media_type = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let media_type = media_type.unwrap_or_default().split(';').next().unwrap_or_default().trim();
    if !media_type.eq_ignore_ascii_case("application/json") {
        return Err(error(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", "expected application/json"));
    }
    serde_json::from_slice(body)
        .map_err(|failure| error(StatusCode::BAD_REQUEST, "malformed", &failure.to_string()))
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn refused(refusal: &RestError) -> Response {
    let status = StatusCode::from_u16(refusal.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = (status, Json(refusal.api_error())).into_response();
    if let RestError::Limit { retry_after_s: Some(seconds), .. } = refusal {
        response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
    }
    response
}

fn stopping() -> Response {
    let refusal = error(StatusCode::SERVICE_UNAVAILABLE, "unavailable", "the server is restarting");
    ([(header::RETRY_AFTER, "2")], refusal).into_response()
}

fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
