//! Who speaks, from the audio levels that publishers write into their packets (RFC 6464); and who
//! of them is shown and heard.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use broletto_control::{ProducerId, SpeakerLevel};

/// How often the voices are judged.
pub const JUDGE_PERIOD: Duration = Duration::from_millis(20);
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
/// Voice for this long makes a speaker: less is a cough. The picture follows a key frame later, and
/// both together should take no more than 300 ms.
const START: Duration = Duration::from_millis(140);
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

#[cfg(test)]
mod tests {
    use broletto_control::{Epoch, Id};
    use broletto_loadtest::link::Random;

    use super::*;

    const PACKET: Duration = Duration::from_millis(20);
    const QUIET: u8 = 75;
    const VOICE: u8 = 30;

    fn producer(serial: u32) -> ProducerId {
        ProducerId(Id::new(Epoch(1), serial))
    }

    /// A room whose microphones send a packet every 20 ms.
    struct Script {
        speakers: Speakers,
        now: Instant,
        count: u32,
        order_changes: usize,
        notified: Vec<(Instant, Vec<SpeakerLevel>)>,
    }

    impl Script {
        fn new(count: u32) -> Self {
            let now = Instant::now();
            let mut speakers = Speakers::default();
            for serial in 0..count {
                speakers.add(producer(serial), now);
            }
            let mut script = Script { speakers, now, count, order_changes: 0, notified: Vec::new() };
            script.run(1_000, |_| Some((QUIET, None)));
            script
        }

        /// `level` gives level and voice bit of each, or None for no packet at all.
        fn run(&mut self, ms: u64, mut level: impl FnMut(u32) -> Option<(u8, Option<bool>)>) {
            let end = self.now + Duration::from_millis(ms);
            while self.now < end {
                self.now += PACKET;
                for serial in 0..self.count {
                    if let Some((level, voice)) = level(serial) {
                        self.speakers.handle_level(producer(serial), level, voice, self.now);
                    }
                }
                self.order_changes += usize::from(self.speakers.handle_timeout(self.now));
                if let Some(levels) = self.speakers.poll_levels(self.now) {
                    self.notified.push((self.now, levels));
                }
            }
        }

        fn speak(&mut self, ms: u64, who: &[u32]) {
            self.run(ms, |serial| Some((if who.contains(&serial) { VOICE } else { QUIET }, None)));
        }

        fn order(&self) -> Vec<u32> {
            self.speakers.order().iter().map(|producer| producer.0.serial).collect()
        }

        /// Who was notified last, loudest first.
        fn speaking(&self) -> Vec<u32> {
            let last = self.notified.last().map(|(_, levels)| levels.as_slice()).unwrap_or_default();
            last.iter().map(|speaker| speaker.producer.0.serial).collect()
        }
    }

    #[test]
    fn a_speaker_is_known_within_four_tenths_of_a_second() {
        let mut script = Script::new(4);
        assert_eq!((script.order(), script.speaking()), (vec![0, 1, 2, 3], vec![]));
        script.speak(100, &[2]);
        assert_eq!(script.order(), [0, 1, 2, 3]);
        script.speak(300, &[2]);
        assert_eq!((script.order(), script.speaking()), (vec![2, 0, 1, 3], vec![2]));
    }

    #[test]
    fn a_cough_is_no_speaker() {
        let mut script = Script::new(3);
        for _ in 0..10 {
            script.speak(120, &[1]);
            script.speak(1_000, &[]);
        }
        assert_eq!((script.order(), script.notified.len()), (vec![0, 1, 2], 0));
    }

    #[test]
    fn pauses_between_words_do_not_flap() {
        let mut script = Script::new(3);
        script.speak(1_000, &[1]);
        let changes = script.order_changes;
        for _ in 0..20 {
            script.speak(300, &[]);
            script.speak(500, &[1]);
            assert_eq!(script.speaking(), [1]);
        }
        assert_eq!(script.order_changes, changes);
        script.speak(1_500, &[]);
        assert!(script.speaking().is_empty());
        assert_eq!(script.order(), [1, 0, 2], "who spoke last stays in front");
    }

    #[test]
    fn who_spoke_last_comes_first() {
        let mut script = Script::new(5);
        for speaker in [3, 0, 4] {
            script.speak(1_000, &[speaker]);
            script.speak(1_000, &[]);
        }
        assert_eq!(script.order(), [4, 0, 3, 1, 2]);
    }

    #[test]
    fn an_interjection_does_not_take_the_floor() {
        let mut script = Script::new(3);
        script.speak(2_000, &[1]);
        script.speak(600, &[1, 2]);
        assert_eq!(script.order(), [1, 2, 0]);
        script.speak(2_000, &[1]);
        assert_eq!(script.order(), [1, 2, 0]);
        // Once the floor is free, who still speaks has it.
        script.speak(600, &[1, 0]);
        script.speak(1_500, &[0]);
        assert_eq!(script.order(), [0, 1, 2]);
    }

    #[test]
    fn somebody_much_louder_is_heard_over_one_who_goes_on() {
        let mut script = Script::new(2);
        let levels = |serial| Some((if serial == 0 { 40 } else { 25 }, None));
        script.speak(1_000, &[0]);
        script.run(600, levels);
        assert_eq!(script.order(), [0, 1]);
        script.run(1_500, levels);
        assert_eq!(script.order(), [1, 0]);
    }

    #[test]
    fn noise_is_not_a_voice() {
        let mut script = Script::new(3);
        let mut random = Random::new(5);
        // A fan of -42 dBov, give or take 4 dB, is learned; over it a voice of -25 dBov is heard.
        script.run(10_000, |serial| {
            Some((if serial == 1 { 38 + (random.bits() % 9) as u8 } else { QUIET }, None))
        });
        assert!(script.speaking().is_empty());
        let changes = script.order_changes;
        script.run(30_000, |serial| {
            Some((if serial == 1 { 38 + (random.bits() % 9) as u8 } else { QUIET }, None))
        });
        assert_eq!(script.order_changes, changes);
        script.run(600, |serial| Some((if serial == 1 { 25 } else { QUIET }, None)));
        assert_eq!(script.speaking(), [1]);
    }

    #[test]
    fn an_unset_voice_bit_is_believed_and_a_set_one_is_not() {
        let mut script = Script::new(2);
        script.run(2_000, |serial| Some((if serial == 0 { VOICE } else { 90 }, Some(serial == 1))));
        assert!(script.speaking().is_empty());
        script.run(600, |serial| Some((if serial == 0 { VOICE } else { 90 }, Some(true))));
        assert_eq!(script.speaking(), [0]);
    }

    #[test]
    fn whoever_sends_nothing_is_silent() {
        let mut script = Script::new(2);
        script.speak(1_000, &[1]);
        script.run(1_500, |_| None);
        assert!(script.speaking().is_empty());
        script.speak(1_000, &[1]);
        script.speakers.silence(producer(1));
        script.run(200, |_| None);
        assert!(script.speaking().is_empty());
        script.speakers.remove(producer(1));
        assert_eq!(script.order(), [0]);
        script.speak(400, &[1]);
        assert_eq!(script.order(), [0], "who is gone is not heard");
    }

    #[test]
    fn at_most_five_are_notified_and_five_times_a_second() {
        let mut script = Script::new(9);
        let mut random = Random::new(3);
        script.run(10_000, |serial| Some((20 + serial as u8 + (random.bits() % 5) as u8, None)));
        assert!(script.notified.iter().all(|(_, levels)| levels.len() <= NOTIFIED_MAX));
        assert!(script.notified.iter().all(|(_, levels)| levels.is_sorted_by_key(|speaker| speaker.level)));
        assert!(script.notified.windows(2).all(|pair| pair[1].0 - pair[0].0 >= NOTIFY_PERIOD));
        assert!((40..=50).contains(&script.notified.len()), "{}", script.notified.len());
    }

    #[test]
    fn the_first_syllable_is_heard_before_the_speaker_is_known() {
        let mut script = Script::new(4);
        script.speak(1_000, &[1]);
        script.speak(60, &[1, 3]);
        let audible: Vec<u32> =
            script.speakers.audible_order().iter().map(|producer| producer.0.serial).collect();
        assert_eq!(audible, [1, 3, 0, 2]);
        assert_eq!(script.order(), [1, 0, 2, 3]);
    }

    #[test]
    fn slots_swap_and_do_not_reshuffle() {
        let none: Option<char> = None;
        for (held, candidates, expected) in [
            (vec![], vec!['a'], vec![]),
            (vec![none, none], vec![], vec![none, none]),
            (vec![none, none, none], vec!['a', 'b'], vec![Some('a'), Some('b'), none]),
            // All are in, in whatever order they speak.
            (
                vec![Some('a'), Some('b'), Some('c')],
                vec!['c', 'a', 'b'],
                vec![Some('a'), Some('b'), Some('c')],
            ),
            // A newcomer gets the slot of who spoke longest ago.
            (
                vec![Some('a'), Some('b'), Some('c')],
                vec!['d', 'c', 'a', 'b'],
                vec![Some('a'), Some('d'), Some('c')],
            ),
            // Who left makes room for the next.
            (vec![Some('x'), Some('b')], vec!['b', 'a'], vec![Some('a'), Some('b')]),
            (vec![Some('x'), Some('y')], vec!['a'], vec![Some('a'), none]),
        ] {
            assert_eq!(assign(&held, &candidates), expected, "{held:?} with {candidates:?}");
        }
    }
}
