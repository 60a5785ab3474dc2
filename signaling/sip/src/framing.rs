//! Messages in a stream (RFC 3261, section 18.3), and the keep-alive between them (RFC 5626, section 3.5.1).

use thiserror::Error;

use crate::headers::{Headers, name};
use crate::message::{self, HEAD_BYTES_MAX, MESSAGE_BYTES_MAX};

/// What the stream has next.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame {
    /// One whole message.
    Message(Vec<u8>),
    /// A double CRLF, which asks for one back.
    Ping,
}

/// The stream cannot be read on: nobody knows where the next message begins.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum FramingError {
    #[error("a head of more than {HEAD_BYTES_MAX} bytes")]
    HeadTooLong,
    #[error("a message with no Content-Length that is one number")]
    NoLength,
    #[error("a message of more than {MESSAGE_BYTES_MAX} bytes")]
    TooLong,
}

/// Takes a stream apart. Holds one message at most, and what was pushed behind it.
#[derive(Debug, Default)]
pub struct Framing {
    buffer: Vec<u8>,
    /// How long the message is that has begun, once its head is there.
    total: Option<usize>,
    /// Up to where no head ends. Whoever sends single bytes should not have all read again for each.
    searched: usize,
}

enum Begun {
    Nothing,
    Ping,
    /// With its length.
    Message(usize),
}

impl Framing {
    /// Adds what was read.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    pub fn poll(&mut self) -> Result<Option<Frame>, FramingError> {
        let total = match self.total {
            Some(total) => total,
            None => match self.begin()? {
                Begun::Nothing => return Ok(None),
                Begun::Ping => return Ok(Some(Frame::Ping)),
                Begun::Message(total) => *self.total.insert(total),
            },
        };
        if self.buffer.len() < total {
            return Ok(None);
        }
        (self.total, self.searched) = (None, 0);
        let rest = self.buffer.split_off(total);
        Ok(Some(Frame::Message(std::mem::replace(&mut self.buffer, rest))))
    }

    /// What the buffer begins with.
    fn begin(&mut self) -> Result<Begun, FramingError> {
        if self.buffer.starts_with(b"\r\n\r\n") {
            self.drop_front(4);
            return Ok(Begun::Ping);
        }
        // A single CRLF is an answer to a ping, or the sloppy end of a message.
        if self.buffer.starts_with(b"\r\n") && self.buffer.len() > 2 && self.buffer[2] != b'\r' {
            self.drop_front(2);
        }
        if matches!(self.buffer.as_slice(), [] | [b'\r'] | [b'\r', b'\n'] | [b'\r', b'\n', b'\r']) {
            return Ok(Begun::Nothing);
        }
        let new = &self.buffer[self.searched..];
        let head = if new.contains(&b'\n') { message::head_bytes(&self.buffer) } else { None };
        let Some(head) = head else {
            self.searched = self.buffer.len();
            let fits = self.buffer.len() <= HEAD_BYTES_MAX;
            return if fits { Ok(Begun::Nothing) } else { Err(FramingError::HeadTooLong) };
        };
        let length = head_length(&self.buffer[..head]).ok_or(FramingError::NoLength)?;
        let total = head.checked_add(length).filter(|total| *total <= MESSAGE_BYTES_MAX);
        total.map(Begun::Message).ok_or(FramingError::TooLong)
    }

    fn drop_front(&mut self, length: usize) {
        self.buffer.drain(..length);
        self.searched = 0;
    }

    /// Whether a message has begun and not ended.
    pub fn is_within(&self) -> bool {
        !self.buffer.is_empty()
    }
}

/// The one Content-Length of a head (it is not optional in streams).
fn head_length(head: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(head);
    let mut headers = Headers::default();
    for line in message::unfolded(&text) {
        if let Some((field, value)) = line.split_once(':') {
            headers.push_parsed(field.trim_end(), value.trim().to_owned());
        }
    }
    let mut lengths = headers.all(name::CONTENT_LENGTH);
    let length = message::content_length(lengths.next()?)?;
    lengths.next().is_none().then_some(length)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(body: &str) -> Vec<u8> {
        format!("OPTIONS sip:a SIP/2.0\r\nl: {}\r\n\r\n{body}", body.len()).into_bytes()
    }

    #[test]
    fn a_stream_cut_anywhere_gives_the_same_messages() {
        let mut stream = b"\r\n\r\n".to_vec();
        for body in ["", "v=0\r\n\r\n", "x"] {
            stream.extend(message(body));
            stream.extend(b"\r\n\r\n");
        }
        for step in 1..stream.len() {
            let (mut framing, mut frames) = (Framing::default(), Vec::new());
            for piece in stream.chunks(step) {
                framing.push(piece);
                while let Some(frame) = framing.poll().unwrap() {
                    frames.push(frame);
                }
            }
            let messages: Vec<_> = frames.iter().filter(|frame| **frame != Frame::Ping).collect();
            assert_eq!(messages.len(), 3, "in steps of {step}");
            assert_eq!(*messages[1], Frame::Message(message("v=0\r\n\r\n")));
            assert_eq!(frames.len() - messages.len(), 4, "pings in steps of {step}");
            assert!(!framing.is_within());
        }
    }

    #[test]
    fn a_stream_that_cannot_be_read_on_is_an_error() {
        let error = |bytes: &[u8]| {
            let mut framing = Framing::default();
            framing.push(bytes);
            framing.poll().unwrap_err()
        };
        assert_eq!(error(&[b'x'; HEAD_BYTES_MAX + 1]), FramingError::HeadTooLong);
        assert_eq!(error(b"OPTIONS sip:a SIP/2.0\r\n\r\n"), FramingError::NoLength);
        assert_eq!(error(b"A a SIP/2.0\r\nl: 1\r\nContent-Length: 2\r\n\r\n"), FramingError::NoLength);
        assert_eq!(error(b"A a SIP/2.0\r\nl: -1\r\n\r\n"), FramingError::NoLength);
        assert_eq!(error(b"A a SIP/2.0\r\nl: 18446744073709551615\r\n\r\n"), FramingError::TooLong);
        assert_eq!(error(b"A a SIP/2.0\r\nl: 65536\r\n\r\n"), FramingError::TooLong);
    }
}
