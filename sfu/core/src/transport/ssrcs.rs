//! The SSRCs that a peer sends: how many it may have, and what a new one may claim to be.
//!
//! Header extensions are in clear, and are looked at before it is known that a packet is authentic.
//! Whoever can forge a source address could make us open one packet after the other, if what is
//! claimed were not looked at here before.

use std::time::{Duration, Instant};

use broletto_rtp::extension::Values;
use str0m::media::{Mid, Rid};

/// One of which nothing proved genuine makes room for another after this, however often it came.
const UNPROVEN_FOR: Duration = Duration::from_secs(10);
/// One that is genuine makes room for another after so long a silence.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// No other SSRC takes the place of one that was heard so lately.
const FLOWS_FOR: Duration = Duration::from_secs(2);

/// What a stream is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Role {
    pub mid: Mid,
    pub rid: Option<Rid>,
    /// It carries retransmissions (RFC 4588).
    pub repairs: bool,
}

#[derive(Debug)]
struct Entry {
    ssrc: u32,
    /// Once a packet of it was authentic.
    role: Option<Role>,
    /// When the last authentic packet came; before there was one, when the first packet did.
    at: Instant,
}

#[derive(Debug)]
pub(super) struct Ssrcs {
    entries: Vec<Entry>,
    max: usize,
}

impl Ssrcs {
    pub fn new(max: usize) -> Self {
        Ssrcs { entries: Vec::new(), max }
    }

    /// Whether a packet of `ssrc` that claims this role may be looked at.
    pub fn admit(&mut self, ssrc: u32, claim: Option<Role>, now: Instant) -> bool {
        let known = self.entries.iter().find(|entry| entry.ssrc == ssrc);
        if known.is_some_and(|entry| entry.role.is_some()) {
            return true;
        }
        let is_known = known.is_some();
        let age = |entry: &Entry| now.saturating_duration_since(entry.at);
        let takes = |entry: &Entry| entry.role.is_some() && entry.role == claim && age(entry) < FLOWS_FOR;
        if self.entries.iter().any(takes) {
            return false;
        }
        if is_known {
            return true;
        }
        if self.entries.len() >= self.max {
            let old =
                |entry: &Entry| age(entry) >= if entry.role.is_some() { IDLE_MAX } else { UNPROVEN_FOR };
            self.entries.retain(|entry| !old(entry));
        }
        let fits = self.entries.len() < self.max;
        if fits {
            self.entries.push(Entry { ssrc, role: None, at: now });
        }
        fits
    }

    /// Of an SSRC of which a packet was authentic.
    pub fn role_of(&self, ssrc: u32) -> Option<Role> {
        self.entries.iter().find(|entry| entry.ssrc == ssrc)?.role
    }

    /// A packet of `ssrc` was authentic.
    pub fn prove(&mut self, ssrc: u32, role: Role, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.ssrc == ssrc) {
            entry.role = Some(role);
            entry.at = now;
        }
    }
}

/// The role that a packet claims by its header extensions (RFC 9143 section 15, RFC 8852). Its payload
/// type tells whether it `is_repair`, where there is no rid.
pub(super) fn claim_of(values: &Values<'_>, is_repair: bool) -> Option<Role> {
    let rid = values.rid.or(values.repaired_rid);
    let repairs = if rid.is_some() { values.rid.is_none() } else { is_repair };
    Some(Role { mid: values.mid?.into(), rid: rid.map(Rid::from), repairs })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: Role = Role { mid: Mid::from_array(*b"0               "), rid: None, repairs: false };

    #[test]
    fn a_claim_is_of_a_stream_or_of_its_retransmissions() {
        let of = |rid, repaired_rid, is_repair| {
            claim_of(&Values { mid: Some("0"), rid, repaired_rid, ..Values::default() }, is_repair)
        };
        let role = |rid: Option<&str>, repairs| Some(Role { rid: rid.map(Rid::from), repairs, ..ROLE });
        assert_eq!(of(None, None, false), role(None, false));
        assert_eq!(of(None, None, true), role(None, true));
        assert_eq!(of(Some("q"), None, true), role(Some("q"), false));
        assert_eq!(of(None, Some("q"), false), role(Some("q"), true));
        assert_eq!(claim_of(&Values { rid: Some("q"), ..Values::default() }, false), None);
    }

    #[test]
    fn a_stream_that_flows_keeps_its_role_and_a_silent_one_may_lose_it() {
        let (mut ssrcs, start) = (Ssrcs::new(4), Instant::now());
        assert!(ssrcs.admit(1, Some(ROLE), start));
        assert!(ssrcs.admit(2, Some(ROLE), start), "neither is proven");
        ssrcs.prove(1, ROLE, start);
        assert!(!ssrcs.admit(2, Some(ROLE), start), "now one is");
        assert!(ssrcs.admit(1, Some(ROLE), start));
        assert!(ssrcs.admit(3, Some(Role { repairs: true, ..ROLE }), start));
        assert!(ssrcs.admit(2, Some(ROLE), start + FLOWS_FOR));
    }

    #[test]
    fn what_was_never_proven_and_what_is_idle_makes_room() {
        let (mut ssrcs, start) = (Ssrcs::new(2), Instant::now());
        assert!(ssrcs.admit(1, None, start) && ssrcs.admit(2, None, start));
        ssrcs.prove(1, ROLE, start);
        assert!(!ssrcs.admit(3, None, start), "it is full");
        assert!(ssrcs.admit(3, None, start + UNPROVEN_FOR), "the unproven one went");
        ssrcs.prove(3, Role { repairs: true, ..ROLE }, start + UNPROVEN_FOR);
        assert!(!ssrcs.admit(4, None, start + 2 * UNPROVEN_FOR));
        assert!(ssrcs.admit(4, None, start + IDLE_MAX), "the idle one went");
    }
}
