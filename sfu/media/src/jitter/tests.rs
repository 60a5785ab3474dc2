//! One voice over networks that are made up, in virtual time.

use std::f32::consts::TAU;
use std::sync::OnceLock;

use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::codec::{Encoder, EncoderSettings};
use crate::frame::{TICK, level_dbov};
use crate::prompt::{Language, Prompt};

const OPUS: u8 = 111;
const RED: u8 = 63;
const PCMU: u8 = 0;
const PCMA: u8 = 8;
const G722: u8 = 9;
const NOISE: u8 = 13;
const EVENT: u8 = 101;

fn config() -> ReceiverConfig {
    ReceiverConfig::new(vec![
        (OPUS, Format::Audio(AudioCodec::Opus)),
        (RED, Format::Redundant),
        (PCMU, Format::Audio(AudioCodec::Pcmu)),
        (PCMA, Format::Audio(AudioCodec::Pcma)),
        (G722, Format::Audio(AudioCodec::G722)),
        (NOISE, Format::ComfortNoise),
        (EVENT, Format::TelephoneEvent),
    ])
}

fn payload_type(codec: AudioCodec) -> u8 {
    match codec {
        AudioCodec::Opus => OPUS,
        AudioCodec::G722 => G722,
        AudioCodec::Pcma => PCMA,
        AudioCodec::Pcmu => PCMU,
    }
}

/// A packet and when it arrives, from the beginning.
#[derive(Clone)]
struct Sent {
    at: Duration,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    marker: bool,
    payload_type: u8,
    payload: Vec<u8>,
}

/// A sender.
struct Sender {
    codec: AudioCodec,
    encoder: Box<dyn Encoder>,
    ssrc: u32,
    sequence: u16,
    timestamp: u32,
    at: Duration,
    sample: usize,
    wave: fn(usize) -> f32,
}

impl Sender {
    fn new(codec: AudioCodec, wave: fn(usize) -> f32) -> Self {
        let settings =
            EncoderSettings { bitrate_bps: 32_000, expected_loss_percent: 20, ..EncoderSettings::new(codec) };
        Sender {
            codec,
            encoder: settings.encoder().expect("it is set up"),
            ssrc: 7,
            sequence: 65_500,
            timestamp: u32::MAX - 30_000,
            at: Duration::from_millis(3),
            sample: 0,
            wave,
        }
    }

    fn step(&self) -> u32 {
        self.codec.clock_rate() / 50
    }

    fn next(&mut self) -> Sent {
        let wave = self.wave;
        let frame: Frame = std::array::from_fn(|index| wave(self.sample + index));
        let mut payload = Vec::new();
        self.encoder.encode(&frame, &mut payload).expect("it is encoded");
        self.packet(payload_type(self.codec), payload)
    }

    fn packet(&mut self, payload_type: u8, payload: Vec<u8>) -> Sent {
        let sent = Sent {
            at: self.at,
            ssrc: self.ssrc,
            sequence: self.sequence,
            timestamp: self.timestamp,
            marker: false,
            payload_type,
            payload,
        };
        self.sequence = self.sequence.wrapping_add(1);
        self.pause();
        sent
    }

    /// 20 ms go by without a packet.
    fn pause(&mut self) {
        self.timestamp = self.timestamp.wrapping_add(self.step());
        self.at += TICK;
        self.sample += FRAME_SAMPLES;
    }

    fn packets(&mut self, count: usize) -> Vec<Sent> {
        (0..count).map(|_| self.next()).collect()
    }
}

struct Played {
    samples: Vec<f32>,
    receiver: Receiver,
    keys: String,
}

/// Gives the packets to a receiver when they arrive, and takes a frame every 20 ms.
fn play(mut packets: Vec<Sent>, duration: Duration) -> Played {
    packets.sort_by_key(|sent| sent.at);
    let start = Instant::now();
    let mut receiver = Receiver::new(config());
    let mut samples = Vec::new();
    let mut keys = String::new();
    let mut packets = packets.into_iter().peekable();
    let mut tick = Duration::ZERO;
    while tick < duration {
        while let Some(sent) = packets.next_if(|sent| sent.at <= tick) {
            let packet = Packet {
                ssrc: sent.ssrc,
                sequence: sent.sequence,
                timestamp: sent.timestamp,
                marker: sent.marker,
                payload_type: sent.payload_type,
                payload: &sent.payload,
            };
            receiver.handle_packet(&packet, start + sent.at);
        }
        samples.extend_from_slice(&receiver.poll_frame(start + tick));
        keys.extend(std::iter::from_fn(|| receiver.poll_digit()).map(|press| press.key));
        tick += TICK;
    }
    Played { samples, receiver, keys }
}

fn seconds(count: u64) -> Duration {
    Duration::from_secs(count)
}

fn tone(n: usize) -> f32 {
    // In whole periods a second, so that no precision is lost after ten minutes.
    0.25 * (TAU * 300.0 * (n % 48_000) as f32 / 48_000.0).sin()
}

/// A vowel with a pitch that glides, as far as energy and periods are concerned.
fn vowel(n: usize) -> f32 {
    let time = n as f32 / 48_000.0;
    let phase = TAU * (130.0 * time + 2.0 * (TAU * 1.5 * time).sin());
    0.2 * (phase.sin()
        + 0.7 * (2.0 * phase).sin()
        + 0.5 * (4.0 * phase + 1.0).sin()
        + 0.2 * (9.0 * phase).sin())
}

/// The largest step from one sample to the next: a click is a larger one than the wave has.
fn largest_step(samples: &[f32]) -> f32 {
    samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
}

/// Levels of stretches of 10 ms, from the quietest.
fn levels(samples: &[f32]) -> Vec<f32> {
    let mut levels: Vec<f32> = samples.chunks_exact(480).map(level_dbov).collect();
    levels.sort_by(f32::total_cmp);
    levels
}

const CODECS: [AudioCodec; 4] = [AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcma, AudioCodec::Pcmu];

#[test]
fn on_a_calm_network_a_voice_is_played_whole_with_the_least_delay() {
    for codec in CODECS {
        let packets = Sender::new(codec, tone).packets(500);
        let Played { samples, receiver, .. } = play(packets, seconds(10));
        let stats = receiver.stats();
        let clean = ReceiverStats {
            packets: stats.packets,
            delay_samples: stats.delay_samples,
            delay_target_samples: milliseconds(20),
            delay_median_samples: stats.delay_median_samples,
            delay_p95_samples: stats.delay_p95_samples,
            ..ReceiverStats::default()
        };
        assert_eq!(stats, clean, "{codec:?}");
        assert!(stats.delay_p95_samples <= milliseconds(40), "{codec:?}: {stats:?}");
        let steady = &samples[48_000..];
        assert!((level_dbov(steady) + 15.05).abs() < 0.5, "{codec:?}: {}", level_dbov(steady));
        assert!(levels(steady)[0] > -16.5, "{codec:?}");
    }
}

#[test]
fn jitter_raises_the_delay_as_far_as_it_must_and_little_is_lost() {
    let mut random = ChaCha8Rng::seed_from_u64(3);
    for (jitter_ms, p95_ms) in [(10, 45), (40, 75), (100, 140)] {
        let mut packets = Sender::new(AudioCodec::Pcma, vowel).packets(3_000);
        for sent in &mut packets {
            sent.at += Duration::from_micros(random.random_range(0..jitter_ms * 1_000));
        }
        let Played { samples, receiver, .. } = play(packets, seconds(60));
        let stats = receiver.stats();
        assert!(stats.delay_p95_samples <= milliseconds(p95_ms), "{jitter_ms} ms: {stats:?}");
        assert!(stats.late + stats.lost < 60, "{jitter_ms} ms: {stats:?}");
        // After two seconds nothing has to be made up but for single packets.
        assert!(stats.concealed_samples < samples.len() as u64 / 40, "{jitter_ms} ms: {stats:?}");
    }
}

#[test]
fn when_the_network_calms_down_the_delay_goes_back() {
    let mut random = ChaCha8Rng::seed_from_u64(5);
    let mut packets = Sender::new(AudioCodec::Opus, vowel).packets(6_000);
    for sent in &mut packets[..1_500] {
        sent.at += Duration::from_millis(random.random_range(0..120));
    }
    let stats = play(packets, seconds(120)).receiver.stats();
    assert_eq!(stats.delay_target_samples, milliseconds(20));
    assert!(stats.delay_samples <= milliseconds(60), "{stats:?}");
    assert!(stats.shortened_samples > 0);
}

#[test]
fn losses_leave_the_voice_its_energy_and_make_no_clicks() {
    for codec in CODECS {
        let whole = play(Sender::new(codec, vowel).packets(1_500), seconds(30)).samples;
        let whole = &whole[48_000..];
        for percent in [5, 10, 20] {
            let mut random = ChaCha8Rng::seed_from_u64(percent);
            let mut packets = Sender::new(codec, vowel).packets(1_500);
            packets.retain(|_| random.random_range(0..100) >= percent);
            let Played { samples, receiver, .. } = play(packets, seconds(30));
            let samples = &samples[48_000..];
            let stats = receiver.stats();
            let filled = stats.lost + stats.recovered;
            assert!(filled > 15 * percent - 60 && filled < 15 * percent + 60, "{codec:?}: {stats:?}");
            let change = level_dbov(samples) - level_dbov(whole);
            assert!(change.abs() < 2.0, "{codec:?} with {percent} %: {change} dB");
            // Even the quietest hundredth is no hole.
            let (hole, quiet) = (levels(samples)[30], levels(whole)[30]);
            assert!(hole > quiet - 12.0, "{codec:?} with {percent} %: {hole} for {quiet} dBov");
            // A click is a step that the wave does not have. Predictors that missed a frame may make one.
            let usual = largest_step(whole);
            let clicks = samples.chunks(480).filter(|part| largest_step(part) > 2.5 * usual).count() as u64;
            let clicks_max = match codec {
                AudioCodec::Opus | AudioCodec::G722 => filled / 8,
                AudioCodec::Pcma | AudioCodec::Pcmu => filled / 40,
            };
            assert!(clicks <= clicks_max, "{codec:?} with {percent} %: {clicks} for {filled} frames");
        }
    }
}

/// Forward error correction is a matter of speech, so this is some.
#[test]
fn what_opus_says_twice_is_not_lost() {
    static SPEECH: OnceLock<Vec<f32>> = OnceLock::new();
    fn speech(n: usize) -> f32 {
        let samples = SPEECH.get_or_init(|| {
            Prompt::ALL.iter().flat_map(|prompt| prompt.samples(Language::Italian)).collect()
        });
        samples[n % samples.len()]
    }
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let mut packets = Sender::new(AudioCodec::Opus, speech).packets(1_500);
    packets.retain(|_| random.random_range(0..100) >= 10);
    let stats = play(packets, seconds(30)).receiver.stats();
    assert!(stats.recovered > stats.lost, "{stats:?}");
}

#[test]
fn clocks_that_run_apart_for_ten_minutes_are_not_heard() {
    for codec in [AudioCodec::Pcmu, AudioCodec::Opus] {
        let even = Sender::new(codec, tone).packets(30_000);
        for ppm in [-200.0, 200.0] {
            let mut packets = even.clone();
            for sent in &mut packets {
                sent.at = sent.at.div_f64(1.0 + ppm / 1e6);
            }
            let Played { samples, receiver, .. } = play(packets, seconds(598));
            let stats = receiver.stats();
            assert_eq!(
                (stats.lost, stats.late, stats.concealed_samples),
                (0, 0, 0),
                "{codec:?} {ppm}: {stats:?}"
            );
            // 200 ppm of ten minutes are 120 ms.
            let moved = stats.shortened_samples.max(stats.lengthened_samples) as usize;
            assert!((milliseconds(80)..milliseconds(180)).contains(&moved), "{codec:?} {ppm}: {stats:?}");
            assert!(stats.delay_p95_samples <= milliseconds(50), "{codec:?} {ppm}: {stats:?}");
            let steady = &samples[48_000..];
            let levels = levels(steady);
            assert!(levels[0] > -16.5 && levels[levels.len() - 1] < -14.0, "{codec:?} {ppm}");
            let usual = TAU * 300.0 / 48_000.0 * 0.25;
            assert!(largest_step(steady) < 1.5 * usual, "{codec:?} {ppm}: {}", largest_step(steady));
        }
    }
}

#[test]
fn duplicates_and_overtaken_packets_are_put_right() {
    let mut packets = Sender::new(AudioCodec::Pcma, tone).packets(500);
    // Every tenth comes after the next two, and every seventh twice.
    for index in (30..480).step_by(10) {
        packets[index].at += Duration::from_millis(45);
    }
    let twice: Vec<_> = packets.iter().step_by(7).cloned().collect();
    packets.extend(twice);
    let Played { samples, receiver, .. } = play(packets, seconds(9));
    let stats = receiver.stats();
    assert_eq!(stats.duplicates, 65, "{stats:?}");
    assert!(stats.reordered >= 40, "{stats:?}");
    // Until that is learnt.
    assert!(stats.lost <= 6, "{stats:?}");
    assert!(levels(&samples[3 * 48_000..])[0] > -17.5);
}

#[test]
fn redundancy_brings_lost_frames_back() {
    let mut sender = Sender::new(AudioCodec::Opus, vowel);
    let mut packets = sender.packets(500);
    let plain = packets.clone();
    for index in 1..packets.len() {
        // | PT 111, 960 earlier, length | PT 111 | the frame before | the frame |
        let before = &plain[index - 1].payload;
        let mut payload =
            vec![0x80 | OPUS, 0x0f, before.len().to_be_bytes()[6] & 3, before.len() as u8, OPUS];
        payload.extend_from_slice(before);
        payload.extend_from_slice(&plain[index].payload);
        packets[index].payload = payload;
        packets[index].payload_type = RED;
    }
    let mut index = 0;
    packets.retain(|_| {
        index += 1;
        index < 20 || index % 5 != 0
    });
    let stats = play(packets, seconds(9)).receiver.stats();
    assert!(stats.recovered > 80, "{stats:?}");
    assert_eq!((stats.lost, stats.duplicates, stats.refused), (0, 0, 0), "{stats:?}");
}

#[test]
fn a_stream_that_begins_anew_is_followed_at_its_second_packet() {
    let mut sender = Sender::new(AudioCodec::G722, tone);
    let mut packets = sender.packets(200);
    sender.ssrc = 8;
    (sender.sequence, sender.timestamp) = (12, 5);
    packets.extend(sender.packets(200));
    // The same source starts its clock again, as some do after hold.
    sender.timestamp = sender.timestamp.wrapping_add(900_000_000);
    packets.extend(sender.packets(200));
    let Played { samples, receiver, .. } = play(packets, seconds(12));
    let stats = receiver.stats();
    assert_eq!((stats.restarts, stats.refused), (2, 0), "{stats:?}");
    let quiet = levels(&samples[24_000..48_000 * 11]).iter().filter(|level| **level < -25.0).count();
    assert!(quiet <= 12, "{quiet} times 10 ms");
}

#[test]
fn packets_of_nobody_are_refused() {
    let mut sender = Sender::new(AudioCodec::Pcma, tone);
    let mut packets = sender.packets(300);
    let mut random = ChaCha8Rng::seed_from_u64(8);
    for _ in 0..300 {
        packets.push(Sent {
            at: Duration::from_micros(random.random_range(500_000..6_000_000)),
            ssrc: random.random(),
            sequence: random.random(),
            timestamp: random.random(),
            marker: random.random(),
            payload_type: [PCMA, EVENT, NOISE, 96][random.random_range(0..4)],
            payload: (0..random.random_range(0..200)).map(|_| random.random()).collect(),
        });
    }
    let Played { samples, receiver, keys } = play(packets, seconds(6));
    let stats = receiver.stats();
    assert_eq!((stats.restarts, stats.lost), (0, 0), "{stats:?}");
    assert_eq!(keys, "");
    assert!(levels(&samples[24_000..48_000 * 5])[0] > -16.5);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// From the right source, but of any order, time, type and content.
    #[test]
    fn no_stream_stops_the_voice(
        stream in proptest::collection::vec(
            (0..60_000_u64, any::<u16>(), 0..4_000_u32, 0..7_usize, proptest::collection::vec(any::<u8>(), 0..200)),
            1..150,
        )
    ) {
        let start = Instant::now();
        let mut receiver = Receiver::new(config());
        let mut now = start;
        let (mut sequence, mut timestamp) = (0_u16, 0_u32);
        for (wait_us, jump, step, kind, payload) in stream {
            now += Duration::from_micros(wait_us);
            // Mostly the next, sometimes anywhere.
            sequence = if jump < 2_000 { jump } else { sequence.wrapping_add(jump % 4) };
            timestamp = if jump % 50 == 0 { timestamp.wrapping_mul(77_777) } else { timestamp.wrapping_add(step) };
            let payload_type = [OPUS, RED, PCMU, PCMA, G722, NOISE, EVENT][kind];
            receiver.handle_packet(
                &Packet { ssrc: 1, sequence, timestamp, marker: false, payload_type, payload: &payload },
                now,
            );
            let frame = receiver.poll_frame(now);
            prop_assert!(frame.iter().all(|sample| sample.is_finite() && sample.abs() <= SAMPLE_MAX));
            prop_assert!(receiver.waiting.len() <= PACKETS_MAX);
            prop_assert!(receiver.ready.len() < 48_000);
        }
    }
}

#[test]
fn another_codec_may_be_spoken_at_any_time() {
    let mut sender = Sender::new(AudioCodec::Pcma, tone);
    let mut packets = sender.packets(150);
    sender.codec = AudioCodec::G722;
    sender.encoder = EncoderSettings::new(AudioCodec::G722).encoder().expect("it is set up");
    packets.extend(sender.packets(150));
    // Its clock is six times as fast, so its timestamps are others.
    sender.codec = AudioCodec::Opus;
    sender.encoder = EncoderSettings::new(AudioCodec::Opus).encoder().expect("it is set up");
    packets.extend(sender.packets(150));
    let Played { samples, receiver, .. } = play(packets, seconds(8));
    let stats = receiver.stats();
    assert_eq!((stats.restarts, stats.lost, stats.refused), (1, 0, 0), "{stats:?}");
    let quiet = levels(&samples[24_000..48_000 * 8]).iter().filter(|level| **level < -20.0).count();
    assert!(quiet <= 10, "{quiet} times 10 ms");
}

#[test]
fn comfort_noise_fills_pauses_as_it_was_described() {
    let mut sender = Sender::new(AudioCodec::Pcmu, tone);
    let mut packets = sender.packets(100);
    for _ in 0..5 {
        packets.push(sender.packet(NOISE, vec![60]));
        (0..10).for_each(|_| sender.pause());
    }
    let resumed = sender.at;
    packets.extend(sender.packets(100));
    let Played { samples, receiver, .. } = play(packets, seconds(5));
    let stats = receiver.stats();
    assert_eq!((stats.lost, stats.late, stats.concealed_samples), (0, 0, 0), "{stats:?}");
    let pause = &samples[milliseconds(2_200)..milliseconds(3_000)];
    assert!((level_dbov(pause) + 60.0).abs() < 2.0, "{}", level_dbov(pause));
    let after = (resumed.as_millis() as usize + 60) * 48;
    assert!(levels(&samples[after..after + 48_000])[0] > -17.0);
}

#[test]
fn pauses_without_a_word_are_filled_with_what_the_room_sounded_like() {
    fn room(n: usize) -> f32 {
        let noise = (n as u32).wrapping_mul(2_654_435_761) ^ 0x5bd1_e995;
        let noise = noise.wrapping_mul(noise >> 15 | 1) as i32 as f32 / 2_147_483_648.0;
        // A second of voice, then a second of the room alone.
        if (n / 48_000).is_multiple_of(2) { 0.003 * noise + tone(n) } else { 0.003 * noise }
    }
    let mut sender = Sender::new(AudioCodec::Pcma, room);
    let mut packets = sender.packets(95);
    (0..50).for_each(|_| sender.pause());
    packets.extend(sender.packets(20));
    let Played { samples, receiver, .. } = play(packets, seconds(3));
    assert_eq!(receiver.stats().lost, 0);
    let before = level_dbov(&samples[milliseconds(1_500)..milliseconds(1_800)]);
    let pause = level_dbov(&samples[milliseconds(2_200)..milliseconds(2_800)]);
    assert!((before - pause).abs() < 4.0, "{before} and then {pause} dBov");
}

#[test]
fn silence_in_opus_needs_no_packets() {
    fn words(n: usize) -> f32 {
        if (n / 48_000).is_multiple_of(2) { vowel(n) } else { 0.0 }
    }
    let mut sender = Sender::new(AudioCodec::Opus, words);
    let settings = EncoderSettings { discontinuous: true, ..EncoderSettings::new(AudioCodec::Opus) };
    sender.encoder = settings.encoder().expect("it is set up");
    let mut packets = Vec::new();
    for _ in 0..500 {
        let sent = sender.next();
        if sent.payload.is_empty() {
            sender.sequence = sender.sequence.wrapping_sub(1);
        } else {
            packets.push(sent);
        }
    }
    assert!(packets.len() < 400, "{}", packets.len());
    let Played { samples, receiver, .. } = play(packets, seconds(10));
    let stats = receiver.stats();
    assert_eq!((stats.lost, stats.late, stats.recovered), (0, 0, 0), "{stats:?}");
    for second in [2, 4, 6, 8] {
        let voice = &samples[second * 48_000 + 9_600..][..28_800];
        assert!(level_dbov(voice) > -20.0, "second {second}: {}", level_dbov(voice));
    }
}

#[test]
fn keys_are_told_once_and_never_heard() {
    for beside_the_voice in [false, true] {
        let mut sender = Sender::new(AudioCodec::Pcma, tone);
        let mut packets = sender.packets(100);
        for code in [1, 1, 11] {
            let begin = sender.timestamp;
            for n in 1..=8_u16 {
                let event = crate::dtmf::Event { code, end: n >= 6, volume: 10, duration: 160 * n.min(6) };
                if beside_the_voice {
                    packets.push(sender.next());
                    sender.timestamp = sender.timestamp.wrapping_sub(sender.step());
                    sender.at -= TICK;
                    sender.sample -= FRAME_SAMPLES;
                }
                let mut sent = sender.packet(EVENT, event.to_bytes().to_vec());
                (sent.timestamp, sent.marker) = (begin, n == 1);
                packets.push(sent);
            }
            packets.extend(sender.packets(10));
        }
        packets.extend(sender.packets(50));
        let Played { samples, keys, receiver } = play(packets, seconds(4));
        assert_eq!(keys, "11#");
        assert_eq!(receiver.stats().lost, 0, "{:?}", receiver.stats());
        // 100 packets, then 8 of a key: 120 ms of it and two that repeat its end.
        let key = &samples[milliseconds(2_115)..milliseconds(2_145)];
        assert!(level_dbov(key) < -50.0, "{beside_the_voice}: {}", level_dbov(key));
        let between = &samples[milliseconds(2_230)..milliseconds(2_330)];
        assert!(level_dbov(between) > -17.0, "{beside_the_voice}: {}", level_dbov(between));
    }
}

#[test]
fn keys_with_a_clock_of_their_own_are_heard_beside_opus() {
    let mut sender = Sender::new(AudioCodec::Opus, tone);
    let mut packets = sender.packets(50);
    for code in [3, 4] {
        for n in 1..=5_u16 {
            let event = crate::dtmf::Event { code, end: n >= 3, volume: 10, duration: 160 * n };
            let mut sent = sender.packet(EVENT, event.to_bytes().to_vec());
            sent.timestamp = 77_000 + 4_000 * u32::from(code);
            packets.push(sent);
        }
        packets.extend(sender.packets(20));
    }
    let Played { keys, receiver, .. } = play(packets, seconds(3));
    assert_eq!(keys, "34");
    assert_eq!((receiver.stats().restarts, receiver.stats().refused), (0, 0));
}

#[test]
fn frames_of_other_lengths_fit_as_well() {
    for (joined, codec) in [(3, AudioCodec::Pcmu), (2, AudioCodec::G722)] {
        let mut sender = Sender::new(codec, tone);
        let packets: Vec<Sent> = sender
            .packets(600)
            .chunks(joined)
            .enumerate()
            .map(|(index, group)| {
                let mut first = group[0].clone();
                first.at = group[joined - 1].at;
                first.sequence = index as u16;
                first.payload = group.iter().flat_map(|sent| sent.payload.clone()).collect();
                first
            })
            .collect();
        let Played { samples, receiver, .. } = play(packets, seconds(11));
        let stats = receiver.stats();
        assert_eq!((stats.lost, stats.late, stats.concealed_samples), (0, 0, 0), "{stats:?}");
        assert!(levels(&samples[48_000..])[0] > -16.5);
        assert!(stats.delay_p95_samples <= milliseconds(50), "{stats:?}");
    }
}

#[test]
fn who_stops_without_a_word_ends_in_silence() {
    let packets = Sender::new(AudioCodec::Pcma, tone).packets(100);
    let Played { samples, receiver, .. } = play(packets, seconds(6));
    assert!(level_dbov(&samples[milliseconds(4_500)..]) < -100.0);
    assert!(!receiver.active(receiver.epoch.expect("there was a packet") + seconds(6)));
    assert!(receiver.active(receiver.epoch.expect("there was a packet") + seconds(3)));
}
