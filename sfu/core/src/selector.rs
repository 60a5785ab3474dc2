//! Which packets of its source a consumer gets: one encoding of it, up to one temporal layer.
//!
//! A switch to another encoding happens at that encoding's key frame; until then the present one
//! goes on. An encoding that does not come (browsers send no large one when the picture is small or
//! the machine is slow) is not waited for.

use std::time::{Duration, Instant};

use crate::packet::{ENCODINGS_MAX, IncomingPacket};

/// How long an encoding may be silent while others flow, before it counts as not sent.
pub const SILENCE_MAX: Duration = Duration::from_millis(500);

/// An encoding, and the highest of its temporal layers that is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    pub encoding: u8,
    pub temporal: u8,
}

impl Layer {
    pub const TEMPORAL_MAX: u8 = 3;

    /// All of an encoding.
    pub fn whole(encoding: u8) -> Self {
        Layer { encoding, temporal: Self::TEMPORAL_MAX }
    }
}

/// What to do with a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selection {
    /// The stream goes on from this packet: [`crate::rewriter::Rewriter::start`].
    Start,
    /// [`crate::rewriter::Rewriter::rewrite`].
    Pass,
    /// Of the present encoding, but not wanted: [`crate::rewriter::Rewriter::skip`].
    Skip,
    /// Of another encoding.
    Ignore,
}

#[derive(Debug, Default)]
pub struct Selector {
    target: Option<Layer>,
    current: Option<Layer>,
    seen: [Seen; ENCODINGS_MAX],
    /// How many encodings the source has.
    encodings: u8,
    /// When the last packet came, of any encoding.
    latest_at: Option<Instant>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    sequence_number: Option<u64>,
    /// When the first packet of another encoding came after the last of this one.
    others_since: Option<Instant>,
}

impl Selector {
    /// Another source: nothing of the old one passes any more, and the new one starts at a key
    /// frame. The source has `encodings`, at most [`ENCODINGS_MAX`]; audio has one.
    pub fn switch_source(&mut self, encodings: u8, target: Option<Layer>) {
        *self = Selector { target, encodings: encodings.min(ENCODINGS_MAX as u8), ..Selector::default() };
    }

    /// None: nothing is sent until there is a target again, and then from a key frame on.
    pub fn set_target(&mut self, target: Option<Layer>) {
        self.target = target;
        if target.is_none() {
            self.current = None;
        }
    }

    pub fn target(&self) -> Option<Layer> {
        self.target
    }

    /// What is being sent.
    pub fn current(&self) -> Option<Layer> {
        self.current
    }

    /// The encoding whose key frame is waited for.
    pub fn key_frame_wanted(&self) -> Option<u8> {
        let goal = self.goal()?;
        self.current.is_none_or(|current| current.encoding != goal).then_some(goal)
    }

    pub fn select(&mut self, packet: &IncomingPacket, now: Instant) -> Selection {
        if packet.encoding >= self.encodings {
            return Selection::Ignore;
        }
        let newest = self.note(packet, now);
        let Some(target) = self.target else { return Selection::Ignore };
        let info = &packet.info;

        // A key frame that begins late would leave out those of its packets that came before.
        if info.key_frame && newest && self.starts_at(packet.encoding) {
            self.current = Some(Layer { encoding: packet.encoding, temporal: target.temporal });
            return Selection::Start;
        }
        let Some(current) = self.current.as_mut().filter(|current| current.encoding == packet.encoding)
        else {
            return Selection::Ignore;
        };
        if info.empty {
            return Selection::Skip;
        }

        current.temporal = current.temporal.min(target.temporal);
        let next = current.temporal + 1;
        if info.key_frame {
            current.temporal = target.temporal;
        } else if info.temporal_layer == next && next <= target.temporal && joinable(packet) && newest {
            current.temporal = next;
        }
        if info.temporal_layer <= current.temporal { Selection::Pass } else { Selection::Skip }
    }

    /// Whether `packet` is the newest of its encoding.
    fn note(&mut self, packet: &IncomingPacket, now: Instant) -> bool {
        for seen in &mut self.seen[..usize::from(self.encodings)] {
            seen.others_since.get_or_insert(now);
        }
        self.latest_at = Some(now);
        let seen = &mut self.seen[usize::from(packet.encoding)];
        seen.others_since = None;
        let newest = seen.sequence_number.is_none_or(|highest| highest < packet.sequence_number);
        if newest {
            seen.sequence_number = Some(packet.sequence_number);
        }
        newest
    }

    fn starts_at(&self, encoding: u8) -> bool {
        let Some(goal) = self.goal() else { return false };
        match self.current {
            Some(current) => encoding == goal && encoding != current.encoding,
            // Any picture at once is better than the right one later.
            None => encoding <= goal,
        }
    }

    /// The encoding to be sent: the target, or else the next smaller one that flows, or else the
    /// next larger.
    fn goal(&self) -> Option<u8> {
        let target = self.target?.encoding.min(self.encodings.checked_sub(1)?);
        let flows = |encoding: &u8| self.flows(*encoding);
        (0..=target).rev().find(flows).or_else(|| (target..self.encodings).find(flows)).or(Some(target))
    }

    fn flows(&self, encoding: u8) -> bool {
        match (self.seen[usize::from(encoding)].others_since, self.latest_at) {
            (Some(since), Some(latest)) => latest.duration_since(since) <= SILENCE_MAX,
            _ => true,
        }
    }
}

/// Whether the temporal layer of `packet` may be joined at it: nothing of the layer was needed before.
fn joinable(packet: &IncomingPacket) -> bool {
    packet.info.layer_sync && packet.info.frame_start
}
