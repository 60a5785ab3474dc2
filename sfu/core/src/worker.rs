//! A worker: all the routers that live on one thread, and the way from a datagram to its session.

use std::time::Instant;

use broletto_control::{ControlError, Request, Response};

use crate::io::{Output, Received, WorkerConfig};

/// The routers of one thread. Nothing in it is shared with another worker.
pub struct Worker {}

impl Worker {
    pub fn new(_config: WorkerConfig, _now: Instant) -> Self {
        Worker {}
    }

    /// Takes every request but `Hello` and `Drain`, which are the node's. A `Sync` names the routers
    /// of this worker only, and what it does not name is closed; `List` answers with this worker's.
    pub fn handle_request(&mut self, _request: Request, _now: Instant) -> Result<Response, ControlError> {
        Err(ControlError::Internal { message: "not built yet".into() })
    }

    /// Takes anything that came in from the network. What is malformed, forged or from a source
    /// that passed no ICE check is dropped and counted.
    pub fn handle_received(&mut self, _received: Received<'_>, _now: Instant) {}

    /// To be called at [`Worker::poll_timeout`] at the latest; more often does no harm.
    pub fn handle_timeout(&mut self, _now: Instant) {}

    /// What is to be done, until None.
    pub fn poll_output(&mut self) -> Option<Output> {
        None
    }

    /// When [`Worker::handle_timeout`] is due.
    pub fn poll_timeout(&mut self) -> Option<Instant> {
        None
    }
}
