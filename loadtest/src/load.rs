//! One load on one server: publishers, subscribers, a warm-up, a measured time, and what it cost.

mod course;

use std::net::IpAddr;
use std::time::{Duration, Instant};

use anyhow::bail;
use broletto_control::Codec;
use serde::Serialize;

use crate::crowd::{Crowd, Snapshot};
use crate::kernel::{self, Ticks};
use crate::participant::{Behaviour, Cipher, Media, Publisher, Received, Session, Subscriber};
use crate::sfu::Sfu;
pub use course::Course;

/// For all to be connected and to get all streams.
const JOINED_WITHIN: Duration = Duration::from_secs(30);
/// Handshakes that are under way at once.
const JOINING_MAX: usize = 32;
/// Subscribers whose media is opened; of more, only so many are.
const OPENED_MAX: usize = 50;
/// What is on its way comes within this.
const DRAIN: Duration = Duration::from_millis(500);
const STEP: Duration = Duration::from_millis(50);
/// From sample to sample of what a report shows over time. Each looks once at every participant.
const SAMPLE_PERIOD: Duration = Duration::from_secs(1);

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
    /// Runs it. `print` takes lines about its progress.
    pub fn run(&self, sfu: &mut dyn Sfu, print: fn(&str)) -> anyhow::Result<(Outcome, Course)> {
        // Each participant has a socket.
        kernel::raise_open_files()?;
        if let Some((of_server, _)) = self.processors {
            pin_all_threads(sfu.process(), of_server)?;
        }
        let crowd = Crowd::start(sfu.process(), self.processors.map(|(_, of_crowd)| of_crowd))?;
        let course = Course::new(sfu.process(), print);
        Run { load: self, sfu, crowd, course }.run()
    }
}

/// A load on its way.
struct Run<'a> {
    load: &'a Load,
    sfu: &'a mut dyn Sfu,
    crowd: Crowd,
    course: Course,
}

impl Run<'_> {
    fn run(mut self) -> anyhow::Result<(Outcome, Course)> {
        let Load { publishers, subscribers, warm_up, measured, windows, .. } = *self.load;
        let process = self.sfu.process();
        let started = Instant::now();
        self.course.wait_for("subscribers", subscribers as u64);
        self.join_publishers()?;
        let resident_before_bytes = kernel::resident_bytes(process)?;
        self.join_subscribers()?;
        let connected_within_s = started.elapsed().as_secs_f64();

        self.crowd.start_media()?;
        self.until("get all streams", |snapshot| snapshot.streams == subscribers * publishers)?;
        self.course.wait_for("seconds", (warm_up + measured).as_secs());
        let media_since = Instant::now();
        self.attend(warm_up, media_since, "warming up")?;

        self.crowd.begin()?;
        let ticks = Ticks::now()?;
        let before = self.crowd.snapshot()?;
        self.course.begin(&before);
        let (mut after, mut cheapest) = (before.clone(), f64::INFINITY);
        let windows = windows.max(1);
        for _ in 0..windows {
            self.attend(measured / windows, media_since, "measuring")?;
            let last = std::mem::replace(&mut after, self.crowd.snapshot()?);
            self.course.note(&after);
            self.course.set_second(media_since.elapsed().as_secs(), "measuring");
            cheapest = cheapest.min(after.cpu_ns_per_packet_since(&last));
        }
        let stolen = Ticks::now()?.stolen_since(ticks);
        let estimates = Estimates::of(self.sfu.estimates_bps());
        let resident_after_bytes = kernel::resident_bytes(process)?;

        self.crowd.stop_media()?;
        self.sfu.attend(DRAIN)?;
        let last = self.crowd.snapshot()?;
        self.crowd.end()?;
        if let Some(failure) = last.failure {
            bail!("a session broke: {failure}");
        }
        let grown = resident_after_bytes as i64 - resident_before_bytes as i64;
        let outcome = Outcome {
            cpu_ns_per_packet: cheapest,
            stolen,
            estimates,
            connected_within_s,
            resident_before_bytes,
            resident_after_bytes,
            resident_per_subscriber_bytes: grown / subscribers.max(1) as i64,
            ..Outcome::between(self.sfu.name(), &before, &after, &last.received)
        };
        Ok((outcome, self.course.end(after.latency)))
    }

    fn join_publishers(&mut self) -> anyhow::Result<()> {
        let Load { ip, cipher, media, publishers, interval, .. } = *self.load;
        for number in 0..publishers {
            let (mut publisher, offer) =
                Publisher::new(ip, cipher, media, number as u32, interval, Instant::now())?;
            self.sfu.publish(&mut publisher, &offer)?;
            self.crowd.add_publisher(publisher)?;
        }
        self.until("connect as publishers", |snapshot| snapshot.publishers_connected == publishers)
    }

    fn join_subscribers(&mut self) -> anyhow::Result<()> {
        let Load { ip, cipher, media, subscribers, feedback, nack_one_in, .. } = *self.load;
        let codec = Some(media.codec()).filter(|codec| *codec != Codec::Opus);
        for number in 0..subscribers {
            let now = Instant::now();
            let mut session = Session::new(ip, cipher, codec, now)?;
            self.sfu.subscribe(&mut session)?;
            let behaviour = Behaviour {
                // Evenly among them.
                opens: number * OPENED_MAX / subscribers.max(OPENED_MAX)
                    != (number + 1) * OPENED_MAX / subscribers.max(OPENED_MAX),
                feedback,
                nack_one_in,
            };
            self.crowd.add_subscriber(Subscriber::new(session, behaviour, number as u32, now))?;
            if number % JOINING_MAX == JOINING_MAX - 1 {
                self.until("connect", |snapshot| snapshot.subscribers_connected + JOINING_MAX > number)?;
            }
            self.course.set(number as u64 + 1, "");
        }
        self.until("connect", |snapshot| snapshot.subscribers_connected == subscribers)
    }

    /// Lets time go on, and takes samples. `since`: where the progress counts from.
    fn attend(&mut self, duration: Duration, since: Instant, what: &str) -> anyhow::Result<()> {
        let until = Instant::now() + duration;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            self.sfu.attend(left.min(SAMPLE_PERIOD))?;
            if left <= SAMPLE_PERIOD {
                return Ok(());
            }
            let snapshot = self.crowd.snapshot()?;
            self.course.note(&snapshot);
            self.course.set_second(since.elapsed().as_secs(), what);
        }
    }

    fn until(&mut self, what: &str, is_so: impl Fn(&Snapshot) -> bool) -> anyhow::Result<()> {
        let started = Instant::now();
        loop {
            let snapshot = self.crowd.snapshot()?;
            self.course.note(&snapshot);
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
                    self.load.publishers * self.load.subscribers,
                    snapshot.streams_min,
                    Estimates::of(self.sfu.estimates_bps()),
                );
            }
            self.sfu.attend(STEP)?;
        }
    }
}

impl Outcome {
    /// Whether every packet came to everybody, and none that was not genuine.
    pub fn is_complete(&self) -> bool {
        self.incomplete().iter().all(|(_, packets)| *packets == 0)
    }

    /// Packets that did not come as they should have, by what is wrong with them.
    pub fn incomplete(&self) -> [(&'static str, u64); 3] {
        [
            ("packets lost by their numbers", self.packets_lost),
            ("packets missing by their stamps", self.packets_missing),
            ("packets forged", self.packets_forged),
        ]
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
