//! The web client, which is built into the program, and the headers of every answer.

use axum::extract::Request;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, StatusCode};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

use crate::listener::Peer;
use crate::origin;
use crate::rest;

/// A file of the web client.
struct Asset {
    /// With its leading slash.
    path: &'static str,
    mime: &'static str,
    bytes: &'static [u8],
    /// Where it is smaller than `bytes`.
    gzip: Option<&'static [u8]>,
    /// With its quotes (RFC 9110, section 8.8.3).
    etag: &'static str,
    /// Its name changes with its contents.
    immutable: bool,
}

// `ASSETS`, sorted by path, and `INDEX`, the page itself.
include!(concat!(env!("OUT_DIR"), "/assets.rs"));

/// Answers everything that is not the API.
pub async fn page(request: Request) -> Response {
    let path = request.uri().path();
    if path.starts_with("/api/") {
        return rest::not_found().into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return (StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response();
    }
    match ASSETS.binary_search_by(|asset| asset.path.cmp(path)) {
        Ok(index) => file(&ASSETS[index], request.headers()),
        // Addresses of the page's own router.
        Err(_) if matches!(path, "/" | "/help") || path.starts_with("/r/") => file(&INDEX, request.headers()),
        Err(_) => (StatusCode::NOT_FOUND, "There is nothing at this address.").into_response(),
    }
}

fn file(asset: &Asset, request: &HeaderMap) -> Response {
    let has = |name: HeaderName, wanted: &str| {
        let values = request.get_all(name).into_iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|word| {
            let word = word.split(';').next().unwrap_or_default().trim();
            word == wanted || word == format!("W/{wanted}")
        })
    };
    let cache = if asset.immutable { "public, max-age=31536000, immutable" } else { "no-cache" };
    let headers =
        [(header::CACHE_CONTROL, cache), (header::ETAG, asset.etag), (header::VARY, "Accept-Encoding")];
    if has(header::IF_NONE_MATCH, asset.etag) {
        return (StatusCode::NOT_MODIFIED, headers).into_response();
    }
    let content_type = [(header::CONTENT_TYPE, asset.mime)];
    match asset.gzip {
        Some(gzip) if has(header::ACCEPT_ENCODING, "gzip") => {
            (headers, content_type, [(header::CONTENT_ENCODING, "gzip")], gzip).into_response()
        }
        Some(_) | None => (headers, content_type, asset.bytes).into_response(),
    }
}

/// Puts the security headers (W2, W6) on an answer.
pub async fn security_headers(request: Request, next: Next) -> Response {
    let secure = request.extensions().get::<Peer>().is_some_and(|peer| peer.secure);
    let policy = content_security_policy(origin::host(request.headers()));
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, policy);
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (
            HeaderName::from_static("permissions-policy"),
            "camera=(self), microphone=(self), display-capture=(self), fullscreen=(self), \
             screen-wake-lock=(self), speaker-selection=(self), geolocation=(), payment=(), usb=()",
        ),
        (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if secure {
        headers.insert(header::STRICT_TRANSPORT_SECURITY, HeaderValue::from_static("max-age=31536000"));
    }
    response
}

/// The WebSocket is named by scheme and host, because not every browser takes it for 'self'.
fn content_security_policy(host: Option<&str>) -> HeaderValue {
    let sockets = host.map(|host| format!(" ws://{host} wss://{host}")).unwrap_or_default();
    let policy = format!(
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; \
         img-src 'self' data: blob:; media-src 'self' blob:; font-src 'self'; \
         connect-src 'self'{sockets}; worker-src 'self' blob:; frame-ancestors 'none'; \
         base-uri 'none'; object-src 'none'; form-action 'self'"
    );
    HeaderValue::from_str(&policy).expect("a host is made of visible characters")
}
