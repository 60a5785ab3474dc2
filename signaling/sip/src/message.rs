//! Requests and responses: from bytes to types, and back (RFC 3261, section 7).
//!
//! Tolerant where endpoints are sloppy (spaces, folded lines, line ends, missing Max-Forwards), strict
//! where another reading than somebody else's would be a way around a check: start lines, lengths, and
//! fields that may stand once only.

use thiserror::Error;

use crate::headers::{CSeq, Headers, Via, name};
use crate::method::{self, Method};
use crate::uri::{NameAddr, Uri};

/// An INVITE with a large SDP has 10 KiB.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
pub(crate) const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 128;
const VERSION: &str = "SIP/2.0";
/// They may stand once only (RFC 3261, section 20): two of them mean that two programs read two messages.
const SINGLE: [&str; 8] = [
    name::FROM,
    name::TO,
    name::CALL_ID,
    name::CSEQ,
    name::CONTENT_LENGTH,
    name::MAX_FORWARDS,
    name::CONTENT_TYPE,
    name::EXPIRES,
];

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    Request(Request),
    Response(Response),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub method: Method,
    pub uri: Uri,
    pub head: Head,
    pub headers: Headers,
    pub body: Vec<u8>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Response {
    pub status: u16,
    pub reason: String,
    pub head: Head,
    pub headers: Headers,
    pub body: Vec<u8>,
}

/// What every message must have, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The topmost.
    pub via: Via,
    pub from: NameAddr,
    pub to: NameAddr,
    pub call_id: String,
    pub cseq: CSeq,
}

/// Why bytes are not a message.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseError {
    /// Nothing can be answered: it is no request, or nobody knows where the answer would go.
    #[error("not a SIP message: {0}")]
    Silent(&'static str),
    /// A request that should be refused.
    #[error("a request to refuse with {status}: {reason}")]
    Answer { status: u16, reason: &'static str, via: Box<Via>, headers: Box<Headers> },
}

impl Message {
    /// Reads what one datagram or one frame of a stream contains.
    pub fn parse(bytes: &[u8]) -> Result<Message, ParseError> {
        if bytes.len() > MESSAGE_BYTES_MAX {
            return Err(ParseError::Silent("it is too long"));
        }
        let head_bytes = head_bytes(bytes).ok_or(ParseError::Silent("its head does not end"))?;
        let (text, mut strange) = match std::str::from_utf8(&bytes[..head_bytes]) {
            Ok(text) => (text.into(), None),
            Err(_) => (String::from_utf8_lossy(&bytes[..head_bytes]), Some("the head is not UTF-8")),
        };
        let mut lines = unfolded(&text).into_iter();
        let start = lines.next().ok_or(ParseError::Silent("it is empty"))?;
        let mut headers = Headers::default();
        for line in lines {
            let Some((field, value)) = line.split_once(':') else {
                strange = Some("a header field without a colon");
                continue;
            };
            let field = field.trim_end();
            if !crate::scan::is_token(field) || value.contains('\0') || value.contains('\r') {
                strange = Some("a header field with a name or value that is none");
                continue;
            }
            if headers.len() == HEADERS_MAX {
                return Err(ParseError::Silent("it has too many header fields"));
            }
            headers.push_parsed(field, value.trim().to_owned());
        }
        let body = &bytes[head_bytes..];
        if start.starts_with("SIP/") {
            let (status, reason) = status_line(&start).ok_or(ParseError::Silent("no status line"))?;
            return match (strange, head(&headers), length(&headers, body)) {
                (None, Ok(head), Ok(body)) => {
                    Ok(Message::Response(Response { status, reason, head, headers, body: body.to_vec() }))
                }
                (Some(what), _, _) | (None, Err(what), _) | (None, Ok(_), Err(what)) => {
                    Err(ParseError::Silent(what))
                }
            };
        }
        let method =
            start.split(' ').next().and_then(Method::parse).ok_or(ParseError::Silent("no method"))?;
        if !start.contains("SIP/") {
            return Err(ParseError::Silent("neither a request line nor a status line"));
        }
        let refuse = |status, reason, headers: Headers| {
            let via = headers.list(name::VIA).next().and_then(Via::parse);
            match via {
                // An ACK is never answered (section 17).
                Some(via) if method != Method::Ack => {
                    ParseError::Answer { status, reason, via: Box::new(via), headers: Box::new(headers) }
                }
                Some(_) | None => ParseError::Silent(reason),
            }
        };
        let uri = match request_line(&start) {
            Ok(uri) => uri,
            Err((status, reason)) => return Err(refuse(status, reason, headers)),
        };
        if let Some(what) = strange {
            return Err(refuse(400, what, headers));
        }
        let head = match head(&headers) {
            Ok(head) => head,
            Err(what) => return Err(refuse(400, what, headers)),
        };
        if head.cseq.method != method {
            return Err(refuse(400, "CSeq names another method", headers));
        }
        let body = match length(&headers, body) {
            Ok(body) => body.to_vec(),
            Err(what) => return Err(refuse(400, what, headers)),
        };
        if let Some(value) = headers.first(name::MAX_FORWARDS)
            && value.parse::<u8>().is_err()
        {
            return Err(refuse(400, "Max-Forwards is not a number up to 255", headers));
        }
        Ok(Message::Request(Request { method, uri, head, headers, body }))
    }
}

/// Where the head ends: the index after the empty line.
pub(crate) fn head_bytes(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(length) = bytes[start..].iter().position(|byte| *byte == b'\n') {
        let line = &bytes[start..start + length];
        start += length + 1;
        if line.is_empty() || line == b"\r" {
            return (start <= HEAD_BYTES_MAX).then_some(start);
        }
        if start > HEAD_BYTES_MAX {
            return None;
        }
    }
    None
}

/// Lines without their ends; a line that begins with a space continues the one before (section 7.3.1).
pub(crate) fn unfolded(head: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in head.split('\n').map(|line| line.strip_suffix('\r').unwrap_or(line)) {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => {
                last.push(' ');
                last.push_str(line.trim());
            }
            _ if line.is_empty() => break,
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn request_line(line: &str) -> Result<Uri, (u16, &'static str)> {
    let mut words = line.split(' ');
    let (Some(_), Some(uri), Some(version), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err((400, "the request line has other than three words"));
    };
    if !version.eq_ignore_ascii_case(VERSION) {
        return Err((505, "only SIP/2.0 is spoken here"));
    }
    Uri::parse(uri).ok_or((400, "the request URI is none"))
}

fn status_line(line: &str) -> Option<(u16, String)> {
    let (version, rest) = line.split_once(' ')?;
    let (status, reason) = rest.split_once(' ').unwrap_or((rest, ""));
    let valid = version.eq_ignore_ascii_case(VERSION) && status.len() == 3;
    let status = status.parse().ok().filter(|status| valid && (100..700).contains(status))?;
    Some((status, reason.to_owned()))
}

fn head(headers: &Headers) -> Result<Head, &'static str> {
    if SINGLE.iter().any(|field| headers.all(field).nth(1).is_some()) {
        return Err("a header field stands twice that may stand once");
    }
    let via = headers.list(name::VIA).next().and_then(Via::parse).ok_or("no valid Via")?;
    let named = |field| headers.first(field).and_then(NameAddr::parse);
    let from = named(name::FROM).ok_or("no valid From")?;
    let to = named(name::TO).ok_or("no valid To")?;
    let call_id = headers.first(name::CALL_ID).filter(|id| {
        !id.is_empty() && id.len() <= 256 && !id.contains(|c: char| c.is_whitespace() || c.is_control())
    });
    let call_id = call_id.ok_or("no valid Call-ID")?.to_owned();
    let cseq = headers.first(name::CSEQ).and_then(CSeq::parse).ok_or("no valid CSeq")?;
    Ok(Head { via, from, to, call_id, cseq })
}

/// The body that Content-Length says; what a datagram has behind it is no part of the message
/// (section 18.3).
fn length<'a>(headers: &Headers, body: &'a [u8]) -> Result<&'a [u8], &'static str> {
    match headers.first(name::CONTENT_LENGTH) {
        None => Ok(body),
        Some(value) => content_length(value)
            .and_then(|length| body.get(..length))
            .ok_or("Content-Length does not agree with the body"),
    }
}

pub(crate) fn content_length(value: &str) -> Option<usize> {
    let numeric = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
    numeric.then(|| value.parse().ok())?
}

impl Request {
    pub fn bytes(&self) -> Vec<u8> {
        write(format!("{} {} {VERSION}", self.method, self.uri), &self.headers, &self.body)
    }
}

impl Response {
    /// An answer to a request, with the fields that it must repeat (section 8.2.6.2).
    pub fn to(request: &Request, status: u16, to_tag: Option<&str>) -> Response {
        Response::to_headers(&request.headers, &request.head, status, method::phrase(status), to_tag)
    }

    fn to_headers(from: &Headers, head: &Head, status: u16, reason: &str, to_tag: Option<&str>) -> Response {
        let (headers, to) = repeated(from, status, to_tag);
        let mut head = head.clone();
        head.to = to.unwrap_or(head.to);
        Response { status, reason: reason.to_owned(), head, headers, body: Vec::new() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        write(format!("{VERSION} {} {}", self.status, self.reason), &self.headers, &self.body)
    }

    pub fn is_final(&self) -> bool {
        self.status >= 200
    }

    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The refusal of a request that could not be read as a whole.
pub(crate) fn refusal(status: u16, reason: &str, from: &Headers, to_tag: &str, server: &str) -> Vec<u8> {
    let (mut headers, _) = repeated(from, status, Some(to_tag));
    headers.push(name::SERVER, server);
    // The line may stand in a log of the other side: nothing of the request goes into it.
    write(format!("{VERSION} {status} {} ({reason})", method::phrase(status)), &headers, &[])
}

fn repeated(from: &Headers, status: u16, to_tag: Option<&str>) -> (Headers, Option<NameAddr>) {
    let (mut headers, mut to) = (Headers::default(), None);
    for field in [name::VIA, name::FROM, name::TO, name::CALL_ID, name::CSEQ] {
        for value in from.all(field) {
            match (field, to_tag, NameAddr::parse(value)) {
                (name::TO, Some(tag), Some(address)) if status > 100 && address.tag().is_none() => {
                    let address = address.with_tag(tag);
                    headers.push(field, &address);
                    to = Some(address);
                }
                _ => headers.push(field, value),
            }
        }
    }
    (headers, to)
}

fn write(start: String, headers: &Headers, body: &[u8]) -> Vec<u8> {
    let mut text = start;
    text.push_str("\r\n");
    for (field, value) in
        headers.iter().filter(|(field, _)| !field.eq_ignore_ascii_case(name::CONTENT_LENGTH))
    {
        text.push_str(field);
        text.push_str(": ");
        text.push_str(value);
        text.push_str("\r\n");
    }
    text.push_str(&format!("{}: {}\r\n\r\n", name::CONTENT_LENGTH, body.len()));
    let mut bytes = text.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}
