//! Logs go to standard error. What they say carries no name, address or token (W2).

use anyhow::Context;
use tracing_subscriber::EnvFilter;

use crate::config::{Log, LogFormat};

/// Libraries that would log what passes through them, such as the head of a request, say no more
/// than this.
const LIBRARIES: [&str; 10] = [
    "hyper=info",
    "hyper_util=info",
    "tungstenite=info",
    "tokio_tungstenite=info",
    "sqlx=warn",
    "h2=info",
    "rustls=warn",
    "axum=info",
    // They would write addresses and ICE credentials.
    "is=info",
    "str0m=info",
];

pub fn init(config: &Log) -> anyhow::Result<()> {
    let mut filter = config.filter.parse::<EnvFilter>().context("log.filter")?;
    for library in LIBRARIES {
        filter = filter.add_directive(library.parse().expect("a directive"));
    }
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    let outcome = match config.format {
        LogFormat::Text => log.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).try_init(),
        LogFormat::Json => log.json().try_init(),
    };
    outcome.map_err(|error| anyhow::anyhow!("the log cannot be started: {error}"))
}
