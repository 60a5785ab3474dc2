//! Two legs of a meeting from packet to packet: what one says is what the other hears, and how much later.

use std::time::{Duration, Instant};

use broletto_media::codec::{AudioCodec, EncoderSettings};
use broletto_media::frame::{FRAME_SAMPLES, Frame, TICK, milliseconds};
use broletto_media::jitter::{Format, Packet, Receiver, ReceiverConfig};
use broletto_media::mix::{Mixer, MixerConfig, SourceId};
use broletto_media::outlet::{Outgoing, Outlets};
use broletto_media::prompt::{Language, Prompt};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

const SPEAKER: SourceId = SourceId(1);
const LISTENER: SourceId = SourceId(2);

struct Call {
    said: Vec<f32>,
    /// By the listener, and by the speaker.
    heard: Vec<f32>,
    echo: Vec<f32>,
    /// From the middle of jitter buffering, in samples.
    buffered: usize,
}

/// The speaker's packets leave when their last sample was said and take up to `jitter_ms`; the bridge
/// ticks `phase` after that, and what it sends is played at once.
fn call(speaks: AudioCodec, hears: AudioCodec, phase: Duration, jitter_ms: u64) -> Call {
    let said: Vec<f32> = [Prompt::EnterCode, Prompt::NotBegun, Prompt::Removed]
        .iter()
        .flat_map(|prompt| prompt.samples(Language::English))
        .collect();
    let frames = said.as_chunks::<FRAME_SAMPLES>().0;
    let mut random = ChaCha8Rng::seed_from_u64(1);
    #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
    let start = Instant::now();

    let mut phone = EncoderSettings::new(speaks).encoder().expect("it is set up");
    let mut packets: Vec<(Duration, u16, Vec<u8>)> = Vec::new();
    for (index, frame) in frames.iter().enumerate() {
        let mut payload = Vec::new();
        phone.encode(frame, &mut payload).expect("it is encoded");
        let jitter = Duration::from_millis(random.random_range(0..=jitter_ms));
        packets.push((TICK * (index as u32 + 1) + jitter, index as u16, payload));
    }
    packets.sort();

    let mut receiver = Receiver::new(ReceiverConfig::new(vec![(0, Format::Audio(speaks))]));
    let mut mixer = Mixer::new(MixerConfig::default());
    let mut outlets = Outlets::default();
    for (id, codec) in [(SPEAKER, speaks), (LISTENER, hears)] {
        mixer.add(id);
        outlets.add(id, EncoderSettings::new(codec)).expect("it is set up");
    }
    let mut ears = [(SPEAKER, speaks), (LISTENER, hears)]
        .map(|(id, codec)| (id, codec.decoder().expect("it is set up"), vec![0.0; samples_of(phase)]));

    let mut packets = packets.into_iter().peekable();
    for tick in 0..frames.len() as u32 {
        let now = phase + TICK * tick;
        while let Some((at, sequence, payload)) = packets.next_if(|(at, _, _)| *at <= now) {
            let timestamp = u32::from(sequence) * (speaks.clock_rate() / 50);
            let packet =
                Packet { ssrc: 1, sequence, timestamp, marker: false, payload_type: 0, payload: &payload };
            receiver.handle_packet(&packet, start + at);
        }
        let frame: Frame = receiver.poll_frame(start + now);
        let mix = mixer.tick(&[(SPEAKER, &frame)], &[]);
        outlets
            .encode(mix, |id, outgoing| {
                let (_, decoder, heard) =
                    ears.iter_mut().find(|(other, _, _)| *other == id).expect("it is one");
                let Outgoing::Audio { payload, .. } = outgoing else { panic!("each tick has a packet") };
                decoder.decode(payload, heard).expect("it is decoded");
            })
            .expect("it is encoded");
    }
    let [(_, _, echo), (_, _, heard)] = ears;
    Call { said, heard, echo, buffered: receiver.stats().delay_median_samples }
}

fn samples_of(duration: Duration) -> usize {
    duration.as_micros() as usize * 48 / 1000
}

/// How much later `heard` is, and how alike the two are then.
fn delay(said: &[f32], heard: &[f32]) -> (usize, f32) {
    // Every fourth sample is enough for the telephone band.
    let span = (milliseconds(2_600)..milliseconds(6_000)).step_by(4);
    let original: Vec<f32> = span.clone().map(|n| said[n]).collect();
    let product = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    (0..milliseconds(300))
        .step_by(8)
        .map(|delay| {
            let later: Vec<f32> = span.clone().map(|n| heard[n + delay]).collect();
            let scale = (product(&original, &original) * product(&later, &later)).sqrt();
            (delay, product(&original, &later) / scale.max(1e-9))
        })
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .expect("there are some")
}

#[test]
fn the_bridge_adds_little_beyond_jitter_buffering() {
    for (speaks, hears) in [
        (AudioCodec::Pcma, AudioCodec::Pcmu),
        (AudioCodec::Pcma, AudioCodec::Opus),
        (AudioCodec::Opus, AudioCodec::G722),
    ] {
        for (phase_ms, jitter_ms) in [(1, 0), (10, 0), (19, 0), (10, 30)] {
            let call = call(speaks, hears, Duration::from_millis(phase_ms), jitter_ms);
            let (delay, likeness) = delay(&call.said, &call.heard);
            let what = format!("{speaks:?} to {hears:?}, phase {phase_ms} ms, jitter {jitter_ms} ms");
            assert!(likeness > 0.75, "{what}: {likeness}");
            // The phone's own packet of 20 ms is not the bridge's.
            let added = (delay - FRAME_SAMPLES) as f64 / 48.0;
            let beyond = added - call.buffered as f64 / 48.0;
            assert!(beyond < 20.0, "{what}: {beyond} ms beyond jitter buffering");
            assert!(added < 65.0 + jitter_ms as f64, "{what}: {added} ms");
        }
    }
}

#[test]
fn nobody_hears_himself() {
    for codec in [AudioCodec::Pcma, AudioCodec::G722, AudioCodec::Opus] {
        let call = call(codec, codec, Duration::from_millis(10), 20);
        let (_, likeness) = delay(&call.said, &call.echo);
        assert!(likeness < 0.05, "{codec:?}: {likeness}");
    }
}
