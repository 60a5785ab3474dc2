//! The TCP connections of one worker.

use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::time::Instant;

use broletto_sfu_core::io::{LocalAddress, Protocol, Received, Transmit};

use crate::metrics::WorkerMetrics;
use crate::sys::poll::Poller;
use crate::tcp::{Connection, Handover};

/// Far above the tokens of sockets.
pub(super) const TOKEN_FIRST: u64 = 1 << 32;

/// A packet out of a connection.
pub(super) struct Packet {
    pub(super) source: SocketAddr,
    pub(super) destination: SocketAddr,
    pub(super) contents: Vec<u8>,
}

impl Packet {
    pub(super) fn as_received(&self) -> Received<'_> {
        let Packet { source, destination, ref contents } = *self;
        Received { protocol: Protocol::Tcp, source, destination, contents }
    }
}

/// A connection is known by the peer's address and ours, as its packets are.
type Key = (SocketAddr, SocketAddr);

struct Entry {
    connection: Connection,
    key: Key,
    /// Whether the poller tells when there is room to write.
    watched: bool,
}

pub(super) struct Connections {
    /// What our TCP sockets are bound to.
    destinations: Vec<SocketAddr>,
    entries: HashMap<u64, Entry>,
    tokens: HashMap<Key, u64>,
    next_token: u64,
    /// Those that have something to write, or may write again.
    dirty: BTreeSet<u64>,
}

impl Connections {
    pub(super) fn new(addresses: &[LocalAddress]) -> Self {
        let of_tcp = addresses.iter().filter(|address| address.protocol == Protocol::Tcp);
        Connections {
            destinations: of_tcp.map(|address| address.bound).collect(),
            entries: HashMap::new(),
            tokens: HashMap::new(),
            next_token: TOKEN_FIRST,
            dirty: BTreeSet::new(),
        }
    }

    /// Takes a connection and gives its first packet. It may have been accepted on another worker's
    /// port: its packets count as come in on ours of the same address.
    pub(super) fn open(
        &mut self,
        handover: Handover,
        now: Instant,
        poller: &Poller,
        metrics: &WorkerMetrics,
    ) -> Option<(u64, Packet)> {
        let source = handover.source;
        let local = handover.stream.local_addr().ok()?;
        let is_same_ip = |bound: &&SocketAddr| bound.ip() == local.ip();
        let is_wildcard =
            |bound: &&SocketAddr| bound.ip().is_unspecified() && bound.is_ipv4() == local.is_ipv4();
        let destinations = &self.destinations;
        let destination = destinations
            .iter()
            .find(is_same_ip)
            .or_else(|| destinations.iter().find(is_wildcard))
            .copied()?;
        let key = (source, destination);
        if self.tokens.contains_key(&key) {
            return None;
        }
        let (connection, contents) = Connection::new(handover, now).ok()?;
        let token = self.next_token;
        poller.add(&connection, token).ok()?;
        self.next_token += 1;
        self.entries.insert(token, Entry { connection, key, watched: false });
        self.tokens.insert(key, token);
        metrics.tcp_connections.set(self.entries.len() as i64);
        metrics.tcp_packets_received.inc();
        metrics.tcp_bytes_received.inc_by(contents.len() as u64);
        Some((token, Packet { source, destination, contents }))
    }

    pub(super) fn read(
        &mut self,
        token: u64,
        now: Instant,
        poller: &Poller,
        metrics: &WorkerMetrics,
    ) -> Vec<Packet> {
        let mut packets = Vec::new();
        let Some(entry) = self.entries.get_mut(&token) else { return packets };
        let (source, destination) = entry.key;
        let result = entry.connection.read(now, |contents| {
            metrics.tcp_packets_received.inc();
            metrics.tcp_bytes_received.inc_by(contents.len() as u64);
            packets.push(Packet { source, destination, contents: contents.to_vec() });
        });
        if result.is_err() {
            self.remove(token, poller, metrics);
        }
        packets
    }

    /// Queues a packet; [`Connections::flush`] writes it.
    pub(super) fn send(&mut self, transmit: &Transmit, metrics: &WorkerMetrics) {
        let key = (transmit.destination, transmit.source);
        let Some(token) = self.tokens.get(&key) else { return metrics.dropped_no_socket.inc() };
        let Some(entry) = self.entries.get_mut(token) else { return };
        for contents in transmit.datagrams() {
            entry.connection.send(transmit.class, contents.to_vec(), metrics);
        }
        self.dirty.insert(*token);
    }

    pub(super) fn mark_writable(&mut self, token: u64) {
        self.dirty.insert(token);
    }

    pub(super) fn flush(&mut self, now: Instant, poller: &Poller, metrics: &WorkerMetrics) {
        for token in std::mem::take(&mut self.dirty) {
            let Some(entry) = self.entries.get_mut(&token) else { continue };
            let Ok(blocked) = entry.connection.flush(now, metrics) else {
                self.remove(token, poller, metrics);
                continue;
            };
            if blocked != entry.watched && poller.modify(&entry.connection, token, blocked).is_ok() {
                entry.watched = blocked;
            }
        }
    }

    pub(super) fn close(&mut self, key: Key, now: Instant, poller: &Poller, metrics: &WorkerMetrics) {
        if let Some(token) = self.tokens.get(&key).copied() {
            // What was said last (an alert, say) still goes out if there is room.
            self.flush(now, poller, metrics);
            self.remove(token, poller, metrics);
        }
    }

    /// Closes the connections that are of no use.
    pub(super) fn sweep(&mut self, now: Instant, poller: &Poller, metrics: &WorkerMetrics) {
        let dead = self.entries.iter().filter(|(_, entry)| entry.connection.is_dead(now));
        for token in dead.map(|(token, _)| *token).collect::<Vec<_>>() {
            self.remove(token, poller, metrics);
        }
    }

    fn remove(&mut self, token: u64, poller: &Poller, metrics: &WorkerMetrics) {
        let Some(entry) = self.entries.remove(&token) else { return };
        let _ = poller.remove(&entry.connection);
        self.tokens.remove(&entry.key);
        self.dirty.remove(&token);
        metrics.tcp_connections.set(self.entries.len() as i64);
    }
}
