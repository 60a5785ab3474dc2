//! What crosses the border between an agent and its IO shell.

use std::collections::VecDeque;
use std::time::Duration;

use crate::dial_out::DialOut;
use crate::digest::Algorithm;
use crate::flow::{ConnectionId, Flow, Transport};
use crate::guard::Rate;
use crate::registrar::{Binding, RegistrarLimits};
use crate::timers::Timers;
use crate::trunk::{Trunk, TrunkId};
use crate::uri::{NameAddr, Uri};

/// Names one call. Never used twice by an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// How an [`crate::Agent`] is set up.
#[derive(Debug, Clone)]
pub struct Config {
    /// Hosts in request URIs that mean this server, in lower case: its domains, names and addresses
    /// (IPv6 in brackets).
    pub domains: Vec<String>,
    /// What passwords are for; a client shows it to people.
    pub realm: String,
    /// In the order of preference. Old programs read the first challenge only, or give up where they read
    /// of an algorithm that they do not know: for them it is MD5 alone.
    pub algorithms: Vec<Algorithm>,
    /// Where peers reach this server. Not empty.
    pub announced: Vec<Announced>,
    /// Server and User-Agent.
    pub product: String,
    /// Whether somebody who is unknown may call. They are announced as guests, whatever they call.
    pub guests: bool,
    pub trunks: Vec<Trunk>,
    /// Registrations of ours at PBXs.
    pub registrations: Vec<Registration>,
    /// None: calling out is off (S2).
    pub dial_out: Option<DialOut>,
    pub session: SessionTimes,
    pub registrar: RegistrarLimits,
    pub limits: Limits,
}

/// An address that peers are told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Announced {
    pub transport: Transport,
    /// A name or an address, IPv6 in brackets.
    pub host: String,
    pub port: u16,
}

/// RFC 4028.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionTimes {
    /// After this long without a refresh a session is over.
    pub expires: Duration,
    /// The shortest that is accepted.
    pub expires_min: Duration,
    /// For how long a call may ring, in either direction.
    pub ringing: Duration,
}

/// This server as a client of a PBX.
#[derive(Debug, Clone)]
pub struct Registration {
    /// The next hop, with its address found by the shell.
    pub flow: Flow,
    /// The domain of the PBX, or its name.
    pub registrar: String,
    pub user: String,
    pub credentials: Login,
    pub expires: Duration,
}

/// A user and a password of ours elsewhere.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(…)")
    }
}

/// Bounds on everything that a peer can multiply (S5).
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    pub calls_max: usize,
    pub calls_per_guest_max: usize,
    pub transactions_max: usize,
    pub connections_max: usize,
    pub connections_per_source_max: usize,
    /// A connection without a message for this long is closed, unless a call or a registration uses it.
    pub connection_idle: Duration,
    /// A connection has this long for its first message, and for the rest of one that it began.
    pub connection_message: Duration,
    /// Requests outside of calls.
    pub requests: Rate,
    pub requests_of_trunk: Rate,
    /// Requests within one call.
    pub requests_of_call: Rate,
    /// Of what is over the rate, how much is answered at all.
    pub refusals: Rate,
    /// Sources that are remembered.
    pub sources_max: usize,
    /// Nonces that are remembered as used.
    pub nonces_max: usize,
}

impl Default for SessionTimes {
    fn default() -> Self {
        SessionTimes {
            expires: Duration::from_secs(1_800),
            expires_min: Duration::from_secs(90),
            ringing: Duration::from_secs(120),
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let rate = |interval_ms, burst| Rate { interval: Duration::from_millis(interval_ms), burst };
        Limits {
            calls_max: 1_000,
            calls_per_guest_max: 8,
            transactions_max: 10_000,
            connections_max: 4_000,
            connections_per_source_max: 64,
            connection_idle: Duration::from_secs(180),
            connection_message: Duration::from_secs(15),
            requests: rate(200, 30),
            requests_of_trunk: rate(5, 400),
            requests_of_call: rate(50, 100),
            refusals: rate(200, 10),
            sources_max: 65_536,
            nonces_max: 65_536,
        }
    }
}

impl Default for Config {
    fn default() -> Self {
        Config {
            domains: Vec::new(),
            realm: "broletto".to_owned(),
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            announced: Vec::new(),
            product: "Broletto".to_owned(),
            guests: false,
            trunks: Vec::new(),
            registrations: Vec::new(),
            dial_out: None,
            session: SessionTimes::default(),
            registrar: RegistrarLimits::default(),
            limits: Limits::default(),
        }
    }
}

/// What the shell must do, in this order.
#[derive(Debug, Clone, PartialEq)]
pub enum Output {
    /// A stream without a connection is one to open, or one that is open to this address.
    Send {
        flow: Flow,
        bytes: Vec<u8>,
    },
    Close(ConnectionId),
    Event(Event),
}

/// What the conference plane is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// Somebody calls. Ring, answer or reject it.
    Incoming(Box<Incoming>),
    /// The peer changes the media: answer, or reject. Without an offer it wants one of ours.
    Offer {
        call: CallId,
        sdp: Option<String>,
    },
    /// The answer to our offer.
    Answer {
        call: CallId,
        sdp: String,
    },
    /// Our offer was refused, and what was agreed before holds. 491: it may be made again now.
    OfferRefused {
        call: CallId,
        status: u16,
    },
    /// The peer of a call of ours rings.
    Ringing {
        call: CallId,
    },
    /// The peer has taken the call of ours, and its answer came or had come.
    Accepted {
        call: CallId,
    },
    /// The peer has our answer: the call is whole.
    Confirmed {
        call: CallId,
    },
    Ended {
        call: CallId,
        reason: EndReason,
    },
    /// A digit by INFO: `0` to `9`, `*`, `#`, `A` to `D`.
    Digit {
        call: CallId,
        digit: char,
        duration: Duration,
    },
    /// INFO with a picture_fast_update (RFC 5168).
    KeyFrameWanted {
        call: CallId,
    },
    /// The devices of an account are these many now.
    Bindings {
        user: String,
        count: usize,
    },
    /// Whether we are registered at a PBX: the place in the configuration.
    Registered {
        registration: usize,
        accepted: bool,
    },
    /// The endpoint asks for the roster (RFC 4575): answer with [`crate::Agent::roster`].
    RosterWanted {
        call: CallId,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Incoming {
    pub call: CallId,
    pub caller: Caller,
    /// What is called here: a code, a name, or empty for the conference address.
    pub called: String,
    /// What the caller says of itself. For a guest it proves nothing.
    pub from: NameAddr,
    pub flow: Flow,
    /// None: the caller wants an offer of ours.
    pub offer: Option<String>,
    /// The program at the other end, for interop.
    pub user_agent: Option<String>,
}

/// Who calls, as far as it is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Caller {
    /// A registered user, by its password.
    Account(String),
    Trunk(TrunkId),
    /// Anybody.
    Guest,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndReason {
    HungUp,
    Cancelled,
    /// The peer refused our call.
    Refused(u16),
    /// Nobody answered in time.
    NoAnswer,
    /// The session was not refreshed in time (RFC 4028).
    SessionExpired,
    /// The peer does not answer any more, or does not know the call.
    Lost,
    /// The peer broke the rules of offer and answer.
    Protocol,
}

/// Whom to call.
#[derive(Debug, Clone)]
pub enum Callee {
    /// By URI or number; the shell has found the address of the next hop (RFC 3263).
    Uri { target: Uri, flow: Flow },
    /// A registered device: the account, and one of [`crate::Agent::bindings`].
    Device { user: String, binding: Binding },
}

/// A call to make.
#[derive(Debug, Clone)]
pub struct Dial {
    pub callee: Callee,
    /// What the callee is shown.
    pub from: NameAddr,
    pub login: Option<Login>,
    pub offer: String,
    /// Whose announced host is told.
    pub trunk: Option<TrunkId>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CommandError {
    #[error("there is no such call")]
    NoCall,
    #[error("the call is in no state for this")]
    Unfit,
}

/// What was left undone, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counters {
    /// Bytes that are no message.
    pub malformed: u64,
    /// Refused statelessly, by 400 and the like.
    pub refused: u64,
    /// Over the rate of their source: answered by 503, and not answered.
    pub limited: u64,
    pub dropped: u64,
    /// Wrong passwords and unknown users.
    pub unauthenticated: u64,
    /// Refused because a table was full.
    pub full: u64,
    /// Responses to nothing that was asked.
    pub stray: u64,
    pub connections_refused: u64,
}

/// What is on its way out, and what is to be done later.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    pub(crate) outputs: VecDeque<Output>,
    pub(crate) timers: Timers,
}

impl Outbox {
    pub(crate) fn send(&mut self, flow: Flow, bytes: Vec<u8>) {
        self.outputs.push_back(Output::Send { flow, bytes });
    }

    pub(crate) fn event(&mut self, event: Event) {
        self.outputs.push_back(Output::Event(event));
    }
}
