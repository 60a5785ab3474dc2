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
mod period;
mod stretch;
mod timeline;

use std::collections::{BTreeMap, VecDeque};
use std::time::{Duration, Instant};

use self::conceal::Concealer;
use self::delay::DelayEstimator;
use self::stretch::Haste;
use self::timeline::Received;
use crate::codec::{AudioCodec, Decoder, NoiseAnalyser, NoiseShape};
use crate::dtmf::{Event, EventDecoder, Press};
use crate::frame::{FRAME_SAMPLES, Frame, SAMPLE_RATE, SILENT_FRAME, milliseconds, power, power_dbov};
use crate::red;

/// Packets that wait: at 20 ms each more than the largest delay by far.
const PACKETS_MAX: usize = 64;
/// A timestamp that is further off than this belongs to another clock.
const TIMESTAMP_JUMP_MAX: i64 = SAMPLE_RATE as i64 * 3;
/// Two packets agree about a new clock when they are no further apart than this.
const AGREEMENT: i64 = milliseconds(500) as i64;
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
const DIGITS_MAX: usize = 32;
/// Events whose sound is still to be left out.
const EVENTS_MAX: usize = 4;
/// What is left out before an event and after what is known of it: its packets come up to 50 ms apart
/// (RFC 4733 section 2.5.1.2).
const EVENT_MARGIN: i64 = milliseconds(10) as i64;
const EVENT_GAP: i64 = milliseconds(60) as i64;
const EVENT_FADE: usize = milliseconds(2);
/// A frame that is no louder than the quietest lately by more is the noise of the room.
const NOISE_MARGIN_DB: f32 = 3.0;
const NOISE_RISE_DB: f32 = 0.05;
/// Louder noise than this is never made.
const NOISE_DBOV_MAX: f32 = -45.0;

/// What a payload type means in this call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    Audio(AudioCodec),
    /// RFC 3389.
    ComfortNoise,
    /// RFC 4733.
    TelephoneEvent,
    /// RFC 2198.
    Redundant,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReceiverConfig {
    pub formats: Vec<(u8, Format)>,
    pub delay_min: Duration,
    pub delay_max: Duration,
    /// Of the noise that is made in pauses.
    pub seed: u32,
}

impl ReceiverConfig {
    pub fn new(formats: Vec<(u8, Format)>) -> Self {
        let (delay_min, delay_max) = (Duration::from_millis(20), Duration::from_millis(200));
        ReceiverConfig { formats, delay_min, delay_max, seed: 1 }
    }
}

/// An RTP packet, as far as a voice is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Packet<'a> {
    pub ssrc: u32,
    pub sequence: u16,
    pub timestamp: u32,
    pub marker: bool,
    pub payload_type: u8,
    pub payload: &'a [u8],
}

/// What became of the packets so far. Lengths are in samples at 48 kHz.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReceiverStats {
    pub packets: u64,
    /// Of a payload type that is not spoken in this call, malformed, or of no stream that goes on.
    pub refused: u64,
    pub duplicates: u64,
    pub reordered: u64,
    /// They came when their time had been filled with something else.
    pub late: u64,
    /// Gone because too many waited.
    pub overflowed: u64,
    /// Lost frames that redundancy or forward error correction brought back.
    pub recovered: u64,
    /// Lost frames that did not come back.
    pub lost: u64,
    pub restarts: u64,
    pub concealed_samples: u64,
    pub shortened_samples: u64,
    pub lengthened_samples: u64,
    /// What the next frame would be delayed by over the fastest packet.
    pub delay_samples: usize,
    pub delay_target_samples: usize,
    /// Half, and 95 % of the frames so far, were delayed by no more, to 5 ms.
    pub delay_median_samples: usize,
    pub delay_p95_samples: usize,
}

/// One voice.
pub struct Receiver {
    config: ReceiverConfig,
    epoch: Option<Instant>,
    ssrc: Option<u32>,
    codec: Option<AudioCodec>,
    decoder: Option<(AudioCodec, Box<dyn Decoder>)>,
    concealer: Concealer,
    analyser: NoiseAnalyser,
    quietest_dbov: f32,
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
    events: EventDecoder,
    muted: VecDeque<Muted>,
    digits: VecDeque<Press>,
    delays: [u64; DELAY_BUCKETS],
    stats: ReceiverStats,
}

const DELAY_BUCKET: usize = milliseconds(5);
const DELAY_BUCKETS: usize = 100;

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

#[derive(Debug)]
struct Candidate {
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    payload: Vec<u8>,
    arrival: i64,
}

/// Time in which nothing is heard, because it is the sound of a key.
#[derive(Debug, Clone, Copy)]
struct Muted {
    key: u32,
    from: i64,
    to: i64,
}

impl Receiver {
    pub fn new(config: ReceiverConfig) -> Self {
        let length = |duration: Duration| (duration.as_secs_f64() * f64::from(SAMPLE_RATE)) as usize;
        let delay = DelayEstimator::new(length(config.delay_min), length(config.delay_max));
        let concealer = Concealer::new(1, config.seed);
        Receiver {
            config,
            epoch: None,
            ssrc: None,
            codec: None,
            decoder: None,
            concealer,
            analyser: NoiseAnalyser::new(1),
            quietest_dbov: 0.0,
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
            events: EventDecoder::default(),
            muted: VecDeque::new(),
            digits: VecDeque::new(),
            delays: [0; DELAY_BUCKETS],
            stats: ReceiverStats::default(),
        }
    }

    pub fn handle_packet(&mut self, packet: &Packet<'_>, now: Instant) {
        self.stats.packets += 1;
        let arrival = self.samples_until(now);
        let Some(format) = self.format(packet.payload_type) else {
            self.stats.refused += 1;
            return;
        };
        // The codec's clock is known from its own packets; the others share it.
        let codec = match format {
            Format::Audio(codec) => Some(codec),
            Format::Redundant => {
                red::split(packet.payload).and_then(|blocks| self.audio(blocks.last()?.payload_type))
            }
            Format::ComfortNoise | Format::TelephoneEvent => self.codec.or_else(|| self.only_codec()),
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
                if let Some(format) = self.format(first.payload_type) {
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
        frame.copy_from_slice(&self.ready[..FRAME_SAMPLES]);
        if let (Phase::Voice { owed: 0 }, Some(next)) = (self.phase, self.next) {
            let begin = next - self.ready.len() as i64;
            let delay = self.delay.lateness(begin, at).max(0) as usize;
            self.stats.delay_samples = delay;
            self.delays[(delay / DELAY_BUCKET).min(DELAY_BUCKETS - 1)] += 1;
            self.mute_events(&mut frame, begin);
        }
        self.ready.drain(..FRAME_SAMPLES);
        frame
    }

    /// A key that was pressed, each once.
    pub fn poll_digit(&mut self) -> Option<Press> {
        self.digits.pop_front()
    }

    /// Something came lately. A source that sends nothing need not be mixed.
    pub fn active(&self, now: Instant) -> bool {
        self.next.is_some() && self.samples_since_epoch(now) - self.last_arrival < GONE
    }

    pub fn stats(&self) -> ReceiverStats {
        let all: u64 = self.delays.iter().sum();
        let quantile = |share: u64| {
            let mut sum = 0;
            let bucket = self.delays.iter().position(|count| {
                sum += count;
                sum * 100 >= all * share
            });
            if all == 0 { 0 } else { (bucket.unwrap_or(DELAY_BUCKETS - 1) + 1) * DELAY_BUCKET }
        };
        ReceiverStats {
            delay_target_samples: self.target() as usize,
            delay_median_samples: quantile(50),
            delay_p95_samples: quantile(95),
            ..self.stats
        }
    }

    fn format(&self, payload_type: u8) -> Option<Format> {
        self.config.formats.iter().find(|(number, _)| *number == payload_type).map(|(_, format)| *format)
    }

    fn audio(&self, payload_type: u8) -> Option<AudioCodec> {
        match self.format(payload_type)? {
            Format::Audio(codec) => Some(codec),
            Format::ComfortNoise | Format::TelephoneEvent | Format::Redundant => None,
        }
    }

    /// Before any audio came: what it will be, as far as clocks are concerned.
    fn only_codec(&self) -> Option<AudioCodec> {
        self.config.formats.iter().find_map(|(number, _)| self.audio(*number))
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
        self.muted.clear();
        self.delay.restart();
        self.phase = Phase::Pause;
        self.next = None;
        self.redundant = false;
        self.events = EventDecoder::default();
        if let Some((_, decoder)) = &mut self.decoder {
            decoder.reset();
        }
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
                    if let (Some(codec), false) = (self.audio(block.payload_type), block.payload.is_empty()) {
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
        if let Some(press) = self.events.handle(&event, packet.timestamp, packet.marker) {
            if self.digits.len() == DIGITS_MAX {
                self.digits.pop_front();
            }
            self.digits.push_back(press);
        }
        // By another clock than the voice: it began when its first packet came.
        let plausible = self.delay.lateness(timestamp, arrival).abs() <= TIMESTAMP_JUMP_MAX;
        let from = if plausible { timestamp } else { arrival - self.delay.fastest_transit() };
        let factor = i64::from(SAMPLE_RATE / self.codec.map_or(8_000, AudioCodec::clock_rate));
        let lasted = if plausible { i64::from(event.duration) * factor } else { 0 };
        let to = from + lasted + if event.end { EVENT_MARGIN } else { EVENT_GAP };
        match self.muted.iter_mut().find(|muted| muted.key == packet.timestamp) {
            Some(muted) if event.end && plausible => muted.to = to,
            Some(muted) => muted.to = muted.to.max(to),
            None => {
                if self.muted.len() == EVENTS_MAX {
                    self.muted.pop_front();
                }
                self.muted.push_back(Muted { key: packet.timestamp, from: from - EVENT_MARGIN, to });
            }
        }
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
            let shape = shape.no_louder_than(NOISE_DBOV_MAX);
            self.decoded_sequence = waiting.sequence;
            self.next = Some(self.next.unwrap_or(timestamp).max(timestamp));
            self.concealer.set_noise(shape);
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
            let own = self.codec == Some(AudioCodec::Opus);
            let made_up = self.conceal(if own { self.decoded_duration } else { missing });
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
        let start = self.ready.len();
        let Some(decoder) = self.decoder(codec) else { return };
        let mut samples = Vec::with_capacity(duration);
        if decoder.decode(&payload, &mut samples).is_err() {
            self.stats.refused += 1;
        }
        self.ready.append(&mut samples);
        if self.ready.len() == start {
            self.conceal(duration);
            return;
        }
        if codec != AudioCodec::Opus {
            self.concealer.hear(&mut self.ready[start..]);
            self.listen_for_noise(start);
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
        let (codec, payload) = (*codec, payload.clone());
        let mut samples = Vec::new();
        let recovered =
            self.decoder(codec).is_some_and(|decoder| decoder.recover(&payload, lost, &mut samples));
        self.ready.append(&mut samples);
        recovered
    }

    /// Made for a codec when it is first spoken, or again.
    fn decoder(&mut self, codec: AudioCodec) -> Option<&mut Box<dyn Decoder>> {
        if self.decoder.as_ref().is_none_or(|(other, _)| *other != codec) {
            self.decoder = codec.decoder().ok().map(|decoder| (codec, decoder));
            self.codec = Some(codec);
            let noise = self.concealer.noise();
            self.concealer = Concealer::new(codec.factor(), self.config.seed);
            self.concealer.set_noise(noise);
            self.analyser = NoiseAnalyser::new(codec.factor());
            self.quietest_dbov = 0.0;
        }
        self.decoder.as_mut().map(|(_, decoder)| decoder)
    }

    /// In place of what did not come. Returns how much: at least `count`.
    fn conceal(&mut self, count: usize) -> i64 {
        let start = self.ready.len();
        let own = match &mut self.decoder {
            Some((_, decoder)) => decoder.conceal(count, &mut self.ready),
            None => false,
        };
        if !own {
            self.concealer.conceal(count, &mut self.ready);
            if let Some((_, decoder)) = &mut self.decoder {
                decoder.follow(&self.ready[start..]);
            }
        }
        let made_up = self.ready.len() - start;
        self.stats.concealed_samples += made_up as u64;
        made_up as i64
    }

    /// In a pause: what the codec takes for silence, or the noise that was described or heard; and
    /// nothing when the leg is gone.
    fn rest(&mut self, count: usize, at: i64) {
        let gone = self.next.is_none() || at - self.last_arrival >= GONE;
        if gone && self.concealer.silent() {
            self.ready.resize(self.ready.len() + count, 0.0);
            return;
        }
        let own = match &mut self.decoder {
            Some((_, decoder)) => decoder.conceal(count, &mut self.ready),
            None => false,
        };
        if !own {
            self.concealer.conceal(count, &mut self.ready);
        }
    }

    fn listen_for_noise(&mut self, start: usize) {
        let Some(frame) = self.ready[start..].first_chunk::<FRAME_SAMPLES>() else { return };
        let level = power_dbov(power(frame));
        self.quietest_dbov = (self.quietest_dbov + NOISE_RISE_DB).min(level.max(-90.0));
        if level < self.quietest_dbov + NOISE_MARGIN_DB && level < NOISE_DBOV_MAX {
            self.analyser.measure(frame);
            self.concealer.set_noise(self.analyser.shape());
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

    fn mute_events(&mut self, frame: &mut Frame, begin: i64) {
        self.muted.retain(|muted| muted.to > begin);
        for muted in &self.muted {
            for (index, sample) in frame.iter_mut().enumerate() {
                let time = begin + index as i64;
                // 0 within, 1 outside, with short slopes.
                let outside = (muted.from - time).max(time - muted.to).max(0) as f32 / EVENT_FADE as f32;
                *sample *= outside.min(1.0);
            }
        }
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

impl Candidate {
    fn new(packet: &Packet<'_>, arrival: i64) -> Self {
        Candidate {
            ssrc: packet.ssrc,
            sequence: packet.sequence,
            timestamp: packet.timestamp,
            marker: packet.marker,
            payload_type: packet.payload_type,
            payload: packet.payload.to_vec(),
            arrival,
        }
    }

    fn packet(&self) -> Packet<'_> {
        Packet {
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: self.marker,
            payload_type: self.payload_type,
            payload: &self.payload,
        }
    }

    fn agrees_with(&self, packet: &Packet<'_>, codec: AudioCodec, arrival: i64) -> bool {
        let factor = i64::from(SAMPLE_RATE / codec.clock_rate());
        let passed = i64::from(packet.timestamp.wrapping_sub(self.timestamp) as i32) * factor;
        self.ssrc == packet.ssrc
            && packet.sequence == self.sequence.wrapping_add(1)
            && (passed - (arrival - self.arrival)).abs() <= AGREEMENT
    }
}

#[cfg(test)]
mod tests;
