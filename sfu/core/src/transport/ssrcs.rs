//! The SSRCs that a peer sends: how many it may have, and what a new one may claim to be.
//!
//! str0m maps an SSRC by the header extensions of a packet that it has not authenticated yet, and
//! lets the newest claim win. Whoever can forge a source address could so cut off a stream that
//! flows, if it were not looked at here before.

use std::time::{Duration, Instant};

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

    /// A packet of `ssrc` was authentic.
    pub fn prove(&mut self, ssrc: u32, role: Role, now: Instant) {
        if let Some(entry) = self.entries.iter_mut().find(|entry| entry.ssrc == ssrc) {
            entry.role = Some(role);
            entry.at = now;
        }
    }
}

/// Ids of the header extensions that tell a stream's role. They are the peer's choice.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct RoleExtensions {
    pub mid: Option<u8>,
    pub rid: Option<u8>,
    pub repaired_rid: Option<u8>,
}

impl RoleExtensions {
    /// The role that a packet claims (RFC 9143 section 15, RFC 8852). Its payload type tells whether
    /// it `is_repair`, where there is no rid.
    pub fn claim_of(&self, contents: &[u8], is_repair: bool) -> Option<Role> {
        let (form, mut rest) = extensions(contents)?;
        let (mut mid, mut rid, mut repaired) = (None, None, None);
        while let Some((&first, behind)) = rest.split_first() {
            if first == 0 {
                rest = behind;
                continue;
            }
            let (id, length, values) = match form {
                Form::OneByte if first >> 4 == 15 => break,
                Form::OneByte => (first >> 4, usize::from(first & 0xf) + 1, behind),
                Form::TwoByte => (first, usize::from(*behind.first()?), &behind[1..]),
            };
            let value = std::str::from_utf8(values.get(..length)?).ok();
            rest = &values[length..];
            match Some(id) {
                id if id == self.mid => mid = value,
                id if id == self.rid => rid = value,
                id if id == self.repaired_rid => repaired = value,
                _ => {}
            }
        }
        let repairs = if rid.or(repaired).is_some() { rid.is_none() } else { is_repair };
        Some(Role { mid: mid?.into(), rid: rid.or(repaired).map(Rid::from), repairs })
    }
}

/// RFC 8285 sections 4.2 and 4.3.
enum Form {
    OneByte,
    TwoByte,
}

/// The header extensions of an RTP packet, in one piece.
///
/// ```text
///  0                   1                   2                   3
/// |V=2|P|X|  CC   |M|     PT      |       sequence number         |
/// |                           timestamp                           |
/// |                             SSRC                              |
/// |                        CSRC, CC times                         |
/// |        0xbede or 0x100_       |        length in words        |
/// |                       the extensions ...
/// ```
fn extensions(contents: &[u8]) -> Option<(Form, &[u8])> {
    let first = *contents.first()?;
    if first & 0x10 == 0 {
        return None;
    }
    let block = contents.get(12 + 4 * usize::from(first & 0xf)..)?;
    let (profile, length, values) = match block {
        [a, b, c, d, values @ ..] => (u16::from_be_bytes([*a, *b]), u16::from_be_bytes([*c, *d]), values),
        _ => return None,
    };
    let form = match profile {
        0xbede => Form::OneByte,
        profile if profile & 0xfff0 == 0x1000 => Form::TwoByte,
        _ => return None,
    };
    Some((form, values.get(..4 * usize::from(length))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROLE: Role = Role { mid: Mid::from_array(*b"0               "), rid: None, repairs: false };
    const IDS: RoleExtensions = RoleExtensions { mid: Some(4), rid: Some(10), repaired_rid: Some(11) };

    fn packet(profile: [u8; 2], extensions: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x90, 96, 0, 1, 0, 0, 0, 1, 0, 0, 0, 7];
        packet.extend(profile);
        packet.extend(((extensions.len() / 4) as u16).to_be_bytes());
        packet.extend(extensions);
        packet
    }

    #[test]
    fn a_claim_is_read_in_both_forms() {
        let one = packet([0xbe, 0xde], &[0x40, b'0', 0, 0xa0, b'q', 0, 0, 0]);
        let two = packet([0x10, 0], &[4, 1, b'0', 11, 1, b'q', 0, 0]);
        let claimed = IDS.claim_of(&one, true).expect("it has a mid");
        assert_eq!((&*claimed.mid, claimed.rid, claimed.repairs), ("0", Some("q".into()), false));
        let claimed = IDS.claim_of(&two, false).expect("it has a mid");
        assert_eq!((claimed.rid, claimed.repairs), (Some("q".into()), true));
        let plain = packet([0xbe, 0xde], &[0x40, b'0', 0, 0]);
        assert!(IDS.claim_of(&plain, true).expect("it has a mid").repairs);
        for length in 0..one.len() {
            assert_eq!(IDS.claim_of(&one[..length], false), None, "{length} bytes");
        }
        assert_eq!(IDS.claim_of(&packet([0xbe, 0xde], &[0x4f, b'0', 0, 0]), false), None);
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
