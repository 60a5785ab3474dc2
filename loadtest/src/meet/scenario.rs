//! What a scenario file says. `loadtest/README.md` explains each key.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, bail};
use broletto_protocol::Codec;
use serde::Deserialize;

use crate::link_text::LinkChange;

const PARTICIPANTS_MAX: u32 = 2_000;
const SECONDS_MAX: f64 = 86_400.0;

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    pub title: String,
    /// How long it lasts, in seconds.
    pub duration_s: f64,
    /// Rooms, all alike.
    #[serde(default = "one")]
    pub rooms: u32,
    /// In order of preference; left out: the server's.
    #[serde(default)]
    pub video_codecs: Vec<Codec>,
    /// Somebody talks for so long, then the next one.
    #[serde(default = "five")]
    pub talk_s: f64,
    #[serde(default)]
    pub limits: Limits,
    pub group: Vec<Group>,
}

/// What must hold; what is left out is measured only.
#[derive(Debug, Clone, Copy, PartialEq, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Limits {
    pub join_p95_ms_max: Option<f64>,
    /// Of any picture that somebody watches.
    pub gap_ms_max: Option<f64>,
    pub frames_per_second_min: Option<f64>,
    pub freeze_percent_max: Option<f64>,
    pub voice_loss_percent_max: Option<f64>,
    pub mos_min: Option<f64>,
}

/// Participants of each room who do the same.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Group {
    pub name: String,
    #[serde(default = "one")]
    pub count: u32,
    /// When the first one joins, and how long after it the next.
    #[serde(default)]
    pub joins_at_s: f64,
    #[serde(default)]
    pub joins_every_s: f64,
    /// For how long each stays; left out: to the end.
    pub stays_s: Option<f64>,
    #[serde(default = "yes")]
    pub microphone: bool,
    #[serde(default)]
    pub camera: Camera,
    #[serde(default)]
    pub screen: bool,
    /// Cameras that each sees, beside a screen that somebody shares.
    #[serde(default = "four")]
    pub sees: usize,
    /// Of the tile of a camera, in pixels.
    #[serde(default = "tile")]
    pub tile: [u16; 2],
    #[serde(default, deserialize_with = "link")]
    pub up: LinkChange,
    #[serde(default, deserialize_with = "link")]
    pub down: LinkChange,
    #[serde(default)]
    pub change: Vec<Change>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Camera {
    None,
    /// One encoding, 640×360.
    Single,
    /// Three, up to 1280×720.
    #[default]
    Simulcast,
}

/// Something that a group does later, counted from the beginning.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Change {
    pub at_s: f64,
    #[serde(default, deserialize_with = "link")]
    pub up: LinkChange,
    #[serde(default, deserialize_with = "link")]
    pub down: LinkChange,
    pub microphone: Option<bool>,
    pub camera: Option<bool>,
    pub screen: Option<bool>,
}

impl Scenario {
    pub fn read(path: &Path) -> anyhow::Result<Scenario> {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("{} is not read", path.display()))?;
        Scenario::parse(&text).with_context(|| path.display().to_string())
    }

    pub fn parse(text: &str) -> anyhow::Result<Scenario> {
        let scenario: Scenario = toml::from_str(text)?;
        let seconds = |name: &str, value: f64| {
            if (0.0..=SECONDS_MAX).contains(&value) { Ok(()) } else { bail!("{name}: {value} is no time") }
        };
        seconds("duration_s", scenario.duration_s)?;
        seconds("talk_s", scenario.talk_s - 0.1).context("somebody talks for 0.1 s at least")?;
        for group in &scenario.group {
            seconds("joins_at_s", group.joins_at_s)?;
            seconds("joins_every_s", group.joins_every_s)?;
            seconds("stays_s", group.stays_s.unwrap_or(0.0))?;
            group.change.iter().try_for_each(|change| seconds("at_s", change.at_s))?;
            if group.camera == Camera::None && group.change.iter().any(|change| change.camera == Some(true)) {
                bail!("group {:?}: a camera that is not there is not switched on", group.name);
            }
        }
        let participants = scenario.participants();
        if participants == 0 || participants > PARTICIPANTS_MAX {
            bail!("a scenario has 1 to {PARTICIPANTS_MAX} participants, and this one {participants}");
        }
        Ok(scenario)
    }

    pub fn participants(&self) -> u32 {
        let in_room = self.group.iter().fold(0_u32, |sum, group| sum.saturating_add(group.count));
        in_room.saturating_mul(self.rooms)
    }

    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.duration_s)
    }
}

fn one() -> u32 {
    1
}

fn four() -> usize {
    4
}

fn five() -> f64 {
    5.0
}

fn yes() -> bool {
    true
}

fn tile() -> [u16; 2] {
    [640, 360]
}

fn link<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<LinkChange, D::Error> {
    String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_are_scenarios() {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("scenarios");
        let files = std::fs::read_dir(dir).expect("the folder is there");
        let read = files.map(|file| Scenario::read(&file.expect("readable").path()).expect("a scenario"));
        assert!(read.count() >= 3);
    }

    #[test]
    fn mistakes_are_named() {
        let whole = "title = 't'\nduration_s = 1\n[[group]]\nname = 'g'\n";
        assert_eq!(Scenario::parse(whole).expect("it has what it needs").participants(), 1);
        for (more, part) in [
            ("count = 0", "1 to 2000 participants"),
            ("count = 2001", "1 to 2000 participants"),
            ("joins_at_s = -1", "joins_at_s"),
            ("camera = 'film'", "film"),
            ("speaks = true", "speaks"),
            ("up = 'loss=200'", "0 to 100 per cent"),
            ("camera = 'none'\nchange = [{ at_s = 1, camera = true }]", "is not switched on"),
        ] {
            let error = format!("{:#}", Scenario::parse(&format!("{whole}{more}")).expect_err(more));
            assert!(error.contains(part), "{more}: {error}");
        }
    }
}
