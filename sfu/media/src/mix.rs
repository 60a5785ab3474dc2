//! From the voices of all to what each hears: the loudest of the others, equally loud, on a floor of
//! faint noise.
//!
//! ```text
//!   frame -> level -> rank -> gain ─┬─> + ───────────────> limit -> shared, for all who are not in it
//!   (of each source)                └─> + but one's own -> limit -> own, for each who is
//! ```

mod level;
mod limiter;

use std::collections::BTreeMap;

pub use self::level::{LevelControl, Loudness};
use self::limiter::Limiter;
use crate::codec::{NoiseGenerator, NoiseShape};
use crate::frame::{FRAME_SAMPLES, Frame, SILENT_FRAME, amplitude, level_dbov};

/// A voice in the mix, and the listener that has it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceId(pub u64);

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MixerConfig {
    /// So many voices are heard at once.
    pub speakers_max: usize,
    /// Of the noise that says that the line is there. None: there is none.
    pub background_dbov: Option<f32>,
    pub seed: u32,
}

impl Default for MixerConfig {
    fn default() -> Self {
        MixerConfig { speakers_max: 5, background_dbov: Some(-68.0), seed: 1 }
    }
}

/// Quieter than this nobody takes a place.
const AUDIBLE_DBOV: f32 = -62.0;
/// A voice comes before noise that is so much louder.
const VOICE_BONUS_DB: f32 = 25.0;
/// Who has a place keeps it against others who are not louder by more.
const PLACE_BONUS_DB: f32 = 6.0;
/// A voice that stops keeps the bonus for so long: pauses between words are shorter.
const VOICE_HOLD_TICKS: u32 = 40;
/// The first syllable comes in at once, and the last breath fades.
const ENTRY_PER_SAMPLE: f32 = 1.0 / 240.0;
const EXIT_PER_SAMPLE: f32 = 1.0 / 2_880.0;
/// While somebody is told something, the others are so much quieter for that one.
const DUCKING_DB: f32 = -12.0;
/// How fast a level is forgotten when it falls, in dB a tick.
const LEVEL_FALL_DB: f32 = 1.0;

/// The mix of one room. One tick for every 20 ms.
pub struct Mixer {
    config: MixerConfig,
    sources: BTreeMap<SourceId, Source>,
    shared_limiter: Limiter,
    background: NoiseGenerator,
    mix: Mix,
    noise: Vec<f32>,
}

struct Source {
    level: LevelControl,
    /// For the rank.
    level_dbov: f32,
    voice_hold: u32,
    placed: bool,
    gain: f32,
    limiter: Limiter,
    /// What it adds to the mix, when it does.
    part: Box<Frame>,
}

/// What is heard in one tick.
pub struct Mix {
    shared: Box<Frame>,
    own: BTreeMap<SourceId, Box<Frame>>,
    quiet: bool,
}

/// What one listener hears.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Heard<'a> {
    /// The same as all who have no voice in the mix.
    Shared(&'a Frame),
    Own(&'a Frame),
}

impl<'a> Heard<'a> {
    pub fn frame(self) -> &'a Frame {
        match self {
            Heard::Shared(frame) | Heard::Own(frame) => frame,
        }
    }
}

impl Mix {
    /// `listener` need not be a source.
    pub fn heard_by(&self, listener: SourceId) -> Heard<'_> {
        match self.own.get(&listener) {
            Some(own) => Heard::Own(own),
            None => Heard::Shared(&self.shared),
        }
    }

    /// What those hear who have no voice in it.
    pub fn shared(&self) -> &Frame {
        &self.shared
    }

    /// Nobody has a place: all there is is the background.
    pub fn quiet(&self) -> bool {
        self.quiet
    }
}

impl Mixer {
    pub fn new(config: MixerConfig) -> Self {
        let mut background = NoiseGenerator::new(3, config.seed);
        if let Some(level) = config.background_dbov {
            background.set_shape(NoiseShape::white(level));
        }
        Mixer {
            config,
            sources: BTreeMap::new(),
            shared_limiter: Limiter::default(),
            background,
            mix: Mix { shared: Box::new(SILENT_FRAME), own: BTreeMap::new(), quiet: true },
            noise: Vec::new(),
        }
    }

    pub fn add(&mut self, source: SourceId) {
        self.sources.entry(source).or_insert_with(Source::new);
    }

    pub fn remove(&mut self, source: SourceId) {
        self.sources.remove(&source);
    }

    /// What a source sounds like now; None for one that is unknown.
    pub fn loudness(&self, source: SourceId) -> Option<Loudness> {
        self.sources.get(&source).map(|source| source.level.loudness())
    }

    /// It is in the mix, though it may be silent at the moment.
    pub fn placed(&self, source: SourceId) -> bool {
        self.sources.get(&source).is_some_and(|source| source.placed)
    }

    /// `frames`: 20 ms of each source that has any; others are silent. `whispers`: what single listeners
    /// are told beside, such as a prompt.
    pub fn tick(&mut self, frames: &[(SourceId, &Frame)], whispers: &[(SourceId, &Frame)]) -> &Mix {
        for source in self.sources.values_mut() {
            source.part.fill(0.0);
            source.rank_lower();
        }
        for (id, frame) in frames {
            if let Some(source) = self.sources.get_mut(id) {
                source.take(frame);
            }
        }
        self.place();
        for source in self.sources.values_mut() {
            source.fade();
        }

        self.noise.clear();
        if self.config.background_dbov.is_some() {
            self.background.generate(FRAME_SAMPLES, &mut self.noise);
        }
        let mut all = SILENT_FRAME;
        all[..self.noise.len()].copy_from_slice(&self.noise);
        let heard: Vec<SourceId> =
            self.sources.iter().filter(|(_, source)| source.heard()).map(|(id, _)| *id).collect();
        for id in &heard {
            add(&mut all, &self.sources[id].part, 1.0);
        }

        let mut own = std::mem::take(&mut self.mix.own);
        own.retain(|id, _| heard.contains(id) || whispers.iter().any(|(listener, _)| listener == id));
        let listeners = heard.iter().chain(whispers.iter().map(|(listener, _)| listener));
        for listener in listeners {
            let mix = own.entry(*listener).or_insert_with(|| Box::new(SILENT_FRAME));
            mix.fill(0.0);
            mix[..self.noise.len()].copy_from_slice(&self.noise);
            let others = heard.iter().filter(|id| *id != listener);
            let whisper = whispers.iter().find(|(id, _)| id == listener);
            let gain = if whisper.is_some() { amplitude(DUCKING_DB) } else { 1.0 };
            for id in others {
                add(mix, &self.sources[id].part, gain);
            }
            if let Some((_, whisper)) = whisper {
                add(mix, whisper, 1.0);
            }
            match self.sources.get_mut(listener) {
                Some(source) => source.limiter.limit(mix),
                None => Limiter::default().limit(mix),
            }
        }
        self.shared_limiter.limit(&mut all);
        *self.mix.shared = all;
        self.mix.own = own;
        self.mix.quiet = heard.is_empty();
        &self.mix
    }

    /// The highest ranks have the places; the lowest of two that are equal is the one with the higher id.
    fn place(&mut self) {
        let mut ranks: Vec<(f32, SourceId)> = self
            .sources
            .iter()
            .filter(|(_, source)| source.level_dbov > AUDIBLE_DBOV)
            .map(|(id, source)| (source.rank(), *id))
            .collect();
        ranks.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        ranks.truncate(self.config.speakers_max);
        for (id, source) in &mut self.sources {
            source.placed = ranks.iter().any(|(_, other)| other == id);
        }
    }
}

impl Source {
    fn new() -> Self {
        Source {
            level: LevelControl::default(),
            level_dbov: f32::NEG_INFINITY,
            voice_hold: 0,
            placed: false,
            gain: 0.0,
            limiter: Limiter::default(),
            part: Box::new(SILENT_FRAME),
        }
    }

    fn rank_lower(&mut self) {
        self.level_dbov -= LEVEL_FALL_DB;
        self.voice_hold = self.voice_hold.saturating_sub(1);
    }

    fn take(&mut self, frame: &Frame) {
        *self.part = *frame;
        let loudness = self.level.process(&mut self.part);
        self.level_dbov = self.level_dbov.max(level_dbov(&self.part[..]));
        if loudness.voice {
            self.voice_hold = VOICE_HOLD_TICKS;
        }
    }

    fn rank(&self) -> f32 {
        let voice = if self.voice_hold > 0 { VOICE_BONUS_DB } else { 0.0 };
        let place = if self.placed { PLACE_BONUS_DB } else { 0.0 };
        self.level_dbov + voice + place
    }

    fn fade(&mut self) {
        match (self.placed, self.gain) {
            (true, 1.0) => {}
            (false, 0.0) => self.part.fill(0.0),
            (placed, _) => {
                for sample in self.part.iter_mut() {
                    let change = if placed { ENTRY_PER_SAMPLE } else { -EXIT_PER_SAMPLE };
                    self.gain = (self.gain + change).clamp(0.0, 1.0);
                    *sample *= self.gain;
                }
            }
        }
    }

    fn heard(&self) -> bool {
        self.placed || self.gain > 0.0
    }
}

fn add(sum: &mut Frame, part: &Frame, gain: f32) {
    for (sum, part) in sum.iter_mut().zip(part) {
        *sum += gain * part;
    }
}

#[cfg(test)]
mod tests;
