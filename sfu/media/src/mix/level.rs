//! Makes voices equally loud: a quiet room, a loud headset. What is no voice never moves the gain, so
//! noise is not pumped up in pauses, and noise beside a voice limits how far that is raised.

use crate::frame::{FRAME_SAMPLES, Frame, SILENCE_DBOV, amplitude, level_dbov};

/// The level of a voice while it speaks (ITU-T P.56), as it should be.
const TARGET_DBOV: f32 = -24.0;
const GAIN_DB_MAX: f32 = 20.0;
const GAIN_DB_MIN: f32 = -14.0;
/// Noise is not raised above this.
const NOISE_DBOV_MAX: f32 = -52.0;
/// So much louder than the noise around it a voice is, and never quieter than this.
const VOICE_ABOVE_NOISE_DB: f32 = 10.0;
const VOICE_DBOV_MIN: f32 = -56.0;
/// The noise floor follows the quietest frames at once and louder ones slowly.
const NOISE_RISE_DB_PER_TICK: f32 = 0.06;
const NOISE_START_DBOV: f32 = -60.0;
/// A voice is not even: of what lasts, with less movement than this in its level, only the noise floor
/// learns.
const MOVEMENT_DB_MIN: f32 = 1.5;
/// The level of the voice is known from about so many frames of it, and used from the first ones on.
const MEMORY_FRAMES: f32 = 75.0;
const FRAMES_NEEDED: f32 = 8.0;
/// How fast the gain moves while there is voice, in dB a tick: 4 dB a second up, 12 down.
const UP_DB_PER_TICK: f32 = 0.08;
const DOWN_DB_PER_TICK: f32 = 0.24;
/// Until a voice is known the gain may move faster, so that its second sentence is right.
const UP_DB_PER_TICK_FIRST: f32 = 0.3;
/// Near enough.
const DEAD_ZONE_DB: f32 = 1.0;

/// What a source sounds like.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loudness {
    /// As it came.
    pub level_dbov: f32,
    pub noise_dbov: f32,
    pub gain_db: f32,
    /// Somebody speaks.
    pub voice: bool,
}

/// The gain of one source.
#[derive(Debug, Clone)]
pub struct LevelControl {
    loudness: Loudness,
    /// How its level moves from frame to frame, smoothed.
    movement_db: f32,
    /// The mean power of frames of voice, and of how many it is.
    voice_power: f32,
    frames: f32,
    frames_in_all: u32,
    high_pass: HighPass,
    measured: Vec<f32>,
}

impl Default for LevelControl {
    fn default() -> Self {
        let loudness =
            Loudness { level_dbov: SILENCE_DBOV, noise_dbov: NOISE_START_DBOV, gain_db: 0.0, voice: false };
        LevelControl {
            loudness,
            movement_db: 0.0,
            voice_power: 0.0,
            frames: 0.0,
            frames_in_all: 0,
            high_pass: HighPass::default(),
            measured: Vec::with_capacity(FRAME_SAMPLES),
        }
    }
}

impl LevelControl {
    pub fn loudness(&self) -> Loudness {
        self.loudness
    }

    pub fn process(&mut self, frame: &mut Frame) -> Loudness {
        let before = self.loudness;
        self.measure(frame);
        if self.loudness.voice {
            self.follow();
        }
        // From the old gain to the new one within the frame.
        let (from, to) = (amplitude(before.gain_db), amplitude(self.loudness.gain_db));
        let step = (to - from) / FRAME_SAMPLES as f32;
        for (index, sample) in frame.iter_mut().enumerate() {
            *sample *= from + step * (index + 1) as f32;
        }
        self.loudness
    }

    fn measure(&mut self, frame: &Frame) {
        // Rumble is not loud to the ear.
        self.measured.clear();
        self.measured.extend(frame.iter().map(|sample| self.high_pass.next(*sample)));
        let level = level_dbov(&self.measured);
        let loudness = &mut self.loudness;
        let movement = (level - loudness.level_dbov).abs().min(20.0);
        self.movement_db += 0.1 * (movement - self.movement_db);
        loudness.level_dbov = level;
        // Digital silence says nothing about the room.
        if level > SILENCE_DBOV + 20.0 {
            loudness.noise_dbov = (loudness.noise_dbov + NOISE_RISE_DB_PER_TICK).min(level);
        }
        loudness.voice = level > (loudness.noise_dbov + VOICE_ABOVE_NOISE_DB).max(VOICE_DBOV_MIN)
            && self.movement_db > MOVEMENT_DB_MIN;
    }

    fn follow(&mut self) {
        let power = 10.0_f32.powf(self.loudness.level_dbov / 10.0);
        self.frames = (self.frames + 1.0).min(MEMORY_FRAMES);
        self.frames_in_all = self.frames_in_all.saturating_add(1);
        self.voice_power += (power - self.voice_power) / self.frames;
        if self.frames < FRAMES_NEEDED {
            return;
        }
        let voice_dbov = 10.0 * self.voice_power.max(1e-12).log10();
        let room = (NOISE_DBOV_MAX - self.loudness.noise_dbov).clamp(0.0, GAIN_DB_MAX);
        let wanted = (TARGET_DBOV - voice_dbov).clamp(GAIN_DB_MIN, room);
        let change = wanted - self.loudness.gain_db;
        if change.abs() < DEAD_ZONE_DB {
            return;
        }
        let first = self.frames_in_all < MEMORY_FRAMES as u32 * 2;
        let up = if first { UP_DB_PER_TICK_FIRST } else { UP_DB_PER_TICK };
        self.loudness.gain_db += change.clamp(-DOWN_DB_PER_TICK, up);
    }
}

/// First order, 120 Hz.
#[derive(Debug, Clone, Copy, Default)]
struct HighPass {
    low: f32,
}

impl HighPass {
    fn next(&mut self, sample: f32) -> f32 {
        self.low += 0.0156 * (sample - self.low);
        sample - self.low
    }
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::frame::TICK;
    use crate::prompt::{Language, Prompt};

    /// So many seconds of speech at a level while it speaks, with a room's noise.
    fn speech(level: f32, noise: f32, seconds: usize) -> Vec<Frame> {
        let samples: Vec<f32> = Prompt::ALL
            .iter()
            .flat_map(|prompt| {
                let mut samples = prompt.samples(Language::Italian);
                samples.extend([0.0; 9_600]);
                samples
            })
            .collect();
        let gain = amplitude(level - active_level(samples.as_chunks().0));
        let mut random = ChaCha8Rng::seed_from_u64(2);
        // Of what is evenly spread the root mean square is 1 / sqrt(3) of the bound.
        let bound = amplitude(noise) * 3.0_f32.sqrt();
        (0..seconds * 50)
            .map(|n| {
                std::array::from_fn(|i| {
                    samples[(n * FRAME_SAMPLES + i) % samples.len()] * gain
                        + random.random_range(-bound..=bound)
                })
            })
            .collect()
    }

    /// Of the frames that are not pauses.
    fn active_level(frames: &[Frame]) -> f32 {
        let powers: Vec<f32> = frames.iter().map(|frame| crate::frame::power(frame)).collect();
        let loudest = powers.iter().fold(0.0_f32, |a, b| a.max(*b));
        let active: Vec<f32> = powers.into_iter().filter(|power| *power > loudest * 0.01).collect();
        10.0 * (active.iter().sum::<f32>() / active.len() as f32).log10()
    }

    fn controlled(mut frames: Vec<Frame>) -> (Vec<Frame>, LevelControl) {
        let mut control = LevelControl::default();
        for frame in &mut frames {
            control.process(frame);
        }
        (frames, control)
    }

    #[test]
    fn quiet_and_loud_voices_become_equally_loud_within_seconds() {
        for level in [-42.0, -36.0, -24.0, -16.0, -12.0] {
            let (frames, _) = controlled(speech(level, -75.0, 14));
            let after = active_level(&frames[frames.len() - 300..]);
            assert!((after - TARGET_DBOV).abs() < 3.0, "{level} dBov became {after}");
        }
    }

    #[test]
    fn the_gain_of_a_steady_voice_is_steady() {
        let mut control = LevelControl::default();
        let gains: Vec<f32> =
            speech(-36.0, -75.0, 30).iter_mut().map(|frame| control.process(frame).gain_db).collect();
        let late = &gains[600..];
        let (low, high) = late.iter().fold((f32::MAX, f32::MIN), |(l, h), g| (l.min(*g), h.max(*g)));
        assert!(high - low < 4.0, "from {low} to {high} dB");
    }

    #[test]
    fn pauses_do_not_pump_the_noise_up() {
        let mut frames = speech(-30.0, -62.0, 10);
        let noise = speech(-200.0, -62.0, 60);
        frames.extend(noise);
        let mut control = LevelControl::default();
        let mut at_end_of_speech = 0.0;
        for (index, frame) in frames.iter_mut().enumerate() {
            control.process(frame);
            if index == 499 {
                at_end_of_speech = control.loudness().gain_db;
            }
        }
        assert!(
            (control.loudness().gain_db - at_end_of_speech).abs() < 0.5,
            "after {:?} of noise",
            3_000 * TICK
        );
        assert!(!control.loudness().voice);
    }

    #[test]
    fn noise_alone_is_never_raised() {
        for level in [-70.0, -50.0, -35.0] {
            let (_, control) = controlled(speech(-200.0, level, 60));
            assert!(control.loudness().gain_db <= 0.5, "{level}: {:?}", control.loudness());
        }
    }

    #[test]
    fn a_voice_in_a_noisy_room_is_raised_only_as_far_as_its_noise_allows() {
        let (frames, _) = controlled(speech(-38.0, -58.0, 20));
        let pause = frames[600..].iter().map(|frame| level_dbov(frame)).fold(f32::MAX, f32::min);
        assert!(pause < NOISE_DBOV_MAX + 2.0, "{pause}");
    }

    #[test]
    fn a_tone_is_left_as_it_is() {
        let frames: Vec<Frame> = (0..1000)
            .map(|n: usize| std::array::from_fn(|i| 0.02 * ((n * FRAME_SAMPLES + i) as f32 * 0.0576).sin()))
            .collect();
        let (_, control) = controlled(frames);
        assert!(control.loudness().gain_db.abs() < 3.0, "{:?}", control.loudness());
    }
}
