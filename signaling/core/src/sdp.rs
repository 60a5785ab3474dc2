//! What is read of the SDP of WHIP and WHEP clients, who, unlike ours, say nothing beside it. The
//! node checks the whole of it.

use broletto_protocol::MediaKind;

/// As much as a client of the WebSocket can send, less its frame.
pub(crate) const SDP_BYTES_MAX: usize = 60 * 1024;
/// More than a session may use, so that the error that follows can say how many there were (M8).
const LINES_MAX: usize = 128;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) lines: Vec<Line>,
    pub(crate) credentials: Credentials,
}

/// An m-line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) mid: String,
    pub(crate) kind: MediaKind,
    pub(crate) sends: bool,
    pub(crate) receives: bool,
}

/// Of ICE (RFC 8839, section 5.4). They change when it is restarted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Credentials {
    pub(crate) ufrag: String,
    pub(crate) password: String,
}

pub(crate) fn offer(sdp: &str) -> Result<Offered, String> {
    if sdp.len() > SDP_BYTES_MAX {
        return Err(format!("at most {SDP_BYTES_MAX} bytes, and this has {}", sdp.len()));
    }
    if !sdp.starts_with("v=0") {
        return Err("an SDP starts with v=0 (RFC 8866)".to_owned());
    }
    let mut lines = Vec::new();
    for (index, section) in sections(sdp).enumerate() {
        if index == LINES_MAX {
            return Err(format!("at most {LINES_MAX} m-lines"));
        }
        lines.push(line(&section).map_err(|message| format!("m-line {index}: {message}"))?);
    }
    let credentials = credentials(sdp)?.ok_or("it has no a=ice-ufrag and a=ice-pwd")?;
    Ok(Offered { lines, credentials })
}

/// The lines of each m-line, itself first.
fn sections(sdp: &str) -> impl Iterator<Item = Vec<&str>> {
    let mut rest = sdp.lines().skip_while(|line| !line.starts_with("m=")).peekable();
    std::iter::from_fn(move || {
        let mut section = vec![rest.next()?];
        while let Some(line) = rest.next_if(|line| !line.starts_with("m=")) {
            section.push(line);
        }
        Some(section)
    })
}

fn line(section: &[&str]) -> Result<Line, String> {
    let mut words = section[0]["m=".len()..].split_ascii_whitespace();
    let kind = match words.next() {
        Some("audio") => MediaKind::Audio,
        Some("video") => MediaKind::Video,
        _ => return Err("its kind is audio or video".to_owned()),
    };
    let value = |name: &str| section.iter().find_map(|line| line.strip_prefix(name));
    let mid = value("a=mid:").ok_or("it has no a=mid, which a bundle needs (RFC 9143)")?.to_owned();
    // A line of port 0 is dead, unless it is carried by another of the bundle (RFC 9143, section 7.2).
    let dead = words.next() == Some("0") && !section.contains(&"a=bundle-only");
    let is = |direction: &str| section.contains(&direction);
    let sends = !dead && !is("a=recvonly") && !is("a=inactive");
    let receives = !dead && !is("a=sendonly") && !is("a=inactive");
    Ok(Line { mid, kind, sends, receives })
}

/// The ICE credentials of an SDP, or of a fragment of one (RFC 8840); None: it has none.
pub(crate) fn credentials(sdp: &str) -> Result<Option<Credentials>, String> {
    let value = |name: &str| sdp.lines().find_map(|line| line.strip_prefix(name));
    let (ufrag, password) = match (value("a=ice-ufrag:"), value("a=ice-pwd:")) {
        (None, None) => return Ok(None),
        (Some(ufrag), Some(password)) => (ufrag, password),
        (Some(_), None) => return Err("it has a=ice-ufrag and no a=ice-pwd".to_owned()),
        (None, Some(_)) => return Err("it has a=ice-pwd and no a=ice-ufrag".to_owned()),
    };
    let well_formed = |text: &str, min: usize| {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
        (min..=256).contains(&text.len()) && text.bytes().all(good)
    };
    if !well_formed(ufrag, 4) || !well_formed(password, 22) {
        return Err("a=ice-ufrag has 4 to 256 ICE characters, a=ice-pwd 22 to 256 (RFC 8839)".to_owned());
    }
    Ok(Some(Credentials { ufrag: ufrag.to_owned(), password: password.to_owned() }))
}

/// The same offer, but for a restart of ICE.
pub(crate) fn with_credentials(sdp: &str, credentials: &Credentials) -> String {
    let mut text = String::with_capacity(sdp.len() + 64);
    for line in sdp.lines() {
        if line.starts_with("a=ice-ufrag:") {
            text += "a=ice-ufrag:";
            text += &credentials.ufrag;
        } else if line.starts_with("a=ice-pwd:") {
            text += "a=ice-pwd:";
            text += &credentials.password;
        } else {
            text += line;
        }
        text += "\r\n";
    }
    text
}

/// What an answer says of ICE, as a fragment (RFC 9725, section 4.3.3): its first m-line stands for
/// the whole bundle.
pub(crate) fn ice_fragment(answer: &str) -> String {
    let whole = ["a=ice-lite", "a=ice-options:", "a=group:"];
    let of_line = ["m=", "a=mid:", "a=ice-ufrag:", "a=ice-pwd:", "a=candidate:", "a=end-of-candidates"];
    let session = answer.lines().take_while(|line| !line.starts_with("m="));
    let session = session.filter(|line| whole.iter().any(|name| line.starts_with(name)));
    let line = sections(answer).next().unwrap_or_default().into_iter();
    let line = line.filter(|line| of_line.iter().any(|name| line.starts_with(name)));
    session.chain(line).flat_map(|line| [line, "\r\n"]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: &str = "v=0\r\n\
        a=group:BUNDLE 0 video1\r\n\
        a=ice-ufrag:Ab+/\r\n\
        a=ice-pwd:0123456789012345678901\r\n\
        m=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
        a=mid:0\r\n\
        a=sendonly\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\n\
        a=bundle-only\r\n\
        a=mid:video1\r\n\
        m=video 0 UDP/TLS/RTP/SAVPF 96\r\n\
        a=mid:2\r\n";

    #[test]
    fn each_m_line_is_read_with_its_direction() {
        let offered = offer(OFFER).expect("good");
        let line = |mid: &str, kind, sends, receives| Line { mid: mid.to_owned(), kind, sends, receives };
        let expected = [
            line("0", MediaKind::Audio, true, false),
            line("video1", MediaKind::Video, true, true),
            line("2", MediaKind::Video, false, false),
        ];
        assert_eq!(offered.lines, expected);
        assert_eq!(offered.credentials.ufrag, "Ab+/");
    }

    #[test]
    fn m8_what_cannot_be_used_is_named() {
        let many = format!("{OFFER}{}", "m=audio 9 x 0\r\na=mid:9\r\n".repeat(LINES_MAX));
        let rows = [
            (String::new(), "an SDP starts with v=0"),
            ("{}".to_owned(), "an SDP starts with v=0"),
            (format!("v=0{}", " ".repeat(SDP_BYTES_MAX)), "at most 61440 bytes"),
            (OFFER.replace("a=mid:video1", "a=x"), "m-line 1: it has no a=mid"),
            (OFFER.replace("m=audio", "m=application"), "m-line 0: its kind is audio or video"),
            (OFFER.replace("a=ice-ufrag:Ab+/", "a=x"), "it has a=ice-pwd and no a=ice-ufrag"),
            (OFFER.replace("a=ice-ufrag:Ab+/", "a=ice-ufrag:a b c"), "a=ice-ufrag has 4 to 256"),
            (OFFER.replace("a=ice-", "a=x-"), "it has no a=ice-ufrag and a=ice-pwd"),
            (many, "at most 128 m-lines"),
        ];
        for (sdp, part) in rows {
            let error = offer(&sdp).expect_err(part);
            assert!(error.contains(part), "{error}");
        }
    }

    #[test]
    fn a_restart_changes_the_credentials_only() {
        let fresh = Credentials { ufrag: "fresh".to_owned(), password: "x".repeat(22) };
        let again = with_credentials(OFFER, &fresh);
        assert_eq!(credentials(&again), Ok(Some(fresh)));
        assert_eq!(with_credentials(&again, &offer(OFFER).expect("good").credentials), OFFER);
        assert_eq!(credentials("a=mid:0\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n"), Ok(None));
    }

    #[test]
    fn an_answer_gives_what_it_says_of_ice() {
        let answer = "v=0\r\ns=-\r\na=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\n\
            a=rtpmap:111 opus/48000/2\r\na=mid:0\r\na=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\n\
            a=candidate:1 1 udp 1 ::1 9 typ host\r\nm=video 9 UDP/TLS/RTP/SAVPF 96\r\na=mid:1\r\n\
            a=ice-ufrag:abcd\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n";
        let expected = "a=ice-lite\r\na=group:BUNDLE 0 1\r\nm=audio 9 UDP/TLS/RTP/SAVPF 111\r\na=mid:0\r\n\
            a=ice-ufrag:abcd\r\na=ice-pwd:efgh\r\na=candidate:1 1 udp 1 ::1 9 typ host\r\n";
        assert_eq!(ice_fragment(answer), expected);
    }
}
