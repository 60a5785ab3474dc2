//! Which host a request came to, and whether the page it came from may make it (W5).

use axum::http::header::{HOST, HeaderMap, ORIGIN};

use crate::config::Http;

/// The Host header, if it is made of what host names, addresses and ports are made of.
pub fn host(headers: &HeaderMap) -> Option<&str> {
    let host = headers.get(HOST)?.to_str().ok()?;
    let good = |c: char| c.is_ascii_alphanumeric() || ".-_:[]".contains(c);
    (!host.is_empty() && host.len() <= 255 && host.chars().all(good)).then_some(host)
}

/// Browsers send an Origin with every WebSocket and every request that changes something; other
/// programs, which hold no one's cookies, need not. Behind a proxy the host may be another than the
/// one that people open, which `public_url` names.
pub fn is_allowed(headers: &HeaderMap, http: &Http) -> bool {
    let mut origins = headers.get_all(ORIGIN).iter();
    let (Some(origin), None) = (origins.next(), origins.next()) else {
        return !headers.contains_key(ORIGIN);
    };
    let Ok(origin) = origin.to_str() else { return false };
    let named = origin == http.public_url || http.allowed_origins.iter().any(|allowed| allowed == origin);
    if named && !origin.is_empty() {
        return true;
    }
    let from = origin.strip_prefix("https://").or_else(|| origin.strip_prefix("http://"));
    match (from, host(headers)) {
        (Some(from), Some(host)) => from.eq_ignore_ascii_case(host),
        (None, _) | (_, None) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn headers(host: &str, origins: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(HOST, HeaderValue::from_str(host).expect("a value"));
        for origin in origins {
            headers.append(ORIGIN, HeaderValue::from_str(origin).expect("a value"));
        }
        headers
    }

    #[test]
    fn w5_an_origin_is_this_host_or_listed() {
        let http = Http {
            public_url: "https://public.example.org".to_owned(),
            allowed_origins: vec!["https://www.example.org".to_owned()],
            ..Http::default()
        };
        for (host, origins, allowed) in [
            ("meet.example.org", &["https://meet.example.org"][..], true),
            ("localhost:8080", &["http://localhost:8080"], true),
            ("[::1]:8080", &["http://[::1]:8080"], true),
            ("meet.example.org", &["https://www.example.org"], true),
            ("meet.example.org", &[], true),
            ("10.0.0.5:8080", &["https://public.example.org"], true),
            ("10.0.0.5:8080", &["http://public.example.org"], false),
            ("meet.example.org", &["https://evil.example"], false),
            ("meet.example.org", &["https://meet.example.org:444"], false),
            ("meet.example.org", &["https://meet.example.org.evil.example"], false),
            ("meet.example.org", &["null"], false),
            ("meet.example.org", &[""], false),
            ("meet.example.org", &["https://meet.example.org", "https://evil.example"], false),
            ("meet.example.org", &["http://www.example.org"], false),
        ] {
            assert_eq!(is_allowed(&headers(host, origins), &http), allowed, "{host} {origins:?}");
        }
        assert!(!is_allowed(&headers("meet.example.org", &[""]), &Http::default()));
    }

    #[test]
    fn w6_a_host_cannot_add_to_a_policy() {
        assert_eq!(host(&headers("a.example; script-src *", &[])), None);
        assert_eq!(host(&headers("a.example:8443", &[])), Some("a.example:8443"));
    }
}
