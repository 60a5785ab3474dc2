//! Senders with estimator and pacer on one emulated link, in virtual time.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use broletto_loadtest::link::{HEADER_BYTES, Link, LinkConfig, Random};
use broletto_rtp::congestion::{Class, ClusterId, Config, Estimator, Kind, Pacer, PacerConfig};
use broletto_rtp::feedback::TransportFeedback;

pub const TICK: Duration = Duration::from_millis(1);
/// How long a report takes on its way back.
const RETURN: Duration = Duration::from_millis(25);
const PACKET_BYTES: usize = 1_150;
/// An Opus packet of 20 ms with its headers: 40 kbit/s.
const AUDIO_BYTES: usize = 100;
const AUDIO_BPS: u64 = 40_000;
const FRAME: Duration = Duration::from_millis(40);
/// Key frames are so much larger than others.
const KEY_FRAME_FACTOR: f64 = 4.0;
const COMPETITOR: u8 = 255;

pub fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// What a flow has to send.
#[derive(Debug, Clone, Copy)]
pub enum Source {
    /// One of three simulcast layers, as an allocator would choose it.
    Ladder,
    /// Just what the estimate allows, up to this.
    Elastic(u64),
    /// The smallest layer, and nobody wants more.
    Small,
}

const LADDER_BPS: [u64; 3] = [150_000, 500_000, 1_500_000];

/// How the receiver tells what came.
#[derive(Debug, Clone, Copy)]
pub struct Reports {
    pub interval: Duration,
    /// Reports come together at multiples of this.
    pub held: Duration,
    pub drift_ppm: i64,
}

impl Default for Reports {
    fn default() -> Self {
        Reports { interval: ms(50), held: Duration::ZERO, drift_ppm: 0 }
    }
}

#[derive(Debug, Clone, Copy)]
struct Packet {
    kind: Kind,
    bytes: usize,
}

/// What was seen in a tenth of a second.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub estimate_bps: u64,
    pub sent_bytes: u64,
    pub arrived_bytes: u64,
    pub delays: Vec<Duration>,
    pub audio_lost: u64,
    pub audio_came: u64,
    pub step: usize,
}

pub struct Flow {
    pub estimator: Estimator,
    pacer: Pacer<Packet>,
    pub source: Source,
    reports: Reports,
    begins: Duration,
    random: Random,
    step: usize,
    key_frame: bool,
    frame: u64,
    next_frame: Duration,
    next_audio: Duration,
    next_allocation: Duration,
    next_report: Duration,
    allocated_at_bps: u64,
    /// When each was sent, and whether it is a voice, by number.
    sent: Vec<(Duration, bool)>,
    came: Vec<Option<Duration>>,
    reported: usize,
    returning: VecDeque<(Duration, TransportFeedback)>,
    pub samples: Vec<Sample>,
    pub probes: u32,
    pub dropped: u64,
}

impl Flow {
    fn new(source: Source, reports: Reports, begins: Duration, seed: u64, epoch: Instant) -> Self {
        let config = Config::default();
        Flow {
            estimator: Estimator::new(config, epoch + begins),
            pacer: Pacer::new(PacerConfig::default()),
            source,
            reports,
            begins,
            random: Random::new(seed),
            step: 0,
            key_frame: true,
            frame: 0,
            next_frame: begins + ms(seed % 40),
            next_audio: begins + ms(seed * 7 % 20),
            next_allocation: begins,
            next_report: begins,
            allocated_at_bps: 0,
            sent: Vec::new(),
            came: Vec::new(),
            reported: 0,
            returning: VecDeque::new(),
            samples: Vec::new(),
            probes: 0,
            dropped: 0,
        }
    }

    fn allocate(&mut self, at: Duration) {
        let estimate_bps = self.estimator.estimate_bps();
        if at < self.next_allocation && estimate_bps >= self.allocated_at_bps {
            return;
        }
        self.next_allocation = at + ms(200);
        self.allocated_at_bps = estimate_bps;
        let before = self.step;
        let useful_bps = match self.source {
            Source::Ladder => {
                let fits =
                    |step: usize, percent: u64| LADDER_BPS[step] + AUDIO_BPS <= estimate_bps * percent / 100;
                while self.step > 0 && !fits(self.step, 110) {
                    self.step -= 1;
                }
                while self.step < 2 && fits(self.step + 1, 85) {
                    self.step += 1;
                }
                (LADDER_BPS[2] + AUDIO_BPS) * 130 / 100
            }
            Source::Elastic(most_bps) => most_bps,
            Source::Small => (LADDER_BPS[0] + AUDIO_BPS) * 130 / 100,
        };
        self.key_frame |= self.step != before;
        self.estimator.set_useful(useful_bps);
    }

    fn produce(&mut self, at: Duration, now: Instant) {
        while self.next_audio <= at {
            self.next_audio += ms(20);
            self.pacer.push(
                Packet { kind: Kind::Audio, bytes: AUDIO_BYTES },
                Class::Audio,
                AUDIO_BYTES,
                0,
                now,
            );
        }
        while self.next_frame <= at {
            self.next_frame += FRAME;
            self.frame += 1;
            let bps = match self.source {
                Source::Ladder => LADDER_BPS[self.step],
                Source::Elastic(most_bps) => {
                    self.estimator.estimate_bps().min(most_bps).saturating_sub(AUDIO_BPS)
                }
                Source::Small => LADDER_BPS[0],
            };
            let factor = if std::mem::take(&mut self.key_frame) { KEY_FRAME_FACTOR } else { 1.0 };
            let bytes = bps as f64 * FRAME.as_secs_f64() / 8.0 * factor * (0.7 + 0.6 * self.random.share());
            let count = (bytes as usize).div_ceil(PACKET_BYTES).max(1);
            let bytes = (bytes as usize / count).max(60);
            for _ in 0..count {
                self.pacer.push(Packet { kind: Kind::Media, bytes }, Class::Video, bytes, self.frame, now);
            }
        }
    }

    /// What leaves now goes to `link`.
    fn send(&mut self, index: u8, at: Duration, now: Instant, link: &mut Link) {
        if let Some(probe) = self.estimator.poll_probe(now) {
            self.probes += 1;
            self.pacer.begin_probe(probe, now);
        }
        self.pacer.set_pace(self.estimator.pace());
        loop {
            while let Some(bytes) = self.pacer.padding_wanted(now) {
                let bytes = bytes.clamp(60, PACKET_BYTES);
                self.pacer.push(Packet { kind: Kind::Padding, bytes }, Class::Padding, bytes, 0, now);
            }
            let Some(released) = self.pacer.poll(now) else { break };
            self.transmit(index, released.item, released.cluster, at, now, link);
        }
        while self.pacer.poll_dropped().is_some() {
            self.dropped += 1;
        }
    }

    fn transmit(
        &mut self,
        index: u8,
        packet: Packet,
        cluster: Option<ClusterId>,
        at: Duration,
        now: Instant,
        link: &mut Link,
    ) {
        let number = self.sent.len() as u64;
        self.sent.push((at, packet.kind == Kind::Audio));
        self.came.push(None);
        if let Some(sample) = self.samples.last_mut() {
            sample.sent_bytes += packet.bytes as u64;
        }
        // Numbers begin just before the wrap of their short form.
        self.estimator.note_sent(number + 65_000, packet.bytes, packet.kind, cluster, now);
        let mut bytes = vec![index];
        bytes.extend(number.to_be_bytes());
        bytes.resize(packet.bytes - HEADER_BYTES as usize, 0);
        link.handle_packet(now, bytes);
    }

    fn receive(&mut self, number: u64, bytes: usize, at: Duration) {
        let (sent, audio) = self.sent[number as usize];
        self.came[number as usize] = Some(at);
        if let Some(sample) = self.samples.last_mut() {
            sample.arrived_bytes += bytes as u64;
            sample.audio_came += u64::from(audio);
            sample.delays.push(at - sent);
        }
    }

    fn report(&mut self, at: Duration) {
        if at < self.next_report {
            return;
        }
        self.next_report += self.reports.interval;
        let Some(end) = self.came.iter().rposition(Option::is_some).map(|last| last + 1) else { return };
        if end <= self.reported {
            return;
        }
        let clock = |at: Duration| {
            let us = at.as_micros() as i64;
            // Like a receiver that has been up for days: its clock wraps a minute from now.
            (us + us * self.reports.drift_ppm / 1_000_000 + (1 << 24) * 64_000 - 60_000_000)
                .rem_euclid((1 << 24) * 64_000)
        };
        let arrivals = self.came[self.reported..end].iter().map(|came| came.map(clock)).collect();
        let feedback = TransportFeedback {
            sender_ssrc: 1,
            media_ssrc: 2,
            count: 0,
            base: (self.reported as u64 + 65_000) as u16,
            arrivals,
        };
        for (number, (_, audio)) in self.sent[self.reported..end].iter().enumerate() {
            if *audio && self.came[self.reported + number].is_none() {
                self.samples.last_mut().unwrap().audio_lost += 1;
            }
        }
        self.reported = end;
        let mut due = at + RETURN;
        if !self.reports.held.is_zero() {
            let held = self.reports.held.as_millis();
            due = ms((due.as_millis().div_ceil(held) * held) as u64);
        }
        self.returning.push_back((due, feedback));
    }

    fn sample(&mut self, at: Duration) {
        if at.as_millis().is_multiple_of(100) {
            let sample =
                Sample { estimate_bps: self.estimator.estimate_bps(), step: self.step, ..Sample::default() };
            self.samples.push(sample);
        }
    }

    fn of(&self, from: Duration, to: Duration) -> &[Sample] {
        let index = |at: Duration| ((at - self.begins).as_millis() / 100) as usize;
        &self.samples[index(from)..index(to).min(self.samples.len())]
    }

    pub fn estimate_min(&self, from: Duration, to: Duration) -> u64 {
        self.of(from, to).iter().map(|sample| sample.estimate_bps).min().unwrap()
    }

    pub fn estimate_mean(&self, from: Duration, to: Duration) -> u64 {
        let samples = self.of(from, to);
        samples.iter().map(|sample| sample.estimate_bps).sum::<u64>() / samples.len() as u64
    }

    /// When the estimate came to be so high or low, from `from` on.
    pub fn reaches(&self, from: Duration, is: impl Fn(u64) -> bool) -> Option<Duration> {
        let samples = self.of(from, Duration::MAX / 2);
        samples.iter().position(|sample| is(sample.estimate_bps)).map(|nth| ms(nth as u64 * 100))
    }

    pub fn arrived_bps(&self, from: Duration, to: Duration) -> u64 {
        let bytes: u64 = self.of(from, to).iter().map(|sample| sample.arrived_bytes).sum();
        (bytes as f64 * 8.0 / (to - from).as_secs_f64()) as u64
    }

    pub fn sent_bps(&self, from: Duration, to: Duration) -> u64 {
        let bytes: u64 = self.of(from, to).iter().map(|sample| sample.sent_bytes).sum();
        (bytes as f64 * 8.0 / (to - from).as_secs_f64()) as u64
    }

    pub fn delay_p95(&self, from: Duration, to: Duration) -> Duration {
        let mut delays: Vec<Duration> =
            self.of(from, to).iter().flat_map(|sample| sample.delays.clone()).collect();
        delays.sort_unstable();
        delays[delays.len() * 95 / 100]
    }

    pub fn audio_loss(&self, from: Duration, to: Duration) -> f64 {
        let samples = self.of(from, to);
        let lost: u64 = samples.iter().map(|sample| sample.audio_lost).sum();
        let came: u64 = samples.iter().map(|sample| sample.audio_came).sum();
        lost as f64 / (lost + came).max(1) as f64
    }

    /// Share of the time in which each step was sent.
    pub fn steps(&self, from: Duration, to: Duration) -> [f64; 3] {
        let samples = self.of(from, to);
        let of =
            |step| samples.iter().filter(|sample| sample.step == step).count() as f64 / samples.len() as f64;
        [of(0), of(1), of(2)]
    }
}

/// A download that only loss slows down (as RFC 5681, with CUBIC's seven tenths).
struct Competitor {
    window: f64,
    flying: VecDeque<(u64, Duration)>,
    next: u64,
    acks: VecDeque<(Duration, u64)>,
    cut_after: u64,
    arrived_bytes: u64,
}

impl Competitor {
    fn send(&mut self, at: Duration, now: Instant, link: &mut Link) {
        while self.acks.front().is_some_and(|(due, _)| *due <= at) {
            let (_, number) = self.acks.pop_front().unwrap();
            while self.flying.front().is_some_and(|(first, _)| *first < number) {
                let (lost, _) = self.flying.pop_front().unwrap();
                if lost >= self.cut_after {
                    self.window = (self.window * 0.7).max(2.0);
                    self.cut_after = self.next;
                }
            }
            if self.flying.front().is_some_and(|(first, _)| *first == number) {
                self.flying.pop_front();
            }
            self.window += 1.0 / self.window;
        }
        if self.flying.front().is_some_and(|(_, sent)| at - *sent > s(1)) {
            self.flying.clear();
            self.window = 2.0;
        }
        while (self.flying.len() as f64) < self.window {
            let mut bytes = vec![COMPETITOR];
            bytes.extend(self.next.to_be_bytes());
            bytes.resize(1_400, 0);
            link.handle_packet(now, bytes);
            self.flying.push_back((self.next, at));
            self.next += 1;
        }
    }
}

pub struct World {
    epoch: Instant,
    at: Duration,
    pub link: Link,
    pub flows: Vec<Flow>,
    competitor: Option<Competitor>,
    /// While it lasts nothing is handed over, as by a radio that looks around.
    pub paused_until: Duration,
    held: Vec<Vec<u8>>,
}

impl World {
    pub fn new(config: LinkConfig, seed: u64) -> Self {
        World {
            #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
            epoch: Instant::now(),
            at: Duration::ZERO,
            link: Link::new(config, seed),
            flows: Vec::new(),
            competitor: None,
            paused_until: Duration::ZERO,
            held: Vec::new(),
        }
    }

    pub fn at(&self) -> Duration {
        self.at
    }

    pub fn add(&mut self, source: Source, reports: Reports, seed: u64) -> &mut Self {
        self.flows.push(Flow::new(source, reports, self.at, seed, self.epoch));
        self
    }

    pub fn compete(&mut self, on: bool) {
        self.competitor = on.then(|| Competitor {
            window: 4.0,
            flying: VecDeque::new(),
            next: 0,
            acks: VecDeque::new(),
            cut_after: 0,
            arrived_bytes: 0,
        });
    }

    pub fn competitor_bytes(&self) -> u64 {
        self.competitor.as_ref().map_or(0, |competitor| competitor.arrived_bytes)
    }

    pub fn change(&mut self, change: impl FnOnce(&mut LinkConfig)) {
        let mut config = *self.link.config();
        change(&mut config);
        self.link.set_config(config, self.epoch + self.at);
    }

    pub fn run_until(&mut self, until: Duration) {
        while self.at < until {
            let now = self.epoch + self.at;
            while let Some(due) = self.link.poll_timeout().filter(|due| *due <= now) {
                while let Some(packet) = self.link.poll_packet(due) {
                    self.deliver(packet, due - self.epoch);
                }
            }
            if self.at >= self.paused_until {
                for packet in std::mem::take(&mut self.held) {
                    self.hand_over(&packet, self.at);
                }
            }
            for (index, flow) in self.flows.iter_mut().enumerate() {
                flow.sample(self.at);
                flow.report(self.at);
                while flow.returning.front().is_some_and(|(due, _)| *due <= self.at) {
                    let (_, feedback) = flow.returning.pop_front().unwrap();
                    flow.estimator.handle_feedback(&feedback, now);
                }
                if flow.estimator.poll_timeout().is_some_and(|due| due <= now) {
                    flow.estimator.handle_timeout(now);
                }
                flow.allocate(self.at);
                flow.produce(self.at, now);
                flow.send(index as u8, self.at, now, &mut self.link);
            }
            if let Some(competitor) = &mut self.competitor {
                competitor.send(self.at, now, &mut self.link);
            }
            self.at += TICK;
        }
    }

    fn deliver(&mut self, packet: Vec<u8>, at: Duration) {
        if at < self.paused_until {
            self.held.push(packet);
        } else {
            self.hand_over(&packet, at);
        }
    }

    fn hand_over(&mut self, packet: &[u8], at: Duration) {
        let number = u64::from_be_bytes(*packet[1..].first_chunk().unwrap());
        match packet[0] {
            COMPETITOR => {
                if let Some(competitor) = &mut self.competitor {
                    competitor.acks.push_back((at + RETURN, number));
                    competitor.arrived_bytes += packet.len() as u64;
                }
            }
            index => self.flows[usize::from(index)].receive(number, packet.len() + HEADER_BYTES as usize, at),
        }
    }
}
