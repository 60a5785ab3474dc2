//! The tones of a key, heard in a voice; and a voice that is like them, not taken for a key.
//!
//! Blocks of 20 ms at 8 kHz, a new one every 10 ms. A key has two blocks in a row in which nearly all
//! there is are two tones of about the same loudness; it is over when four have them no more. Tones of
//! 40 ms are heard so, and tones of 23 ms are not, as ITU-T Q.24 wants it.

use std::f32::consts::TAU;

use super::{HIGH_TONES, KEYPAD, LOW_TONES, Press};
use crate::frame::{dot, power_dbov};
use crate::resample::Downsampler;

const RATE: f32 = 8_000.0;
const BLOCK: usize = 160;
const STEP: usize = 80;
/// Of both tones together: quieter ones are an echo.
const LEVEL_DBOV_MIN: f32 = -36.0;
/// The high tone may be louder by so much, and quieter by so much, in dB.
const TWIST_DB_MAX: f32 = 6.0;
const REVERSE_TWIST_DB_MAX: f32 = 9.0;
/// The two tones have so much of the power of the block. A voice has other things beside them.
const SHARE_MIN: f32 = 0.82;
/// Each tone is so much stronger than the others of its group.
const OTHERS_DB_MIN: f32 = 6.0;
/// Tones that are off by 1.5 % must be heard. Looking here as well, none is further than half of it.
const OFF_TUNE: [f32; 3] = [0.9875, 1.0, 1.0125];
const BLOCKS_TO_BEGIN: u32 = 2;
const BLOCKS_TO_END: u32 = 4;

/// Listens to one voice.
#[derive(Debug, Clone)]
pub struct ToneDetector {
    downsampler: Downsampler,
    narrow: Vec<f32>,
    /// The key of the last blocks and in how many of them it was.
    seen: Option<(char, u32)>,
    /// The key that was told and is not over, and for how many blocks it was not there.
    held: Option<(char, u32)>,
}

impl Default for ToneDetector {
    fn default() -> Self {
        ToneDetector { downsampler: Downsampler::new(6), narrow: Vec::new(), seen: None, held: None }
    }
}

impl ToneDetector {
    /// Frames of a voice at 48 kHz, in order. Gives the key that begins in them.
    pub fn listen(&mut self, samples: &[f32]) -> Option<Press> {
        self.downsampler.process(samples, &mut self.narrow);
        let mut press = None;
        while let Some(block) = self.narrow.first_chunk::<BLOCK>() {
            let key = key_of(block);
            press = self.step(key).or(press);
            self.narrow.drain(..STEP);
        }
        press
    }

    /// A key sounds now, or the beginning of one.
    pub fn sounding(&self) -> bool {
        self.held.is_some() || self.seen.is_some()
    }

    fn step(&mut self, key: Option<char>) -> Option<Press> {
        self.seen = match (self.seen, key) {
            (Some((before, blocks)), Some(key)) if before == key => Some((key, blocks + 1)),
            (_, key) => key.map(|key| (key, 1)),
        };
        if let Some((held, missing)) = self.held {
            let missing = if key == Some(held) { 0 } else { missing + 1 };
            self.held = (missing < BLOCKS_TO_END).then_some((held, missing));
        }
        let (key, blocks) = self.seen?;
        if blocks < BLOCKS_TO_BEGIN || self.held.is_some_and(|(held, _)| held == key) {
            return None;
        }
        self.held = Some((key, 0));
        Some(Press { key })
    }
}

fn key_of(block: &[f32; BLOCK]) -> Option<char> {
    let all = dot(block, block) / BLOCK as f32;
    if power_dbov(all) < LEVEL_DBOV_MIN {
        return None;
    }
    let (row, low) = strongest(block, &LOW_TONES)?;
    let (column, high) = strongest(block, &HIGH_TONES)?;
    let twist = 10.0 * (high / low).log10();
    let fits = (-REVERSE_TWIST_DB_MAX..=TWIST_DB_MAX).contains(&twist);
    (fits && low + high >= SHARE_MIN * all).then_some(KEYPAD[row][column])
}

/// Which tone of a group stands out, and the power of it. None: none does.
fn strongest(block: &[f32; BLOCK], tones: &[f32; 4]) -> Option<(usize, f32)> {
    let powers = tones.map(|tone| tone_power(block, tone));
    let (index, _) = powers.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    let power = OFF_TUNE.iter().map(|off| tone_power(block, tones[index] * off)).fold(0.0, f32::max);
    let limit = power * 10.0_f32.powf(-OTHERS_DB_MIN / 10.0);
    let alone = powers.iter().enumerate().all(|(other, power)| other == index || *power < limit);
    alone.then_some((index, power))
}

/// The mean power of one tone in the block, by Goertzel's recursion.
fn tone_power(block: &[f32; BLOCK], frequency: f32) -> f32 {
    let factor = 2.0 * (TAU * frequency / RATE).cos();
    let (mut last, mut before) = (0.0_f32, 0.0_f32);
    for sample in block {
        (last, before) = (sample + factor * last - before, last);
    }
    let square = last * last + before * before - factor * last * before;
    2.0 * square / (BLOCK * BLOCK) as f32
}

#[cfg(test)]
mod tests {
    use rand::{Rng, SeedableRng};
    use rand_chacha::ChaCha8Rng;

    use super::*;
    use crate::dtmf::ToneGenerator;
    use crate::frame::{FRAME_SAMPLES, amplitude, milliseconds};
    use crate::prompt::{Language, Prompt};

    const KEYS: &str = "1234567890*#ABCD";

    fn listen(samples: &[f32]) -> String {
        let mut detector = ToneDetector::default();
        let mut heard: Vec<f32> = samples.to_vec();
        heard.extend([0.0; 2 * FRAME_SAMPLES]);
        heard.chunks_exact(FRAME_SAMPLES).filter_map(|frame| detector.listen(frame)).map(|p| p.key).collect()
    }

    /// Two tones of given frequencies and levels for so long, after and before silence.
    fn tones(frequencies: [f32; 2], levels_db: [f32; 2], duration_ms: usize) -> Vec<f32> {
        let mut samples = vec![0.0; 1_234];
        samples.extend((0..milliseconds(duration_ms)).map(|n| {
            frequencies
                .iter()
                .zip(levels_db)
                .map(|(f, level)| amplitude(level) * (TAU * f * n as f32 / 48_000.0).sin())
                .sum::<f32>()
        }));
        samples.extend(vec![0.0; 2_400]);
        samples
    }

    #[test]
    fn what_is_generated_is_heard() {
        let mut samples = vec![0.0; milliseconds(200) * 16];
        ToneGenerator::new(KEYS).add_to(&mut samples);
        assert_eq!(listen(&samples), KEYS);
    }

    #[test]
    fn it_is_heard_through_noise_and_when_quiet_or_clipped() {
        let mut random = ChaCha8Rng::seed_from_u64(4);
        for (gain, noise) in [(1.0, 0.03), (0.08, 0.0005), (20.0, 0.0)] {
            let mut samples = vec![0.0; milliseconds(200) * 16];
            ToneGenerator::new(KEYS).add_to(&mut samples);
            for sample in &mut samples {
                *sample = (*sample * gain + random.random_range(-noise..=noise)).clamp(-1.0, 1.0);
            }
            let heard = listen(&samples);
            // What is clipped to a square wave has more than two tones, and need not be heard.
            let wanted = if gain > 1.0 { heard.as_str() } else { KEYS };
            assert_eq!(heard, wanted, "gain {gain}");
        }
    }

    #[test]
    fn tones_of_forty_milliseconds_are_keys_and_of_twenty_are_not() {
        for offset in 0..10 {
            let shifted = |duration| {
                let mut samples = vec![0.0; offset * 97];
                samples.extend(tones([770.0, 1477.0], [-12.0, -12.0], duration));
                listen(&samples)
            };
            assert_eq!(shifted(40), "6", "offset {offset}");
            assert_eq!(shifted(22), "", "offset {offset}");
        }
    }

    #[test]
    fn tones_may_be_off_tune_a_little() {
        for (low, high) in LOW_TONES.iter().zip(HIGH_TONES) {
            for (off, heard) in [(0.985, true), (1.015, true), (0.96, false), (1.04, false)] {
                let found = listen(&tones([low * off, high * off], [-12.0, -12.0], 60));
                assert_eq!(!found.is_empty(), heard, "{low} and {high} Hz times {off}: {found}");
            }
        }
    }

    #[test]
    fn one_tone_may_be_louder_but_not_alone() {
        for (levels, heard) in
            [([-10.0, -15.0], "5"), ([-18.0, -10.0], ""), ([-10.0, -18.0], "5"), ([-10.0, -24.0], "")]
        {
            assert_eq!(listen(&tones([770.0, 1336.0], levels, 60)), heard, "{levels:?}");
        }
        assert_eq!(listen(&tones([770.0, 770.0], [-12.0, -12.0], 300)), "");
    }

    #[test]
    fn a_short_gap_is_no_new_key_and_a_pause_is() {
        let tone: Vec<f32> =
            tones([941.0, 1336.0], [-12.0, -12.0], 60)[1_234..1_234 + milliseconds(60)].to_vec();
        for (gap_ms, heard) in [(8, "0"), (45, "00")] {
            let mut samples = tone.clone();
            samples.extend(vec![0.0; milliseconds(gap_ms)]);
            samples.extend_from_slice(&tone);
            assert_eq!(listen(&samples), heard, "{gap_ms} ms");
        }
    }

    /// Talk-off: every sentence that is spoken here, at several pitches and levels.
    #[test]
    fn speech_is_not_taken_for_keys() {
        let mut seconds = 0;
        for language in Language::ALL {
            for prompt in Prompt::ALL {
                let samples = prompt.samples(language);
                for step in [0.8, 0.9, 1.0, 1.12, 1.25, 1.4] {
                    for gain in [0.5, 2.5] {
                        let count = (samples.len() as f32 / step) as usize - 1;
                        let other: Vec<f32> = (0..count)
                            .map(|n| {
                                let place = n as f32 * step;
                                let (index, part) = (place as usize, place.fract());
                                let (a, b) = (samples[index], samples[index + 1]);
                                (gain * (a + part * (b - a))).clamp(-1.0, 1.0)
                            })
                            .collect();
                        seconds += count / 48_000;
                        assert_eq!(listen(&other), "", "{prompt:?} {language:?} at {step}");
                    }
                }
            }
        }
        assert!(seconds > 300, "{seconds} s of speech");
    }

    #[test]
    fn music_and_noise_are_not_taken_for_keys() {
        let mut random = ChaCha8Rng::seed_from_u64(9);
        let noise: Vec<f32> = (0..480_000).map(|_| random.random_range(-0.5..0.5)).collect();
        assert_eq!(listen(&noise), "");
        // Chords of three notes of the tempered scale, each with two overtones.
        let mut samples = Vec::new();
        for _ in 0..300 {
            let notes: [f32; 3] =
                std::array::from_fn(|_| 110.0 * 2.0_f32.powf(random.random_range(0..48) as f32 / 12.0));
            samples.extend((0..milliseconds(100)).map(|n| {
                let time = n as f32 / 48_000.0;
                notes
                    .iter()
                    .map(|f| {
                        0.1 * ((TAU * f * time).sin()
                            + 0.4 * (TAU * 2.0 * f * time).sin()
                            + 0.2 * (TAU * 3.0 * f * time).sin())
                    })
                    .sum::<f32>()
            }));
        }
        assert_eq!(listen(&samples), "");
    }
}
