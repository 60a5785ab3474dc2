//! Who a request came from where reverse proxies stand in front.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::middleware::Next;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use crate::listener::Peer;

/// Each proxy adds whom it heard; no RFC, but every proxy knows it.
const FORWARDED_FOR: &str = "x-forwarded-for";

/// One address, or a network in CIDR notation (RFC 4632, section 3.1; RFC 4291, section 2.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network {
    address: IpAddr,
    prefix_bits: u32,
}

impl Network {
    fn contains(self, ip: IpAddr) -> bool {
        match (self.address, ip.to_canonical()) {
            (IpAddr::V4(own), IpAddr::V4(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V6(own), IpAddr::V6(ip)) => {
                (own.to_bits() ^ ip.to_bits()).leading_zeros() >= self.prefix_bits
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Network {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wanted = || format!("expected an address, or a network such as 10.0.0.0/8, not {text:?}");
        let (address, prefix) = match text.split_once('/') {
            Some((address, prefix)) => (address, Some(prefix)),
            None => (text, None),
        };
        let address: IpAddr = address.parse().map_err(|_| wanted())?;
        let bits = bits(address);
        let prefix_bits = prefix.map_or(Ok(bits), |prefix| prefix.parse().map_err(|_| wanted()))?;
        // Peers are known by their canonical address, so a mapped one would match none of them.
        if prefix_bits > bits || address != address.to_canonical() {
            return Err(wanted());
        }
        Ok(Network { address, prefix_bits })
    }
}

impl TryFrom<String> for Network {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_bits)
    }
}

fn bits(address: IpAddr) -> u32 {
    match address {
        IpAddr::V4(_) => u32::BITS,
        IpAddr::V6(_) => u128::BITS,
    }
}

/// Puts the source in the place of a trusted proxy's address, for every limit that counts by source.
pub async fn see_through(
    State(trusted): State<Arc<[Network]>>,
    mut request: Request,
    next: Next,
) -> Response {
    if let Some(peer) = request.extensions().get::<Peer>().copied() {
        let ip = source(peer.ip, request.headers(), &trusted);
        request.extensions_mut().insert(Peer { ip, ..peer });
    }
    next.run(request).await
}

/// The last address that no trusted proxy has. What stands before it, anybody may have made up, so
/// it is not even read. Where there is no such address, the peer itself.
fn source(peer: IpAddr, headers: &HeaderMap, trusted: &[Network]) -> IpAddr {
    let is_trusted = |ip: &IpAddr| trusted.iter().any(|network| network.contains(*ip));
    if !is_trusted(&peer) {
        return peer;
    }
    // A list may be spread over several lines (RFC 9110, section 5.3).
    for line in headers.get_all(FORWARDED_FOR).iter().rev() {
        let Ok(line) = line.to_str() else { return peer };
        for hop in line.rsplit(',') {
            match hop.trim().parse::<IpAddr>() {
                Ok(ip) if is_trusted(&ip) => {}
                Ok(ip) => return ip.to_canonical(),
                Err(_) => return peer,
            }
        }
    }
    peer
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    fn found(peer: &str, lines: &[&str]) -> IpAddr {
        let trusted = ["192.0.2.1", "10.0.0.0/8", "2001:db8:1::/48"].map(|text| text.parse().expect(text));
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(FORWARDED_FOR, HeaderValue::from_bytes(line.as_bytes()).expect("a value"));
        }
        source(ip(peer), &headers, &trusted)
    }

    #[test]
    fn the_source_is_the_last_address_that_is_not_a_trusted_proxy() {
        for (peer, lines, source) in [
            ("192.0.2.1", &["203.0.113.7"][..], "203.0.113.7"),
            ("192.0.2.1", &["198.51.100.9, 203.0.113.7, 10.1.2.3"], "203.0.113.7"),
            ("192.0.2.1", &["198.51.100.9, 203.0.113.7", "10.1.2.3,10.9.9.9"], "203.0.113.7"),
            ("2001:db8:1::5", &["2001:db8:2::7, 2001:db8:1:f::1"], "2001:db8:2::7"),
            ("10.0.0.1", &["::ffff:203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["nonsense, 203.0.113.7"], "203.0.113.7"),
            ("10.0.0.1", &["10.0.0.2"], "10.0.0.1"),
            ("10.0.0.1", &[], "10.0.0.1"),
        ] {
            assert_eq!(found(peer, lines), ip(source), "{peer} {lines:?}");
        }
    }

    #[test]
    fn nobody_else_can_make_up_a_source() {
        for peer in ["203.0.113.7", "192.0.2.2", "11.0.0.1", "2001:db8:2::1"] {
            assert_eq!(found(peer, &["198.51.100.9"]), ip(peer));
        }
    }

    #[test]
    fn a_malformed_list_is_not_followed() {
        for line in ["", "unknown", "203.0.113.7,", "203.0.113.7, 999.1.1.1", "203.0.113.7 198.51.100.9", "è"]
        {
            assert_eq!(found("10.0.0.1", &[line]), ip("10.0.0.1"), "{line:?}");
        }
    }

    #[test]
    fn a_network_is_an_address_and_perhaps_a_prefix() {
        for text in ["", "10.0.0.0/33", "::/129", "10.0.0/8", "10.0.0.0/-1", "::ffff:10.0.0.1", "proxy"] {
            assert!(text.parse::<Network>().is_err(), "{text}");
        }
        for (network, inside, outside) in [
            ("10.1.2.3/8", "10.255.0.1", "11.0.0.1"),
            ("192.0.2.1", "192.0.2.1", "192.0.2.0"),
            ("192.0.2.0/31", "192.0.2.1", "192.0.2.2"),
            ("2001:db8::/33", "2001:db8:7fff::1", "2001:db8:8000::1"),
            ("0.0.0.0/0", "203.0.113.7", "2001:db8::1"),
        ] {
            let network: Network = network.parse().expect(network);
            assert!(network.contains(ip(inside)) && !network.contains(ip(outside)), "{network}");
            assert_eq!(network.to_string().parse(), Ok(network));
        }
    }
}
