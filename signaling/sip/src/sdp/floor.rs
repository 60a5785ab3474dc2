//! The control of the slides' floor (RFC 8856; endpoints mostly speak the older RFC 4583).

use std::net::SocketAddr;

use super::description::{Description, Media};
use super::encryption::{Fingerprint, fingerprints};
use super::leg::Local;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloorTransport {
    Udp,
    Tcp,
    Dtls,
    Tls,
}

/// What was agreed of BFCP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Floor {
    pub line: usize,
    pub transport: FloorTransport,
    pub remote: SocketAddr,
    pub role: FloorRole,
    /// We open the connection.
    pub active: bool,
    pub conference: u32,
    pub user: u16,
    pub floor: u16,
    /// The peer's certificate has one of these, where there is one.
    pub fingerprints: Vec<Fingerprint>,
}

/// What we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FloorRole {
    /// The meeting decides.
    Server,
    /// The endpoint insists on deciding.
    Client,
}

impl FloorTransport {
    pub(crate) fn parse(protocol: &str) -> Option<FloorTransport> {
        match protocol {
            "UDP/BFCP" => Some(FloorTransport::Udp),
            "TCP/BFCP" => Some(FloorTransport::Tcp),
            "UDP/TLS/BFCP" => Some(FloorTransport::Dtls),
            "TCP/TLS/BFCP" | "TCP/DTLS/BFCP" => Some(FloorTransport::Tls),
            _ => None,
        }
    }

    pub(crate) fn is_stream(self) -> bool {
        match self {
            FloorTransport::Tcp | FloorTransport::Tls => true,
            FloorTransport::Udp | FloorTransport::Dtls => false,
        }
    }

    pub(crate) fn is_encrypted(self) -> bool {
        match self {
            FloorTransport::Dtls | FloorTransport::Tls => true,
            FloorTransport::Udp | FloorTransport::Tcp => false,
        }
    }
}

/// Labels of the streams that a floor is for: `a=floorid:2 mstrm:3 4`, or `m-stream:3`.
pub(crate) fn floor_labels(media: &Media) -> Vec<&str> {
    let streams = |value: &'static str, text| -> Vec<&str> {
        let Some((_, labels)): Option<(&str, &str)> = str::split_once(text, value) else { return Vec::new() };
        labels.split_ascii_whitespace().collect()
    };
    let of = |value| [streams("mstrm:", value), streams("m-stream:", value)].concat();
    media.section.values("floorid").flat_map(of).collect()
}

pub(crate) fn floor(description: &Description, line: usize, local: &Local) -> Option<Floor> {
    let media = &description.media[line];
    let own = local.floor?;
    let transport = FloorTransport::parse(&media.protocol).filter(|_| media.port != 0)?;
    let address = description.address(media).filter(|address| !address.is_unspecified())?;
    let fingerprints = fingerprints(description, media);
    if transport.is_encrypted() && (fingerprints.is_empty() || local.fingerprint.is_none()) {
        return None;
    }
    // Without a=floorctrl the offerer is the client (RFC 4583, section 4).
    let control = media.section.value("floorctrl").unwrap_or("c-only").to_ascii_lowercase();
    let says = |wanted| control.split_ascii_whitespace().any(|role| role == wanted);
    let role =
        if says("c-only") || says("c-s") || !says("s-only") { FloorRole::Server } else { FloorRole::Client };
    let number = |name| {
        media.section.value(name).and_then(|value| value.split_ascii_whitespace().next()?.parse().ok())
    };
    // Who decides names conference, user and floor.
    let (conference, user, floor) = match role {
        FloorRole::Server => (own.conference, own.user, own.floor),
        FloorRole::Client => {
            let user = number("userid").and_then(|user| u16::try_from(user).ok())?;
            let floor = number("floorid").and_then(|floor| u16::try_from(floor).ok())?;
            (number("confid")?, user, floor)
        }
    };
    let active = match media.section.value("setup").unwrap_or("actpass") {
        "passive" => true,
        "holdconn" => return None,
        _ => false,
    };
    let remote = SocketAddr::new(address, media.port);
    Some(Floor { line, transport, remote, role, active, conference, user, floor, fingerprints })
}
