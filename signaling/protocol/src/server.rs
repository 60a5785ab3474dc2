//! What signaling says.

use serde::{Deserialize, Serialize};

use crate::{Allowed, Codec, Kind, Lobby, ParticipantId, Publishing, Quality, Reaction, Role, Source};

/// A message, with the number of the client message that it answers, if it is a reply.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServerFrame {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reply_to: Option<u64>,
    #[serde(flatten)]
    pub message: ServerMessage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// Reply to `join` and `resume`: the whole state.
    Joined {
        version: u32,
        /// The client's own id.
        you: ParticipantId,
        /// Secret for `resume`, good for one use.
        resume: String,
        /// For how long a participant whose WebSocket broke is kept, in seconds.
        resume_s: u32,
        room: RoomInfo,
        /// Everyone, oneself included, in order of arrival.
        participants: Vec<Participant>,
        /// As in `slots`; empty until the first `answer`.
        slots: Vec<Slot>,
        limits: Limits,
        /// As for RTCPeerConnection.
        ice_servers: Vec<IceServer>,
        /// False: make a fresh `offer`. True after a `resume` whose media still runs.
        media: bool,
        /// As in `lobby`; for moderators only, empty for others.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        waiting: Vec<Waiting>,
    },
    /// Reply to `join`: a moderator must admit first. `joined` follows, or `closed`. Nothing of the
    /// room is told before (W4).
    Waiting,
    /// Reply to `offer`.
    Answer {
        sdp: String,
    },
    /// Reply to whatever has no reply of its own.
    Ok,
    Pong,
    /// Reply to a message that was refused; without `reply_to` when no message can be named.
    Error {
        code: ErrorCode,
        /// The field that is wrong, such as `slots[2].mid`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        field: Option<String>,
        /// In English, for developers; pages translate the code.
        message: String,
    },
    ParticipantJoined {
        participant: Participant,
    },
    ParticipantChanged {
        participant: Participant,
    },
    ParticipantLeft {
        participant: ParticipantId,
    },
    /// Who is now shown or heard in these slots of the pool. Others stay as they were.
    Slots {
        slots: Vec<Slot>,
    },
    /// Who speaks, loudest first; empty when nobody does.
    Speakers {
        speakers: Vec<Speaker>,
    },
    /// Publishers should send this codec from now on: the first of the room's list that everyone
    /// in it can decode.
    VideoCodec {
        codec: Codec,
    },
    /// The room was changed, or its spotlight.
    RoomChanged {
        room: RoomInfo,
    },
    /// For moderators: everyone who waits to be admitted, in order of arrival.
    Lobby {
        waiting: Vec<Waiting>,
    },
    /// A moderator switched these sources of yours off.
    Muted {
        by: ParticipantId,
        sources: Vec<Source>,
    },
    Reaction {
        participant: ParticipantId,
        reaction: Reaction,
    },
    ChatMessage {
        /// Rises with each message of the room. A message comes twice at most, after a `resume`.
        serial: u64,
        participant: ParticipantId,
        /// Of the participant, who may have left since.
        name: String,
        /// Plain text as it was typed; never markup.
        text: String,
        /// When the server took it, in ms since 1970-01-01 UTC.
        at_ms: u64,
        /// To this participant alone, and not to everyone.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ParticipantId>,
    },
    /// Real-time text: the line that the participant is typing, whole.
    TextLine {
        participant: ParticipantId,
        text: String,
        done: bool,
    },
    /// How well the networks of these participants carry the meeting; others are as before.
    Quality {
        qualities: Vec<ParticipantQuality>,
    },
    /// Which layers of one's own source somebody sees, by index from 0, the smallest. The others
    /// need not be sent. Until it is told, all are wanted.
    Demand {
        source: Source,
        layers: Vec<u8>,
    },
    /// The media connection came up, or was lost.
    Media {
        state: MediaState,
    },
    /// The media server lost this client's connection: make a fresh `offer`.
    OfferNeeded,
    /// The last message: the WebSocket is closed after it.
    Closed {
        reason: ClosedReason,
    },
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RoomInfo {
    pub id: String,
    /// Digits only; pages group them by three.
    pub code: String,
    pub title: String,
    pub video_codec: Codec,
    /// Address to give to others.
    pub url: String,
    pub lobby: Lobby,
    /// Everybody but moderators waits in the lobby, whatever `lobby` says.
    pub locked: bool,
    pub allowed: Allowed,
    /// Whom a moderator has put in front for everyone, first to last.
    pub spotlight: Vec<ParticipantId>,
}

/// Somebody in the lobby.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Becomes the participant's id.
    pub id: ParticipantId,
    /// Plain text as the person typed it; never markup.
    pub name: String,
    pub kind: Kind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ParticipantQuality {
    pub participant: ParticipantId,
    pub quality: Quality,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Participant {
    pub id: ParticipantId,
    /// Plain text as the person typed it; never markup.
    pub name: String,
    pub kind: Kind,
    pub role: Role,
    pub publishing: Publishing,
    /// False while the participant's connection is being re-established.
    pub connected: bool,
    /// The hand is raised: a number that is lower the longer ago.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hand: Option<u64>,
    /// Left out until it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub quality: Option<Quality>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slot {
    pub mid: String,
    /// None: the slot is empty now.
    pub shows: Option<SlotSource>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotSource {
    pub participant: ParticipantId,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speaker {
    pub participant: ParticipantId,
    /// 0 is the loudest, 127 silence, in -dBov (RFC 6464).
    pub level: u8,
}

/// How many m-lines of each kind one offer may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    pub audio_slots_max: u16,
    pub video_slots_max: u16,
    pub message_bytes_max: usize,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IceServer {
    pub urls: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub username: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub credential: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MediaState {
    Connecting,
    Connected,
    Disconnected,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorCode {
    /// Not JSON, a field missing, unknown, twice or of the wrong type.
    Malformed,
    /// The server does not speak this version.
    Version,
    /// The message is not allowed now, such as `offer` before `join`.
    State,
    /// No such room, or not for you; the two cannot be told apart (W3).
    NotAdmitted,
    /// The resume secret is unknown, used or expired: join again.
    NotResumable,
    /// The role does not allow it.
    Forbidden,
    /// The field's value is not acceptable, such as an SDP that cannot be answered.
    Invalid,
    /// More of something than `limits` allows, or too fast.
    Limit,
    /// No media server can take the participant now; try again after some seconds.
    Unavailable,
    Internal,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClosedReason {
    /// The client asked for it.
    Left,
    /// A moderator or the API ended the room.
    RoomEnded,
    /// A moderator removed the participant.
    Removed,
    /// A moderator did not let the client in from the lobby.
    Refused,
    /// The same participant resumed on another WebSocket.
    Replaced,
    /// The client broke the protocol; an `error` went before.
    Protocol,
    /// The server is restarting: resume.
    Restarting,
}
