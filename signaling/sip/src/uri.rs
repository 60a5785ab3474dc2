//! SIP URIs (RFC 3261, section 19.1), telephone URIs (RFC 3966) and names with addresses (section 25.1).

use std::fmt;
use std::net::{IpAddr, Ipv6Addr};

use crate::scan::{self, Params};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Uri {
    Sip(SipUri),
    /// `tel:` with its number, without visual separators.
    Tel {
        number: String,
        params: Params,
    },
    /// Of a scheme that is none of ours, such as `mailto`: the whole text.
    Other(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SipUri {
    /// `sips`.
    pub secure: bool,
    /// As written, with its escapes and what a password may follow.
    pub user: Option<String>,
    /// A name or an address; IPv6 in its brackets.
    pub host: String,
    pub port: Option<u16>,
    pub params: Params,
    /// What follows the question mark.
    pub headers: Option<String>,
}

impl Uri {
    /// None: it is not a URI that a program could act on.
    pub fn parse(text: &str) -> Option<Uri> {
        let (scheme, rest) = text.split_once(':')?;
        let valid = scheme.bytes().next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
        if !valid || text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || b"<>\"".contains(&byte)) {
            return None;
        }
        match scheme.to_ascii_lowercase().as_str() {
            "sip" => SipUri::parse(false, rest).map(Uri::Sip),
            "sips" => SipUri::parse(true, rest).map(Uri::Sip),
            "tel" => {
                let (number, params) = rest.split_once(';').unwrap_or((rest, ""));
                let number: String = number.chars().filter(|digit| !"-.()".contains(*digit)).collect();
                let valid = !number.is_empty()
                    && number.bytes().all(|b| b.is_ascii_hexdigit() || b"+*#".contains(&b));
                valid.then_some(())?;
                Some(Uri::Tel { number, params: Params::parse(params)? })
            }
            _ => Some(Uri::Other(text.to_owned())),
        }
    }

    pub fn sip(user: Option<&str>, host: &str, port: Option<u16>) -> Uri {
        Uri::Sip(SipUri {
            secure: false,
            user: user.map(escape_user),
            host: host.to_owned(),
            port,
            params: Params::default(),
            headers: None,
        })
    }

    /// Who is meant: the user part without escapes, password and parameters, or the number.
    pub fn user(&self) -> Option<String> {
        match self {
            Uri::Sip(uri) => {
                let user = uri.user.as_deref()?;
                let user = user.split_once(':').map_or(user, |(user, _)| user);
                // Telephone subscribers carry parameters of theirs, as in `+39021;phone-context=x`.
                let user = user.split_once(';').map_or(user, |(user, _)| user);
                unescape(user)
            }
            Uri::Tel { number, .. } => Some(number.clone()),
            Uri::Other(_) => None,
        }
    }

    /// In lower case.
    pub fn host(&self) -> Option<String> {
        match self {
            Uri::Sip(uri) => Some(uri.host.to_ascii_lowercase()),
            Uri::Tel { .. } | Uri::Other(_) => None,
        }
    }

    pub fn as_sip(&self) -> Option<&SipUri> {
        match self {
            Uri::Sip(uri) => Some(uri),
            Uri::Tel { .. } | Uri::Other(_) => None,
        }
    }

    pub fn param(&self, name: &str) -> Option<&str> {
        match self {
            Uri::Sip(SipUri { params, .. }) | Uri::Tel { params, .. } => params.raw(name),
            Uri::Other(_) => None,
        }
    }

    pub fn has_param(&self, name: &str) -> bool {
        match self {
            Uri::Sip(SipUri { params, .. }) | Uri::Tel { params, .. } => params.has(name),
            Uri::Other(_) => false,
        }
    }
}

impl SipUri {
    fn parse(secure: bool, text: &str) -> Option<SipUri> {
        // The user part may contain `;` and `?`, but never an `@` that is not escaped.
        let (user, rest) = match text.split_once('@') {
            Some((user, rest)) => (Some(user), rest),
            None => (None, text),
        };
        if user.is_some_and(|user| user.is_empty() || user.starts_with(':') || !user_is_valid(user)) {
            return None;
        }
        let (rest, headers) = match rest.split_once('?') {
            Some((rest, headers)) => (rest, Some(headers.to_owned())),
            None => (rest, None),
        };
        let (host_port, params) = rest.split_once(';').unwrap_or((rest, ""));
        let (host, port) = host_and_port(host_port)?;
        let user = user.map(str::to_owned);
        Some(SipUri { secure, user, host, port, params: Params::parse(params)?, headers })
    }

    /// The address, if the host is one.
    pub fn address(&self) -> Option<IpAddr> {
        address(&self.host)
    }
}

/// An address in the form that hosts are written in.
pub(crate) fn address(host: &str) -> Option<IpAddr> {
    match host.strip_prefix('[') {
        Some(host) => host.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6),
        None => host.parse().ok(),
    }
}

/// `hostport` of RFC 3261, section 25.1.
pub(crate) fn host_and_port(text: &str) -> Option<(String, Option<u16>)> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (inner, rest) = rest.split_once(']')?;
            inner.parse::<Ipv6Addr>().ok()?;
            (&text[..inner.len() + 2], rest.strip_prefix(':').or(rest.is_empty().then_some(""))?)
        }
        None => text.split_once(':').unwrap_or((text, "")),
    };
    let named = |host: &str| host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b));
    if host.is_empty() || (!host.starts_with('[') && !named(host)) {
        return None;
    }
    let port = match port {
        "" => None,
        port if port.bytes().all(|b| b.is_ascii_digit()) => Some(port.parse().ok()?),
        _ => return None,
    };
    Some((host.to_owned(), port))
}

fn user_is_valid(user: &str) -> bool {
    user.bytes().all(|b| b.is_ascii_alphanumeric() || b >= 0x80 || b"-_.!~*'()%&=+$,;?/:#".contains(&b))
        && unescape(user).is_some()
}

/// None where a percent sign is not followed by two hexadecimal digits, or the result is not UTF-8.
fn unescape(text: &str) -> Option<String> {
    let mut plain = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        if byte == b'%' {
            let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
            plain.push((digit(bytes.next())? * 16 + digit(bytes.next())?) as u8);
        } else {
            plain.push(byte);
        }
    }
    String::from_utf8(plain).ok()
}

fn escape_user(user: &str) -> String {
    let mut escaped = String::with_capacity(user.len());
    for byte in user.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,?/".contains(&byte) {
            escaped.push(char::from(byte));
        } else {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

impl fmt::Display for Uri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Uri::Sip(uri) => uri.fmt(f),
            Uri::Tel { number, params } => write!(f, "tel:{number}{params}"),
            Uri::Other(text) => f.write_str(text),
        }
    }
}

impl fmt::Display for SipUri {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.secure { "sips:" } else { "sip:" })?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        f.write_str(&self.host)?;
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        write!(f, "{}", self.params)?;
        self.headers.as_ref().map_or(Ok(()), |headers| write!(f, "?{headers}"))
    }
}

/// `name-addr` or `addr-spec`, with the parameters of the header field behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NameAddr {
    pub display: Option<String>,
    pub uri: Uri,
    pub params: Params,
}

impl NameAddr {
    pub fn parse(text: &str) -> Option<NameAddr> {
        let text = text.trim();
        let (display, rest) = if text.starts_with('"') {
            let end = scan::quoted_end(text)?;
            (Some(scan::unquote(&text[..end])), text[end..].trim_start())
        } else {
            match text.find('<') {
                // Names without quotes should be tokens; endpoints write umlauts and commas there too.
                Some(at) => (Some(text[..at].trim().to_owned()), &text[at..]),
                None => (None, text),
            }
        };
        let (uri, params) = match rest.strip_prefix('<') {
            Some(rest) => {
                let (uri, rest) = rest.split_once('>')?;
                let rest = rest.trim();
                (uri.trim(), rest.strip_prefix(';').or(rest.is_empty().then_some(""))?)
            }
            None if display.is_some() => return None,
            None => {
                // Without brackets, a semicolon begins parameters of the header field, and there can be
                // neither a comma nor a question mark (section 20).
                let (uri, params) = rest.split_once(';').unwrap_or((rest, ""));
                if uri.contains(['?', ',']) {
                    return None;
                }
                (uri.trim(), params)
            }
        };
        let display = display.filter(|name| !name.is_empty());
        Some(NameAddr { display, uri: Uri::parse(uri)?, params: Params::parse(params)? })
    }

    pub fn new(uri: Uri) -> NameAddr {
        NameAddr { display: None, uri, params: Params::default() }
    }

    pub fn tag(&self) -> Option<&str> {
        self.params.raw("tag").filter(|tag| !tag.is_empty())
    }

    pub fn with_tag(mut self, tag: &str) -> NameAddr {
        self.params.set("tag", Some(tag.to_owned()));
        self
    }
}

impl fmt::Display for NameAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(display) = &self.display {
            write!(f, "{} ", scan::quote(display))?;
        }
        write!(f, "<{}>{}", self.uri, self.params)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uris_are_read_and_written_as_they_were() {
        for text in [
            "sip:alice@example.org",
            "sips:alice@example.org:5061;transport=tcp",
            "sip:[2001:db8::1]:5060;lr",
            "sip:%61lice:secret@example.org?subject=x",
            "sip:1234;phone-context=+39@pbx",
            "sip:sala;piano=2%3b@example.org",
            "tel:+39021234567;ext=1",
            "urn:service:sos",
        ] {
            assert_eq!(Uri::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_no_program_can_act_on_is_refused() {
        for text in [
            "",
            "sip",
            "sip:",
            "sip:@example.org",
            "sip:a@",
            "sip:a b@example.org",
            "sip:a@exa mple.org",
            "sip:a@[::1",
            "sip:a@host:port",
            "sip:a@host:70000",
            "<sip:a@host>",
            "tel:",
            "tel:abcxyz",
            "sip:a%4@host",
            "sip:a%zz@host",
            "1sip:a@host",
            "sip:a@host:50:60",
        ] {
            assert_eq!(Uri::parse(text), None, "{text}");
        }
    }

    #[test]
    fn the_user_is_told_without_escapes_and_parameters() {
        let user = |text| Uri::parse(text).unwrap().user();
        assert_eq!(user("sip:%61lice:pw@h").as_deref(), Some("alice"));
        assert_eq!(user("sip:123;phone-context=x@h").as_deref(), Some("123"));
        assert_eq!(user("tel:+39-02-1(23)").as_deref(), Some("+3902123"));
        assert_eq!(user("sip:h"), None);
        assert_eq!(Uri::sip(Some("a b@c"), "h", None).to_string(), "sip:a%20b%40c@h");
    }

    #[test]
    fn names_come_with_and_without_quotes_brackets_and_spaces() {
        for (text, display, uri, tag) in [
            (r#""Sala \"A\"" <sip:a@h;x=1>;tag=7"#, Some(r#"Sala "A""#), "sip:a@h;x=1", Some("7")),
            ("caller<sip:a@h>;tag=7", Some("caller"), "sip:a@h", Some("7")),
            ("Rossi, Maria <sip:a@h>", Some("Rossi, Maria"), "sip:a@h", None),
            ("sip:a@h;tag=7", None, "sip:a@h", Some("7")),
            ("<sip:a@h>", None, "sip:a@h", None),
        ] {
            let name = NameAddr::parse(text).unwrap();
            assert_eq!(name.display.as_deref(), display, "{text}");
            assert_eq!(name.uri.to_string(), uri);
            assert_eq!(name.tag(), tag);
        }
        for text in ["", "\"a <sip:a@h>", "a <sip:a@h", "sip:a@h?b=c", "\"a\" sip:a@h", "<sip:a@h> x", "*"] {
            assert_eq!(NameAddr::parse(text), None, "{text}");
        }
    }
}
