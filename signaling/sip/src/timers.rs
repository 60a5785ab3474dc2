//! Every timer of an agent, and when each is due.

use std::collections::{BTreeSet, HashMap};
use std::time::{Duration, Instant};

use crate::flow::ConnectionId;
use crate::io::CallId;
use crate::transaction::TransactionId;

/// An estimate of a round trip (RFC 3261, section 17.1.1.1).
pub(crate) const T1: Duration = Duration::from_millis(500);
/// The longest pause between retransmissions of what is no INVITE.
pub(crate) const T2: Duration = Duration::from_secs(4);
/// For how long a message may stay in the network.
pub(crate) const T4: Duration = Duration::from_secs(5);
/// After 64 T1 nothing comes any more (timers B, F, H, J, L and M).
pub(crate) const GIVE_UP: Duration = Duration::from_secs(32);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Timer {
    /// Timers A, E and G: send the last message of a transaction again.
    Retransmit(TransactionId),
    /// Timers B, D, F, H, I, J, K, L and M: the state of a transaction ends.
    State(TransactionId),
    /// A 2xx of ours without its ACK is sent again (section 13.3.1.4).
    Success(CallId),
    /// A reliable provisional response without its PRACK is sent again (RFC 3262, section 3).
    Reliable(CallId),
    /// A call that nobody answered.
    Ringing(CallId),
    /// A session is refreshed, or has not been (RFC 4028).
    Session(CallId),
    /// A request that met another of the peer is tried again (section 14.1).
    Glare(CallId),
    /// A call whose BYE went out is forgotten.
    Ending(CallId),
    /// A connection that is idle.
    Connection(ConnectionId),
    /// The next binding or subscription that runs out.
    Expiry,
    /// A registration of ours at a PBX is due.
    Registration(usize),
}

#[derive(Debug, Default)]
pub(crate) struct Timers {
    due: BTreeSet<(Instant, Timer)>,
    at: HashMap<Timer, Instant>,
}

impl Timers {
    /// Sets a timer, or moves it.
    pub(crate) fn set(&mut self, timer: Timer, at: Instant) {
        self.cancel(timer);
        self.at.insert(timer, at);
        self.due.insert((at, timer));
    }

    pub(crate) fn cancel(&mut self, timer: Timer) {
        if let Some(at) = self.at.remove(&timer) {
            self.due.remove(&(at, timer));
        }
    }

    pub(crate) fn next(&self) -> Option<Instant> {
        self.due.first().map(|(at, _)| *at)
    }

    /// Takes one timer that is due.
    pub(crate) fn expired(&mut self, now: Instant) -> Option<Timer> {
        let (_, timer) = *self.due.first().filter(|(at, _)| *at <= now)?;
        self.cancel(timer);
        Some(timer)
    }

    pub(crate) fn len(&self) -> usize {
        self.at.len()
    }
}
