//! Tools that test a running Broletto.

use std::io::{BufRead, Write};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use broletto_loadtest::compare::{self, Compare};
use broletto_loadtest::forward::{self, ForwardArguments};
use broletto_loadtest::interop::{self, InteropArguments};
use broletto_loadtest::limit::{Bounds, Options, measure};
use broletto_loadtest::link::LinkConfig;
use broletto_loadtest::link_text::LinkArguments;
use broletto_loadtest::meet::{self, MeetArguments};
use broletto_loadtest::relay::{Order, Relay, RelayConfig};
use broletto_loadtest::storm::{self, StormArguments};
use clap::{Args, Parser, Subcommand};
use tokio::sync::{mpsc, oneshot};

#[derive(Parser)]
#[command(name = "broletto-loadtest", about = "Tests a running Broletto")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Relays UDP over an emulated network.
    ///
    /// Prints `ready ADDRESS`, and then takes lines such as `down link loss=5 delay=100`,
    /// `down rate 300000`, `up loss 0.05` or `stats` from its standard input, each answered by a line
    /// that begins with `ok` or `error`. Ends when its standard input does.
    Relay(RelayArguments),
    /// Measures what a media node needs to forward a packet, in processor time.
    Forward(ForwardArguments),
    /// Measures another server beside ours, with the same load.
    #[command(subcommand)]
    Compare(Compare),
    /// Measures what a packet costs at least on this machine: sending, sealing, and both.
    ///
    /// Run it with nothing beside it, in a network namespace of its own. Exits with 1 when the
    /// combined costs are above the bounds, which means that the run was disturbed.
    Limit(LimitArguments),
    /// Publishes and receives every codec with another WebRTC implementation. Exit 1 if one failed.
    Interop(InteropArguments),
    /// Holds meetings of synthetic participants, as a scenario says. Exit 1 if one of its limits did
    /// not hold.
    Meet(MeetArguments),
    /// Lets thousands join at random, or come back at once. Exit 1 if that was too much.
    Storm(StormArguments),
}

#[derive(Args)]
struct RelayArguments {
    /// Where clients send to.
    #[arg(long)]
    listen: SocketAddr,
    /// The server.
    #[arg(long)]
    to: SocketAddr,
    /// Rate from the server to each client, in bits a second. Without it there is no limit.
    #[arg(long)]
    down_bps: Option<u64>,
    /// Rate from each client to the server.
    #[arg(long)]
    up_bps: Option<u64>,
    /// Delay in each direction.
    #[arg(long, default_value_t = 0)]
    delay_ms: u64,
    /// Added to the delay at random, up to this.
    #[arg(long, default_value_t = 0)]
    jitter_ms: u64,
    /// Share of packets lost in each direction, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = parse_share)]
    loss: f64,
    /// Packets lost in a row.
    #[arg(long, default_value_t = 1)]
    burst: u32,
    /// The longest that a packet waits for its turn.
    #[arg(long, default_value_t = 200)]
    queue_ms: u64,
    /// They come after the options above.
    #[command(flatten)]
    links: LinkArguments,
    /// The same seed makes the same dice.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Args)]
struct LimitArguments {
    /// Rounds of each measurement, of which the best counts.
    #[arg(long, default_value_t = Options::default().rounds)]
    rounds: usize,
    /// Packets of a round.
    #[arg(long, default_value_t = Options::default().packets)]
    packets: usize,
    /// Length of a packet.
    #[arg(long, default_value_t = Options::default().packet_bytes)]
    packet_bytes: usize,
    /// Does as if the kernel did not split messages.
    #[arg(long)]
    without_gso: bool,
    /// Most that sealing with AES-128-GCM and sending may take, in nanoseconds.
    #[arg(long, default_value_t = Bounds::default().gcm_ns)]
    gcm_bound_ns: f64,
    /// Most that sealing with AES-CM and SHA-1 and sending may take, in nanoseconds.
    #[arg(long, default_value_t = Bounds::default().cm_ns)]
    cm_bound_ns: f64,
    /// Where to write the figures as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

fn main() -> ExitCode {
    let passed = run(Arguments::parse().command);
    match passed {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        // A test that could not be made is no test that failed.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// Whether what was tested held.
fn run(command: Command) -> anyhow::Result<bool> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    match command {
        Command::Relay(arguments) => runtime.block_on(relay(arguments)).map(|()| true),
        Command::Interop(arguments) => runtime.block_on(interop::run(&arguments, print)),
        Command::Meet(arguments) => runtime.block_on(meet::run(&arguments, print)),
        Command::Forward(arguments) => forward::run(&arguments, &mut std::io::stdout(), print_aside),
        Command::Compare(compare) => compare::run(&compare, &mut std::io::stdout(), print_aside),
        Command::Limit(arguments) => limit(arguments),
        Command::Storm(arguments) => runtime.block_on(storm::run(&arguments, print)),
    }
}

/// Whether the limit was measured without disturbance.
fn limit(arguments: LimitArguments) -> anyhow::Result<bool> {
    let LimitArguments { rounds, packets, packet_bytes, without_gso, gcm_bound_ns, cm_bound_ns, json } =
        arguments;
    let limits = measure(&Options { packet_bytes, packets, rounds, without_gso })?;
    writeln!(std::io::stdout(), "{limits}")?;
    if let Some(path) = json {
        let text = serde_json::to_string_pretty(&limits)?;
        std::fs::write(&path, text).with_context(|| format!("{} cannot be written", path.display()))?;
    }
    let Err(disturbed) = limits.check(Bounds { gcm_ns: gcm_bound_ns, cm_ns: cm_bound_ns }) else {
        return Ok(true);
    };
    writeln!(std::io::stderr(), "{disturbed}")?;
    Ok(false)
}

async fn relay(arguments: RelayArguments) -> anyhow::Result<()> {
    let both = LinkConfig {
        queue: Duration::from_millis(arguments.queue_ms),
        delay: Duration::from_millis(arguments.delay_ms),
        jitter: Duration::from_millis(arguments.jitter_ms),
        loss: arguments.loss,
        burst: arguments.burst.max(1),
        ..LinkConfig::default()
    };
    let config = RelayConfig {
        listen: arguments.listen,
        to: arguments.to,
        down: arguments.links.down().apply(LinkConfig { rate_bps: arguments.down_bps, ..both }),
        up: arguments.links.up().apply(LinkConfig { rate_bps: arguments.up_bps, ..both }),
        seed: arguments.seed,
    };
    let relay = Relay::bind(config).await.with_context(|| format!("cannot listen on {}", config.listen))?;
    print_line(&format!("ready {}", relay.address()?))?;

    let (orders, receiver) = mpsc::channel(1);
    // A read of standard input cannot be cancelled, so it gets a thread, which ends with the process.
    std::thread::spawn(move || take_orders(&orders));
    relay.run(receiver).await;
    Ok(())
}

/// Until standard input ends, or nobody reads the answers.
fn take_orders(orders: &mpsc::Sender<Order>) {
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let answer = match line.parse() {
            Ok(command) => {
                let (sender, answer) = oneshot::channel();
                if orders.blocking_send((command, sender)).is_err() {
                    return;
                }
                answer.blocking_recv().unwrap_or_else(|_| "error the relay has ended".into())
            }
            Err(reason) => format!("error {reason}"),
        };
        if print_line(&answer).is_err() {
            return;
        }
    }
}

/// What prints when nobody reads is lost.
fn print(line: &str) {
    let _ = print_line(line);
}

/// What is not the result.
fn print_aside(line: &str) {
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn print_line(line: &str) -> std::io::Result<()> {
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

fn parse_share(text: &str) -> Result<f64, String> {
    let share = text.parse().ok().filter(|share| (0.0..=1.0).contains(share));
    share.ok_or_else(|| format!("expected a share from 0 to 1, not {text:?}"))
}
