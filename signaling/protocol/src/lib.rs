//! The protocol between clients and signaling, described for strangers in PROTOCOL.md.
//!
//! [`client::ClientMessage`] and [`server::ServerMessage`] are the JSON objects of the WebSocket,
//! [`rest`] the bodies of the REST interface. `examples/` holds one file for each message, which
//! the tests of this crate and of the web client both read.

pub mod client;
pub mod parse;
pub mod rest;
pub mod server;
mod words;

pub use client::{ClientFrame, ClientMessage};
pub use server::{ServerFrame, ServerMessage};
pub use words::{
    Allowed, Codec, Kind, Lobby, MediaKind, ParticipantId, Publishing, Quality, Reaction, Role, Source,
};

/// Version of the client protocol. The server accepts this one and the one before it.
pub const VERSION: u32 = 1;
/// The oldest version the server still accepts.
pub const VERSION_MIN: u32 = 1;

/// Longest WebSocket message taken from a client, in bytes (W5). An SDP offer is the longest.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;
/// Longest name of a participant, in Unicode scalar values.
pub const NAME_CHARS_MAX: usize = 64;
/// Longest title of a room, in Unicode scalar values.
pub const TITLE_CHARS_MAX: usize = 120;
/// Longest chat message, in Unicode scalar values.
pub const CHAT_CHARS_MAX: usize = 2_000;
/// Longest line of real-time text, in Unicode scalar values.
pub const TEXT_CHARS_MAX: usize = 500;
