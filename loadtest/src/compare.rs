//! `compare`: the load of `forward` on another server too, in the same run.

use std::io::Write;
use std::net::IpAddr;
use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::forward::{self, LoadArguments};
use crate::janus::{Janus, Threads};
use crate::load::Outcome;
use crate::node::Node;
use crate::sfu::{Room, Sfu};

/// Another server may need more than its one processor for more, and then its figure says nothing.
const VIDEO_PUBLISHERS: u32 = 1;

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

/// Runs it, and prints what came of it; the figures are in the last line. Whether all that was asked for
/// held.
pub fn run(compare: &Compare, out: &mut impl Write, progress: fn(&str)) -> anyhow::Result<bool> {
    let Compare::Janus(arguments) = compare;
    let program = forward::program(arguments.program.clone())?;
    let load = arguments.load.load(arguments.address, VIDEO_PUBLISHERS);
    let room = Room { ip: load.ip, codec: load.media.codec(), publishers: load.publishers };
    let mut measure = |sfu: &mut dyn Sfu| -> anyhow::Result<Outcome> {
        let (outcome, _) = load.run(sfu, progress)?;
        forward::print(&outcome, out)?;
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
    let mut failures = Vec::new();
    for outcome in [&ours, &default, &fast] {
        if arguments.complete && !outcome.is_complete() {
            failures.push(format!("not every packet came by way of {}", outcome.server));
        }
    }
    for (gate, theirs) in [(arguments.gate_default, &default), (arguments.gate_fast, &fast)] {
        if let Some(gate) = gate.filter(|gate| factor(theirs) < *gate) {
            failures.push(format!("{} is less than {gate:.2} times as expensive", theirs.server));
        }
    }
    failures.iter().for_each(|line| progress(line));
    Ok(failures.is_empty())
}
