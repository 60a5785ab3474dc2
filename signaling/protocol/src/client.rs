//! What a client says.

use serde::{Deserialize, Serialize};

use crate::{Allowed, Lobby, MediaKind, ParticipantId, Publishing, Reaction, Role, Source};

/// A message with the number that its reply will carry.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ClientFrame {
    /// Chosen by the client, rising from 1; comes back as `reply_to`.
    pub id: u64,
    #[serde(flatten)]
    pub message: ClientMessage,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ClientMessage {
    /// The first message of a new participant: by room code (or room id) and name, or by token.
    /// Reply: `joined`; or `waiting`, and then `joined` without `reply_to` when a moderator admits.
    Join {
        version: u32,
        /// The code that people type (spaces and dashes are ignored), or the room id. Left out
        /// where the token names the room.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        room: Option<String>,
        /// Signed grant (JWT).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        token: Option<String>,
        /// As others see it. Left out where the token carries a name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        name: Option<String>,
    },
    /// The first message on a new WebSocket of a participant whose old one broke. The media goes
    /// on untouched. Reply: `joined`, with the same participant id and a new resume secret.
    Resume {
        version: u32,
        resume: String,
        /// The highest `serial` of a `chat_message` that the client has: those after it are told again.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        chat_after: Option<u64>,
    },
    /// The browser's SDP offer, at first and whenever it changes its m-lines. Reply: `answer`.
    Offer {
        sdp: String,
        /// True: a new RTCPeerConnection, whose m-lines replace all the earlier ones. False: the
        /// same one, renegotiated.
        fresh: bool,
        /// Each m-line that sends, by its `a=mid`, and what it carries. It may be empty for now
        /// (`replaceTrack` later needs no renegotiation).
        send: Vec<SendSlot>,
        /// Each m-line that receives: the pool.
        receive: Vec<ReceiveSlot>,
    },
    /// Which of one's own streams are on. Reply: `ok`.
    Publish { publishing: Publishing },
    /// What one wishes to see, and how large. Slots that are not named keep what they show. Audio
    /// slots need no wish: they carry the loudest participants. Reply: `ok`.
    View { slots: Vec<ViewSlot> },
    /// Reply: `ok`, then the WebSocket is closed.
    Leave {},
    /// Keeps the WebSocket alive. Reply: `pong`.
    Ping {},
    /// Raises or lowers one's own hand; a moderator may lower somebody else's. Reply: `ok`.
    Hand {
        raised: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        participant: Option<ParticipantId>,
    },
    /// Shown to everyone for a moment. Reply: `ok`.
    React { reaction: Reaction },
    /// To everyone, or to one participant. Reply: `ok`; the sender hears its own `chat_message` too.
    Chat {
        /// 1 to 2,000 characters; line breaks are kept.
        text: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        to: Option<ParticipantId>,
    },
    /// Real-time text: the line that is being typed, whole, again after each change. Reply: `ok`.
    Text {
        /// At most 500 characters; empty: the line was taken back.
        text: String,
        /// The line is finished; the next message begins another.
        #[serde(default)]
        done: bool,
    },
    /// For moderators: lets them in. Those who are gone meanwhile are passed over. Reply: `ok`.
    Admit { waiting: Vec<ParticipantId> },
    /// For moderators: sends them away, with `closed`, reason `refused`. Reply: `ok`.
    Refuse { waiting: Vec<ParticipantId> },
    /// For moderators: switches these sources of these participants off. Whoever may, can switch
    /// them on again. Reply: `ok`.
    Mute { participants: Vec<ParticipantId>, sources: Vec<Source> },
    /// For moderators: ends the participation, with `closed`, reason `removed`. Reply: `ok`.
    RemoveParticipant { participant: ParticipantId },
    /// For moderators: changes what somebody may do, until it leaves. Reply: `ok`.
    SetRole { participant: ParticipantId, role: Role },
    /// For moderators: what everybody sees in front, in this order; it replaces the list before.
    /// Reply: `ok`.
    Spotlight { participants: Vec<ParticipantId> },
    /// For moderators: changes the room; what is left out stays. Reply: `ok`.
    SetRoom {
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lobby: Option<Lobby>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        locked: Option<bool>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        allowed: Option<Allowed>,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SendSlot {
    /// `a=mid` of the m-line (RFC 9143).
    pub mid: String,
    pub source: Source,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ReceiveSlot {
    /// `a=mid` of the m-line (RFC 9143).
    pub mid: String,
    pub kind: MediaKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ViewSlot {
    pub mid: String,
    pub show: Show,
    /// Size of the tile in device pixels; left out: as large as comes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<u16>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub height: Option<u16>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Show {
    /// Nothing.
    Off,
    /// This stream, whoever speaks.
    Participant { participant: ParticipantId, source: Source },
    /// The camera of one of those who spoke last.
    Speaker,
}
