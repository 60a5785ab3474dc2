//! WHIP (RFC 9725) and WHEP (draft-ietf-wish-whep): `/api/v1/whip/{room}` and `/api/v1/whep/{room}`.

use std::sync::Arc;

use axum::Extension;
use axum::body::Bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use broletto_protocol::rest::ApiError;
use broletto_protocol::server::IceServer;
use broletto_signaling_core::{Door, NewSession, SessionPatch, SessionReply};
use serde::Deserialize;
use tracing::error;

use crate::App;
use crate::listener::Peer;
use crate::origin;
use crate::rest::{Refusal, bearer, may_change};

/// The longest SDP that is read, in bytes, and a little more, so that the answer can say so.
pub const BODY_BYTES_MAX: usize = 64 * 1024;
const SDP: &str = "application/sdp";
const FRAGMENT: &str = "application/trickle-ice-sdpfrag";
const NOT_STORED: (HeaderName, HeaderValue) = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));

#[derive(Deserialize)]
pub struct Named {
    name: Option<String>,
}

/// Publishes to a room by WHIP (RFC 9725).
#[utoipa::path(
    post,
    path = "/api/v1/whip/{room}",
    params(
        ("room" = String, Path, description = "The room's id."),
        ("name" = Option<String>, Query, description = "As others see it; the token's name wins."),
    ),
    request_body(content = String, content_type = "application/sdp", description = "The offer."),
    responses(
        (status = 201, description = "The answer; Location is the session's address.", body = String, content_type = "application/sdp"),
        (status = 403, description = "The role or the room does not allow it, or a lobby would hold it.", body = ApiError),
        (status = 404, description = "No such room, or a token that is not for it; they cannot be told apart.", body = ApiError),
        (status = 406, description = "The client takes no application/sdp.", body = ApiError),
        (status = 415, description = "The body is not application/sdp.", body = ApiError),
        (status = 422, description = "The offer cannot be answered.", body = ApiError),
        (status = 429, description = "Too many requests.", body = ApiError),
        (status = 503, description = "No media server can take it now, or the room is full.", body = ApiError),
    )
)]
pub async fn publish(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(room): Path<String>,
    Query(Named { name }): Query<Named>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    open(&app, peer, Door::Whip, room, name, &headers, &body).await
}

/// Watches a room by WHEP (draft-ietf-wish-whep).
#[utoipa::path(
    post,
    path = "/api/v1/whep/{room}",
    params(
        ("room" = String, Path, description = "The room's id."),
        ("name" = Option<String>, Query, description = "As others see it; the token's name wins."),
    ),
    request_body(content = String, content_type = "application/sdp", description = "The offer."),
    responses(
        (status = 201, description = "The answer; Location is the session's address.", body = String, content_type = "application/sdp"),
        (status = 403, description = "A lobby would hold it.", body = ApiError),
        (status = 404, description = "No such room, or a token that is not for it; they cannot be told apart.", body = ApiError),
        (status = 406, description = "The client takes no application/sdp.", body = ApiError),
        (status = 415, description = "The body is not application/sdp.", body = ApiError),
        (status = 422, description = "The offer cannot be answered.", body = ApiError),
        (status = 429, description = "Too many requests.", body = ApiError),
        (status = 503, description = "No media server can take it now, or the room is full.", body = ApiError),
    )
)]
pub async fn watch(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path(room): Path<String>,
    Query(Named { name }): Query<Named>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    open(&app, peer, Door::Whep, room, name, &headers, &body).await
}

async fn open(
    app: &App,
    peer: Peer,
    door: Door,
    room: String,
    name: Option<String>,
    headers: &HeaderMap,
    body: &[u8],
) -> Result<Response, Refusal> {
    may_change(app, peer, headers)?;
    if !accepts(headers, SDP) {
        return Err(Refusal::new(StatusCode::NOT_ACCEPTABLE, "accept", "the answer is application/sdp"));
    }
    let sdp = text(headers, body, SDP)?;
    let location = match door {
        Door::Whip => format!("/api/v1/whip/{room}"),
        Door::Whep => format!("/api/v1/whep/{room}"),
    };
    let token = bearer(headers).map(str::to_owned);
    let reply = app.conference.offer_session(NewSession { door, room, token, name, sdp }).await??;
    let SessionReply::Created { session, sdp, etag, ice_servers } = reply else {
        return Err(unexpected("an offer"));
    };
    let mut response = (StatusCode::CREATED, [NOT_STORED], sdp).into_response();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(SDP));
    headers.insert(HeaderName::from_static("accept-patch"), HeaderValue::from_static(FRAGMENT));
    headers.insert(header::LOCATION, value(&format!("{location}/{session}"))?);
    headers.insert(header::ETAG, value(&etag)?);
    for link in ice_servers.iter().flat_map(links) {
        headers.append(header::LINK, value(&link)?);
    }
    Ok(response)
}

/// Trickles candidates, which are not needed, or restarts ICE. The same holds for
/// `/api/v1/whep/{room}/{session}`.
#[utoipa::path(
    patch,
    path = "/api/v1/whip/{room}/{session}",
    params(
        ("room" = String, Path, description = "The room's id."),
        ("session" = String, Path, description = "As in the Location of the answer."),
        ("If-Match" = String, Header, description = "The ETag of the last answer, or * for a restart."),
    ),
    request_body(content = String, content_type = "application/trickle-ice-sdpfrag"),
    responses(
        (status = 200, description = "ICE was restarted.", body = String, content_type = "application/trickle-ice-sdpfrag"),
        (status = 204, description = "Taken note of."),
        (status = 404, description = "No such session.", body = ApiError),
        (status = 409, description = "An answer is still being made.", body = ApiError),
        (status = 412, description = "ICE was restarted since.", body = ApiError),
        (status = 415, description = "The body is not application/trickle-ice-sdpfrag.", body = ApiError),
        (status = 422, description = "The fragment cannot be read.", body = ApiError),
        (status = 428, description = "There is no If-Match.", body = ApiError),
    )
)]
pub async fn change(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path((room, session)): Path<(String, String)>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Refusal> {
    may_change(&app, peer, &headers)?;
    let fragment = text(&headers, &body, FRAGMENT)?;
    let if_match = headers.get(header::IF_MATCH).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let patch = SessionPatch { room, session, if_match, fragment };
    match app.conference.patch_session(patch).await?? {
        SessionReply::Trickled => Ok(StatusCode::NO_CONTENT.into_response()),
        SessionReply::Restarted { fragment, etag } => {
            let mut response = (StatusCode::OK, [NOT_STORED], fragment).into_response();
            let headers = response.headers_mut();
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAGMENT));
            headers.insert(header::ETAG, value(&etag)?);
            Ok(response)
        }
        SessionReply::Created { .. } => Err(unexpected("a change")),
    }
}

/// Ends the session. The same holds for `/api/v1/whep/{room}/{session}`.
#[utoipa::path(
    delete,
    path = "/api/v1/whip/{room}/{session}",
    params(
        ("room" = String, Path, description = "The room's id."),
        ("session" = String, Path, description = "As in the Location of the answer."),
    ),
    responses(
        (status = 200, description = "The session was ended."),
        (status = 404, description = "No such session.", body = ApiError),
    )
)]
pub async fn end(
    State(app): State<Arc<App>>,
    Extension(peer): Extension<Peer>,
    Path((room, session)): Path<(String, String)>,
    headers: HeaderMap,
) -> Result<StatusCode, Refusal> {
    may_change(&app, peer, &headers)?;
    app.conference.end_session(room, session).await??;
    Ok(StatusCode::OK)
}

/// What may be done at an endpoint (RFC 9725, section 4.2).
pub async fn options() -> Response {
    let accept_post = (HeaderName::from_static("accept-post"), SDP);
    (StatusCode::NO_CONTENT, [(header::ALLOW, "POST, OPTIONS"), accept_post]).into_response()
}

pub async fn options_of_session() -> Response {
    let accept_patch = (HeaderName::from_static("accept-patch"), FRAGMENT);
    (StatusCode::NO_CONTENT, [(header::ALLOW, "PATCH, DELETE, OPTIONS"), accept_patch]).into_response()
}

/// Lets pages of the allowed origins, and no others, make these requests and read their answers.
pub async fn cross_origin(State(app): State<Arc<App>>, request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let origin = origin.filter(|_| origin::is_allowed(request.headers(), &app.config.http));
    let preflight = *request.method() == Method::OPTIONS;
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    let Some(origin) = origin else { return response };
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    let more: &[_] = match preflight {
        true => &[
            (header::ACCESS_CONTROL_ALLOW_METHODS, "POST, PATCH, DELETE"),
            (header::ACCESS_CONTROL_ALLOW_HEADERS, "Authorization, Content-Type, If-Match"),
        ],
        false => {
            &[(header::ACCESS_CONTROL_EXPOSE_HEADERS, "Location, ETag, Link, Accept-Patch, Retry-After")]
        }
    };
    for (name, text) in more {
        headers.insert(name.clone(), HeaderValue::from_static(text));
    }
    response
}

fn text(headers: &HeaderMap, body: &[u8], media_type: &str) -> Result<String, Refusal> {
    let found = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !essence(found).eq_ignore_ascii_case(media_type) {
        let message = format!("expected {media_type}");
        return Err(Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "media_type", message));
    }
    let not_text = |_| Refusal::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", "the body is not UTF-8");
    std::str::from_utf8(body).map(str::to_owned).map_err(not_text)
}

/// Whether the client takes this media type. Preferences do not matter where there is one choice.
fn accepts(headers: &HeaderMap, media_type: &str) -> bool {
    let mut ranges =
        headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).peekable();
    let fits = |range: &str| {
        let range = essence(range);
        range == "*/*" || range == "application/*" || range.eq_ignore_ascii_case(media_type)
    };
    ranges.peek().is_none() || ranges.flat_map(|value| value.split(',')).any(fits)
}

/// A media type without its parameters.
fn essence(media_type: &str) -> &str {
    media_type.split(';').next().unwrap_or_default().trim()
}

/// The `Link` headers of a STUN or TURN server (RFC 9725, section 4.6).
fn links(server: &IceServer) -> impl Iterator<Item = String> {
    let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
    let IceServer { urls, username, credential } = server;
    let credentials = match (username, credential) {
        (Some(username), Some(credential)) => format!(
            "; username=\"{}\"; credential=\"{}\"; credential-type=\"password\"",
            quoted(username),
            quoted(credential)
        ),
        (Some(_) | None, _) => String::new(),
    };
    urls.iter().map(move |url| format!("<{url}>; rel=\"ice-server\"{credentials}"))
}

fn value(text: &str) -> Result<HeaderValue, Refusal> {
    HeaderValue::from_str(text).map_err(|_| unexpected("a header"))
}

fn unexpected(what: &str) -> Refusal {
    error!(what, "an answer could not be made");
    Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "the server failed")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_client_takes_is_read() {
        for (accept, expected) in [
            (None, true),
            (Some("application/sdp"), true),
            (Some("text/html, application/*;q=0.1"), true),
            (Some("*/*"), true),
            (Some("Application/SDP; charset=utf-8"), true),
            (Some("application/json"), false),
            (Some(""), false),
        ] {
            let headers = accept.map(|text| (header::ACCEPT, HeaderValue::from_static(text)));
            assert_eq!(accepts(&headers.into_iter().collect(), SDP), expected, "{accept:?}");
        }
    }

    #[test]
    fn a_credential_cannot_leave_its_quotes() {
        let server = IceServer {
            urls: vec!["stun:a".to_owned(), "turn:b?transport=udp".to_owned()],
            username: Some("1:3.17".to_owned()),
            credential: Some("a\"b\\c".to_owned()),
        };
        let end =
            r#"; rel="ice-server"; username="1:3.17"; credential="a\"b\\c"; credential-type="password""#;
        let expected = [format!("<stun:a>{end}"), format!("<turn:b?transport=udp>{end}")];
        assert_eq!(links(&server).collect::<Vec<_>>(), expected);
    }
}
