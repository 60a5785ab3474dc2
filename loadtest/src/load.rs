//! One load on one server: publishers, subscribers, a warm-up, a measured time, and what it cost.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use broletto_control::Codec;
use serde::Serialize;

use crate::crowd::{Crowd, Snapshot};
use crate::kernel::{self, Ticks};
use crate::participant::{Behaviour, Cipher, Media, Publisher, Received, Session, Subscriber};
use crate::sfu::Sfu;

/// For all to be connected and to get all streams.
const JOINED_WITHIN: Duration = Duration::from_secs(30);
/// Handshakes that are under way at once.
const JOINING_MAX: usize = 32;
/// Subscribers whose media is opened; of more, only so many are.
const OPENED_MAX: usize = 50;
/// What is on its way comes within this.
const DRAIN: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(50);

/// What is sent, to how many, and how they behave.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Load {
    /// Where participants are.
    pub ip: IpAddr,
    pub cipher: Cipher,
    pub media: Media,
    pub publishers: usize,
    pub subscribers: usize,
    /// From frame to frame of a publisher.
    pub interval: Duration,
    pub warm_up: Duration,
    pub measured: Duration,
    /// Parts of the measured time, of which the cheapest counts: what disturbs one only ever makes it
    /// more expensive.
    pub windows: u32,
    /// Transport-wide feedback each 100 ms.
    pub feedback: bool,
    /// One packet of so many is asked for again; 0: none.
    pub nack_one_in: u32,
    /// Processors of the server and of the participants. None: wherever the kernel puts them.
    pub processors: Option<(usize, usize)>,
}

/// What came of it, in the measured time unless it says otherwise.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    pub server: &'static str,
    pub measured_s: f64,
    /// By the publishers.
    pub packets_sent: u64,
    /// Media that came to subscribers, without what was sent again.
    pub packets_forwarded: u64,
    pub packets_forwarded_per_s: f64,
    pub mean_packet_bytes: f64,
    /// Processor time of the server's process for each of them, in the cheapest window.
    pub cpu_ns_per_packet: f64,
    /// Over all windows.
    pub cpu_ns_per_packet_mean: f64,
    /// Share of one processor.
    pub server_cpu: f64,
    /// Of the participants, who are not to be the bottleneck.
    pub tester_cpu: f64,
    /// Numbers that never came, and packets that publishers sent between others that came, until all
    /// that was on its way is there.
    pub packets_lost: u64,
    pub packets_missing: u64,
    /// Over the whole run: that failed authentication.
    pub packets_forged: u64,
    pub packets_repeated: u64,
    /// What the packets that were opened needed from the sender to the receiver's socket.
    pub latency: Latency,
    /// Memory of the server's process before subscribers came and at the end.
    pub resident_before_bytes: u64,
    pub resident_after_bytes: u64,
    pub resident_per_subscriber_bytes: i64,
    pub estimates: Estimates,
    /// Share of all processors' time that the host gave to others.
    pub stolen: f64,
    pub connected_within_s: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Latency {
    pub samples: u64,
    pub p50_us: f64,
    pub p99_us: f64,
    pub p999_us: f64,
    pub max_us: f64,
}

/// What the server believes of the paths to subscribers, in bits a second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Estimates {
    /// Subscribers that it told of.
    pub samples: usize,
    pub min_bps: u64,
    pub median_bps: u64,
    pub max_bps: u64,
}

impl Estimates {
    fn of(mut estimates: Vec<u64>) -> Self {
        estimates.sort_unstable();
        let at = |index: usize| estimates.get(index).copied().unwrap_or(0);
        let samples = estimates.len();
        Estimates {
            samples,
            min_bps: at(0),
            median_bps: at(samples / 2),
            max_bps: at(samples.saturating_sub(1)),
        }
    }
}

impl Load {
    /// Runs it. `progress` gets a line now and then.
    pub fn run(&self, sfu: &mut dyn Sfu, mut progress: impl FnMut(String)) -> anyhow::Result<Outcome> {
        // Each participant has a socket.
        kernel::raise_open_files()?;
        if let Some((of_server, _)) = self.processors {
            pin_all_threads(sfu.process(), of_server)?;
        }
        let crowd = Crowd::start(sfu.process(), self.processors.map(|(_, of_crowd)| of_crowd))?;
        let started = Instant::now();
        self.join_publishers(sfu, &crowd)?;
        let resident_before_bytes = kernel::resident_bytes(sfu.process())?;
        self.join_subscribers(sfu, &crowd, &mut progress)?;
        let connected_within_s = started.elapsed().as_secs_f64();

        crowd.start_media()?;
        self.until(sfu, &crowd, "get all streams", |snapshot| {
            snapshot.streams == self.subscribers * self.publishers
        })?;
        progress(format!("all {} subscribers get media; warming up", self.subscribers));
        sfu.attend(self.warm_up)?;

        crowd.begin()?;
        let ticks = Ticks::now()?;
        let before = crowd.snapshot()?;
        let (mut after, mut cheapest) = (before.clone(), f64::INFINITY);
        for _ in 0..self.windows.max(1) {
            sfu.attend(self.measured / self.windows.max(1))?;
            let last = std::mem::replace(&mut after, crowd.snapshot()?);
            cheapest = cheapest.min(after.cpu_ns_per_packet_since(&last));
        }
        let stolen = Ticks::now()?.stolen_since(ticks);
        let estimates = Estimates::of(sfu.estimates_bps());
        let resident_after_bytes = kernel::resident_bytes(sfu.process())?;

        crowd.stop_media()?;
        sfu.attend(DRAIN)?;
        let last = crowd.snapshot()?;
        crowd.end()?;
        if let Some(failure) = last.failure {
            bail!("a session broke: {failure}");
        }
        let grown = resident_after_bytes as i64 - resident_before_bytes as i64;
        Ok(Outcome {
            cpu_ns_per_packet: cheapest,
            stolen,
            estimates,
            connected_within_s,
            resident_before_bytes,
            resident_after_bytes,
            resident_per_subscriber_bytes: grown / self.subscribers.max(1) as i64,
            ..Outcome::between(sfu.name(), &before, &after, &last.received)
        })
    }

    fn join_publishers(&self, sfu: &mut dyn Sfu, crowd: &Crowd) -> anyhow::Result<()> {
        for number in 0..self.publishers {
            let now = Instant::now();
            let (mut publisher, offer) =
                Publisher::new(self.ip, self.cipher, self.media, number as u32, self.interval, now)?;
            sfu.publish(&mut publisher, &offer)?;
            crowd.add_publisher(publisher)?;
        }
        self.until(sfu, crowd, "connect as publishers", |snapshot| {
            snapshot.publishers_connected == self.publishers
        })
    }

    fn join_subscribers(
        &self,
        sfu: &mut dyn Sfu,
        crowd: &Crowd,
        progress: &mut impl FnMut(String),
    ) -> anyhow::Result<()> {
        let codec = Some(self.media.codec()).filter(|codec| *codec != Codec::Opus);
        for number in 0..self.subscribers {
            let now = Instant::now();
            let mut session = Session::new(self.ip, self.cipher, codec, now)?;
            sfu.subscribe(&mut session)?;
            let behaviour = Behaviour {
                // Evenly among them.
                opens: number * OPENED_MAX / self.subscribers.max(OPENED_MAX)
                    != (number + 1) * OPENED_MAX / self.subscribers.max(OPENED_MAX),
                feedback: self.feedback,
                nack_one_in: self.nack_one_in,
            };
            crowd.add_subscriber(Subscriber::new(session, behaviour, number as u32, now))?;
            if number % JOINING_MAX == JOINING_MAX - 1 {
                self.until(sfu, crowd, "connect", |snapshot| {
                    snapshot.subscribers_connected + JOINING_MAX > number
                })?;
                progress(format!("{} of {} subscribers joined", number + 1, self.subscribers));
            }
        }
        self.until(sfu, crowd, "connect", |snapshot| snapshot.subscribers_connected == self.subscribers)
    }

    fn until(
        &self,
        sfu: &mut dyn Sfu,
        crowd: &Crowd,
        what: &str,
        is_so: impl Fn(&Snapshot) -> bool,
    ) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let snapshot = crowd.snapshot()?;
            if is_so(&snapshot) {
                return Ok(());
            }
            if let Some(failure) = snapshot.failure {
                bail!("a session broke: {failure}");
            }
            if started.elapsed() >= JOINED_WITHIN {
                bail!(
                    "not all {what}: {} publishers and {} subscribers are connected, {} of {} streams came, {} to \
                     the subscriber that has the fewest; estimates {:?}",
                    snapshot.publishers_connected,
                    snapshot.subscribers_connected,
                    snapshot.streams,
                    self.publishers * self.subscribers,
                    snapshot.streams_min,
                    Estimates::of(sfu.estimates_bps()),
                );
            }
            sfu.attend(STEP)?;
        }
    }
}

impl Outcome {
    /// Whether every packet came to everybody, and none that was not genuine.
    pub fn is_complete(&self) -> bool {
        (self.packets_lost, self.packets_missing, self.packets_forged) == (0, 0, 0)
    }

    fn between(server: &'static str, before: &Snapshot, after: &Snapshot, whole: &Received) -> Outcome {
        let measured = after.at - before.at;
        let measured_s = measured.as_secs_f64();
        let packets_forwarded = after.received.packets - before.received.packets;
        let packets = packets_forwarded.max(1) as f64;
        let bytes = after.received.bytes - before.received.bytes;
        let server_cpu = after.process_cpu.saturating_sub(before.process_cpu);
        let own_cpu = after.own_cpu.saturating_sub(before.own_cpu);
        let at = |quantile: f64| after.latency.value_at_quantile(quantile) as f64 / 1_000.0;
        Outcome {
            server,
            measured_s,
            packets_sent: after.sent.packets - before.sent.packets,
            packets_forwarded,
            packets_forwarded_per_s: packets_forwarded as f64 / measured_s,
            mean_packet_bytes: bytes as f64 / packets,
            cpu_ns_per_packet: 0.0,
            cpu_ns_per_packet_mean: after.cpu_ns_per_packet_since(before),
            server_cpu: server_cpu.as_secs_f64() / measured_s,
            tester_cpu: own_cpu.as_secs_f64() / measured_s,
            packets_lost: whole.lost,
            packets_missing: whole.missing,
            packets_forged: whole.forged,
            packets_repeated: after.received.repeated - before.received.repeated,
            latency: Latency {
                samples: after.latency.len(),
                p50_us: at(0.5),
                p99_us: at(0.99),
                p999_us: at(0.999),
                max_us: after.latency.max() as f64 / 1_000.0,
            },
            resident_before_bytes: 0,
            resident_after_bytes: 0,
            resident_per_subscriber_bytes: 0,
            estimates: Estimates::of(Vec::new()),
            stolen: 0.0,
            connected_within_s: 0.0,
        }
    }
}

/// Threads that a process starts later inherit it from the one that starts them.
fn pin_all_threads(process: u32, processor: usize) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(format!("/proc/{process}/task"))? {
        let thread = entry?.file_name().to_string_lossy().parse()?;
        // One that has just ended needs no place.
        let _ = kernel::pin(thread, processor);
    }
    Ok(())
}
