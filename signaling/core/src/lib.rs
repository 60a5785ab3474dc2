//! The conference plane: rooms, participants and what each wishes to send and see. Sans IO.
//!
//! The shell feeds a [`Conference`] (`handle_*`, each with [`Now`]), then drains
//! [`Conference::poll_output`] and sleeps until [`Conference::poll_timeout`].

mod io;

// The inputs, from the tables inwards.
mod conference;
mod join;
mod media;
mod node;
mod rest;
mod whip;

// What people do to each other.
mod chat;
mod lobby;
mod moderation;
mod presence;

// What the tables hold.
mod participant;
mod room;

// Decisions: data in, data out.
mod codec_policy;
mod ice;
mod pool;
mod quality;
mod roles;
mod sdp;
mod token;

// What the decisions stand on.
mod chance;
mod convert;
mod error;
mod limiter;
mod out;
mod state;
mod text;

pub use conference::{Conference, RestoreError};
pub use ice::Turn;
pub use io::{
    Config, ConnectionId, Event, Leave, Limits, LobbyStep, Moderation, Now, Output, Refusal, RoomEnd, Totals,
};
pub use rest::{NewRoom, RestError};
pub use roles::Grant;
pub use token::{Audience, Claims, OpenToken, TokenError, grant};
pub use whip::{Door, HttpRequestId, NewSession, SessionError, SessionPatch, SessionReply};

/// The tenant of everything, until there are others.
pub const TENANT_DEFAULT: &str = "default";
