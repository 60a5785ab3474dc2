//! The lines of an SDP, taken apart (RFC 8866, section 5).

use std::net::IpAddr;

use thiserror::Error;

pub(crate) const SDP_BYTES_MAX: usize = 48 * 1024;
const LINES_MAX: usize = 2_000;
/// Endpoints with twins of audio, camera, slides, BFCP and camera control have ten.
const MEDIA_MAX: usize = 32;
const FORMATS_MAX: usize = 64;

#[derive(Debug, Clone, Copy, Error, PartialEq, Eq)]
pub enum SdpError {
    #[error("an SDP of more than {SDP_BYTES_MAX} bytes or {LINES_MAX} lines")]
    TooLong,
    #[error("an SDP that does not begin with v=0")]
    Version,
    #[error("an SDP with more than {MEDIA_MAX} m-lines")]
    TooMany,
    #[error("an m-line without kind, port, protocol and formats")]
    Media,
    #[error("an answer whose m-lines are not those of the offer")]
    OtherLines,
}

#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Description {
    pub(crate) session: Section,
    pub(crate) media: Vec<Media>,
}

/// What stands before the first m-line, or below one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Section {
    pub(crate) connection: Option<IpAddr>,
    /// In bits a second, each if it is there.
    pub(crate) tias_bps: Option<u64>,
    pub(crate) as_bps: Option<u64>,
    pub(crate) ct_bps: Option<u64>,
    attributes: Vec<(String, Option<String>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Media {
    pub(crate) kind: String,
    pub(crate) port: u16,
    /// In upper case.
    pub(crate) protocol: String,
    pub(crate) formats: Vec<String>,
    pub(crate) section: Section,
}

impl Description {
    /// Tolerant: lines that are unknown, out of order or without sense are passed over, whatever ends
    /// them. What remains has to make sense where it is used.
    pub fn parse(text: &str) -> Result<Description, SdpError> {
        if text.len() > SDP_BYTES_MAX || text.lines().count() > LINES_MAX {
            return Err(SdpError::TooLong);
        }
        if text.lines().next().map(str::trim_end) != Some("v=0") {
            return Err(SdpError::Version);
        }
        let mut description = Description::default();
        for line in text.lines() {
            let Some((kind, value)) = line.trim().split_once('=') else { continue };
            let value = value.trim();
            if kind == "m" {
                if description.media.len() == MEDIA_MAX {
                    return Err(SdpError::TooMany);
                }
                description.media.push(media(value).ok_or(SdpError::Media)?);
                continue;
            }
            let section =
                description.media.last_mut().map_or(&mut description.session, |media| &mut media.section);
            match kind {
                "c" => section.connection = section.connection.or(connection(value)),
                "b" => section.bandwidth(value),
                "a" => section.attributes.push(match value.split_once(':') {
                    Some((name, value)) => (name.trim().to_ascii_lowercase(), Some(value.trim().to_owned())),
                    None => (value.to_ascii_lowercase(), None),
                }),
                _ => {}
            }
        }
        Ok(description)
    }

    /// Where the first line that is alive wants its media: whether the peer speaks IPv4 or IPv6.
    pub fn media_address(&self) -> Option<IpAddr> {
        self.media.iter().filter(|media| media.port != 0).find_map(|media| self.address(media))
    }

    /// An attribute of the line, or else of the session.
    pub(crate) fn inherited<'a>(&'a self, media: &'a Media, name: &'a str) -> Option<&'a str> {
        media.section.value(name).or_else(|| self.session.value(name))
    }

    pub(crate) fn address(&self, media: &Media) -> Option<IpAddr> {
        media.section.connection.or(self.session.connection)
    }
}

impl Section {
    pub(crate) fn has(&self, name: &str) -> bool {
        self.attributes.iter().any(|(other, _)| other == name)
    }

    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.attributes.iter().find(|(other, _)| other == name)?.1.as_deref()
    }

    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.attributes
            .iter()
            .filter(move |(other, _)| other == name)
            .filter_map(|(_, value)| value.as_deref())
    }

    fn bandwidth(&mut self, value: &str) {
        let Some((modifier, amount)) = value.split_once(':') else { return };
        let Ok(amount) = amount.trim().parse::<u64>() else { return };
        match modifier {
            // RFC 3890, section 6.2.
            "TIAS" => self.tias_bps = self.tias_bps.or(Some(amount)),
            "AS" => self.as_bps = self.as_bps.or(Some(amount.saturating_mul(1_000))),
            "CT" => self.ct_bps = self.ct_bps.or(Some(amount.saturating_mul(1_000))),
            _ => {}
        }
    }

    /// The narrowest that is said. Zero says nothing: some endpoints send it for "no limit".
    pub(crate) fn bandwidth_bps(&self) -> Option<u64> {
        [self.tias_bps, self.as_bps, self.ct_bps].into_iter().flatten().filter(|bps| *bps > 0).min()
    }
}

fn media(value: &str) -> Option<Media> {
    let mut words = value.split_ascii_whitespace();
    let kind = words.next()?.to_ascii_lowercase();
    // The number of ports behind a slash is for layered multicast.
    let port = words.next()?.split('/').next()?.parse().ok()?;
    let protocol = words.next()?.to_ascii_uppercase();
    let formats: Vec<String> = words.take(FORMATS_MAX).map(str::to_owned).collect();
    (!formats.is_empty()).then_some(())?;
    Some(Media { kind, port, protocol, formats, section: Section::default() })
}

/// `IN IP4 192.0.2.1`. Names are not looked up.
fn connection(value: &str) -> Option<IpAddr> {
    let mut words = value.split_ascii_whitespace();
    let (net, _, address) = (words.next()?, words.next()?, words.next()?);
    net.eq_ignore_ascii_case("IN").then_some(())?;
    address.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_without_sense_are_passed_over() {
        let text = "v=0\no=x\n\nrubbish\nz\nq=1\nc=IN IP4 host.example.org\nc=IN IP4 192.0.2.1/127\nb=AS:x\nb=CT:384\n\
            m=audio 49170/2 RTP/AVP 0 8\na=Sendonly\na=label: 1 \nb=TIAS:64000\nb=AS:80\n";
        let description = Description::parse(text).unwrap();
        assert_eq!(description.session.connection, Some("192.0.2.1".parse().unwrap()));
        assert_eq!(description.session.bandwidth_bps(), Some(384_000));
        let media = &description.media[0];
        assert_eq!((media.port, media.formats.len()), (49170, 2));
        assert!(media.section.has("sendonly"));
        assert_eq!(media.section.value("label"), Some("1"));
        assert_eq!(media.section.bandwidth_bps(), Some(64_000));
    }

    #[test]
    fn what_cannot_be_understood_is_an_error() {
        let parse = |text: &str| Description::parse(text).unwrap_err();
        assert_eq!(parse(""), SdpError::Version);
        assert_eq!(parse("v=1\r\n"), SdpError::Version);
        assert_eq!(parse("v=0\r\nm=audio x RTP/AVP 0\r\n"), SdpError::Media);
        assert_eq!(parse("v=0\r\nm=audio 70000 RTP/AVP 0\r\n"), SdpError::Media);
        assert_eq!(parse("v=0\r\nm=audio 1 RTP/AVP\r\n"), SdpError::Media);
        assert_eq!(parse(&format!("v=0\r\n{}", "m=audio 1 RTP/AVP 0\r\n".repeat(33))), SdpError::TooMany);
        assert_eq!(parse(&format!("v=0\r\n{}", "a=b\r\n".repeat(3_000))), SdpError::TooLong);
    }
}
