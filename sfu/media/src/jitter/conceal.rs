//! What is played where nothing came, for codecs that have no concealment of their own: the last
//! periods of the voice again, after the manner of ITU-T G.711 Appendix I, ever quieter, and in
//! their place the noise of the room. It adds no delay.

use super::period::{self, LAG_MAX, Period};
use crate::codec::{NoiseGenerator, NoiseShape};
use crate::frame::milliseconds;

/// Three of the longest periods, and what they are faded into.
const HISTORY: usize = 4 * LAG_MAX;
/// More and more periods take turns, because one alone soon buzzes.
const NEXT_PERIOD_AFTER: usize = milliseconds(10);
const PERIODS_MAX: usize = 3;
/// At full strength for this long, then fading.
const STEADY: usize = milliseconds(20);
const FADING: usize = milliseconds(60);
/// How long what comes at last is faded in.
const RESUMING: usize = milliseconds(5);
/// A sound that does not repeat buzzes when it is made to. It fades sooner.
const LIKENESS_UNVOICED: f32 = 0.5;
const FADING_UNVOICED: usize = milliseconds(30);

#[derive(Debug, Clone)]
pub(super) struct Concealer {
    history: Vec<f32>,
    noise: NoiseGenerator,
    gap: Option<Gap>,
    scratch: Vec<f32>,
}

/// While nothing comes.
#[derive(Debug, Clone)]
struct Gap {
    period: Period,
    /// What takes turns now: one period or more, its end faded so that it fits its beginning.
    turn: Vec<f32>,
    periods: usize,
    /// Where in the turn the next sample is.
    at: usize,
    /// How long it has lasted.
    age: usize,
    /// What a turn's first sample is off from where the one before it stopped, and since when; fades away.
    offset: f32,
    offset_age: usize,
    /// Once it is faded into the noise it need not be made.
    fading: usize,
}

impl Concealer {
    pub(super) fn new(factor: usize, seed: u32) -> Self {
        Concealer {
            history: Vec::with_capacity(2 * HISTORY),
            noise: NoiseGenerator::new(factor, seed),
            gap: None,
            scratch: Vec::new(),
        }
    }

    pub(super) fn noise(&self) -> NoiseShape {
        self.noise.shape()
    }

    pub(super) fn set_noise(&mut self, shape: NoiseShape) {
        self.noise.set_shape(shape);
    }

    /// What was decoded: after a gap its beginning is changed so that it follows from what was made up.
    pub(super) fn hear(&mut self, samples: &mut [f32]) {
        if self.gap.is_some() {
            let count = RESUMING.min(samples.len());
            let mut made_up = std::mem::take(&mut self.scratch);
            made_up.clear();
            self.conceal(count, &mut made_up);
            for (index, (sample, made_up)) in samples.iter_mut().zip(&made_up).enumerate() {
                let part = (index + 1) as f32 / (count + 1) as f32;
                *sample = made_up + part * (*sample - made_up);
            }
            self.scratch = made_up;
            self.gap = None;
        }
        self.history.extend_from_slice(&samples[samples.len().saturating_sub(HISTORY)..]);
        let surplus = self.history.len().saturating_sub(HISTORY);
        self.history.drain(..surplus);
    }

    /// Appends so many samples that nobody sent.
    pub(super) fn conceal(&mut self, count: usize, samples: &mut Vec<f32>) {
        if self.gap.is_none() {
            self.gap = Some(Gap::new(&self.history));
        }
        let Some(gap) = &mut self.gap else { return };
        let start = samples.len();
        self.noise.generate(count, samples);
        for sample in &mut samples[start..] {
            let gain = gap.gain();
            if gain <= 0.0 {
                break;
            }
            *sample = gain * gap.next(&self.history) + (1.0 - gain) * *sample;
        }
    }

    /// Nothing of the voice is left to fade.
    pub(super) fn silent(&self) -> bool {
        self.gap.as_ref().is_none_or(|gap| gap.gain() <= 0.0)
    }
}

impl Gap {
    fn new(history: &[f32]) -> Self {
        let period = period::find(history, LAG_MAX);
        let fading = match period {
            Some(period) if period.likeness >= LIKENESS_UNVOICED => FADING,
            Some(_) => FADING_UNVOICED,
            None => 0,
        };
        let period = period.unwrap_or(Period { lag: LAG_MAX, likeness: 0.0 });
        let mut gap =
            Gap { period, turn: Vec::new(), periods: 0, at: 0, age: 0, offset: 0.0, offset_age: 0, fading };
        if fading > 0 {
            gap.take_turns(history, 1);
            let before = history.len() - period.lag - 1;
            gap.offset = history[history.len() - 1] - history.get(before).copied().unwrap_or(0.0);
        }
        gap
    }

    /// The last `periods`; the end of the turn becomes what was before its beginning.
    fn take_turns(&mut self, history: &[f32], periods: usize) {
        let length = (periods * self.period.lag).min(history.len());
        let start = history.len() - length;
        self.turn.clear();
        self.turn.extend_from_slice(&history[start..]);
        let fade = (self.period.lag / 4).min(start);
        for index in 0..fade {
            let part = (index + 1) as f32 / (fade + 1) as f32;
            let sample = &mut self.turn[length - fade + index];
            *sample += part * (history[start - fade + index] - *sample);
        }
        self.periods = periods;
    }

    fn gain(&self) -> f32 {
        let faded = self.age.saturating_sub(STEADY) as f32 / self.fading.max(1) as f32;
        if self.fading == 0 { 0.0 } else { (1.0 - faded).max(0.0) }
    }

    fn next(&mut self, history: &[f32]) -> f32 {
        if self.at >= self.turn.len() {
            self.at = 0;
            let periods = (1 + self.age / NEXT_PERIOD_AFTER).min(PERIODS_MAX);
            if periods > self.periods && (periods + 1) * self.period.lag <= history.len() {
                // The end of a turn leads to its own beginning, which is not quite that of the next.
                let expected = self.turn[0];
                self.take_turns(history, periods);
                self.offset = expected - self.turn[0];
                self.offset_age = 0;
            }
        }
        let decay = (1.0 - 4.0 * self.offset_age as f32 / self.period.lag as f32).max(0.0);
        let sample = self.turn[self.at] + decay * self.offset;
        self.at += 1;
        self.age += 1;
        self.offset_age += 1;
        sample
    }
}

#[cfg(test)]
mod tests {
    use std::f32::consts::TAU;

    use super::*;
    use crate::frame::{FRAME_SAMPLES, SILENCE_DBOV, level_dbov};

    fn voice(n: usize) -> f32 {
        let phase = TAU * 140.0 * n as f32 / 48_000.0;
        0.2 * (phase.sin() + 0.6 * (2.0 * phase + 1.0).sin() + 0.3 * (5.0 * phase).sin())
    }

    fn largest_step(samples: &[f32]) -> f32 {
        samples.windows(2).map(|pair| (pair[1] - pair[0]).abs()).fold(0.0, f32::max)
    }

    #[test]
    fn a_lost_frame_of_a_voice_is_hardly_heard() {
        let mut concealer = Concealer::new(1, 1);
        let mut samples: Vec<f32> = (0..2880).map(voice).collect();
        let step = largest_step(&samples);
        let level = level_dbov(&samples);
        concealer.hear(&mut samples);
        concealer.conceal(FRAME_SAMPLES, &mut samples);
        let made_up = level_dbov(&samples[2880..]);
        assert!((made_up - level).abs() < 2.0, "{level} and then {made_up} dBov");
        let mut after: Vec<f32> = (3840..4800).map(voice).collect();
        concealer.hear(&mut after);
        samples.extend_from_slice(&after);
        assert!(largest_step(&samples) < 1.3 * step, "{} after {step}", largest_step(&samples));
    }

    #[test]
    fn a_long_gap_fades_to_the_noise_of_the_room() {
        let mut concealer = Concealer::new(6, 1);
        concealer.set_noise(NoiseShape::white(-60.0));
        concealer.hear(&mut (0..2880).map(voice).collect::<Vec<_>>());
        let mut samples = Vec::new();
        concealer.conceal(milliseconds(200), &mut samples);
        assert!(concealer.silent());
        let left = level_dbov(&samples[milliseconds(100)..]);
        assert!((left + 60.0).abs() < 1.5, "{left}");
    }

    #[test]
    fn before_anything_was_heard_there_is_silence() {
        let mut concealer = Concealer::new(6, 1);
        let mut samples = Vec::new();
        concealer.conceal(960, &mut samples);
        assert_eq!(level_dbov(&samples), SILENCE_DBOV);
        let mut few = vec![0.5; 10];
        concealer.hear(&mut few);
        concealer.conceal(960, &mut samples);
    }
}
