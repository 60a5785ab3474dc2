//! The media plane, sans IO.
//!
//! One contract: give the [`Worker`] bytes, requests and the time (`handle_*(…, now)`), then drain
//! [`Worker::poll_output`] until it is empty, send what it gave, and call again at
//! [`Worker::poll_timeout`] at the latest. Nothing in here knows a socket, a clock or a thread.

pub mod allocator;
pub mod codec;
pub mod io;
pub mod key_frame;
pub mod node;
pub mod packet;
pub mod rewriter;
pub mod selector;
pub mod speaker;
pub mod ufrag;
mod worker;

pub use worker::Worker;
