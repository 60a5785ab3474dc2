//! How values of header fields are taken apart (RFC 3261, section 25.1): quotes, brackets, parameters.

use std::fmt;

/// The pieces between separators that stand neither in quotes nor in angle brackets, trimmed.
pub(crate) fn split(text: &str, separator: u8) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let text = rest?;
        match find(text, separator) {
            Some(at) => {
                rest = Some(&text[at + 1..]);
                Some(text[..at].trim())
            }
            None => {
                rest = None;
                Some(text.trim())
            }
        }
    })
}

/// Where a byte stands first outside of quotes and angle brackets.
pub(crate) fn find(text: &str, wanted: u8) -> Option<usize> {
    let (mut quoted, mut escaped, mut bracketed) = (false, false, false);
    for (at, byte) in text.bytes().enumerate() {
        if quoted {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = false,
                _ => {}
            }
            continue;
        }
        if byte == wanted && !bracketed {
            return Some(at);
        }
        match byte {
            b'"' => quoted = true,
            b'<' => bracketed = true,
            b'>' => bracketed = false,
            _ => {}
        }
    }
    None
}

/// Where a quoted string that begins the text ends: the index after its closing quote.
pub(crate) fn quoted_end(text: &str) -> Option<usize> {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return Some(at + 1),
            _ => {}
        }
    }
    None
}

/// A quoted string without its quotes and escapes; other text as it is.
pub(crate) fn unquote(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut plain = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        plain.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    plain
}

/// A string in quotes, whatever it contains. Line ends, which no quoting allows, become spaces.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for character in text.chars() {
        match character {
            '"' | '\\' => quoted.extend(['\\', character]),
            '\r' | '\n' | '\0' => quoted.push(' '),
            _ => quoted.push(character),
        }
    }
    quoted.push('"');
    quoted
}

/// `token` of RFC 3261, section 25.1.
pub(crate) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.!%*_+`'~".contains(&byte))
}

/// Parameters of a header field or a URI, in their order. Names are compared without case.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Params(Vec<(String, Option<String>)>);

/// More than any endpoint sends.
const PARAMS_MAX: usize = 64;

impl Params {
    /// What follows the first semicolon; empty text has no parameters.
    pub(crate) fn parse(text: &str) -> Option<Params> {
        let mut params = Vec::new();
        for piece in split(text, b';') {
            if piece.is_empty() {
                // `;lr;` and `;;` come from sloppy programs and mean nothing.
                continue;
            }
            let (name, value) = match piece.split_once('=') {
                Some((name, value)) => (name.trim_end(), Some(value.trim_start().to_owned())),
                None => (piece, None),
            };
            if params.len() == PARAMS_MAX || name.is_empty() {
                return None;
            }
            params.push((name.to_owned(), value));
        }
        Some(Params(params))
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// The value as it was written, quotes and all.
    pub fn raw(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(name))?.1.as_deref()
    }

    pub fn text(&self, name: &str) -> Option<String> {
        self.raw(name).map(unquote)
    }

    /// Replaces the parameter, or adds it at the end.
    pub fn set(&mut self, name: &str, value: Option<String>) {
        match self.0.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case(name)) {
            Some(param) => param.1 = value,
            None => self.0.push((name.to_owned(), value)),
        }
    }

    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Display for Params {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (name, value) in &self.0 {
            match value {
                Some(value) => write!(f, ";{name}={value}")?,
                None => write!(f, ";{name}")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn separators_in_quotes_and_brackets_are_text() {
        let text = r#""a,\",b" <sip:x;y,z@h> , second"#;
        assert_eq!(split(text, b',').collect::<Vec<_>>(), [r#""a,\",b" <sip:x;y,z@h>"#, "second"]);
        assert_eq!(split("", b',').collect::<Vec<_>>(), [""]);
    }

    #[test]
    fn quoting_and_back_again_changes_nothing() {
        for text in ["", "a", r#"a"b\c"#, "Salle à manger"] {
            assert_eq!(unquote(&quote(text)), text);
        }
        assert_eq!(quote("a\r\nb"), "\"a  b\"");
    }

    #[test]
    fn parameters_keep_their_order_and_forget_case() {
        let mut params = Params::parse(r#"lr; Expires = 60;x="a;b";"#).unwrap();
        assert!(params.has("LR"));
        assert_eq!(params.raw("expires"), Some("60"));
        assert_eq!(params.text("x").as_deref(), Some("a;b"));
        params.set("expires", Some("30".to_owned()));
        params.remove("lr");
        assert_eq!(params.to_string(), r#";Expires=30;x="a;b""#);
        assert_eq!(Params::parse("=1"), None);
    }
}
