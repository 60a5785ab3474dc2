//! Who hears whom.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

use super::*;
use crate::frame::dot;
use crate::prompt::{Language, Prompt};

/// Noise of its own for each: no two are alike, so what is in a mix can be told by correlation.
struct Voice {
    random: ChaCha8Rng,
    amplitude: f32,
}

impl Voice {
    fn new(seed: u64, amplitude: f32) -> Self {
        Voice { random: ChaCha8Rng::seed_from_u64(seed), amplitude }
    }

    fn frame(&mut self) -> Frame {
        std::array::from_fn(|_| self.random.random_range(-self.amplitude..=self.amplitude))
    }
}

/// 1: the same. 0: nothing of it is there.
fn likeness(a: &[f32], b: &[f32]) -> f32 {
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt().max(1e-12)
}

fn mixer(sources: u64, speakers_max: usize) -> Mixer {
    let mut mixer = Mixer::new(MixerConfig { speakers_max, ..MixerConfig::default() });
    (0..sources).for_each(|id| mixer.add(SourceId(id)));
    mixer
}

#[test]
fn each_hears_the_others_and_nobody_hears_himself() {
    let mut mixer = mixer(5, 3);
    let mut voices: Vec<Voice> = (0..3).map(|id| Voice::new(id, 0.1)).collect();
    let (mut sent, mut heard) = (vec![Vec::new(); 3], vec![Vec::new(); 5]);
    for tick in 0..100 {
        let frames: Vec<Frame> = voices.iter_mut().map(Voice::frame).collect();
        let inputs: Vec<_> =
            frames.iter().enumerate().map(|(id, frame)| (SourceId(id as u64), frame)).collect();
        let mix = mixer.tick(&inputs, &[]);
        if tick < 10 {
            continue;
        }
        for (id, frame) in frames.iter().enumerate() {
            sent[id].extend_from_slice(frame);
        }
        for (id, heard) in heard.iter_mut().enumerate() {
            let own = mix.heard_by(SourceId(id as u64));
            assert_eq!(matches!(own, Heard::Own(_)), id < 3, "who is silent shares the mix of all");
            heard.extend_from_slice(own.frame());
        }
    }
    for (listener, heard) in heard.iter().enumerate() {
        for (speaker, sent) in sent.iter().enumerate() {
            let likeness = likeness(heard, sent);
            if listener == speaker {
                assert!(likeness.abs() < 0.02, "{listener} hears himself: {likeness}");
            } else {
                assert!(likeness > 0.5, "{listener} does not hear {speaker}: {likeness}");
            }
        }
    }
}

#[test]
fn only_the_loudest_are_heard_and_a_noise_gives_way_to_a_voice() {
    let mut mixer = mixer(6, 3);
    let mut voices: Vec<Voice> = (0..5).map(|id| Voice::new(id, 0.02 * (id + 1) as f32)).collect();
    let speech = Prompt::EnterCode.samples(Language::English);
    let speech = speech.as_chunks::<FRAME_SAMPLES>().0;
    for _ in 0..100 {
        let frames: Vec<Frame> = voices.iter_mut().map(Voice::frame).collect();
        let inputs: Vec<_> =
            frames.iter().enumerate().map(|(id, frame)| (SourceId(id as u64), frame)).collect();
        mixer.tick(&inputs, &[]);
    }
    let placed = |mixer: &Mixer| (0..6).filter(|id| mixer.placed(SourceId(*id))).collect::<Vec<_>>();
    assert_eq!(placed(&mixer), [2, 3, 4]);
    // Somebody begins to speak, no louder than the noise of the others.
    let mut ticks = 0;
    for frame in speech.iter().skip(5) {
        let frames: Vec<Frame> = voices.iter_mut().map(Voice::frame).collect();
        let quiet = frame.map(|sample| 0.3 * sample);
        let mut inputs: Vec<_> =
            frames.iter().enumerate().map(|(id, frame)| (SourceId(id as u64), frame)).collect();
        inputs.push((SourceId(5), &quiet));
        mixer.tick(&inputs, &[]);
        if mixer.placed(SourceId(5)) {
            break;
        }
        ticks += 1;
    }
    assert!(ticks <= 6, "{ticks} ticks");
    assert_eq!(placed(&mixer), [3, 4, 5]);
}

#[test]
fn places_do_not_change_between_voices_that_are_about_as_loud() {
    let mut mixer = mixer(4, 2);
    let mut voices: Vec<Voice> = (0..4).map(|id| Voice::new(id, 0.1)).collect();
    let mut random = ChaCha8Rng::seed_from_u64(1);
    let (mut before, mut changes) = (Vec::new(), 0);
    for _ in 0..500 {
        for voice in &mut voices {
            voice.amplitude = random.random_range(0.07..0.13);
        }
        let frames: Vec<Frame> = voices.iter_mut().map(Voice::frame).collect();
        let inputs: Vec<_> =
            frames.iter().enumerate().map(|(id, frame)| (SourceId(id as u64), frame)).collect();
        mixer.tick(&inputs, &[]);
        let placed: Vec<_> = (0..4).filter(|id| mixer.placed(SourceId(*id))).collect();
        changes += u32::from(placed != before);
        before = placed;
    }
    assert!(changes <= 2, "{changes} changes");
}

#[test]
fn coming_and_going_is_smooth() {
    let mut mixer = mixer(2, 1);
    let tone = |n: usize, f: f32, a: f32| -> Frame {
        std::array::from_fn(|i| {
            a * (std::f32::consts::TAU * f * (n * FRAME_SAMPLES + i) as f32 / 48_000.0).cos()
        })
    };
    let mut heard = Vec::new();
    for n in 0..200 {
        let (first, second) = (tone(n, 100.0, 0.1), tone(n, 150.0, 0.4));
        let mut inputs = vec![(SourceId(0), &first)];
        if n >= 100 {
            inputs.push((SourceId(1), &second));
        }
        // Nobody is a listener of this id, so it hears all.
        heard.extend_from_slice(mixer.tick(&inputs, &[]).heard_by(SourceId(9)).frame());
    }
    assert!(mixer.placed(SourceId(1)));
    let step = heard.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max);
    // The waves themselves have steps of 0.008; a tone that is switched on has one of 0.4.
    assert!(step < 0.02, "{step}");
}

#[test]
fn many_loud_voices_do_not_overflow() {
    let mut mixer = mixer(8, 8);
    let mut voices: Vec<Voice> = (0..8).map(|id| Voice::new(id, 0.9)).collect();
    for _ in 0..50 {
        let frames: Vec<Frame> = voices.iter_mut().map(Voice::frame).collect();
        let inputs: Vec<_> =
            frames.iter().enumerate().map(|(id, frame)| (SourceId(id as u64), frame)).collect();
        let mix = mixer.tick(&inputs, &[]);
        for id in 0..9 {
            assert!(mix.heard_by(SourceId(id)).frame().iter().all(|sample| sample.abs() <= 1.0));
        }
    }
}

#[test]
fn when_nobody_speaks_the_line_is_not_dead() {
    let mut mixer = mixer(3, 3);
    let mut heard = Vec::new();
    for _ in 0..50 {
        let mix = mixer.tick(&[], &[]);
        assert!(mix.quiet());
        heard.extend_from_slice(mix.heard_by(SourceId(0)).frame());
    }
    assert!((level_dbov(&heard[4800..]) + 68.0).abs() < 1.0, "{}", level_dbov(&heard[4800..]));
}

#[test]
fn what_one_is_told_only_that_one_hears() {
    let mut mixer = mixer(3, 3);
    let (mut voice, mut whisper) = (Voice::new(1, 0.1), Voice::new(2, 0.1));
    for tick in 0..20 {
        let (frame, told) = (voice.frame(), whisper.frame());
        let mix = mixer.tick(&[(SourceId(0), &frame)], &[(SourceId(1), &told)]);
        if tick < 5 {
            continue;
        }
        let likeness_of = |id| likeness(mix.heard_by(SourceId(id)).frame(), &told);
        assert!(likeness_of(1) > 0.9);
        assert!(likeness_of(0).abs() < 0.15 && likeness_of(2).abs() < 0.15);
        assert!(
            likeness(mix.heard_by(SourceId(1)).frame(), &frame) > 0.1,
            "the others are quieter, not gone"
        );
        assert!(matches!(mix.heard_by(SourceId(2)), Heard::Shared(_)));
    }
    assert!(matches!(mixer.tick(&[], &[]).heard_by(SourceId(1)), Heard::Shared(_)));
}

#[test]
fn the_same_input_gives_the_same_mix() {
    let run = || {
        let mut mixer = mixer(3, 2);
        let mut voices: Vec<Voice> = (0..3).map(|id| Voice::new(id, 0.2)).collect();
        let mut heard = Vec::new();
        for _ in 0..30 {
            let frames: Vec<Frame> = voices.iter_mut().map(Voice::frame).collect();
            let inputs: Vec<_> =
                frames.iter().enumerate().map(|(id, frame)| (SourceId(id as u64), frame)).collect();
            let mix = mixer.tick(&inputs, &[]);
            (0..3).for_each(|id| heard.extend_from_slice(mix.heard_by(SourceId(id)).frame()));
        }
        heard
    };
    assert_eq!(run(), run());
}
