//! The tones of a key, made.

use std::f32::consts::TAU;

use super::{HIGH_TONES, KEYPAD, LOW_TONES};
use crate::frame::{SAMPLE_RATE, amplitude, milliseconds};

/// Of each tone, in dB below full scale; the high one is 2 dB louder, because lines take more of it.
const LOW_TONE_DB: f32 = -13.0;
const HIGH_TONE_DB: f32 = -11.0;
/// Without slopes the tones would click.
const SLOPE: usize = milliseconds(2);
const DURATION: usize = milliseconds(100);
const PAUSE: usize = milliseconds(100);

/// Plays keys one after the other.
#[derive(Debug, Clone)]
pub struct ToneGenerator {
    tones: Vec<[f32; 2]>,
    at: usize,
}

impl ToneGenerator {
    /// What is no key is left out.
    pub fn new(keys: &str) -> Self {
        ToneGenerator { tones: keys.chars().filter_map(tones).collect(), at: 0 }
    }

    /// Adds what comes next. False: it has come to its end.
    pub fn add_to(&mut self, samples: &mut [f32]) -> bool {
        for sample in samples {
            let Some(tones) = self.tones.get(self.at / (DURATION + PAUSE)) else { return false };
            let place = self.at % (DURATION + PAUSE);
            if place < DURATION {
                let slope = (place.min(DURATION - place) as f32 / SLOPE as f32).min(1.0);
                for (tone, level) in tones.iter().zip([LOW_TONE_DB, HIGH_TONE_DB]) {
                    let phase = TAU * (tone * place as f32 / SAMPLE_RATE as f32).fract();
                    *sample += slope * amplitude(level) * phase.sin();
                }
            }
            self.at += 1;
        }
        true
    }
}

fn tones(key: char) -> Option<[f32; 2]> {
    let key = key.to_ascii_uppercase();
    KEYPAD.iter().zip(LOW_TONES).find_map(|(row, low)| {
        row.iter().position(|other| *other == key).map(|column| [low, HIGH_TONES[column]])
    })
}
