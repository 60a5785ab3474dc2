//! Header fields in their order, and the typed forms of those that decide something.

use std::borrow::Cow;
use std::fmt;

use crate::method::Method;
use crate::scan::{self, Params};
use crate::uri;

/// Names as they are written. Those with a compact form (RFC 3261, section 7.3.3, and the registry of
/// header fields) are known by it too.
pub mod name {
    pub const ACCEPT: &str = "Accept";
    pub const ALLOW: &str = "Allow";
    pub const ALLOW_EVENTS: &str = "Allow-Events";
    pub const AUTHORIZATION: &str = "Authorization";
    pub const CALL_ID: &str = "Call-ID";
    pub const CONTACT: &str = "Contact";
    pub const CONTENT_DISPOSITION: &str = "Content-Disposition";
    pub const CONTENT_ENCODING: &str = "Content-Encoding";
    pub const CONTENT_LENGTH: &str = "Content-Length";
    pub const CONTENT_TYPE: &str = "Content-Type";
    pub const CSEQ: &str = "CSeq";
    pub const EVENT: &str = "Event";
    pub const EXPIRES: &str = "Expires";
    pub const FROM: &str = "From";
    pub const MAX_FORWARDS: &str = "Max-Forwards";
    pub const MIN_EXPIRES: &str = "Min-Expires";
    pub const MIN_SE: &str = "Min-SE";
    pub const PROXY_AUTHENTICATE: &str = "Proxy-Authenticate";
    pub const PROXY_AUTHORIZATION: &str = "Proxy-Authorization";
    pub const RACK: &str = "RAck";
    pub const RECORD_ROUTE: &str = "Record-Route";
    pub const REQUIRE: &str = "Require";
    pub const RETRY_AFTER: &str = "Retry-After";
    pub const ROUTE: &str = "Route";
    pub const RSEQ: &str = "RSeq";
    pub const SERVER: &str = "Server";
    pub const SESSION_EXPIRES: &str = "Session-Expires";
    pub const SUBSCRIPTION_STATE: &str = "Subscription-State";
    pub const SUPPORTED: &str = "Supported";
    pub const TO: &str = "To";
    pub const UNSUPPORTED: &str = "Unsupported";
    pub const USER_AGENT: &str = "User-Agent";
    pub const VIA: &str = "Via";
    pub const WWW_AUTHENTICATE: &str = "WWW-Authenticate";
}

const COMPACT: [(u8, &str); 13] = [
    (b'c', name::CONTENT_TYPE),
    (b'e', name::CONTENT_ENCODING),
    (b'f', name::FROM),
    (b'i', name::CALL_ID),
    (b'k', name::SUPPORTED),
    (b'l', name::CONTENT_LENGTH),
    (b'm', name::CONTACT),
    (b'o', name::EVENT),
    (b's', "Subject"),
    (b't', name::TO),
    (b'u', name::ALLOW_EVENTS),
    (b'v', name::VIA),
    (b'x', name::SESSION_EXPIRES),
];

/// Header fields of one message. Names are compared without case, compact forms are made long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Headers(Vec<(Cow<'static, str>, String)>);

impl Headers {
    pub fn push(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.push((Cow::Borrowed(name), value.to_string()));
    }

    /// Before all others of its name: a hop closer to us.
    pub(crate) fn push_front(&mut self, name: &'static str, value: impl fmt::Display) {
        self.0.insert(0, (Cow::Borrowed(name), value.to_string()));
    }

    /// A field as it came.
    pub(crate) fn push_parsed(&mut self, name: &str, value: String) {
        let compact = |name: &str| {
            let [letter] = name.as_bytes() else { return None };
            COMPACT.iter().find(|(short, _)| *short == letter.to_ascii_lowercase()).map(|(_, long)| *long)
        };
        let name = compact(name).map_or_else(|| Cow::Owned(name.to_owned()), Cow::Borrowed);
        self.0.push((name, value));
    }

    pub fn set(&mut self, name: &'static str, value: impl fmt::Display) {
        self.remove(name);
        self.push(name, value);
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// The first field of this name, whole.
    pub fn first(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The values of a field that is a list, whether they share a line or have one each.
    pub fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.all(name).flat_map(|value| scan::split(value, b',')).filter(|value| !value.is_empty())
    }

    /// Whether a list of tokens, such as Supported, has this one.
    pub fn lists(&self, name: &str, token: &str) -> bool {
        self.list(name).any(|value| value.eq_ignore_ascii_case(token))
    }

    /// A number, and what follows it as parameters. One that is too large to count is the largest.
    pub fn number(&self, name: &str) -> Option<u32> {
        let value = self.first(name)?;
        let digits = value.split([';', ' ', '(']).next()?.trim();
        let numeric = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        numeric.then(|| digits.parse().unwrap_or(u32::MAX))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_ref(), value.as_str()))
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One hop that a request took (RFC 3261, section 20.42).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Via {
    /// In upper case: `UDP`, `TCP`, `TLS` or another.
    pub transport: String,
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
}

impl Via {
    pub fn parse(text: &str) -> Option<Via> {
        let (protocol, params) = text.split_once(';').unwrap_or((text, ""));
        // There may be spaces around the slashes.
        let mut parts = protocol.splitn(3, '/').map(str::trim);
        let (sip, version, rest) = (parts.next()?, parts.next()?, parts.next()?);
        if !sip.eq_ignore_ascii_case("SIP") || version != "2.0" {
            return None;
        }
        let (transport, sent_by) = rest.split_once(char::is_whitespace)?;
        let sent_by: String = sent_by.split_whitespace().collect();
        let (host, port) = uri::host_and_port(&sent_by)?;
        scan::is_token(transport).then_some(())?;
        Some(Via { transport: transport.to_ascii_uppercase(), host, port, params: Params::parse(params)? })
    }

    pub fn branch(&self) -> Option<&str> {
        self.params.raw("branch").filter(|branch| !branch.is_empty())
    }
}

impl fmt::Display for Via {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SIP/2.0/{} {}", self.transport, self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CSeq {
    pub number: u32,
    pub method: Method,
}

impl CSeq {
    pub fn parse(text: &str) -> Option<CSeq> {
        let (number, method) = text.trim().split_once(char::is_whitespace)?;
        let number =
            number.bytes().all(|byte| byte.is_ascii_digit()).then(|| number.parse::<u32>().ok())??;
        // RFC 3261, section 8.1.1.5: less than 2^31.
        (number < 1 << 31).then_some(())?;
        Some(CSeq { number, method: Method::parse(method.trim())? })
    }
}

impl fmt::Display for CSeq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.number, self.method)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compact_forms_and_cases_are_one_name() {
        let mut headers = Headers::default();
        headers.push_parsed("v", "SIP/2.0/UDP a".to_owned());
        headers.push_parsed("VIA", "SIP/2.0/UDP b, SIP/2.0/TCP c".to_owned());
        headers.push_parsed("K", "100rel,timer".to_owned());
        assert_eq!(headers.list(name::VIA).count(), 3);
        assert!(headers.lists(name::SUPPORTED, "TIMER"));
        assert_eq!(headers.first("supported"), Some("100rel,timer"));
    }

    #[test]
    fn numbers_that_cannot_be_counted_are_the_largest_and_text_is_none() {
        let mut headers = Headers::default();
        headers.push(name::EXPIRES, "99999999999999999999");
        headers.push(name::SESSION_EXPIRES, "1800;refresher=uac");
        headers.push(name::MIN_SE, "-5");
        assert_eq!(headers.number(name::EXPIRES), Some(u32::MAX));
        assert_eq!(headers.number(name::SESSION_EXPIRES), Some(1800));
        assert_eq!(headers.number(name::MIN_SE), None);
    }

    #[test]
    fn a_via_may_have_spaces_ports_and_brackets() {
        for (text, host, port, branch) in [
            ("SIP/2.0/UDP 192.0.2.2;branch=one", "192.0.2.2", None, Some("one")),
            (
                "SIP  / 2.0  /TCP     a.example.org   :  5070 ; branch = x;rport",
                "a.example.org",
                Some(5070),
                Some("x"),
            ),
            ("SIP/2.0/tls [2001:db8::9]:5061", "[2001:db8::9]", Some(5061), None),
        ] {
            let via = Via::parse(text).unwrap();
            assert_eq!((via.host.as_str(), via.port, via.branch()), (host, port, branch));
        }
        for text in ["", "SIP/2.0 UDP a", "SIP/1.0/UDP a", "SIP/2.0/UDP", "SIP/2.0/UDP a:b", "HTTP/2.0/TCP a"]
        {
            assert_eq!(Via::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_sequence_number_stays_below_two_to_the_31() {
        assert_eq!(CSeq::parse("2147483647 INVITE").map(|cseq| cseq.number), Some(2_147_483_647));
        for text in
            ["2147483648 INVITE", "99999999999999999999 REGISTER", "-1 ACK", "1", "x INVITE", "1 IN VITE"]
        {
            assert_eq!(CSeq::parse(text), None, "{text}");
        }
    }
}
