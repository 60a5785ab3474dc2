//! From what listeners hear to the payloads that they are sent. Who hears the same in the same format
//! is sent the same payload, encoded once.

use std::collections::BTreeMap;

use crate::codec::{CodecError, Encoder, EncoderSettings, NoiseAnalyser};
use crate::frame::Frame;
use crate::mix::{Heard, Mix, SourceId};

/// Who was in the mix goes on with an encoder of its own for so long, because there is a seam where an
/// encoder changes, though a faint one.
const OWN_TICKS: u32 = 150;
/// What everybody heard last: an encoder that takes over has heard it too, so the seam is faint.
const REMEMBERED: usize = 10;
/// When there was nothing but the background for so long, its noise is described and not sent.
const QUIET_TICKS: u32 = 15;
/// How often a description is sent again, since packets get lost.
const NOISE_PERIOD_TICKS: u32 = 25;

/// What to send to one listener for one tick. The time of its RTP packets goes on by a tick either way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outgoing<'a> {
    /// `marker`: the first after a pause (RFC 3551 section 4.1).
    Audio {
        payload: &'a [u8],
        marker: bool,
    },
    /// Comfort noise (RFC 3389).
    Noise {
        payload: &'a [u8],
    },
    Nothing,
}

/// The encoders of one room.
#[derive(Default)]
pub struct Outlets {
    outlets: BTreeMap<SourceId, Outlet>,
    shared: BTreeMap<EncoderSettings, Shared>,
    recent: Vec<Frame>,
    quiet_ticks: u32,
}

struct Outlet {
    settings: EncoderSettings,
    own: Option<Own>,
    paused: bool,
}

struct Own {
    stream: Stream,
    /// For so many ticks more, though it hears what all hear.
    ticks_left: u32,
}

/// An encoder that everybody who hears the same is served by.
struct Shared {
    stream: Stream,
    listeners: usize,
    /// What was made in this tick is what `stream` has.
    fresh: bool,
}

struct Stream {
    encoder: Box<dyn Encoder>,
    analyser: Option<NoiseAnalyser>,
    payload: Vec<u8>,
    kind: Kind,
    ticks_since_noise: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Audio,
    Noise,
    Nothing,
}

impl Outlets {
    /// Replaces what the listener had. The encoder is made now, so that errors are told here.
    pub fn add(&mut self, listener: SourceId, settings: EncoderSettings) -> Result<(), CodecError> {
        if let Some(shared) = self.shared.get_mut(&settings) {
            shared.listeners += 1;
        } else {
            let mut stream = Stream::new(&settings)?;
            stream.warm_up(&self.recent)?;
            self.shared.insert(settings, Shared { stream, listeners: 1, fresh: false });
        }
        self.remove(listener);
        self.outlets.insert(listener, Outlet { settings, own: None, paused: false });
        Ok(())
    }

    pub fn remove(&mut self, listener: SourceId) {
        let Some(outlet) = self.outlets.remove(&listener) else { return };
        if let Some(shared) = self.shared.get_mut(&outlet.settings) {
            shared.listeners -= 1;
            if shared.listeners == 0 {
                self.shared.remove(&outlet.settings);
            }
        }
    }

    /// How many encoders ran in the last tick.
    pub fn encoders(&self) -> usize {
        let own = self.outlets.values().filter(|outlet| outlet.own.is_some()).count();
        own + self.shared.values().filter(|shared| shared.fresh).count()
    }

    /// Tells what to send to each listener. An encoder that fails leaves its listeners without a packet,
    /// and the last such failure is returned.
    pub fn encode(
        &mut self,
        mix: &Mix,
        mut send: impl FnMut(SourceId, Outgoing<'_>),
    ) -> Result<(), CodecError> {
        let mut failure = Ok(());
        self.quiet_ticks = if mix.quiet() { self.quiet_ticks.saturating_add(1) } else { 0 };
        let quiet = self.quiet_ticks > QUIET_TICKS;
        self.shared.values_mut().for_each(|shared| shared.fresh = false);
        for (listener, outlet) in &mut self.outlets {
            let heard = mix.heard_by(*listener);
            let stream = match Own::choose(&mut outlet.own, &outlet.settings, heard, &self.recent) {
                Ok(Some(own)) => own.encode(heard.frame(), quiet && heard_is_shared(heard)).map(|()| &*own),
                Ok(None) => {
                    let shared =
                        self.shared.get_mut(&outlet.settings).expect("it is there for its listeners");
                    let encoded =
                        if shared.fresh { Ok(()) } else { shared.stream.encode(heard.frame(), quiet) };
                    shared.fresh = true;
                    encoded.map(|()| &shared.stream)
                }
                Err(error) => Err(error),
            };
            match stream {
                Ok(stream) => send(*listener, stream.outgoing(&mut outlet.paused)),
                Err(error) => failure = Err(error),
            }
        }
        if self.recent.len() == REMEMBERED {
            self.recent.remove(0);
        }
        self.recent.push(*mix.shared());
        failure
    }
}

impl Own {
    /// The stream of a listener that has to have one of its own.
    fn choose<'a>(
        own: &'a mut Option<Own>,
        settings: &EncoderSettings,
        heard: Heard<'_>,
        recent: &[Frame],
    ) -> Result<Option<&'a mut Stream>, CodecError> {
        match (own.as_mut(), heard) {
            (Some(own), Heard::Own(_)) => own.ticks_left = OWN_TICKS,
            (Some(own), Heard::Shared(_)) if own.ticks_left > 0 => own.ticks_left -= 1,
            (Some(_), Heard::Shared(_)) => *own = None,
            (None, Heard::Own(_)) => {
                let mut stream = Stream::new(settings)?;
                stream.warm_up(recent)?;
                *own = Some(Own { stream, ticks_left: OWN_TICKS });
            }
            (None, Heard::Shared(_)) => {}
        }
        Ok(own.as_mut().map(|own| &mut own.stream))
    }
}

impl Stream {
    fn new(settings: &EncoderSettings) -> Result<Self, CodecError> {
        // Opus has a way of its own.
        let described = settings.discontinuous && settings.codec.clock_rate() != 48_000;
        Ok(Stream {
            encoder: settings.encoder()?,
            analyser: described.then(|| NoiseAnalyser::new(settings.codec.factor())),
            payload: Vec::new(),
            kind: Kind::Nothing,
            ticks_since_noise: 0,
        })
    }

    fn warm_up(&mut self, recent: &[Frame]) -> Result<(), CodecError> {
        recent.iter().try_for_each(|frame| self.encoder.encode(frame, &mut self.payload))
    }

    fn encode(&mut self, frame: &Frame, quiet: bool) -> Result<(), CodecError> {
        let Some(analyser) = self.analyser.as_mut().filter(|_| quiet) else {
            self.encoder.encode(frame, &mut self.payload)?;
            self.kind = if self.payload.is_empty() { Kind::Nothing } else { Kind::Audio };
            return Ok(());
        };
        analyser.measure(frame);
        self.ticks_since_noise += 1;
        let begins = self.kind == Kind::Audio;
        self.kind = if begins || self.ticks_since_noise >= NOISE_PERIOD_TICKS {
            self.ticks_since_noise = 0;
            analyser.shape().write(&mut self.payload);
            Kind::Noise
        } else {
            Kind::Nothing
        };
        Ok(())
    }

    fn outgoing(&self, paused: &mut bool) -> Outgoing<'_> {
        let payload = &self.payload;
        match self.kind {
            Kind::Audio => Outgoing::Audio { payload, marker: std::mem::take(paused) },
            Kind::Noise => {
                *paused = true;
                Outgoing::Noise { payload }
            }
            Kind::Nothing => {
                *paused = true;
                Outgoing::Nothing
            }
        }
    }
}

fn heard_is_shared(heard: Heard<'_>) -> bool {
    matches!(heard, Heard::Shared(_))
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::codec::AudioCodec;
    use crate::frame::{FRAME_SAMPLES, level_dbov};
    use crate::mix::{Mixer, MixerConfig};

    const OTHER: SourceId = SourceId(100);

    fn tone(n: usize, frequency: f32) -> Frame {
        std::array::from_fn(|i| {
            let at = (n * FRAME_SAMPLES + i) % 48_000;
            0.1 * (TAU * frequency * at as f32 / 48_000.0).sin()
        })
    }

    struct Room {
        mixer: Mixer,
        outlets: Outlets,
        ticks: usize,
    }

    impl Room {
        fn new(listeners: u64, settings: EncoderSettings) -> Self {
            let mut room =
                Room { mixer: Mixer::new(MixerConfig::default()), outlets: Outlets::default(), ticks: 0 };
            room.mixer.add(OTHER);
            for id in 0..listeners {
                room.mixer.add(SourceId(id));
                room.outlets.add(SourceId(id), settings).expect("it is set up");
            }
            room
        }

        /// `OTHER` speaks at 300 Hz, and listeners at 500 Hz.
        fn tick(&mut self, other: bool, speaking: &[u64], mut send: impl FnMut(u64, Outgoing<'_>)) {
            let (low, high) = (tone(self.ticks, 300.0), tone(self.ticks, 500.0));
            self.ticks += 1;
            let mut inputs: Vec<_> = speaking.iter().map(|id| (SourceId(*id), &high)).collect();
            if other {
                inputs.push((OTHER, &low));
            }
            let mix = self.mixer.tick(&inputs, &[]);
            self.outlets.encode(mix, |id, outgoing| send(id.0, outgoing)).expect("it is encoded");
        }
    }

    #[test]
    fn who_hears_the_same_is_served_by_one_encoder() {
        for codec in [AudioCodec::Opus, AudioCodec::Pcma] {
            let mut room = Room::new(50, EncoderSettings::new(codec));
            let mut payloads = Vec::new();
            room.tick(true, &[], |_, outgoing| {
                let Outgoing::Audio { payload, .. } = outgoing else { panic!("there is a voice") };
                payloads.push(payload.to_vec());
            });
            assert_eq!(payloads.len(), 50);
            assert!(payloads.iter().all(|payload| *payload == payloads[0]));
            assert_eq!(room.outlets.encoders(), 1);
            // Two of them speak.
            room.tick(true, &[3, 4], |_, _| {});
            assert_eq!(room.outlets.encoders(), 3);
            // And have been silent for some time.
            (0..250).for_each(|_| room.tick(true, &[], |_, _| {}));
            assert_eq!(room.outlets.encoders(), 1);
            // A second format is a second encoder.
            let other = EncoderSettings { bitrate_bps: 64_000, ..EncoderSettings::new(codec) };
            room.outlets.add(SourceId(7), other).expect("it is set up");
            room.tick(true, &[], |_, _| {});
            assert_eq!(room.outlets.encoders(), 2);
            room.outlets.remove(SourceId(7));
            room.tick(true, &[], |_, _| {});
            assert_eq!(room.outlets.encoders(), 1);
        }
    }

    #[test]
    fn a_change_of_encoder_is_hardly_heard() {
        for codec in [AudioCodec::Opus, AudioCodec::G722, AudioCodec::Pcmu] {
            let mut room = Room::new(2, EncoderSettings::new(codec));
            let mut decoder = codec.decoder().expect("it is set up");
            let mut heard = Vec::new();
            for tick in 0..500 {
                // The listener speaks a moment, itself unheard by it.
                let speaking: &[u64] = if (100..110).contains(&tick) { &[0] } else { &[] };
                room.tick(true, speaking, |id, outgoing| {
                    if let (0, Outgoing::Audio { payload, .. }) = (id, outgoing) {
                        decoder.decode(payload, &mut heard).expect("it is decoded");
                    }
                });
            }
            let steady = &heard[48_000..];
            let step = |samples: &[f32]| {
                samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
            };
            let usual = step(&steady[..24_000]);
            assert!(step(steady) < 2.5 * usual, "{codec:?}: {} for {usual}", step(steady));
            let levels: Vec<f32> = steady.chunks_exact(960).map(level_dbov).collect();
            let (low, high) = levels.iter().fold((0.0_f32, -100.0_f32), |(l, h), v| (l.min(*v), h.max(*v)));
            assert!(high - low < 4.0, "{codec:?}: from {low} to {high} dBov");
        }
    }

    #[test]
    fn quiet_is_described_and_a_voice_after_it_is_marked() {
        let settings = EncoderSettings { discontinuous: true, ..EncoderSettings::new(AudioCodec::Pcmu) };
        let mut room = Room::new(1, settings);
        let (mut audio, mut noise, mut nothing, mut marked) = (0, 0, 0, Vec::new());
        for tick in 0..300 {
            room.tick(!(50..250).contains(&tick), &[], |_, outgoing| match outgoing {
                Outgoing::Audio { marker, .. } => {
                    audio += 1;
                    if marker {
                        marked.push(tick);
                    }
                }
                Outgoing::Noise { payload } => {
                    noise += 1;
                    assert!((60..76).contains(&payload[0]), "{payload:?}");
                }
                Outgoing::Nothing => nothing += 1,
            });
        }
        assert_eq!(audio + noise + nothing, 300);
        assert!((4..9).contains(&noise), "{noise}");
        assert!(nothing > 120, "{nothing}");
        assert_eq!(marked, [250]);
    }

    #[test]
    fn without_it_a_packet_is_sent_each_tick() {
        let mut room = Room::new(1, EncoderSettings::new(AudioCodec::G722));
        let mut audio = 0;
        for _ in 0..100 {
            room.tick(false, &[], |_, outgoing| {
                audio += u32::from(matches!(outgoing, Outgoing::Audio { .. }))
            });
        }
        assert_eq!(audio, 100);
    }
}
