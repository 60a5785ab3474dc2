//! Where a peer is: the addresses that passed an ICE check, the path that it chose, and whether it
//! still consents to be sent to.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use str0m::Candidate;
use str0m::net::{self, TcpType};

use crate::io::{LocalAddress, Protocol, Received};

/// Without consent for so long, nothing is sent any more (M4). The RFC allows 30 s.
const CONSENT_LASTS: Duration = Duration::from_secs(10);
/// Addresses that passed an ICE check, at one time.
const ADDRESSES_MAX: usize = 16;
/// An address that was not checked for so long makes room for another.
const REPLACED_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, Copy)]
struct Address {
    protocol: Protocol,
    remote: SocketAddr,
    /// When it last passed an ICE check.
    checked_at: Instant,
}

/// From one of our sockets to the peer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Path {
    pub protocol: Protocol,
    pub bound: SocketAddr,
    pub remote: SocketAddr,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    checked: Vec<Address>,
    /// The path that the peer nominated last.
    selected: Option<Path>,
}

impl Paths {
    /// Addresses that passed an ICE check.
    pub fn addresses(&self) -> impl Iterator<Item = (Protocol, SocketAddr)> {
        self.checked.iter().map(|address| (address.protocol, address.remote))
    }

    /// The chosen path; the first that str0m would take, as long as there is none.
    pub fn select(&mut self, first: Path) -> Path {
        *self.selected.get_or_insert(first)
    }

    /// The chosen path. None: nothing was sent yet.
    pub fn selected(&self) -> Option<Path> {
        self.selected
    }

    /// Notes that an address passed an ICE check that came in on `bound`. Returns the address that
    /// had to go for it, or an error if there is no room for it.
    pub fn note_check(
        &mut self,
        received: &Received<'_>,
        nominates: bool,
        now: Instant,
    ) -> Result<Option<(Protocol, SocketAddr)>, ()> {
        let (protocol, remote) = (received.protocol, received.source);
        let known = |address: &&mut Address| address.protocol == protocol && address.remote == remote;
        if let Some(address) = self.checked.iter_mut().find(known) {
            address.checked_at = now;
            self.nominate(received, nominates);
            return Ok(None);
        }
        let fresh = Address { protocol, remote, checked_at: now };
        if self.checked.len() < ADDRESSES_MAX {
            self.checked.push(fresh);
            self.nominate(received, nominates);
            return Ok(None);
        }
        let oldest = self.checked.iter_mut().min_by_key(|address| address.checked_at).ok_or(())?;
        if now.saturating_duration_since(oldest.checked_at) < REPLACED_AFTER {
            return Err(());
        }
        let gone = std::mem::replace(oldest, fresh);
        self.nominate(received, nominates);
        Ok(Some((gone.protocol, gone.remote)))
    }

    /// The browser tells with each check whether this is the path that it chose. str0m stays with
    /// the first of two paths of one priority for 20 s, which is what a NAT makes that forgets the
    /// port, so the last word is taken here.
    fn nominate(&mut self, received: &Received<'_>, nominates: bool) {
        if nominates {
            self.selected = Some(Path {
                protocol: received.protocol,
                bound: received.destination,
                remote: received.source,
            });
        }
    }

    /// Whether an address passed an ICE check lately enough to be the peer's for sure.
    pub fn owns(&self, protocol: Protocol, remote: SocketAddr, now: Instant) -> bool {
        self.checked.iter().any(|address| {
            address.protocol == protocol
                && address.remote == remote
                && now.saturating_duration_since(address.checked_at) < CONSENT_LASTS
        })
    }

    /// Whether the peer agreed to be sent to (RFC 7675): an ICE check came from where we send to.
    pub fn has_consent(&self, now: Instant) -> bool {
        self.selected.is_none_or(|path| self.owns(path.protocol, path.remote, now))
    }
}

/// str0m knows the announced addresses only, so that its candidates show them.
pub(super) fn announced(addresses: &[LocalAddress], received: &Received<'_>) -> Option<SocketAddr> {
    let matches = |address: &&LocalAddress| {
        address.protocol == received.protocol && address.bound == received.destination
    };
    addresses.iter().find(matches).map(|address| address.announced)
}

pub(super) fn bound(
    addresses: &[LocalAddress],
    protocol: Protocol,
    announced: SocketAddr,
) -> Option<SocketAddr> {
    let matches = |address: &&LocalAddress| address.protocol == protocol && address.announced == announced;
    addresses.iter().find(matches).map(|address| address.bound)
}

pub(super) fn candidate(address: &LocalAddress) -> Option<Candidate> {
    match address.protocol {
        Protocol::Udp => Candidate::builder().udp().host(address.announced).build().ok(),
        Protocol::Tcp => {
            Candidate::builder().tcp().host(address.announced).tcptype(TcpType::Passive).build().ok()
        }
    }
}

pub(super) fn wire_protocol(protocol: Protocol) -> net::Protocol {
    match protocol {
        Protocol::Udp => net::Protocol::Udp,
        Protocol::Tcp => net::Protocol::Tcp,
    }
}
