//! From RTP packets of one voice to a frame every 20 ms: order, timing, losses, pauses and clocks.
//!
//! Times are samples at 48 kHz. A packet is *due* when it is later than the fastest would be by the
//! target delay, which follows the jitter between the bounds of [`ReceiverConfig`]:
//!
//! ```text
//!   sent     |                       timestamp
//!   fastest  |----- transit ----->|                    the least of the last seconds
//!   arrives  |------------------------->|              lateness
//!   due      |                    |--- target --->|    enough for 99 % of them
//!   decoded  |---------------------------------------> at the first tick that needs it
//! ```
//!
//! While a voice goes on packets are decoded when a tick needs them, whatever the target says. Where
//! that is too late or too early, [`stretch`] leaves a period of the voice out or repeats one; that
//! also corrects for clocks that run apart. In pauses the delay is set anew.
//!
//! The *slack* of a packet is its lateness when it is decoded. Since that is done at ticks, a voice is
//! delayed by the slack and by what was ready before; the slack changes by whole ticks.

mod conceal;
mod delay;
mod keys;
mod packet;
mod period;
mod sound;
mod stats;
mod stretch;
mod timeline;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use self::delay::DelayEstimator;
use self::keys::Keys;
use self::packet::Candidate;
pub use self::packet::{Format, Packet, ReceiverConfig};
use self::sound::Sound;
use self::stats::Delays;
pub use self::stats::ReceiverStats;
use self::stretch::Haste;
use self::timeline::Received;
use crate::codec::{AudioCodec, NoiseShape};
use crate::dtmf::{Event, Press};
use crate::frame::{FRAME_SAMPLES, Frame, SAMPLE_RATE, SILENT_FRAME, milliseconds};
use crate::red;

/// A decoder makes anything of rubbish; voices stay well below this.
const SAMPLE_MAX: f32 = 2.0;
/// Packets that wait: at 20 ms each more than the largest delay by far.
const PACKETS_MAX: usize = 64;
/// A timestamp that is further off than this belongs to another clock.
const TIMESTAMP_JUMP_MAX: i64 = SAMPLE_RATE as i64 * 3;
/// A gap that is longer was a pause, whatever the sequence numbers say.
const LOSS_MAX: i64 = milliseconds(500) as i64;
/// When nothing came for so long, the voice has stopped.
const STOPPED: i64 = milliseconds(200) as i64;
/// And after this the leg sends nothing at all: there is no noise to be kept up.
const GONE: i64 = milliseconds(2_000) as i64;
/// A slack that is a tick too long, or too short by this, is put right.
const SLACK_SURPLUS: i64 = FRAME_SAMPLES as i64;
const SLACK_LACK: i64 = milliseconds(5) as i64;
/// And one that is too long by this even where that may be heard.
const SLACK_HURRIED: i64 = milliseconds(60) as i64;
/// What is ready before a packet is decoded delays the voice for nothing. This much is worth a stretch.
const READY_SURPLUS: usize = milliseconds(10);
/// One frame's share of what is known of losses, and so many that it is worth it to wait for the next.
const LOSS_WEIGHT: f32 = 1.0 / 250.0;
const LOSS_SHARE_WORTH_WAITING: f32 = 0.01;
/// Between one stretch and the next, when there is no haste.
const STRETCH_PERIOD_TICKS: u32 = 5;
/// One voice.
pub struct Receiver {
    config: ReceiverConfig,
    epoch: Option<Instant>,
    ssrc: Option<u32>,
    codec: Option<AudioCodec>,
    sound: Sound,
    /// A packet that would begin something new, until another agrees with it.
    candidate: Option<Candidate>,
    received: Received,
    last_timestamp: i64,
    last_arrival: i64,
    waiting: BTreeMap<i64, Waiting>,
    delay: DelayEstimator,
    phase: Phase,
    /// Sequence number of what was decoded last.
    decoded_sequence: i64,
    /// Where what was decoded ends. Packets before it are late.
    next: Option<i64>,
    decoded_duration: usize,
    /// Of the frames lately, those that were lost; and whether others tell of them.
    loss_share: f32,
    redundant: bool,
    /// Decoded and not yet played.
    ready: Vec<f32>,
    ticks_since_stretch: u32,
    keys: Keys,
    delays: Delays,
    stats: ReceiverStats,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// A pause. The next packet begins when it is due.
    Pause,
    Voice {
        /// So much was made up at its end, for nothing was there.
        owed: i64,
    },
}

#[derive(Debug)]
struct Waiting {
    sequence: i64,
    content: Content,
}

#[derive(Debug)]
enum Content {
    Audio { codec: AudioCodec, payload: Vec<u8>, duration: usize, redundant: bool },
    Noise(NoiseShape),
}

impl Receiver {
    pub fn new(config: ReceiverConfig) -> Self {
        let length = |duration: Duration| (duration.as_secs_f64() * f64::from(SAMPLE_RATE)) as usize;
        let delay = DelayEstimator::new(length(config.delay_min), length(config.delay_max));
        let sound = Sound::new(config.seed);
        Receiver {
            config,
            epoch: None,
            ssrc: None,
            codec: None,
            sound,
            candidate: None,
            received: Received::new(),
            last_timestamp: 0,
            last_arrival: 0,
            waiting: BTreeMap::new(),
            delay,
            phase: Phase::Pause,
            decoded_sequence: 0,
            next: None,
            decoded_duration: FRAME_SAMPLES,
            loss_share: 0.0,
            redundant: false,
            ready: Vec::new(),
            ticks_since_stretch: 0,
            keys: Keys::default(),
            delays: Delays::default(),
            stats: ReceiverStats::default(),
        }
    }

    pub fn handle_packet(&mut self, packet: &Packet<'_>, now: Instant) {
        self.stats.packets += 1;
        let arrival = self.samples_until(now);
        let Some(format) = self.config.format(packet.payload_type) else {
            self.stats.refused += 1;
            return;
        };
        // The codec's clock is known from its own packets; the others share it.
        let codec = match format {
            Format::Audio(codec) => Some(codec),
            Format::Redundant => {
                red::split(packet.payload).and_then(|blocks| self.config.audio(blocks.last()?.payload_type))
            }
            Format::ComfortNoise | Format::TelephoneEvent => self.codec.or_else(|| self.config.first_audio()),
        };
        let Some(codec) = codec else {
            self.stats.refused += 1;
            return;
        };
        if self.goes_on(packet, format, codec, arrival) {
            self.candidate = None;
            self.accept(packet, format, codec, arrival);
            return;
        }
        match self.candidate.take() {
            Some(candidate) if candidate.agrees_with(packet, codec, arrival) => {
                self.restart(packet.ssrc, codec);
                let first = candidate.packet();
                if let Some(format) = self.config.format(first.payload_type) {
                    self.accept(&first, format, codec, candidate.arrival);
                }
                self.accept(packet, format, codec, arrival);
            }
            other => {
                self.stats.refused += u64::from(other.is_some());
                // The first stream of all need not wait for another to agree.
                if self.ssrc.is_none() {
                    self.restart(packet.ssrc, codec);
                    self.stats.restarts = 0;
                    self.accept(packet, format, codec, arrival);
                } else {
                    self.candidate = Some(Candidate::new(packet, arrival));
                }
            }
        }
    }

    /// The next 20 ms. To be called once a tick.
    pub fn poll_frame(&mut self, now: Instant) -> Frame {
        let at = self.samples_until(now);
        let ready = self.ready.len();
        let slack = match (self.phase, self.next) {
            (Phase::Voice { owed: 0 }, Some(next)) if ready < FRAME_SAMPLES => {
                Some(self.delay.lateness(next, at))
            }
            _ => None,
        };
        self.fill(FRAME_SAMPLES, at);
        if let (Some(slack), Phase::Voice { owed: 0 }) = (slack, self.phase) {
            self.stretch(slack, ready);
        }
        let mut frame = SILENT_FRAME;
        for (to, sample) in frame.iter_mut().zip(&self.ready) {
            *to = if sample.is_finite() { sample.clamp(-SAMPLE_MAX, SAMPLE_MAX) } else { 0.0 };
        }
        if let (Phase::Voice { owed: 0 }, Some(next)) = (self.phase, self.next) {
            let begin = next - self.ready.len() as i64;
            let delay = self.delay.lateness(begin, at).max(0) as usize;
            self.stats.delay_samples = delay;
            self.delays.add(delay);
            self.keys.mute(&mut frame, begin);
        }
        self.ready.drain(..FRAME_SAMPLES);
        frame
    }

    /// A key that was pressed, each once.
    pub fn poll_digit(&mut self) -> Option<Press> {
        self.keys.poll()
    }

    /// Something came lately. A source that sends nothing need not be mixed.
    pub fn active(&self, now: Instant) -> bool {
        self.next.is_some() && self.samples_since_epoch(now) - self.last_arrival < GONE
    }

    pub fn stats(&self) -> ReceiverStats {
        ReceiverStats {
            delay_target_samples: self.target() as usize,
            delay_median_samples: self.delays.percentile(50),
            delay_p95_samples: self.delays.percentile(95),
            ..self.stats
        }
    }

    fn samples_until(&mut self, now: Instant) -> i64 {
        self.epoch.get_or_insert(now);
        self.samples_since_epoch(now)
    }

    fn samples_since_epoch(&self, now: Instant) -> i64 {
        let passed = now.saturating_duration_since(self.epoch.unwrap_or(now));
        (passed.as_nanos() * u128::from(SAMPLE_RATE) / 1_000_000_000) as i64
    }

    fn goes_on(&self, packet: &Packet<'_>, format: Format, codec: AudioCodec, arrival: i64) -> bool {
        let (Some(ssrc), Some(highest)) = (self.ssrc, self.received.highest()) else { return false };
        if ssrc != packet.ssrc || !timeline::goes_on(highest, packet.sequence) {
            return false;
        }
        // Some count the time of events by a clock of their own.
        if format == Format::TelephoneEvent {
            return true;
        }
        if self.codec.is_some_and(|current| current.clock_rate() != codec.clock_rate()) {
            return false;
        }
        let timestamp = self.extended(packet.timestamp, codec);
        self.delay.lateness(timestamp, arrival).abs() <= TIMESTAMP_JUMP_MAX
    }

    fn extended(&self, timestamp: u32, codec: AudioCodec) -> i64 {
        let factor = i64::from(SAMPLE_RATE / codec.clock_rate());
        timeline::extend_timestamp(self.last_timestamp.div_euclid(factor), timestamp) * factor
    }

    /// What waits belongs to a stream that has ended; what is decoded is played to its end.
    fn restart(&mut self, ssrc: u32, codec: AudioCodec) {
        self.ssrc = Some(ssrc);
        self.codec = Some(codec);
        self.received = Received::new();
        self.waiting.clear();
        self.delay.restart();
        self.phase = Phase::Pause;
        self.next = None;
        self.redundant = false;
        self.keys.restart();
        self.sound.reset();
        self.stats.restarts += 1;
    }

    fn accept(&mut self, packet: &Packet<'_>, format: Format, codec: AudioCodec, arrival: i64) {
        let highest = self.received.highest();
        let (sequence, timestamp) = match highest {
            Some(highest) => {
                (timeline::extend_sequence(highest, packet.sequence), self.extended(packet.timestamp, codec))
            }
            None => {
                let factor = i64::from(SAMPLE_RATE / codec.clock_rate());
                (i64::from(packet.sequence), i64::from(packet.timestamp) * factor)
            }
        };
        if !self.received.insert(sequence) {
            self.stats.duplicates += 1;
            return;
        }
        if highest.is_some_and(|highest| sequence < highest) {
            self.stats.reordered += 1;
        } else if format != Format::TelephoneEvent {
            self.last_timestamp = timestamp;
        }
        self.last_arrival = arrival;
        match format {
            Format::Audio(codec) => {
                self.delay.handle_packet(timestamp, arrival);
                self.keep_audio(sequence, timestamp, codec, packet.payload, false);
            }
            Format::ComfortNoise => match NoiseShape::parse(packet.payload) {
                Some(shape) => self.keep(timestamp, Waiting { sequence, content: Content::Noise(shape) }),
                None => self.stats.refused += 1,
            },
            Format::TelephoneEvent => self.handle_event(packet, timestamp, arrival),
            Format::Redundant => {
                self.delay.handle_packet(timestamp, arrival);
                let factor = i64::from(SAMPLE_RATE / codec.clock_rate());
                let blocks = red::split(packet.payload).unwrap_or_default();
                let older = blocks.len().saturating_sub(1) as i64;
                for (index, block) in blocks.iter().enumerate() {
                    let age = older - index as i64;
                    let earlier = timestamp - i64::from(block.offset) * factor;
                    // An empty block says that there was nothing.
                    if let (Some(codec), false) =
                        (self.config.audio(block.payload_type), block.payload.is_empty())
                    {
                        self.keep_audio(sequence - age, earlier, codec, block.payload, age > 0);
                    }
                }
            }
        }
    }

    fn handle_event(&mut self, packet: &Packet<'_>, timestamp: i64, arrival: i64) {
        let Some(event) = Event::parse(packet.payload) else {
            self.stats.refused += 1;
            return;
        };
        // By another clock than the voice: it began when its first packet came.
        let plausible = self.delay.lateness(timestamp, arrival).abs() <= TIMESTAMP_JUMP_MAX;
        let from = if plausible { timestamp } else { arrival - self.delay.fastest_transit() };
        let factor = i64::from(SAMPLE_RATE / self.codec.map_or(8_000, AudioCodec::clock_rate));
        self.keys.handle(&event, packet.timestamp, packet.marker, from, plausible.then_some(factor));
    }

    fn keep_audio(
        &mut self,
        sequence: i64,
        timestamp: i64,
        codec: AudioCodec,
        payload: &[u8],
        redundant: bool,
    ) {
        let Some(duration) = codec.duration_samples(payload) else {
            self.stats.refused += 1;
            return;
        };
        // What comes twice is no news.
        if redundant && (self.received.contains(sequence) || self.waiting.contains_key(&timestamp)) {
            return;
        }
        self.redundant = redundant || codec.tells_of_the_frame_before(payload) || self.redundant;
        let payload = payload.to_vec();
        self.keep(
            timestamp,
            Waiting { sequence, content: Content::Audio { codec, payload, duration, redundant } },
        );
    }

    fn keep(&mut self, timestamp: i64, waiting: Waiting) {
        let redundant = matches!(waiting.content, Content::Audio { redundant: true, .. });
        if self.next.is_some_and(|next| timestamp + waiting.duration() as i64 / 2 < next) {
            self.stats.late += u64::from(!redundant);
            return;
        }
        if self.waiting.len() == PACKETS_MAX {
            self.waiting.pop_first();
            self.stats.overflowed += 1;
        }
        self.waiting.insert(timestamp, waiting);
    }

    /// Until there are `count` samples, or more where a packet has more.
    fn fill(&mut self, count: usize, at: i64) {
        // Each turn adds samples, takes a packet away or begins a voice, so it comes to an end.
        while self.ready.len() < count {
            let missing = count - self.ready.len();
            match self.phase {
                Phase::Pause => self.pause(missing, at),
                Phase::Voice { owed } => self.voice(missing, owed),
            }
        }
    }

    fn pause(&mut self, missing: usize, at: i64) {
        let Some((&timestamp, waiting)) = self.waiting.first_key_value() else {
            self.rest(missing, at);
            return;
        };
        if let Content::Noise(shape) = &waiting.content {
            let shape = *shape;
            self.decoded_sequence = waiting.sequence;
            self.next = Some(self.next.unwrap_or(timestamp).max(timestamp));
            self.sound.set_noise(shape);
            self.waiting.pop_first();
            return;
        }
        // What is ready is played first, so the packet would be played that much later.
        let early = self.target() - self.delay.lateness(timestamp, at + self.ready.len() as i64);
        if early > 0 {
            self.rest(missing.min(early as usize), at);
            return;
        }
        self.next = Some(timestamp);
        self.phase = Phase::Voice { owed: 0 };
    }

    fn voice(&mut self, missing: usize, owed: i64) {
        let next = self.next.unwrap_or(0);
        let Some((&timestamp, waiting)) = self.waiting.first_key_value() else {
            // Where something else came after it, such as an event, the voice is not late.
            let paused = self.received.highest().is_some_and(|highest| {
                highest > self.decoded_sequence
                    && self.received.contains_between(self.decoded_sequence, highest + 1)
            });
            if owed >= STOPPED || paused {
                self.phase = Phase::Pause;
                return;
            }
            // Codecs make up whole frames.
            let made_up =
                self.conceal(if self.sound.conceals_frames() { self.decoded_duration } else { missing });
            self.phase = Phase::Voice { owed: owed + made_up };
            return;
        };
        let gap = timestamp - next;
        if gap < milliseconds(1) as i64 {
            self.decode_first();
            return;
        }
        let sequence = waiting.sequence;
        if gap > LOSS_MAX || self.received.contains_between(self.decoded_sequence, sequence) {
            self.phase = Phase::Pause;
            return;
        }
        if owed > 0 {
            // It is clear now that what was made up stands for what was lost.
            self.next = Some(next + gap.min(owed));
            // A frame of which a part is still missing is counted with it.
            let frame = self.decoded_duration as u64;
            let filled = gap.min(owed) as u64;
            self.count_losses(if owed < gap { filled / frame } else { filled.div_ceil(frame) });
            self.phase = Phase::Voice { owed: 0 };
            return;
        }
        let lost = (gap as usize).min(self.decoded_duration);
        let whole = gap as usize == lost && self.recover_before(timestamp, lost);
        if whole {
            self.count_recovered();
        } else {
            self.conceal(lost);
            self.count_losses(1);
        }
        self.next = Some(next + lost as i64);
    }

    fn decode_first(&mut self) {
        let Some((timestamp, waiting)) = self.waiting.pop_first() else { return };
        let (codec, payload, duration) = match waiting.content {
            Content::Audio { codec, payload, duration, redundant } => {
                if redundant {
                    self.count_recovered();
                }
                (codec, payload, duration)
            }
            Content::Noise(_) => {
                self.waiting.insert(timestamp, waiting);
                self.phase = Phase::Pause;
                return;
            }
        };
        self.decoded_sequence = waiting.sequence;
        self.decoded_duration = duration;
        self.loss_share *= 1.0 - LOSS_WEIGHT;
        self.next = Some(timestamp + duration as i64);
        self.phase = Phase::Voice { owed: 0 };
        self.codec = Some(codec);
        if !self.sound.decode(codec, &payload, &mut self.ready) {
            self.stats.refused += 1;
            self.conceal(duration);
        }
    }

    fn count_losses(&mut self, frames: u64) {
        self.stats.lost += frames;
        self.loss_share = (self.loss_share + LOSS_WEIGHT * frames as f32).min(1.0);
    }

    fn count_recovered(&mut self) {
        self.stats.recovered += 1;
        self.loss_share = (self.loss_share + LOSS_WEIGHT).min(1.0);
    }

    /// Where the packet after a lost one makes it good, it is waited for.
    fn target(&self) -> i64 {
        let wait = self.redundant && self.loss_share > LOSS_SHARE_WORTH_WAITING;
        let target = self.delay.target() + if wait { self.decoded_duration } else { 0 };
        target.min(self.delay.maximum()) as i64
    }

    /// Whether what comes next says what was lost before it.
    fn recover_before(&mut self, timestamp: i64, lost: usize) -> bool {
        let Some(Waiting { content: Content::Audio { codec, payload, .. }, .. }) =
            self.waiting.get(&timestamp)
        else {
            return false;
        };
        self.sound.recover(*codec, payload, lost, &mut self.ready)
    }

    /// In place of what did not come. Returns how much: at least `count`.
    fn conceal(&mut self, count: usize) -> i64 {
        let start = self.ready.len();
        self.sound.conceal(count, &mut self.ready);
        let made_up = self.ready.len() - start;
        self.stats.concealed_samples += made_up as u64;
        made_up as i64
    }

    /// In a pause; nothing when the leg is gone.
    fn rest(&mut self, count: usize, at: i64) {
        let gone = self.next.is_none() || at - self.last_arrival >= GONE;
        if gone && self.sound.silent() {
            self.ready.resize(self.ready.len() + count, 0.0);
        } else {
            self.sound.rest(count, &mut self.ready);
        }
    }

    /// `ready` samples were there before this tick needed a packet with that slack.
    fn stretch(&mut self, slack: i64, ready: usize) {
        self.ticks_since_stretch = self.ticks_since_stretch.saturating_add(1);
        let surplus = slack - self.target();
        let haste = if surplus > SLACK_HURRIED { Haste::Hurried } else { Haste::Unheard };
        if haste == Haste::Unheard && self.ticks_since_stretch < STRETCH_PERIOD_TICKS {
            return;
        }
        let lag_max = if surplus >= SLACK_SURPLUS { period::LAG_MAX } else { ready.min(period::LAG_MAX) };
        let by = if surplus >= SLACK_SURPLUS || surplus >= 0 && ready >= READY_SURPLUS {
            // What is too early has come, unless it is lost.
            while self.ready.len() < FRAME_SAMPLES + lag_max {
                if !self.next_is_there() {
                    return;
                }
                self.decode_first();
            }
            let by = stretch::shorten(&mut self.ready, lag_max, haste);
            self.stats.shortened_samples += by as u64;
            by
        } else if surplus < -SLACK_LACK {
            let by = stretch::lengthen(&mut self.ready, haste);
            self.stats.lengthened_samples += by as u64;
            by
        } else {
            return;
        };
        if by > 0 {
            self.ticks_since_stretch = 0;
        }
    }

    fn next_is_there(&self) -> bool {
        let audio = |waiting: &Waiting| matches!(waiting.content, Content::Audio { .. });
        self.waiting.first_key_value().is_some_and(|(timestamp, waiting)| {
            audio(waiting) && timestamp - self.next.unwrap_or(0) < milliseconds(1) as i64
        })
    }
}

impl Waiting {
    fn duration(&self) -> usize {
        match self.content {
            Content::Audio { duration, .. } => duration,
            Content::Noise(_) => 0,
        }
    }
}

#[cfg(test)]
mod tests;
