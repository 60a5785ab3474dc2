//! What crosses the border between the media plane and its IO shell.

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use broletto_control::Notification;

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Index of this worker on its node. Its ICE ufrags start with it, so that a first packet can
    /// be given to the right worker.
    pub index: u16,
    /// Addresses that this worker's sockets are bound to, in the order in which they are announced.
    pub addresses: Vec<LocalAddress>,
    pub limits: Limits,
    /// Seeds everything that must be hard to guess (ICE credentials, SSRCs), so that tests repeat.
    pub seed: [u8; 32],
    /// What the clock on the wall shows when the worker is made; sender reports tell it.
    pub wall_time: SystemTime,
}

/// One ICE host candidate of a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LocalAddress {
    pub protocol: Protocol,
    /// What the socket is bound to; the `destination` of packets that come in.
    pub bound: SocketAddr,
    /// What is written into candidates: differs from `bound` behind a 1:1 NAT or a test relay.
    pub announced: SocketAddr,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Protocol {
    Udp,
    /// Passive ICE-TCP (RFC 6544), framed by RFC 4571. The shell frames and unframes.
    Tcp,
}

/// Bounds on everything that a client can multiply (M8).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub routers_max: usize,
    pub transports_per_router_max: usize,
    /// Producers of one transport.
    pub producers_max: usize,
    /// Consumers of one transport.
    pub consumers_max: usize,
    /// Encodings of one producer.
    pub encodings_max: usize,
    pub sdp_bytes_max: usize,
    pub remote_candidates_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            routers_max: 4_096,
            transports_per_router_max: 1_024,
            producers_max: 4,
            consumers_max: 64,
            encodings_max: 3,
            sdp_bytes_max: 60 * 1024,
            remote_candidates_max: 16,
        }
    }
}

/// A datagram that came in. `contents` may be anything at all.
#[derive(Debug, Clone, Copy)]
pub struct Received<'a> {
    pub protocol: Protocol,
    pub source: SocketAddr,
    /// [`LocalAddress::bound`] of the socket it came in on.
    pub destination: SocketAddr,
    pub contents: &'a [u8],
}

/// Datagrams to send, all on one way: one after the other in `contents`, each of `segment_bytes` but
/// the last, which may be shorter. The kernel can split them (generic segmentation offload).
#[derive(Debug)]
pub struct Transmit {
    pub protocol: Protocol,
    /// [`LocalAddress::bound`] of the socket to send from.
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub class: Class,
    /// Not 0.
    pub segment_bytes: usize,
    /// To be given back by [`crate::Worker::reuse`] when it was sent.
    pub contents: Vec<u8>,
}

impl Transmit {
    pub fn datagrams(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        self.contents.chunks(self.segment_bytes.max(1))
    }
}

/// Traffic class of a datagram; the shell turns it into a DSCP (RFC 8837).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// STUN, DTLS, RTCP.
    Control,
    /// Expedited forwarding.
    Audio,
    /// AF41.
    Video,
}

#[derive(Debug)]
pub enum Output {
    Transmit(Transmit),
    Notification(Notification),
    /// A TCP connection that is no longer wanted.
    CloseTcp {
        source: SocketAddr,
        destination: SocketAddr,
    },
}

/// Written as is into candidates; the unspecified address is not announceable.
pub fn is_announceable(address: IpAddr) -> bool {
    !address.is_unspecified() && !address.is_multicast()
}
