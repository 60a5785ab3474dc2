//! What waits for the IO shell.

use std::collections::VecDeque;

use broletto_control::Notification;

use crate::io::{Output, Transmit};
use crate::stats::WorkerStats;

/// Datagrams that may wait. The shell drains the queue after each batch that it gave, so this is
/// a second of a full worker.
const TRANSMITS_MAX: usize = 262_144;

#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Output>,
    transmits: usize,
    pub stats: WorkerStats,
}

impl Outbox {
    pub fn transmit(&mut self, transmit: Transmit) {
        if self.transmits >= TRANSMITS_MAX {
            self.stats.dropped.output_full += 1;
            return;
        }
        self.stats.datagrams_out += 1;
        self.stats.bytes_out += transmit.contents.len() as u64;
        self.transmits += 1;
        self.queue.push_back(Output::Transmit(transmit));
    }

    /// Notifications are as many as there are changes of state, and none is lost.
    pub fn notify(&mut self, notification: Notification) {
        self.queue.push_back(Output::Notification(notification));
    }

    pub fn close_tcp(&mut self, source: std::net::SocketAddr, destination: std::net::SocketAddr) {
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
