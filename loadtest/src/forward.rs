//! `forward`: what a node needs for each packet that it forwards.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_control::Codec;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::load::{Load, Outcome};
use crate::node::Node;
use crate::participant::{Cipher, Media};
use crate::sfu::Room;

/// Media and headers of an RTP packet of video as a node sends it, without its seal.
const PACKET_BYTES: usize = 1_200;
/// Header with extensions: 12, 4 and at least 4.
const HEADER_BYTES: usize = 24;
/// Opus at 64 kbit/s.
const AUDIO_BYTES: usize = 160;
const FRAMES_PER_SECOND: f64 = 30.0;
const AUDIO_FRAMES_PER_SECOND: f64 = 50.0;

/// The load, which `forward` and `compare` share.
#[derive(Debug, Clone, Args)]
pub struct LoadArguments {
    /// What media is sealed with.
    #[arg(long, value_enum, default_value = "gcm")]
    pub cipher: Cipher,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub subscribers: u32,
    /// Everybody receives all of them.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub publishers: u32,
    #[arg(long, value_enum, default_value = "vp8")]
    pub codec: VideoCodec,
    /// Video in three sizes, of which each subscriber gets one.
    #[arg(long)]
    pub simulcast: bool,
    /// Opus in single packets in the place of video.
    #[arg(long, conflicts_with_all = ["simulcast", "codec", "packets_per_frame"])]
    pub audio: bool,
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub packets_per_frame: u32,
    /// Frames a second of each publisher [default: 30 of video, 50 of audio]
    #[arg(long, value_parser = parse_rate)]
    pub rate: Option<f64>,
    /// How long it is measured.
    #[arg(long, default_value_t = 10.0, value_parser = parse_rate)]
    pub seconds: f64,
    /// How long it runs before.
    #[arg(long, default_value_t = 5.0)]
    pub warm_up_seconds: f64,
    /// One packet of so many is asked for again; 0: none.
    #[arg(long, default_value_t = 100)]
    pub nack_one_in: u32,
    /// Subscribers send no transport-wide feedback.
    #[arg(long)]
    pub no_feedback: bool,
    /// Leave it to the kernel where the server and the participants run. Without it, each has a
    /// processor of its own, if there are two.
    #[arg(long)]
    pub no_pin: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum VideoCodec {
    H264,
    Vp8,
}

#[derive(Debug, Clone, Args)]
pub struct ForwardArguments {
    #[command(flatten)]
    pub load: LoadArguments,
    /// The program whose node it is [default: `broletto` in BROLETTO_BIN_DIR, or beside this program]
    #[arg(long)]
    pub program: Option<PathBuf>,
    /// Fail if the ratio to the limit of this machine is below this.
    #[arg(long, value_name = "RATIO")]
    pub gate: Option<f64>,
    /// Fail unless every packet came.
    #[arg(long)]
    pub complete: bool,
    /// Write the result here too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

impl LoadArguments {
    pub fn load(&self, ip: IpAddr) -> Load {
        let media = match self.audio {
            true => Media::Audio { bytes: AUDIO_BYTES },
            false => Media::Video {
                codec: match self.codec {
                    VideoCodec::H264 => Codec::H264,
                    VideoCodec::Vp8 => Codec::Vp8,
                },
                simulcast: self.simulcast,
                packets_per_frame: self.packets_per_frame as usize,
                bytes: PACKET_BYTES - HEADER_BYTES,
            },
        };
        let rate = self.rate.unwrap_or(if self.audio { AUDIO_FRAMES_PER_SECOND } else { FRAMES_PER_SECOND });
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        Load {
            ip,
            cipher: self.cipher,
            media,
            publishers: self.publishers as usize,
            subscribers: self.subscribers as usize,
            interval: Duration::from_secs_f64(1.0 / rate),
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            measured: Duration::from_secs_f64(self.seconds),
            feedback: !self.no_feedback,
            nack_one_in: self.nack_one_in,
            processors: (processors > 1 && !self.no_pin).then_some((0, 1)),
        }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    cipher: Cipher,
    codec: Codec,
    simulcast: bool,
    subscribers: u32,
    publishers: u32,
    outcome: &'a Outcome,
}

/// Runs it, and prints what came of it; the figure is in the last line.
pub fn run(arguments: &ForwardArguments, out: &mut impl Write) -> anyhow::Result<()> {
    let program = program(arguments.program.clone())?;
    let load = arguments.load.load(Ipv4Addr::LOCALHOST.into());
    let room = Room { ip: load.ip, codec: load.media.codec(), publishers: load.publishers };
    let mut node = Node::start(&program, room)?;
    let outcome = load.run(&mut node, |line| eprintln!("{line}"))?;
    drop(node);
    print(&outcome, out)?;
    if let Some(file) = &arguments.json {
        let report = Report {
            cipher: load.cipher,
            codec: load.media.codec(),
            simulcast: arguments.load.simulcast,
            subscribers: arguments.load.subscribers,
            publishers: arguments.load.publishers,
            outcome: &outcome,
        };
        let text = serde_json::to_string_pretty(&report)?;
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    writeln!(out, "{:.0} ns of CPU a forwarded packet", outcome.cpu_ns_per_packet)?;
    if arguments.complete && !outcome.is_complete() {
        bail!("not every packet came");
    }
    Ok(())
}

pub fn print(outcome: &Outcome, out: &mut impl Write) -> std::io::Result<()> {
    let Outcome { latency, estimates, .. } = outcome;
    let mega = |number: f64| number / 1e6;
    writeln!(out, "{}", outcome.server)?;
    writeln!(
        out,
        "  forwarded   {} packets of {:.0} bytes in {:.1} s: {:.0} a second, from {} that were sent",
        outcome.packets_forwarded,
        outcome.mean_packet_bytes,
        outcome.measured_s,
        outcome.packets_forwarded_per_s,
        outcome.packets_sent
    )?;
    writeln!(
        out,
        "  lost        {} by their numbers, {} by their stamps, {} forged; {} sent again",
        outcome.packets_lost, outcome.packets_missing, outcome.packets_forged, outcome.packets_repeated
    )?;
    writeln!(
        out,
        "  latency     p50 {:.0} µs, p99 {:.0} µs, p99.9 {:.0} µs, at most {:.0} µs ({} samples)",
        latency.p50_us, latency.p99_us, latency.p999_us, latency.max_us, latency.samples
    )?;
    writeln!(
        out,
        "  processors  server {:.1} %, participants {:.1} % of one; {:.2} % of all stolen",
        outcome.server_cpu * 100.0,
        outcome.tester_cpu * 100.0,
        outcome.stolen * 100.0
    )?;
    writeln!(
        out,
        "  memory      {:.1} MB, {:.1} KiB for each subscriber",
        mega(outcome.resident_after_bytes as f64),
        outcome.resident_per_subscriber_bytes as f64 / 1_024.0
    )?;
    writeln!(
        out,
        "  estimates   {:.1} to {:.1} Mbit/s, median {:.1} ({} subscribers)",
        mega(estimates.min_bps as f64),
        mega(estimates.max_bps as f64),
        mega(estimates.median_bps as f64),
        estimates.samples
    )
}

/// The program under test.
pub fn program(given: Option<PathBuf>) -> anyhow::Result<PathBuf> {
    if let Some(program) = given {
        return Ok(program);
    }
    let dir = match std::env::var_os("BROLETTO_BIN_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => std::env::current_exe()?.parent().context("this program is in a folder")?.to_owned(),
    };
    // A child starts in a folder of its own.
    let program = std::path::absolute(dir.join("broletto"))?;
    if !program.exists() {
        bail!("{} is not there: build it (`cargo build -p broletto`), or name it by --program", program.display());
    }
    Ok(program)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 100_000.0);
    number.ok_or_else(|| format!("expected a number from above 0 to 100000, not {text:?}"))
}
