//! `forward`: what a node needs for each packet that it forwards.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_control::Codec;
use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::kernel;
use crate::limit::{self, Bounds, Limits};
use crate::load::{Course, Load, Outcome};
use crate::node::Node;
use crate::participant::{Cipher, Media};
use crate::report::{Report, number};
use crate::sfu::Room;

/// Media and headers of an RTP packet of video as a node sends it, without its seal.
const PACKET_BYTES: usize = 1_200;
/// Header with extensions: 12, 4 and at least 4.
const HEADER_BYTES: usize = 24;
/// The longer one of the two seals.
const TAG_BYTES: usize = 16;
/// Opus at 64 kbit/s.
const AUDIO_BYTES: usize = 160;
/// A gallery: with 50 subscribers it is 120,000 packets a second.
const VIDEO_PUBLISHERS: u32 = 10;
const FRAMES_PER_SECOND: f64 = 30.0;
/// Who talk at a time.
const AUDIO_PUBLISHERS: u32 = 3;
const AUDIO_FRAMES_PER_SECOND: f64 = 50.0;

/// The load, which `forward` and `compare` share.
#[derive(Debug, Clone, Args)]
pub struct LoadArguments {
    /// What media is sealed with.
    #[arg(long, value_enum, default_value = "gcm")]
    pub cipher: Cipher,
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=4_096))]
    pub subscribers: u32,
    /// Everybody receives all of them [default: 3 of audio; of video 10, and 1 to compare]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=64))]
    pub publishers: Option<u32>,
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
    /// Parts of that time, of which the cheapest counts.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    pub windows: u32,
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
    /// Fail if the share of the limit that is reached is below this, or if the limit itself is worse
    /// than it should be, because then something else disturbed the run.
    #[arg(long, value_name = "RATIO")]
    pub gate: Option<f64>,
    /// Do not measure the limit of this machine.
    #[arg(long, conflicts_with = "gate")]
    pub no_limit: bool,
    /// Fail unless every packet came.
    #[arg(long)]
    pub complete: bool,
    /// Write the result here too.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Directory for result.json, result.csv, series.csv and report.html
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
}

impl LoadArguments {
    /// `video_publishers` is for where nothing is said of them.
    pub fn load(&self, ip: IpAddr, video_publishers: u32) -> Load {
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
        let (publishers, rate) = match self.audio {
            true => (AUDIO_PUBLISHERS, AUDIO_FRAMES_PER_SECOND),
            false => (video_publishers, FRAMES_PER_SECOND),
        };
        let (publishers, rate) = (self.publishers.unwrap_or(publishers), self.rate.unwrap_or(rate));
        let processors = std::thread::available_parallelism().map_or(1, |count| count.get());
        Load {
            ip,
            cipher: self.cipher,
            media,
            publishers: publishers as usize,
            subscribers: self.subscribers as usize,
            interval: Duration::from_secs_f64(1.0 / rate),
            warm_up: Duration::from_secs_f64(self.warm_up_seconds),
            measured: Duration::from_secs_f64(self.seconds),
            windows: self.windows,
            feedback: !self.no_feedback,
            nack_one_in: self.nack_one_in,
            processors: (processors > 1 && !self.no_pin).then_some((0, 1)),
        }
    }
}

/// What programs get by `--json`.
#[derive(Debug, Serialize)]
struct Figures<'a> {
    cipher: Cipher,
    codec: Codec,
    simulcast: bool,
    subscribers: usize,
    publishers: usize,
    packets_per_frame: u32,
    outcome: &'a Outcome,
    limits: Option<&'a Limits>,
    /// Share of the limit that is reached.
    ratio: Option<f64>,
}

/// Runs it, and prints what came of it; the figure is in the last line. Whether its checks passed.
pub fn run(arguments: &ForwardArguments, out: &mut impl Write, progress: fn(&str)) -> anyhow::Result<bool> {
    let program = program(arguments.program.clone())?;
    let load = arguments.load.load(Ipv4Addr::LOCALHOST.into(), VIDEO_PUBLISHERS);
    let room = Room { ip: load.ip, codec: load.media.codec(), publishers: load.publishers };
    let mut node = Node::start(&program, room)?;
    let (outcome, course) = load.run(&mut node, progress)?;
    drop(node);
    print(&outcome, out)?;
    let limits = if arguments.no_limit { None } else { Some(limits(&load)?) };
    let limit_ns = limits.as_ref().map(|limits| limit_ns(limits, &load));
    let ratio = limit_ns.map(|limit_ns| limit_ns / outcome.cpu_ns_per_packet);
    if let Some(file) = &arguments.json {
        let figures = Figures {
            cipher: load.cipher,
            codec: load.media.codec(),
            simulcast: arguments.load.simulcast,
            subscribers: load.subscribers,
            publishers: load.publishers,
            packets_per_frame: arguments.load.packets_per_frame,
            outcome: &outcome,
            limits: limits.as_ref(),
            ratio,
        };
        let text = serde_json::to_string_pretty(&figures)?;
        std::fs::write(file, text).with_context(|| format!("{} cannot be written", file.display()))?;
    }
    let figure = format!("{:.0} ns of CPU a forwarded packet", outcome.cpu_ns_per_packet);
    let figure = match (limit_ns, ratio) {
        (Some(limit_ns), Some(ratio)) => {
            let what = if arguments.load.audio { "sending" } else { "sealing and sending" };
            format!("{figure}: {:.1} % of the limit ({what} takes {limit_ns:.0} ns)", ratio * 100.0)
        }
        _ => figure,
    };
    let mut report = report(&load, &outcome, course, &figure);
    check(&mut report, arguments, &outcome, limits.as_ref(), ratio);
    report.failures().for_each(|line| progress(&line));
    report.save(arguments.out.as_deref(), progress)?;
    writeln!(out, "{figure}")?;
    Ok(report.passed())
}

/// The load, what it cost, and its course.
fn report(load: &Load, outcome: &Outcome, course: Course, figure: &str) -> Report {
    let mut report = Report::new("forward", "Forwarding");
    report.fact("figure", figure);
    report.fact(
        "cipher",
        match load.cipher {
            Cipher::Gcm => "AES-128-GCM",
            Cipher::Cm => "AES-CM with SHA-1",
        },
    );
    report.fact(
        "media",
        match load.media {
            Media::Audio { bytes } => format!("Opus, {bytes} bytes a packet"),
            Media::Video { codec, simulcast, packets_per_frame, .. } => {
                let sizes = if simulcast { ", in three sizes" } else { "" };
                format!("{codec:?}, {packets_per_frame} packets of {PACKET_BYTES} bytes a frame{sizes}")
            }
        },
    );
    report.fact("publishers", load.publishers.to_string());
    report.fact("subscribers", load.subscribers.to_string());
    report.fact("frames a second", number(1.0 / load.interval.as_secs_f64()));
    report.fact("joined within", format!("{} s", number(outcome.connected_within_s)));
    report.fact("measured for", format!("{} s", number(outcome.measured_s)));
    report.fact("packets forwarded", number(outcome.packets_forwarded as f64));
    report.fact("packets a second", number(outcome.packets_forwarded_per_s));
    report.fact("lost by their numbers", outcome.packets_lost.to_string());
    report.fact("missing by their stamps", outcome.packets_missing.to_string());
    report.fact("forged", outcome.packets_forged.to_string());
    let cpu = [outcome.cpu_ns_per_packet, outcome.cpu_ns_per_packet_mean].map(number);
    report
        .fact("CPU for a packet", format!("{} ns in the cheapest window, {} ns on average", cpu[0], cpu[1]));
    let shares = [outcome.server_cpu, outcome.tester_cpu].map(|share| number(share * 100.0));
    report.fact("CPU", format!("node {} %, participants {} % of one", shares[0], shares[1]));
    let each_kib = outcome.resident_per_subscriber_bytes as f64 / 1_024.0;
    report.fact("memory for each subscriber", format!("{} KiB", number(each_kib)));
    course.into_report(&mut report);
    report
}

/// What was asked for must hold.
fn check(
    report: &mut Report,
    arguments: &ForwardArguments,
    outcome: &Outcome,
    limits: Option<&Limits>,
    ratio: Option<f64>,
) {
    if arguments.complete {
        for (name, packets) in outcome.incomplete() {
            report.check(name, packets as f64, "", 0.0);
        }
    }
    let (Some(gate), Some(ratio), Some(limits)) = (arguments.gate, ratio, limits) else { return };
    if !arguments.load.audio {
        // A limit that is worse was disturbed, and ratios to it say nothing.
        let bounds = Bounds::default();
        report.check("limit with GCM", limits.gcm.combined.best_ns, "ns", bounds.gcm_ns);
        report.check("limit with CM", limits.cm.combined.best_ns, "ns", bounds.cm_ns);
    }
    report.check_at_least("share of the limit", ratio * 100.0, "%", gate * 100.0);
}

/// What this machine can do with packets as long as those of the load, on the server's processor.
fn limits(load: &Load) -> anyhow::Result<Limits> {
    let packet_bytes = match load.media {
        Media::Audio { bytes } => bytes + HEADER_BYTES + TAG_BYTES,
        Media::Video { .. } => PACKET_BYTES,
    };
    let options = limit::Options { packet_bytes, ..limit::Options::default() };
    let processors = load.processors;
    let measuring = std::thread::spawn(move || {
        if let Some((of_server, _)) = processors {
            // Without it the figures are a little less steady.
            let _ = kernel::pin(0, of_server);
        }
        limit::measure(&options)
    });
    let measured = measuring.join().map_err(|_| anyhow::anyhow!("the limit could not be measured"))?;
    measured.context("the limit could not be measured")
}

/// For audio, of which each packet is sent by itself, sending them; else sealing and sending.
fn limit_ns(limits: &Limits, load: &Load) -> f64 {
    match (load.media, load.cipher) {
        (Media::Audio { .. }, _) => limits.sendmmsg.best_ns,
        (Media::Video { .. }, Cipher::Gcm) => limits.gcm.combined.best_ns,
        (Media::Video { .. }, Cipher::Cm) => limits.cm.combined.best_ns,
    }
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
        "  processors  {:.0} ns a packet in the cheapest window, {:.0} on average; server {:.1} %, participants \
         {:.1} % of one; {:.2} % of all stolen",
        outcome.cpu_ns_per_packet,
        outcome.cpu_ns_per_packet_mean,
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
        bail!(
            "{} is not there: build it (`cargo build -p broletto`), or name it by --program",
            program.display()
        );
    }
    Ok(program)
}

fn parse_rate(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|number: &f64| *number > 0.0 && *number <= 100_000.0);
    number.ok_or_else(|| format!("expected a number from above 0 to 100000, not {text:?}"))
}
