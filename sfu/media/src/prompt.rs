//! What callers are told, in Italian and English: the table `prompts/prompts.tsv`, spoken by
//! `prompts/render`.

mod ogg;

use crate::codec::AudioCodec;
use crate::frame::{FRAME_SAMPLES, Frame, SILENT_FRAME};

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Language {
    Italian,
    English,
}

impl Language {
    pub const ALL: [Language; 2] = [Language::Italian, Language::English];
}

/// One variant a sentence, and the files of its name.
macro_rules! prompts {
    ($($prompt:ident $name:literal),* $(,)?) => {
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Prompt {
            $($prompt),*
        }

        impl Prompt {
            pub const ALL: &[Prompt] = &[$(Prompt::$prompt),*];

            /// Its name in the table.
            pub fn name(self) -> &'static str {
                match self {
                    $(Prompt::$prompt => $name),*
                }
            }

            /// An Ogg Opus file.
            pub fn file(self, language: Language) -> &'static [u8] {
                match (self, language) {
                    $(
                        (Prompt::$prompt, Language::Italian) => {
                            include_bytes!(concat!("../prompts/it/", $name, ".opus"))
                        }
                        (Prompt::$prompt, Language::English) => {
                            include_bytes!(concat!("../prompts/en/", $name, ".opus"))
                        }
                    )*
                }
            }
        }
    };
}

prompts! {
    EnterCode "enter-code",
    UnknownCode "unknown-code",
    EnterPin "enter-pin",
    WrongPin "wrong-pin",
    TooManyTries "too-many-tries",
    NotBegun "not-begun",
    Lobby "lobby",
    Refused "refused",
    Locked "locked",
    Full "full",
    Entered "entered",
    Alone "alone",
    Muted "muted",
    Unmuted "unmuted",
    Removed "removed",
    Ended "ended",
}

const TABLE: &str = include_str!("../prompts/prompts.tsv");

impl Prompt {
    /// What is said, for those who read.
    pub fn text(self, language: Language) -> &'static str {
        let mut cells = TABLE
            .lines()
            .map(|line| line.split('\t'))
            .find_map(|mut cells| (cells.next() == Some(self.name())).then_some(cells))
            .expect("each prompt has its line, as a test looks");
        let text = match language {
            Language::Italian => cells.next(),
            Language::English => cells.nth(1),
        };
        text.expect("each line has both languages, as a test looks")
    }

    /// Mono at 48 kHz.
    pub fn samples(self, language: Language) -> Vec<f32> {
        let stream = ogg::read(self.file(language)).expect("the files are ours, and a test looks");
        let mut decoder = AudioCodec::Opus.decoder().expect("it has no settings that could be refused");
        let mut samples = Vec::new();
        for packet in &stream.packets {
            decoder.decode(packet, &mut samples).expect("the files are ours, and a test looks");
        }
        samples.truncate(stream.end.max(stream.skipped));
        samples.drain(..stream.skipped);
        samples
    }
}

/// Plays prompts one after the other. Those of which many are played at a time are decoded once:
/// clones share nothing else.
#[derive(Debug, Clone, Default)]
pub struct Player {
    samples: Vec<f32>,
    at: usize,
}

impl Player {
    pub fn new(prompts: &[Prompt], language: Language) -> Self {
        Player { samples: prompts.iter().flat_map(|prompt| prompt.samples(language)).collect(), at: 0 }
    }

    /// The next 20 ms. None: it has come to its end.
    pub fn poll_frame(&mut self) -> Option<Frame> {
        let rest = self.samples.get(self.at..).filter(|rest| !rest.is_empty())?;
        let count = rest.len().min(FRAME_SAMPLES);
        let mut frame = SILENT_FRAME;
        frame[..count].copy_from_slice(&rest[..count]);
        self.at += count;
        Some(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::{level_dbov, milliseconds};

    const FILE_BYTES_MAX: usize = 30_000;

    #[test]
    fn the_table_has_each_prompt_once_and_nothing_else() {
        let names: Vec<_> = TABLE.lines().map(|line| line.split('\t').next().unwrap_or_default()).collect();
        let expected: Vec<_> = Prompt::ALL.iter().map(|prompt| prompt.name()).collect();
        assert_eq!(names, expected);
        for line in TABLE.lines() {
            assert_eq!(line.split('\t').filter(|cell| !cell.is_empty()).count(), 3, "{line}");
        }
        assert_eq!(Prompt::Muted.text(Language::English), "You are muted.");
        assert_eq!(Prompt::Muted.text(Language::Italian), "Il suo microfono è spento.");
    }

    #[test]
    fn each_text_is_spoken_in_both_languages_and_can_be_heard() {
        for language in Language::ALL {
            for prompt in Prompt::ALL {
                let samples = prompt.samples(language);
                let what = format!("{prompt:?} {language:?}");
                let letters = prompt.text(language).chars().count();
                // People say 8 to 25 letters a second.
                let milliseconds_each = samples.len() / milliseconds(1) / letters;
                assert!((40..=125).contains(&milliseconds_each), "{what}: {milliseconds_each} ms a letter");
                let level = level_dbov(&samples);
                assert!((-28.0..=-13.0).contains(&level), "{what}: {level} dBov");
                let peak = samples.iter().fold(0.0_f32, |peak, sample| peak.max(sample.abs()));
                assert!((0.3..1.0).contains(&peak), "{what}: {peak}");
                let pause = samples
                    .chunks(milliseconds(20))
                    .map(|part| level_dbov(part) < -50.0)
                    .collect::<Vec<_>>()
                    .split(|quiet| !quiet)
                    .map(<[bool]>::len)
                    .max();
                assert!(pause.unwrap_or(0) < 50, "{what}: a pause of {pause:?} times 20 ms");
                assert!(prompt.file(language).len() < FILE_BYTES_MAX, "{what}");
            }
        }
    }

    #[test]
    fn prompts_are_played_to_their_end_one_after_the_other() {
        let prompts = [Prompt::Entered, Prompt::Muted];
        let mut player = Player::new(&prompts, Language::English);
        let expected: Vec<f32> =
            prompts.iter().flat_map(|prompt| prompt.samples(Language::English)).collect();
        let mut played = Vec::new();
        while let Some(frame) = player.poll_frame() {
            played.extend_from_slice(&frame);
        }
        assert_eq!(played[..expected.len()], expected);
        assert!(played.len() - expected.len() < FRAME_SAMPLES);
        assert_eq!(Player::default().poll_frame(), None);
    }
}
