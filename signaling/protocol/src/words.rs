//! Words that messages share.

use std::fmt;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// Names a participant within a room. Opaque to clients.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(transparent)]
pub struct ParticipantId(pub String);

impl fmt::Display for ParticipantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a participant may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Sees and hears, sends nothing.
    Viewer,
    Guest,
    Participant,
    Moderator,
}

/// What somebody takes part with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    Browser,
    Sip,
    H323,
    /// Publishes over WHIP (RFC 9725).
    Whip,
    /// Watches over WHEP.
    Whep,
}

/// One of the streams that a participant can publish, one of each at most.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    Microphone,
    Camera,
    Screen,
    ScreenAudio,
}

impl Source {
    pub const ALL: [Source; 4] = [Source::Microphone, Source::Camera, Source::Screen, Source::ScreenAudio];

    /// As in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Source::Microphone => "microphone",
            Source::Camera => "camera",
            Source::Screen => "screen",
            Source::ScreenAudio => "screen_audio",
        }
    }

    pub fn kind(self) -> MediaKind {
        match self {
            Source::Microphone | Source::ScreenAudio => MediaKind::Audio,
            Source::Camera | Source::Screen => MediaKind::Video,
        }
    }
}

/// What an m-line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum MediaKind {
    Audio,
    Video,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    H264,
    Vp8,
    Vp9,
    Av1,
}

/// Which of its streams a participant has switched on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Publishing {
    pub microphone: bool,
    pub camera: bool,
    pub screen: bool,
    pub screen_audio: bool,
}

impl Publishing {
    pub fn is_on(&self, source: Source) -> bool {
        match source {
            Source::Microphone => self.microphone,
            Source::Camera => self.camera,
            Source::Screen => self.screen,
            Source::ScreenAudio => self.screen_audio,
        }
    }

    pub fn switch_off(&mut self, source: Source) {
        match source {
            Source::Microphone => self.microphone = false,
            Source::Camera => self.camera = false,
            Source::Screen => self.screen = false,
            Source::ScreenAudio => self.screen_audio = false,
        }
    }
}

/// How well a participant's network carries the meeting, as others may be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Quality {
    Good,
    /// Pictures may be small or stand still now and then.
    Fair,
    /// Voices may break off.
    Poor,
}

/// A gesture that everyone sees for a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reaction {
    Applause,
    ThumbsUp,
    ThumbsDown,
    Heart,
    Laugh,
    Surprise,
    Celebrate,
}

/// Who waits in the lobby until a moderator decides. Moderators never wait, and while the room is
/// locked everybody else does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Lobby {
    #[default]
    Off,
    /// Whoever comes without a token that says more than `guest`.
    Guests,
    Everyone,
}

/// What those who are no moderators may do. A field that is left out is true.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Allowed {
    /// Switch the microphone on.
    pub microphone: bool,
    pub camera: bool,
    /// Share a screen.
    pub screen: bool,
    pub chat: bool,
}

impl Default for Allowed {
    fn default() -> Self {
        Allowed { microphone: true, camera: true, screen: true, chat: true }
    }
}

impl Allowed {
    pub fn may_publish(&self, source: Source) -> bool {
        match source {
            Source::Microphone => self.microphone,
            Source::Camera => self.camera,
            Source::Screen | Source::ScreenAudio => self.screen,
        }
    }
}
