//! From a datagram to its session by one hash look-up, never by a search (M1).
//!
//! A source address is known only after it passed an ICE check: a STUN binding request (RFC 8445
//! section 7.3) whose MESSAGE-INTEGRITY was made with the session's password. Until then all but
//! such requests is dropped, so that nobody outside can feed a session's DTLS or SRTP.

use std::collections::HashMap;
use std::net::SocketAddr;

use crate::io::Protocol;

/// Where a session lives: slots of the worker's routers and of that router's transports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SessionKey {
    pub router: usize,
    pub transport: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Stun,
    Dtls,
    Rtp,
    Rtcp,
}

impl Kind {
    /// By the first bytes (RFC 7983 section 7, RFC 5761 section 4).
    pub fn of(contents: &[u8]) -> Option<Kind> {
        match *contents {
            [0..=3, ..] if contents.len() >= 20 => Some(Kind::Stun),
            [20..=63, ..] => Some(Kind::Dtls),
            [128..=191, kind, ..] if (192..=223).contains(&kind) => Some(Kind::Rtcp),
            [128..=191, _, ..] if contents.len() >= 12 => Some(Kind::Rtp),
            _ => None,
        }
    }
}

#[derive(Debug, Default)]
pub(crate) struct Demux {
    /// Only addresses that passed an ICE check.
    by_address: HashMap<(Protocol, SocketAddr), SessionKey>,
    by_ufrag: HashMap<String, SessionKey>,
}

impl Demux {
    pub fn session_of(&self, protocol: Protocol, source: SocketAddr) -> Option<SessionKey> {
        self.by_address.get(&(protocol, source)).copied()
    }

    pub fn session_of_ufrag(&self, ufrag: &str) -> Option<SessionKey> {
        self.by_ufrag.get(ufrag).copied()
    }

    pub fn insert_address(&mut self, protocol: Protocol, source: SocketAddr, session: SessionKey) {
        self.by_address.insert((protocol, source), session);
    }

    pub fn remove_address(&mut self, protocol: Protocol, source: SocketAddr, session: SessionKey) {
        if self.session_of(protocol, source) == Some(session) {
            self.by_address.remove(&(protocol, source));
        }
    }

    pub fn insert_ufrag(&mut self, ufrag: String, session: SessionKey) {
        self.by_ufrag.insert(ufrag, session);
    }

    pub fn remove_ufrag(&mut self, ufrag: &str) {
        self.by_ufrag.remove(ufrag);
    }

    #[cfg(test)]
    fn addresses(&self) -> usize {
        self.by_address.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn datagrams_are_told_apart_by_their_first_bytes() {
        let of = |start: &[u8], length: usize| {
            let mut contents = start.to_vec();
            contents.resize(length, 0);
            Kind::of(&contents)
        };
        assert_eq!(of(&[0, 1], 20), Some(Kind::Stun));
        assert_eq!(of(&[0, 1], 19), None);
        assert_eq!(of(&[22], 13), Some(Kind::Dtls));
        assert_eq!(of(&[64], 100), None);
        assert_eq!(of(&[128, 96], 12), Some(Kind::Rtp));
        assert_eq!(of(&[128, 96], 11), None);
        assert_eq!(of(&[128, 200], 8), Some(Kind::Rtcp));
        assert_eq!(of(&[192, 96], 100), None);
        assert_eq!(Kind::of(&[]), None);
    }

    #[test]
    fn an_address_is_removed_by_its_owner_only() {
        let mut demux = Demux::default();
        let source = "192.0.2.1:4000".parse().expect("an address");
        let (first, second) =
            (SessionKey { router: 0, transport: 0 }, SessionKey { router: 0, transport: 1 });
        demux.insert_address(Protocol::Udp, source, first);
        demux.insert_address(Protocol::Udp, source, second);
        demux.remove_address(Protocol::Udp, source, first);
        assert_eq!(demux.session_of(Protocol::Udp, source), Some(second));
        assert_eq!(demux.session_of(Protocol::Tcp, source), None);
        demux.remove_address(Protocol::Udp, source, second);
        assert_eq!(demux.addresses(), 0);
    }
}
