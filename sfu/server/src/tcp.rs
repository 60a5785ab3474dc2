//! ICE over TCP: we are the passive side (RFC 6544), and packets are framed by RFC 4571.
//!
//! A connection is accepted on any port of the node. Its first frame must come within 5 s and be a
//! STUN message whose ufrag names a worker; then the socket moves to that worker's thread.

mod admission;
mod connection;
mod framing;
mod listener;
mod write_queue;

pub(crate) use admission::{Admission, AdmissionLimits, Permit};
pub(crate) use connection::{Connection, Handover};
pub(crate) use listener::Listener;
