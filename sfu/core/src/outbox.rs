//! What waits for the IO shell.

use std::collections::VecDeque;
use std::net::SocketAddr;

use broletto_control::Notification;

use crate::io::{Class, Output, Protocol, Transmit};
use crate::stats::WorkerStats;

/// Transmits that may wait. The shell drains the queue after each batch that it gave, so this is
/// a second of a full worker.
const TRANSMITS_MAX: usize = 262_144;
/// Buffers that are kept to be used again, as many as a full worker hands out at once.
const SPARE_MAX: usize = 1_024;
/// Room of a fresh buffer: a few video packets.
const BUFFER_BYTES: usize = 4 * 1_500;
/// A buffer that grew beyond this is not kept.
const BUFFER_BYTES_MAX: usize = 32 * 1_024;

/// From one of our sockets to a peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Way {
    pub protocol: Protocol,
    pub source: SocketAddr,
    pub destination: SocketAddr,
}

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    transmits: usize,
    spare: Vec<Vec<u8>>,
    pub stats: WorkerStats,
}

impl Outbox {
    /// An empty buffer for datagrams.
    pub fn buffer(&mut self) -> Vec<u8> {
        self.spare.pop().unwrap_or_else(|| Vec::with_capacity(BUFFER_BYTES))
    }

    pub fn reuse(&mut self, mut contents: Vec<u8>) {
        if self.spare.len() < SPARE_MAX && (1..=BUFFER_BYTES_MAX).contains(&contents.capacity()) {
            contents.clear();
            self.spare.push(contents);
        }
    }

    /// Sends one datagram.
    pub fn datagram(&mut self, way: Way, class: Class, contents: Vec<u8>) {
        let segment_bytes = contents.len();
        self.group(way, class, segment_bytes, contents);
    }

    /// Sends datagrams that lie one after the other in `contents`.
    pub fn group(&mut self, way: Way, class: Class, segment_bytes: usize, contents: Vec<u8>) {
        if contents.is_empty() {
            return self.reuse(contents);
        }
        let datagrams = contents.len().div_ceil(segment_bytes) as u64;
        if self.transmits >= TRANSMITS_MAX {
            self.stats.dropped.output_full += datagrams;
            return self.reuse(contents);
        }
        self.stats.datagrams_out += datagrams;
        self.stats.bytes_out += contents.len() as u64;
        self.transmits += 1;
        let Way { protocol, source, destination } = way;
        let transmit = Transmit { protocol, source, destination, class, segment_bytes, contents };
        self.queue.push_back(Output::Transmit(transmit));
    }

    /// Notifications are as many as there are changes of state, and none is lost.
    pub fn notify(&mut self, notification: Notification) {
        self.queue.push_back(Output::Notification(notification));
    }

    pub fn close_tcp(&mut self, source: SocketAddr, destination: SocketAddr) {
        self.queue.push_back(Output::CloseTcp { source, destination });
    }

    pub fn pop(&mut self) -> Option<Output> {
        let output = self.queue.pop_front()?;
        if matches!(output, Output::Transmit(_)) {
            self.transmits -= 1;
        }
        Some(output)
    }
}
