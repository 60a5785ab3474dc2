//! `compare`: the load of `forward` on another server too, in the same run.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, Subcommand};

use crate::forward::{self, LoadArguments};
use crate::janus::{Janus, Threads};
use crate::load::Outcome;
use crate::node::Node;
use crate::sfu::{Room, Sfu};

#[derive(Debug, Clone, Subcommand)]
pub enum Compare {
    /// Janus and its VideoRoom plugin, as Debian packages it: with its defaults, and with one event
    /// loop for all, which is its fast setting.
    Janus(CompareArguments),
}

#[derive(Debug, Clone, Args)]
pub struct CompareArguments {
    #[command(flatten)]
    load: LoadArguments,
    /// Address of this machine, of an interface other than loopback, which Janus passes over.
    #[arg(long)]
    address: IpAddr,
    /// The program whose node it is [default: `broletto` in BROLETTO_BIN_DIR, or beside this program]
    #[arg(long)]
    program: Option<PathBuf>,
    /// Fail unless we are so many times cheaper than its defaults.
    #[arg(long, value_name = "FACTOR")]
    gate_default: Option<f64>,
    /// Fail unless we are so many times cheaper than its fast setting.
    #[arg(long, value_name = "FACTOR")]
    gate_fast: Option<f64>,
    /// Fail unless every packet came.
    #[arg(long)]
    complete: bool,
}

/// Runs it, and prints what came of it; the figures are in the last line.
pub fn run(compare: &Compare, out: &mut impl Write) -> anyhow::Result<()> {
    let Compare::Janus(arguments) = compare;
    let program = forward::program(arguments.program.clone())?;
    let load = arguments.load.load(arguments.address);
    let room = Room { ip: load.ip, codec: load.media.codec(), publishers: load.publishers };
    let mut measure = |sfu: &mut dyn Sfu| -> anyhow::Result<Outcome> {
        let outcome = load.run(sfu, |line| eprintln!("{line}"))?;
        forward::print(&outcome, out)?;
        if arguments.complete && !outcome.is_complete() {
            bail!("not every packet came by way of {}", outcome.server);
        }
        Ok(outcome)
    };
    let ours = measure(&mut Node::start(&program, room)?)?;
    let default = measure(&mut Janus::start(Threads::Default, room)?)?;
    let fast = measure(&mut Janus::start(Threads::One, room)?)?;
    let factor = |theirs: &Outcome| theirs.cpu_ns_per_packet / ours.cpu_ns_per_packet;
    writeln!(
        out,
        "{:.0} ns of CPU a forwarded packet; Janus needs {:.0} ({:.2} times), with one event loop {:.0} ({:.2} times)",
        ours.cpu_ns_per_packet,
        default.cpu_ns_per_packet,
        factor(&default),
        fast.cpu_ns_per_packet,
        factor(&fast)
    )?;
    for (gate, theirs) in [(arguments.gate_default, &default), (arguments.gate_fast, &fast)] {
        if gate.is_some_and(|gate| factor(theirs) < gate) {
            bail!("{} is less than {:.2} times as expensive", theirs.server, gate.unwrap_or_default());
        }
    }
    Ok(())
}
