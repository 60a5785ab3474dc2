//! What messages carry: SDP, digits and requests for key frames.

use std::time::Duration;

use crate::headers::{Headers, name};

pub(crate) const SDP: &str = "application/sdp";
const MEDIA_CONTROL: &str = "application/media_control+xml";

/// RFC 5168, section 7.1.
pub(crate) const PICTURE_FAST_UPDATE: &str = "<?xml version=\"1.0\" encoding=\"utf-8\"?>\r\n<media_control>\
    <vc_primitive><to_encoder><picture_fast_update/></to_encoder></vc_primitive></media_control>\r\n";
pub(crate) const PICTURE_FAST_UPDATE_TYPE: &str = MEDIA_CONTROL;

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Body {
    None,
    Sdp(String),
    /// A status that refuses it.
    Unusable(u16),
}

/// The SDP of a message, alone or as a part of several.
pub(crate) fn sdp(headers: &Headers, body: &[u8]) -> Body {
    if body.is_empty() {
        return Body::None;
    }
    let encoding = headers.first(name::CONTENT_ENCODING);
    if encoding.is_some_and(|encoding| !encoding.eq_ignore_ascii_case("identity")) {
        return Body::Unusable(415);
    }
    let kind = headers.first(name::CONTENT_TYPE).unwrap_or_default();
    let found = if media_type(kind) == SDP {
        Some(body)
    } else if media_type(kind).starts_with("multipart/") {
        boundary(kind).and_then(|boundary| part(body, &boundary))
    } else if optional(headers.first(name::CONTENT_DISPOSITION)) {
        return Body::None;
    } else {
        None
    };
    match found.map(std::str::from_utf8) {
        Some(Ok(text)) => Body::Sdp(text.to_owned()),
        Some(Err(_)) => Body::Unusable(400),
        None => Body::Unusable(415),
    }
}

fn optional(disposition: Option<&str>) -> bool {
    disposition
        .is_some_and(|text| text.split(';').any(|p| p.trim().eq_ignore_ascii_case("handling=optional")))
}

fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn boundary(value: &str) -> Option<String> {
    let (_, params) = value.split_once(';')?;
    crate::scan::Params::parse(params)?.text("boundary").filter(|text| !text.is_empty() && text.len() <= 70)
}

/// Parts of one message; more are not looked at.
const PARTS_MAX: usize = 16;

/// The first part of a multipart body that is SDP (RFC 2046, section 5.1).
fn part<'a>(body: &'a [u8], boundary: &str) -> Option<&'a [u8]> {
    let delimiter = format!("--{boundary}").into_bytes();
    let starts: Vec<usize> = positions(body, &delimiter).take(PARTS_MAX).collect();
    starts.windows(2).find_map(|ends| {
        let part = &body[ends[0] + delimiter.len()..ends[1]];
        let part = part.strip_prefix(b"\r\n").or(part.strip_prefix(b"\n"))?;
        let head = crate::message::head_bytes(part)?;
        let text = std::str::from_utf8(&part[..head]).ok()?;
        let is_sdp = crate::message::unfolded(text).iter().any(|line| {
            line.split_once(':').is_some_and(|(field, value)| {
                field.trim().eq_ignore_ascii_case(name::CONTENT_TYPE) && media_type(value) == SDP
            })
        });
        is_sdp.then(|| &part[head..])
    })
}

fn positions<'a>(bytes: &'a [u8], wanted: &'a [u8]) -> impl Iterator<Item = usize> + 'a {
    // A delimiter begins a line.
    bytes
        .windows(wanted.len())
        .enumerate()
        .filter(move |(at, window)| *window == wanted && (*at == 0 || bytes[*at - 1] == b'\n'))
        .map(|(at, _)| at)
}

/// What an INFO asks.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Info {
    Digit(char, Duration),
    KeyFrame,
    /// Nothing, as a keep-alive does.
    Nothing,
    Unknown,
}

const DIGIT_DURATION_MS: u64 = 160;
const DIGIT_DURATION_MS_MAX: u64 = 10_000;

pub(crate) fn info(headers: &Headers, body: &[u8]) -> Info {
    let text = String::from_utf8_lossy(body);
    match media_type(headers.first(name::CONTENT_TYPE).unwrap_or_default()).as_str() {
        // `Signal=5`, `Duration=160`, in lines.
        "application/dtmf-relay" => {
            let value = |wanted: &str| {
                text.lines().find_map(|line| {
                    let (name, value) = line.split_once('=')?;
                    name.trim().eq_ignore_ascii_case(wanted).then(|| value.trim().to_owned())
                })
            };
            let duration = value("Duration").and_then(|text| text.parse().ok()).unwrap_or(DIGIT_DURATION_MS);
            match value("Signal").as_deref().and_then(digit) {
                Some(digit) => Info::Digit(digit, Duration::from_millis(duration.min(DIGIT_DURATION_MS_MAX))),
                None => Info::Unknown,
            }
        }
        "application/dtmf" => digit(text.trim())
            .map_or(Info::Unknown, |digit| Info::Digit(digit, Duration::from_millis(DIGIT_DURATION_MS))),
        MEDIA_CONTROL if text.contains("picture_fast_update") => Info::KeyFrame,
        MEDIA_CONTROL => Info::Nothing,
        "" if body.is_empty() => Info::Nothing,
        _ => Info::Unknown,
    }
}

fn digit(text: &str) -> Option<char> {
    let digit = match text {
        "10" => '*',
        "11" => '#',
        text => {
            let mut characters = text.chars();
            let digit = characters.next()?.to_ascii_uppercase();
            characters.next().is_none().then_some(digit)?
        }
    };
    "0123456789*#ABCD".contains(digit).then_some(digit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(kind: &str) -> Headers {
        let mut headers = Headers::default();
        headers.push(name::CONTENT_TYPE, kind);
        headers
    }

    #[test]
    fn sdp_is_found_alone_and_among_parts() {
        assert_eq!(sdp(&headers("Application/SDP;charset=utf-8"), b"v=0\r\n"), Body::Sdp("v=0\r\n".into()));
        let parts = b"preamble\r\n--b1\r\nContent-Type: text/plain\r\n\r\n--b1 in the middle\r\n\
            --b1\r\nContent-type: application/sdp\r\n\r\nv=0\r\n\r\n--b1--\r\n";
        // A delimiter within a line would end the first part early; it is at the beginning of one.
        assert_eq!(sdp(&headers("multipart/mixed;boundary=\"b1\""), parts), Body::Sdp("v=0\r\n\r\n".into()));
        assert_eq!(sdp(&headers("multipart/mixed"), parts), Body::Unusable(415));
        assert_eq!(sdp(&headers("text/plain"), b"x"), Body::Unusable(415));
        assert_eq!(sdp(&headers(SDP), b""), Body::None);
        assert_eq!(sdp(&headers(SDP), &[0xff]), Body::Unusable(400));
        let mut optional = headers("text/plain");
        optional.push(name::CONTENT_DISPOSITION, "session; handling=optional");
        assert_eq!(sdp(&optional, b"x"), Body::None);
        let mut packed = headers(SDP);
        packed.push(name::CONTENT_ENCODING, "gzip");
        assert_eq!(sdp(&packed, b"x"), Body::Unusable(415));
    }

    #[test]
    fn digits_come_in_two_forms_of_info() {
        let relay = |body: &str| info(&headers("application/dtmf-relay"), body.as_bytes());
        let ms = Duration::from_millis;
        assert_eq!(relay("Signal=5\r\nDuration=250\r\n"), Info::Digit('5', ms(250)));
        assert_eq!(relay("Signal= # \nDuration = 99999999"), Info::Digit('#', ms(10_000)));
        assert_eq!(relay("Signal=11"), Info::Digit('#', ms(160)));
        assert_eq!(relay("Signal=!"), Info::Unknown);
        assert_eq!(info(&headers("application/dtmf"), b"a"), Info::Digit('A', ms(160)));
        assert_eq!(info(&headers(MEDIA_CONTROL), PICTURE_FAST_UPDATE.as_bytes()), Info::KeyFrame);
        assert_eq!(info(&headers("text/plain"), b"x"), Info::Unknown);
        assert_eq!(info(&Headers::default(), b""), Info::Nothing);
    }
}
