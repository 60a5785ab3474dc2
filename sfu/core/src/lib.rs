//! The media plane, sans IO.
//!
//! One contract: give the [`Worker`] bytes, requests and the time (`handle_*(…, now)`), then drain
//! [`Worker::poll_output`] until it is empty, send what it gave, and call again at
//! [`Worker::poll_timeout`] at the latest. Nothing in here knows a socket, a clock or a thread.

// A test may start at any time, because only differences count.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod allocator;
mod buffer;
pub mod capture;
pub mod codec;
mod consumer;
pub mod demand;
mod demux;
pub mod dwell;
mod egress;
mod extension;
pub mod io;
pub mod key_frame;
pub mod node;
mod outbox;
pub mod packet;
mod producer;
pub mod red;
pub mod rewriter;
mod router;
pub mod selector;
mod slab;
pub mod speaker;
pub mod stats;
pub mod timeline;
mod transport;
pub mod ufrag;
mod worker;

pub use worker::Worker;

#[cfg(test)]
extern crate self as broletto_sfu_core;
#[cfg(test)]
#[path = "../tests/common/mod.rs"]
mod common;
#[cfg(test)]
#[path = "../tests/inner/m6.rs"]
mod m6;
