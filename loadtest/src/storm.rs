//! `storm`: thousands arrive, at random, and each makes a full join: the page over HTTP, the
//! WebSocket, ICE and DTLS (R13). With `--idle`: thousands are connected, lose the server at the same
//! moment, and come back (R14).

mod arrival;
mod idle;
mod join;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;

use crate::client::create_room;
use crate::progress::Progress;
use crate::server::{Capacity, Server, ServerArguments, raise_open_files};

#[derive(Debug, Clone, Args)]
pub struct StormArguments {
    #[command(flatten)]
    pub server: ServerArguments,
    /// Idle WebSockets that lose the server and come back, instead of full joins
    #[arg(long)]
    pub idle: bool,
    /// Participants in all
    #[arg(long, default_value_t = 9_000, value_parser = clap::value_parser!(u32).range(1..=60_000))]
    pub count: u32,
    /// Arrivals a second [default: 30, and 300 with --idle]
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// About so many are there at a time: each leaves when it has stayed its share of that
    #[arg(long, default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..))]
    pub present: u32,
    /// Participants of a room
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    pub room_size: u32,
    /// Exit 1 if the 95th percentile of the time to join is above this
    #[arg(long, default_value_t = 3_000)]
    pub p95_ms_max: u64,
    /// With --idle: exit 1 if a participant costs the server more memory than this
    #[arg(long, default_value_t = 65_536)]
    pub bytes_max: u64,
    /// With --idle: exit 1 if somebody is not back within this
    #[arg(long, default_value_t = 60)]
    pub back_s_max: u64,
    /// Media threads of the server that is started here; 0: one for each processor
    #[arg(long, default_value_t = 0)]
    pub workers: usize,
    /// The same seed makes the same arrivals
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Directory for result.json, result.csv, series.csv and report.html
    #[arg(long)]
    pub out: Option<PathBuf>,
}

impl StormArguments {
    fn rate(&self) -> f64 {
        self.rate.unwrap_or(if self.idle { 300.0 } else { 30.0 })
    }

    fn rooms(&self) -> u32 {
        let at_a_time = if self.idle { self.count } else { self.present.min(self.count) };
        at_a_time.div_ceil(self.room_size)
    }

    fn stay(&self) -> Duration {
        Duration::from_secs_f64(f64::from(self.present) / self.rate())
    }
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let rate = text.parse().ok().filter(|rate| (0.01..=100_000.0).contains(rate));
    rate.ok_or_else(|| format!("expected arrivals a second, not {text:?}"))
}

/// Whether everything held.
pub async fn run(arguments: &StormArguments, print: fn(&str)) -> anyhow::Result<bool> {
    let open_files = raise_open_files().context("the limit of open files cannot be raised")?;
    let needed = 2 * u64::from(if arguments.idle { arguments.count } else { 2 * arguments.present }) + 100;
    if open_files < needed {
        anyhow::bail!("{needed} open files are needed and {open_files} allowed: raise `ulimit -Hn`");
    }
    let at_a_time = if arguments.idle { arguments.count } else { 2 * arguments.present };
    let capacity = Capacity {
        participants: at_a_time as usize,
        rooms: arguments.rooms() as usize,
        workers: arguments.workers,
    };
    let mut server = Server::start(&arguments.server, capacity).await?;
    let rooms = make_rooms(server.address(), arguments.rooms(), print).await?;
    let report = match arguments.idle {
        true => idle::run(arguments, &mut server, &rooms, print).await?,
        false => join::run(arguments, &server, &rooms, print).await?,
    };
    report.finish(arguments.out.as_deref(), &server.log(), print)
}

/// Their ids. A server takes some ten requests a second from one address.
async fn make_rooms(server: SocketAddr, count: u32, print: fn(&str)) -> anyhow::Result<Vec<String>> {
    const AT_A_TIME: usize = 8;
    let progress = Progress::new("rooms", u64::from(count), print);
    let mut rooms = Vec::new();
    let mut making = FuturesUnordered::new();
    for serial in 0..count {
        if making.len() == AT_A_TIME {
            rooms.extend(making.next().await.transpose()?);
        }
        making.push(async move { create_room(server, &format!("storm {serial}"), &[]).await });
        progress.set(rooms.len() as u64, "");
    }
    while let Some(room) = making.next().await {
        rooms.push(room?);
    }
    progress.finish();
    Ok(rooms.into_iter().map(|created| created.room.id).collect())
}
