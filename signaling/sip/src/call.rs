//! What is known of one call.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use crate::dialog::Dialog;
use crate::flow::Flow;
use crate::guard::Allowance;
use crate::headers::{Headers, name};
use crate::io::Login;
use crate::message::{Head, Request};
use crate::roster::Subscription;
use crate::transaction::TransactionId;
use crate::trunk::TrunkId;

#[derive(Debug)]
pub(crate) struct Call {
    pub(crate) dialog: Dialog,
    pub(crate) phase: Phase,
    pub(crate) exchange: Exchange,
    /// Who began it, as an address.
    pub(crate) source: IpAddr,
    pub(crate) guest: bool,
    /// We began it.
    pub(crate) dialed: bool,
    pub(crate) trunk: Option<TrunkId>,
    /// The user part of our Contact, which nobody can guess.
    pub(crate) contact_user: String,
    /// What we are at the other end, where it asks.
    pub(crate) login: Option<Login>,
    pub(crate) peer: Abilities,
    /// Their INVITE or UPDATE that waits for our response.
    pub(crate) pending: Option<Request>,
    /// What their last INVITE or UPDATE said of session timers.
    pub(crate) asked: SessionAsked,
    pub(crate) local_sdp: Option<String>,
    pub(crate) remote_sdp: Option<String>,
    pub(crate) session: Option<Session>,
    /// A 2xx of ours that has no ACK yet.
    pub(crate) success: Option<Repeat>,
    /// A reliable provisional response that has no PRACK yet.
    pub(crate) reliable: Option<Reliable>,
    /// The ACK of the last 2xx that came, for when the 2xx comes again.
    pub(crate) acknowledged: Option<(u32, Flow, Vec<u8>)>,
    /// BYE goes out when the ACK has come: not before (RFC 3261, section 15).
    pub(crate) hang_up_wanted: bool,
    pub(crate) requests: Allowance,
    pub(crate) subscription: Option<Subscription>,
}

impl Call {
    /// Whether a request is of the dialog of the call, or of its subscription.
    pub(crate) fn owns(&self, head: &Head) -> bool {
        self.dialog.is_of(head) || self.subscription.as_ref().is_some_and(|known| known.dialog.is_of(head))
    }

    /// Takes the number of a request: each dialog counts its own.
    pub(crate) fn follows(&mut self, head: &Head) -> bool {
        match &mut self.subscription {
            Some(known) if !known.shared && known.dialog.is_of(head) => known.dialog.follows(&head.cseq),
            Some(_) | None => self.dialog.follows(&head.cseq),
        }
    }
}

#[derive(Debug)]
pub(crate) enum Phase {
    /// Their INVITE waits for our final response.
    Incoming {
        transaction: TransactionId,
        cseq: u32,
        /// `Require: 100rel`.
        reliable: bool,
    },
    /// Our INVITE waits for theirs.
    Dialing(Box<Dialing>),
    Established,
    /// Our BYE waits for its response.
    Ending,
}

#[derive(Debug)]
pub(crate) struct Dialing {
    pub(crate) transaction: TransactionId,
    pub(crate) invite: Request,
    pub(crate) flow: Flow,
    /// A provisional response came: CANCEL may be sent (RFC 3261, section 9.1).
    pub(crate) proceeding: bool,
    pub(crate) cancelled: bool,
    /// The answer to our offer came in a reliable provisional response.
    pub(crate) answered: bool,
    /// The last reliable provisional response that was acknowledged (RFC 3262, section 4).
    pub(crate) sequence: Option<u32>,
}

/// Offer and answer (RFC 3264; RFC 6337 says which messages carry them).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Exchange {
    Idle,
    /// They offered; this transaction waits for our answer.
    TheirOffer {
        transaction: TransactionId,
        invite: bool,
    },
    /// They asked for an offer with an INVITE that has none.
    OfferWanted {
        transaction: TransactionId,
    },
    /// Our offer is in a 2xx; the answer comes with the ACK.
    OurOfferInSuccess,
    /// We offered with an INVITE, or refresh a session with what was agreed.
    OurOffer {
        refresh: bool,
    },
}

/// What the peer says it can do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Abilities {
    pub(crate) update: bool,
    pub(crate) timer: bool,
}

impl Abilities {
    pub(crate) fn learn(&mut self, headers: &Headers) {
        // A message without Allow says nothing about it.
        if headers.first(name::ALLOW).is_some() {
            self.update = headers.lists(name::ALLOW, "UPDATE");
        }
        if headers.first(name::SUPPORTED).is_some() || headers.first(name::REQUIRE).is_some() {
            self.timer = headers.lists(name::SUPPORTED, "timer") || headers.lists(name::REQUIRE, "timer");
        }
    }
}

/// What a request of the peer says of session timers (RFC 4028, section 7.1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct SessionAsked {
    pub(crate) supported: bool,
    pub(crate) interval: Option<Duration>,
    pub(crate) interval_min: Option<Duration>,
    /// Whom it names as the refresher: itself (`uac`) or us.
    pub(crate) itself: Option<bool>,
}

impl SessionAsked {
    pub(crate) fn of(headers: &Headers) -> SessionAsked {
        let seconds = |name| headers.number(name).map(|seconds| Duration::from_secs(seconds.into()));
        let refresher = headers.first(name::SESSION_EXPIRES).and_then(|value| {
            let (_, params) = value.split_once(';')?;
            crate::scan::Params::parse(params)?.text("refresher")
        });
        SessionAsked {
            supported: headers.lists(name::SUPPORTED, "timer") || headers.lists(name::REQUIRE, "timer"),
            interval: seconds(name::SESSION_EXPIRES),
            interval_min: seconds(name::MIN_SE),
            itself: refresher.map(|refresher| refresher.eq_ignore_ascii_case("uac")),
        }
    }
}

/// RFC 4028.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Session {
    pub(crate) interval: Duration,
    pub(crate) we_refresh: bool,
    pub(crate) expires_at: Instant,
}

impl Session {
    pub(crate) fn new(interval: Duration, we_refresh: bool, now: Instant) -> Session {
        Session { interval, we_refresh, expires_at: now + interval }
    }

    /// When to do something next: who refreshes does so at half of the interval; who does not hangs up
    /// shortly before the end (section 10).
    pub(crate) fn next(&self) -> Instant {
        if self.we_refresh {
            self.expires_at - self.interval / 2
        } else {
            self.expires_at - (self.interval / 3).min(Duration::from_secs(32))
        }
    }
}

/// A response of ours that is sent until it is acknowledged.
#[derive(Debug)]
pub(crate) struct Repeat {
    pub(crate) bytes: Vec<u8>,
    pub(crate) flow: Flow,
    pub(crate) interval: Duration,
    pub(crate) until: Instant,
    /// Of the INVITE.
    pub(crate) cseq: u32,
}

#[derive(Debug)]
pub(crate) struct Reliable {
    pub(crate) repeat: Repeat,
    pub(crate) sequence: u32,
}
