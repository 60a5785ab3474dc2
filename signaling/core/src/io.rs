//! What crosses the border between the conference plane and its IO shell.

use std::time::{Duration, Instant};

use broletto_control::{RequestFrame, TransportId, TransportStats};
use broletto_protocol::server::IceServer;
use broletto_protocol::{Codec, Lobby, ServerFrame, client::ClientMessage};

use crate::{HttpRequestId, SessionError, SessionReply, Turn};

/// Both clocks at once: deadlines count on the one that never jumps, tokens and records on the
/// one that other machines share.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    pub instant: Instant,
    /// Milliseconds since 1970-01-01 UTC.
    pub unix_ms: u64,
}

impl Now {
    /// Seconds since 1970-01-01 UTC.
    pub fn unix_s(&self) -> u64 {
        self.unix_ms / 1_000
    }
}

/// Names one WebSocket of a client. Chosen by the shell and never used twice in a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// How a [`crate::Conference`] is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where people find the pages, without a slash at the end, such as `https://meet.example.org`.
    pub public_url: String,
    /// `aud` that every token must carry.
    pub audience: String,
    /// As for RTCPeerConnection; sent to every client.
    pub ice_servers: Vec<IceServer>,
    /// Sent to every client too, with credentials of its own.
    pub turn: Option<Turn>,
    /// What this server forwards, in order of preference: the codecs of a room that was made without
    /// a list. Not empty.
    pub video_codecs: Vec<Codec>,
    /// Of a room that was made without saying.
    pub lobby: Lobby,
    /// For how long the token that comes with a new room makes its bearer a moderator.
    pub moderator_token_lifetime: Duration,
    /// For how long a participant whose WebSocket broke is kept.
    pub resume_grace: Duration,
    /// A room without anybody for this long is removed.
    pub room_lifetime: Duration,
    /// A room that nobody ever joined is removed after this long: meetings are prepared days ahead,
    /// and rooms made for nothing should not fill the quota.
    pub unjoined_room_lifetime: Duration,
    pub limits: Limits,
}

/// Bounds on everything that a client can multiply.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub connections_max: usize,
    pub rooms_per_tenant_max: usize,
    pub participants_per_room_max: usize,
    /// In the lobby of one room.
    pub waiting_per_room_max: usize,
    /// Receive m-lines of one participant.
    pub audio_slots_max: u16,
    pub video_slots_max: u16,
    /// Sources whose failures are remembered; the one longest ago is forgotten first.
    pub sources_max: usize,
    /// Rooms that one source may make in an hour.
    pub rooms_per_source_hour_max: u32,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            public_url: "http://localhost:8080".to_owned(),
            audience: "broletto".to_owned(),
            ice_servers: Vec::new(),
            turn: None,
            lobby: Lobby::Off,
            video_codecs: vec![Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1],
            moderator_token_lifetime: Duration::from_secs(30 * 24 * 3600),
            resume_grace: Duration::from_secs(30),
            room_lifetime: Duration::from_secs(30 * 24 * 3600),
            unjoined_room_lifetime: Duration::from_secs(7 * 24 * 3600),
            limits: Limits::default(),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            connections_max: 20_000,
            // Above what one source can make while its rooms live.
            rooms_per_tenant_max: 100_000,
            participants_per_room_max: 500,
            waiting_per_room_max: 200,
            audio_slots_max: 8,
            video_slots_max: 32,
            sources_max: 65_536,
            rooms_per_source_hour_max: 300,
        }
    }
}

/// What the shell must do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    ToClient {
        connection: ConnectionId,
        frame: ServerFrame,
    },
    /// The answer to an HTTP request whose handling took a while.
    ToHttp {
        request: HttpRequestId,
        reply: Result<SessionReply, SessionError>,
    },
    /// Close the WebSocket once what was sent before is out. No `handle_disconnected` is due for
    /// it, and one that comes is ignored.
    CloseClient {
        connection: ConnectionId,
    },
    /// To the node; dropped by the shell if it is not connected.
    ToNode(RequestFrame),
    /// Store before the outputs that follow are carried out. `value` is JSON.
    Save {
        key: String,
        value: String,
    },
    Remove {
        key: String,
    },
    /// For metrics and the log.
    Event(Event),
}

/// What happened. None carries a name, an address or a secret.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    RoomCreated,
    RoomEnded {
        how: RoomEnd,
    },
    ParticipantJoined,
    ParticipantResumed,
    ParticipantLeft {
        how: Leave,
    },
    /// Somebody came to the lobby, or left it.
    Lobby {
        step: LobbyStep,
    },
    /// A moderator has changed something.
    Moderated {
        what: Moderation,
    },
    /// A join, resume or REST request was refused.
    Refused {
        why: Refusal,
    },
    /// A client's message was answered by an error.
    ClientError {
        code: broletto_protocol::server::ErrorCode,
        message: &'static str,
    },
    /// The node refused a request; the text says what.
    NodeError {
        message: String,
    },
    /// A node's frame that fits nothing known any more, which a race explains, was dropped.
    NodeFrameStale,
    TransportStats {
        transport: TransportId,
        stats: TransportStats,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RoomEnd {
    ByModerator,
    Unused,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Leave {
    Asked,
    ResumeTimedOut,
    /// Of a session over HTTP, which is over with it.
    MediaLost,
    /// By a moderator.
    Removed,
    RoomEnded,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LobbyStep {
    Came,
    /// By a moderator, or because the room lets everybody in now.
    Admitted,
    Refused,
    /// The WebSocket ended, or the room did.
    Left,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Moderation {
    Mute,
    Remove,
    SetRole,
    Spotlight,
    SetRoom,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Refusal {
    NotAdmitted,
    Token,
    TooManyFailures,
    RoomFull,
    LobbyFull,
    NotResumable,
    Connections,
    RoomQuota,
    RoomRate,
}

/// How much there is, for gauges.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Totals {
    pub connections: usize,
    pub rooms: usize,
    /// Rooms with somebody in them.
    pub rooms_live: usize,
    pub participants: usize,
    /// In all lobbies.
    pub waiting: usize,
    pub sources: usize,
    pub node_connected: bool,
}

/// The word that logs and metrics use for a message.
pub(crate) fn message_name(message: &ClientMessage) -> &'static str {
    match message {
        ClientMessage::Join { .. } => "join",
        ClientMessage::Resume { .. } => "resume",
        ClientMessage::Offer { .. } => "offer",
        ClientMessage::Publish { .. } => "publish",
        ClientMessage::View { .. } => "view",
        ClientMessage::Leave {} => "leave",
        ClientMessage::Ping {} => "ping",
        ClientMessage::Text { .. } => "text",
        ClientMessage::Hand { .. } => "hand",
        ClientMessage::React { .. } => "react",
        ClientMessage::Chat { .. } => "chat",
        ClientMessage::Admit { .. } => "admit",
        ClientMessage::Refuse { .. } => "refuse",
        ClientMessage::Mute { .. } => "mute",
        ClientMessage::RemoveParticipant { .. } => "remove_participant",
        ClientMessage::SetRole { .. } => "set_role",
        ClientMessage::Spotlight { .. } => "spotlight",
        ClientMessage::SetRoom { .. } => "set_room",
    }
}
