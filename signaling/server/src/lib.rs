//! The `broletto` program: pages, API, sessions, store, and the way to the media plane.
//!
//! [`start`] gives a [`Running`] program, which [`Running::stop`] ends cleanly. All of it is a
//! shell around the conference plane ([`conference_task`]) and the media plane.

mod addresses;
pub mod certs;
pub mod cli;
mod conference_task;
pub mod config;
mod limits;
mod listener;
mod logging;
mod metrics;
mod node_link;
mod ops;
mod origin;
mod program;
mod proxies;
mod rest;
#[cfg(test)]
mod scratch;
mod secrets;
mod session;
mod store;
mod tokens;
mod web;
mod whip;

pub use logging::init as init_log;
pub use program::{App, Role, Running, sign_token, start};

/// Both crypto libraries may be linked in, so one must be named before TLS is used.
pub fn install_crypto() {
    // An error means that it was done before.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
}
