//! What each part costs, in parts of a core while it runs in real time, and how long it delays a voice.
//!
//! `cargo bench -p broletto-media` prints a table. It measures and does not judge: compare on one machine.

#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use broletto_media::codec::{AudioCodec, EncoderSettings, NoiseAnalyser, NoiseGenerator, NoiseShape};
use broletto_media::compose::{
    Composer, Fit, H264Decoder, H264Encoder, H264Settings, Layout, PictureRef, Size, Tile, VideoDecoder,
    VideoEncoder,
};
use broletto_media::dtmf::ToneDetector;
use broletto_media::frame::{FRAME_SAMPLES, Frame, TICK};
use broletto_media::jitter::{Format, Packet, Receiver, ReceiverConfig};
use broletto_media::mix::{LevelControl, Mixer, MixerConfig, SourceId};
use broletto_media::outlet::{Outgoing, Outlets};
use broletto_media::prompt::{Language, Prompt};

const CODECS: [AudioCodec; 4] = [AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcma, AudioCodec::Pcmu];
const TICKS: usize = 3_000;
const LEGS: usize = 20;
const SPEAKERS: usize = 3;

fn main() {
    let speech = speech();
    println!("{:44} {:>12}", "one voice, decoded or made", "% of a core");
    for codec in CODECS {
        let settings = settings(codec);
        let mut payloads = Vec::new();
        let mut encoder = settings.encoder().expect("it is set up");
        let mut payload = Vec::new();
        report(&format!("{codec:?} encoder"), TICKS, |tick| {
            encoder.encode(&speech[tick % speech.len()], &mut payload).expect("it is encoded");
            payloads.push(payload.clone());
        });
        let mut decoder = codec.decoder().expect("it is set up");
        let mut samples = Vec::new();
        report(&format!("{codec:?} decoder"), TICKS, |tick| {
            samples.clear();
            decoder.decode(&payloads[tick], &mut samples).expect("it is decoded");
        });
        for lost_percent in [0, 10] {
            let mut network = Network::new(codec, lost_percent);
            report(&format!("{codec:?} receiver, {lost_percent} % lost"), TICKS, |tick| {
                network.give(&payloads[tick], tick);
                black_box(network.take(tick));
            });
        }
    }
    let mut level = LevelControl::default();
    report("level control", TICKS, |tick| {
        let mut frame = speech[tick % speech.len()];
        black_box(level.process(&mut frame));
    });
    let mut detector = ToneDetector::default();
    report("detector of keys", TICKS, |tick| {
        black_box(detector.listen(&speech[tick % speech.len()]));
    });
    let mut noise = NoiseGenerator::new(6, 1);
    noise.set_shape(NoiseShape::white(-60.0));
    let mut samples = Vec::new();
    report("comfort noise, made", TICKS, |_| {
        samples.clear();
        noise.generate(FRAME_SAMPLES, &mut samples);
    });
    let mut analyser = NoiseAnalyser::new(6);
    report("comfort noise, described", TICKS, |tick| {
        analyser.measure(&speech[tick % speech.len()]);
        black_box(analyser.shape());
    });

    println!("\n{:44} {:>12}", format!("{LEGS} legs, {SPEAKERS} of them speak"), "% for each");
    for codec in CODECS {
        room(codec, &speech);
    }

    println!("\n{:44} {:>12}", "delay", "ms");
    for codec in CODECS {
        let milliseconds = |samples: usize| samples as f64 / 48.0;
        let encoder = settings(codec).encoder().expect("it is set up").delay_samples();
        let decoder = codec.decoder().expect("it is set up").delay_samples();
        println!("{:44} {:12.2}", format!("{codec:?} encoder"), milliseconds(encoder));
        println!("{:44} {:12.2}", format!("{codec:?} decoder"), milliseconds(decoder));
    }
    println!("{:44} {:>12}", "mixer, level control, limiter", "0.00");

    println!("\n{:44} {:>12}", format!("pictures, {PICTURES_PER_SECOND} a second"), "% of a core");
    pictures();
}

fn pictures() {
    let (full_hd, hd, sd) = (Size::new(1920, 1080), Size::new(1280, 720), Size::new(640, 360));
    for (size, bitrate_bps) in [(sd, 800_000), (hd, 2_000_000), (full_hd, 4_000_000)] {
        let film: Vec<Planes> = (0..10).map(|at| Planes::new(size, at)).collect();
        let what = format!("{}x{}", size.width, size.height);
        let mut composer = Composer::new(size).expect("its sides are even");
        let settings = H264Settings {
            bitrate_bps,
            frames_per_second: PICTURES_PER_SECOND as f32,
            nal_unit_bytes_max: None,
            screen: false,
        };
        let mut encoder = H264Encoder::new(&settings).expect("it is set up");
        let mut coded = Vec::new();
        let mut alone = Composer::new(size).expect("its sides are even");
        let canvases: Vec<_> =
            (0..film.len()).map(|at| alone.compose(Layout::Grid, &[film[at].tile(0, at)]).clone()).collect();
        report_pictures(&format!("{what} encoder"), |at| {
            let time = Duration::from_millis(1_000 * at as u64 / PICTURES_PER_SECOND as u64);
            let place = at % (2 * film.len() - 2);
            let canvas = &canvases[place.min(2 * film.len() - 2 - place)];
            coded.extend(encoder.encode(canvas, time, at == 0).expect("it is encoded"));
        });
        let mut decoder = H264Decoder::new().expect("it is set up");
        report_pictures(&format!("{what} decoder"), |at| {
            let Some(picture) = coded.get(at) else { return };
            let units: Vec<&[u8]> = picture.nal_units.iter().map(Vec::as_slice).collect();
            black_box(decoder.decode(&units).expect("it is decoded"));
        });
        let sources: Vec<Planes> = (0..10).map(|at| Planes::new(sd, at)).collect();
        for (layout, count) in [(Layout::Grid, 4), (Layout::Speaker, 5), (Layout::Grid, 9)] {
            report_pictures(&format!("{what} composed of {count} at 640x360, {layout:?}"), |at| {
                let tiles: Vec<_> =
                    (0..count).map(|index| sources[(at + index) % 10].tile(index as u64, at)).collect();
                black_box(composer.compose(layout, &tiles));
            });
        }
    }
}

const PICTURES: usize = 100;
const PICTURES_PER_SECOND: usize = 25;

/// Somebody who moves before a wall, through a camera with some noise.
struct Planes {
    size: Size,
    planes: [Vec<u8>; 3],
}

impl Planes {
    fn new(size: Size, at: usize) -> Self {
        let mut noise = 1_u32 + at as u32;
        let mut brightness = Vec::with_capacity(size.width * size.height);
        for y in 0..size.height {
            for x in 0..size.width {
                noise = noise.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                let (dx, dy) = (x.abs_diff(size.width / 2 + 4 * at), y.abs_diff(size.height / 2));
                let base = if dx * dx + dy * dy < size.height * size.height / 12 {
                    170
                } else {
                    60 + 80 * x / size.width
                };
                brightness.push((base + x / 8 % 2 * 6) as u8 + (noise >> 30) as u8);
            }
        }
        let colors = size.width * size.height / 4;
        Planes { size, planes: [brightness, vec![118; colors], vec![138; colors]] }
    }

    fn tile(&self, key: u64, at: usize) -> Tile<'_> {
        let [y, u, v] = &self.planes;
        let half = self.size.width / 2;
        let picture = PictureRef::new(self.size, [(y, self.size.width), (u, half), (v, half)]);
        Tile { key, revision: at as u64, picture, name: "Giulia Ferrari", speaking: false, fit: Fit::Camera }
    }
}

fn report_pictures(what: &str, mut work: impl FnMut(usize)) {
    let start = processor_time();
    (0..PICTURES).for_each(&mut work);
    let spent = processor_time().saturating_sub(start).as_secs_f64();
    println!("{what:44} {:12.1}", 100.0 * spent * PICTURES_PER_SECOND as f64 / PICTURES as f64);
}

/// Decoding, mixing and encoding for a room of legs, all of which send and a few of which speak.
fn room(codec: AudioCodec, speech: &[Frame]) {
    let mut encoder = settings(codec).encoder().expect("it is set up");
    let encode = |encoder: &mut Box<dyn broletto_media::codec::Encoder>, frame: &Frame| {
        let mut payload = Vec::new();
        encoder.encode(frame, &mut payload).expect("it is encoded");
        payload
    };
    let voices: Vec<Vec<u8>> =
        (0..TICKS).map(|tick| encode(&mut encoder, &speech[tick % speech.len()])).collect();
    let mut encoder = settings(codec).encoder().expect("it is set up");
    let rooms: Vec<Vec<u8>> = (0..TICKS)
        .map(|tick| encode(&mut encoder, &speech[tick % speech.len()].map(|sample| 0.002 * sample)))
        .collect();

    let mut mixer = Mixer::new(MixerConfig { speakers_max: SPEAKERS, ..MixerConfig::default() });
    let mut outlets = Outlets::default();
    let mut networks: Vec<Network> = Vec::new();
    for leg in 0..LEGS as u64 {
        mixer.add(SourceId(leg));
        outlets.add(SourceId(leg), settings(codec)).expect("it is set up");
        networks.push(Network::new(codec, 0));
    }
    let mut bytes = 0;
    let cost = measure(TICKS, |tick| {
        let mut frames = Vec::with_capacity(LEGS);
        for (leg, network) in networks.iter_mut().enumerate() {
            let payload = if leg < SPEAKERS { &voices[tick] } else { &rooms[tick] };
            network.give(payload, tick);
            frames.push((SourceId(leg as u64), network.take(tick)));
        }
        let inputs: Vec<_> = frames.iter().map(|(id, frame)| (*id, frame)).collect();
        let mix = mixer.tick(&inputs, &[]);
        outlets
            .encode(mix, |_, outgoing| {
                if let Outgoing::Audio { payload, .. } = outgoing {
                    bytes += payload.len();
                }
            })
            .expect("it is encoded");
    });
    black_box(bytes);
    let each = cost / LEGS as f64;
    println!("{:44} {each:12.3}", format!("{codec:?}, {} encoders", outlets.encoders()));
}

/// A receiver on a network that loses some.
struct Network {
    codec: AudioCodec,
    receiver: Receiver,
    start: Instant,
    lost_percent: usize,
}

impl Network {
    fn new(codec: AudioCodec, lost_percent: usize) -> Self {
        #[allow(clippy::disallowed_methods)] // Any start will do: only differences count.
        let start = Instant::now();
        let receiver = Receiver::new(ReceiverConfig::new(vec![(96, Format::Audio(codec))]));
        Network { codec, receiver, start, lost_percent }
    }

    fn give(&mut self, payload: &[u8], tick: usize) {
        if tick * 37 % 100 < self.lost_percent {
            return;
        }
        let packet = Packet {
            ssrc: 1,
            sequence: tick as u16,
            timestamp: (tick as u32).wrapping_mul(self.codec.clock_rate() / 50),
            marker: false,
            payload_type: 96,
            payload,
        };
        self.receiver.handle_packet(&packet, self.start + TICK * tick as u32);
    }

    fn take(&mut self, tick: usize) -> Frame {
        self.receiver.poll_frame(self.start + TICK * tick as u32)
    }
}

fn settings(codec: AudioCodec) -> EncoderSettings {
    EncoderSettings { expected_loss_percent: 5, ..EncoderSettings::new(codec) }
}

fn speech() -> Vec<Frame> {
    let samples: Vec<f32> = Prompt::ALL.iter().flat_map(|prompt| prompt.samples(Language::English)).collect();
    samples.as_chunks::<FRAME_SAMPLES>().0.to_vec()
}

fn report(what: &str, ticks: usize, work: impl FnMut(usize)) {
    println!("{what:44} {:12.3}", measure(ticks, work));
}

/// In percent of a core, by the processor time of this thread, so that others on the machine do not count.
fn measure(ticks: usize, mut work: impl FnMut(usize)) -> f64 {
    let start = processor_time();
    (0..ticks).for_each(&mut work);
    let spent = processor_time().saturating_sub(start);
    100.0 * spent.as_secs_f64() / (TICK.as_secs_f64() * ticks as f64)
}

/// The kernel counts it in nanoseconds, for each thread.
fn processor_time() -> Duration {
    let line = std::fs::read_to_string("/proc/thread-self/schedstat").expect("this is Linux");
    let nanoseconds =
        line.split(' ').next().and_then(|first| first.parse().ok()).expect("it begins with a number");
    Duration::from_nanos(nanoseconds)
}
