//! SIP of room systems and phones: user agent, registrar, trunks and SDP. Sans IO; knows no room.
//!
//! The shell feeds an [`Agent`] (`handle_*`, and commands, each with `now`), then drains
//! [`Agent::poll_output`] and sleeps until [`Agent::poll_timeout`].

mod io;

// The user agent, from the entry inwards.
mod agent;
mod call;
mod dialog;
mod transaction;

// Who is there, and who may what.
mod dial_out;
mod digest;
mod guard;
mod registrar;
mod trunk;

// What messages carry.
mod body;
mod roster;
pub mod sdp;

// Messages on the wire.
mod framing;
mod headers;
mod message;
mod method;
mod scan;
mod uri;

// What all of it stands on.
mod flow;
mod random;
mod timers;

pub use agent::Agent;
pub use dial_out::{DialError, DialOut};
pub use digest::{Algorithm, Secret};
pub use flow::{ConnectionId, Flow, Transport};
pub use framing::{Frame, Framing, FramingError};
pub use guard::Rate;
pub use headers::{CSeq, Headers, Via, name};
pub use io::{
    Announced, CallId, Callee, Caller, CommandError, Config, Counters, Dial, EndReason, Event, Incoming,
    Limits, Login, Output, Registration, SessionTimes,
};
pub use message::{Head, MESSAGE_BYTES_MAX, Message, ParseError, Request, Response};
pub use method::{Method, phrase};
pub use registrar::{Binding, RegistrarLimits};
pub use roster::{Roster, RosterUser};
pub use scan::Params;
pub use trunk::{Identity, Network, NumberPlan, NumberRule, Trunk, TrunkId};
pub use uri::{NameAddr, SipUri, Uri};
