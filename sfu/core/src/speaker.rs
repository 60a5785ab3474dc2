//! Who speaks, from the audio levels that publishers write into their packets (RFC 6464); and who
//! of them is shown and heard.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use broletto_control::{ProducerId, SpeakerLevel};

/// How often the voices are judged.
pub const JUDGE_PERIOD: Duration = Duration::from_millis(100);
/// How often levels are notified at most, and of how many speakers.
pub const NOTIFY_PERIOD: Duration = Duration::from_millis(200);
pub const NOTIFIED_MAX: usize = 5;

/// So much louder than the noise around it a voice is, in dB.
const VOICE_ABOVE_NOISE_DB: f32 = 12.0;
/// Quieter than this nothing is a voice.
const VOICE_DBOV_MIN: f32 = -60.0;
/// The noise floor follows a falling level at once and a rising one so fast, in dB a second: the
/// shortest pause between words corrects it.
const NOISE_RISE_DB_PER_SECOND: f32 = 4.0;
const NOISE_START_DBOV: f32 = -60.0;
/// A voice that never pauses is not taken for noise above this.
const NOISE_DBOV_MAX: f32 = -40.0;
/// Voice for this long makes a speaker: less is a cough.
const START: Duration = Duration::from_millis(200);
/// Voice for this long is worth a free slot, so that the first syllable is heard.
const AUDIBLE: Duration = Duration::from_millis(40);
/// Voice is counted up to this, and silence counts it down: a pause between words is not the end.
const VOICED_MAX: Duration = Duration::from_millis(800);
/// Opus packets are 20 ms long and up to 60 ms. A longer pause is silence.
const PACKET_MAX: Duration = Duration::from_millis(60);
const PACKET_FIRST: Duration = Duration::from_millis(20);
/// Time in which the level of a speaker is smoothed.
const SMOOTHING: Duration = Duration::from_millis(300);
/// Somebody must be so much louder than the dominant speaker, for so long, to be heard over one
/// who has not stopped.
const OVERRULING_DB: f32 = 6.0;
const OVERRULING: Duration = Duration::from_secs(1);
const SILENCE_DBOV: f32 = -127.0;

/// The voices of one router.
#[derive(Debug, Default)]
pub struct Speakers {
    voices: HashMap<ProducerId, Voice>,
    /// Whoever speaks comes before whoever does not; the dominant speaker first, then whoever
    /// began to speak last. Those who never spoke are last, in the order in which they came.
    order: Vec<ProducerId>,
    overruling: Option<(ProducerId, Instant)>,
    judge_at: Option<Instant>,
    notify_at: Option<Instant>,
    notified: Vec<SpeakerLevel>,
}

impl Speakers {
    pub fn add(&mut self, producer: ProducerId, now: Instant) {
        if self.voices.insert(producer, Voice::default()).is_none() {
            self.order.push(producer);
        }
        self.judge_at.get_or_insert(now + JUDGE_PERIOD);
    }

    pub fn remove(&mut self, producer: ProducerId) {
        self.voices.remove(&producer);
        self.order.retain(|other| *other != producer);
        if self.voices.is_empty() {
            self.judge_at = None;
        }
    }

    /// A paused microphone: it stops to speak, and is no more than listed.
    pub fn silence(&mut self, producer: ProducerId) {
        if let Some(voice) = self.voices.get_mut(&producer) {
            *voice = Voice { speaking: voice.speaking, ..Voice::default() };
        }
    }

    /// `level` is that of RFC 6464, 0 the loudest and 127 silence; `voice` is its voice activity
    /// bit, if the packet had one.
    pub fn handle_level(&mut self, producer: ProducerId, level: u8, voice: Option<bool>, now: Instant) {
        if let Some(entry) = self.voices.get_mut(&producer) {
            entry.hear(-f32::from(level & 0x7f), voice, now);
        }
    }

    pub fn poll_timeout(&self) -> Option<Instant> {
        self.judge_at
    }

    /// Judges who speaks, if it is time to. Returns whether [`Self::order`] changed.
    pub fn handle_timeout(&mut self, now: Instant) -> bool {
        if self.judge_at.is_none_or(|at| at > now) {
            return false;
        }
        self.judge_at = Some(now + JUDGE_PERIOD);
        let before = self.order.clone();
        let dominant_goes_on = self.judge_voices(now);
        let front = usize::from(dominant_goes_on);
        for index in 0..self.order.len() {
            let began = std::mem::take(&mut self.voice_mut(index).began);
            if began && index > front {
                self.order[front..=index].rotate_right(1);
            }
        }
        let voices = &self.voices;
        self.order.sort_by_key(|producer| !voices[producer].speaking);
        self.overrule(now);
        self.order != before
    }

    /// Who spoke last, first. For video, and for whoever shows one speaker only.
    pub fn order(&self) -> &[ProducerId] {
        &self.order
    }

    /// As [`Self::order`], but whoever just makes a sound comes before whoever is silent. For audio:
    /// waiting until it is known to be a voice would cut off the first word.
    pub fn audible_order(&self) -> Vec<ProducerId> {
        let mut order = self.order.clone();
        order.sort_by_key(|producer| {
            let voice = &self.voices[producer];
            (!voice.speaking, voice.voiced < AUDIBLE)
        });
        order
    }

    /// Whoever speaks, the loudest first, if that is to be told now.
    pub fn poll_levels(&mut self, now: Instant) -> Option<Vec<SpeakerLevel>> {
        if self.notify_at.is_some_and(|at| at > now) {
            return None;
        }
        let speaking = self.order.iter().map(|producer| (producer, &self.voices[producer]));
        let mut levels: Vec<SpeakerLevel> = speaking
            .take_while(|(_, voice)| voice.speaking)
            .map(|(producer, voice)| SpeakerLevel { producer: *producer, level: -voice.level_dbov as u8 })
            .collect();
        levels.sort_by_key(|speaker| speaker.level);
        levels.truncate(NOTIFIED_MAX);
        if levels == self.notified {
            return None;
        }
        self.notify_at = Some(now + NOTIFY_PERIOD);
        self.notified.clone_from(&levels);
        Some(levels)
    }

    /// Whether the dominant speaker spoke before and still does.
    fn judge_voices(&mut self, now: Instant) -> bool {
        let mut dominant_goes_on = false;
        for (index, producer) in self.order.iter().enumerate() {
            let voice = self.voices.get_mut(producer).expect("whoever is in the order has a voice");
            voice.judge(now);
            dominant_goes_on |= index == 0 && voice.speaking && !voice.began;
        }
        dominant_goes_on
    }

    fn overrule(&mut self, now: Instant) {
        let level = |producer: &ProducerId| self.voices[producer].level_dbov;
        let speaking = self.order.iter().take_while(|producer| self.voices[*producer].speaking);
        let loudest = speaking.max_by(|a, b| level(a).total_cmp(&level(b))).copied();
        let challenger = loudest.filter(|loudest| level(loudest) >= level(&self.order[0]) + OVERRULING_DB);
        let Some(challenger) = challenger else {
            self.overruling = None;
            return;
        };
        match self.overruling {
            Some((producer, since)) if producer == challenger => {
                if now.saturating_duration_since(since) >= OVERRULING {
                    let index = self.order.iter().position(|producer| *producer == challenger);
                    self.order[..=index.expect("the challenger is in the order")].rotate_right(1);
                    self.overruling = None;
                }
            }
            _ => self.overruling = Some((challenger, now)),
        }
    }

    fn voice_mut(&mut self, index: usize) -> &mut Voice {
        self.voices.get_mut(&self.order[index]).expect("whoever is in the order has a voice")
    }
}

#[derive(Debug)]
struct Voice {
    heard_at: Option<Instant>,
    noise_dbov: f32,
    /// Smoothed.
    level_dbov: f32,
    /// How much voice there was lately.
    voiced: Duration,
    speaking: bool,
    /// It began to speak at the last judgement.
    began: bool,
}

impl Default for Voice {
    fn default() -> Self {
        Voice {
            heard_at: None,
            noise_dbov: NOISE_START_DBOV,
            level_dbov: SILENCE_DBOV,
            voiced: Duration::ZERO,
            speaking: false,
            began: false,
        }
    }
}

impl Voice {
    fn hear(&mut self, dbov: f32, voice: Option<bool>, now: Instant) {
        let elapsed = self.heard_at.map_or(PACKET_FIRST, |at| now.saturating_duration_since(at));
        self.heard_at = Some(now);
        let seconds = elapsed.min(PACKET_MAX).as_secs_f32();

        let risen = (self.noise_dbov + NOISE_RISE_DB_PER_SECOND * seconds).min(NOISE_DBOV_MAX);
        self.noise_dbov = risen.min(dbov);
        let share = (elapsed.as_secs_f32() / SMOOTHING.as_secs_f32()).min(1.0);
        self.level_dbov += (dbov - self.level_dbov) * share;

        // Some senders set the bit in every packet, so that only a bit that is not set tells something.
        let loud = dbov >= VOICE_DBOV_MIN && dbov >= self.noise_dbov + VOICE_ABOVE_NOISE_DB;
        self.voiced = match loud && voice != Some(false) {
            true => (self.voiced + elapsed.min(PACKET_MAX)).min(VOICED_MAX),
            false => self.voiced.saturating_sub(elapsed),
        };
    }

    fn judge(&mut self, now: Instant) {
        // Opus with DTX sends next to nothing when it is silent, and a lost sender nothing at all.
        if self.heard_at.is_some_and(|at| now.saturating_duration_since(at) > PACKET_MAX) {
            let noise_dbov = self.noise_dbov;
            self.hear(SILENCE_DBOV, None, now);
            self.noise_dbov = noise_dbov;
        }
        if !self.speaking && self.voiced >= START {
            self.speaking = true;
            self.began = true;
        } else if self.voiced.is_zero() {
            self.speaking = false;
        }
    }
}

/// Who gets which of the slots of a pool, that are `held` now. `candidates` come in the order of
/// their claim, none twice: as many of them as there are slots get one. Whoever is in stays where
/// he is, and a newcomer gets the slot of the one whose claim is too low by now.
pub fn assign<T: Copy + PartialEq>(held: &[Option<T>], candidates: &[T]) -> Vec<Option<T>> {
    let wanted = &candidates[..candidates.len().min(held.len())];
    let mut slots: Vec<Option<T>> =
        held.iter().map(|holder| holder.filter(|holder| wanted.contains(holder))).collect();
    for newcomer in wanted {
        if slots.contains(&Some(*newcomer)) {
            continue;
        }
        let free = slots.iter_mut().find(|slot| slot.is_none());
        *free.expect("no more are wanted than there are slots") = Some(*newcomer);
    }
    slots
}
