//! The IO shell of the media plane: worker threads with their sockets, and the control thread.
//!
//! [`start`] binds and runs a node; its [`NodeHandle`] opens links over which the frames of
//! `broletto_control` go, in this process, and over WebSocket with mutual TLS if
//! [`SfuConfig::control`] says so.

#![deny(unsafe_code)]

pub mod config;
mod control_server;
#[doc(hidden)]
pub mod egress;
pub mod metrics;
mod node;
mod outbox;
#[allow(unsafe_code)]
#[doc(hidden)]
pub mod sys;
mod tcp;
mod worker_thread;

pub use config::{ConfigError, ControlConfig, SfuConfig};
pub use metrics::Metrics;
pub use node::{Link, NodeHandle, StartError, start};
