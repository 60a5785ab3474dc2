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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::PacketInfo;
    use Selection::{Ignore, Pass, Skip, Start};

    const FRAME: Duration = Duration::from_millis(33);

    /// A source with encodings of one packet a frame, and a consumer's selector.
    struct Script {
        selector: Selector,
        now: Instant,
        sequence_number: u64,
    }

    impl Script {
        fn new(encodings: u8, target: Option<Layer>) -> Self {
            let mut selector = Selector::default();
            selector.switch_source(encodings, target);
            Script { selector, now: Instant::now(), sequence_number: 100 }
        }

        fn send(&mut self, encoding: u8, info: PacketInfo) -> Selection {
            self.sequence_number += 1;
            self.send_numbered(self.sequence_number, encoding, info)
        }

        fn send_numbered(&mut self, sequence_number: u64, encoding: u8, info: PacketInfo) -> Selection {
            self.selector.select(&IncomingPacket { encoding, sequence_number, timestamp: 0, info }, self.now)
        }

        fn key(&mut self, encoding: u8) -> Selection {
            self.send(encoding, PacketInfo { key_frame: true, frame_start: true, ..PacketInfo::default() })
        }

        fn delta(&mut self, encoding: u8) -> Selection {
            self.layer(encoding, 0, false)
        }

        fn layer(&mut self, encoding: u8, temporal_layer: u8, layer_sync: bool) -> Selection {
            self.send(
                encoding,
                PacketInfo { temporal_layer, layer_sync, frame_start: true, ..PacketInfo::default() },
            )
        }

        /// A second of frames of these encodings.
        fn flow(&mut self, encodings: &[u8]) {
            for _ in 0..30 {
                self.now += FRAME;
                for encoding in encodings {
                    self.delta(*encoding);
                }
            }
        }
    }

    #[test]
    fn nothing_passes_before_a_key_frame() {
        let mut script = Script::new(3, Some(Layer::whole(2)));
        assert_eq!(script.delta(2), Ignore);
        assert_eq!(script.selector.key_frame_wanted(), Some(2));
        assert_eq!(script.key(2), Start);
        assert_eq!(script.delta(2), Pass);
        assert_eq!(script.delta(1), Ignore);
        assert_eq!(script.key(2), Pass);
        assert_eq!(script.selector.key_frame_wanted(), None);
    }

    #[test]
    fn the_present_encoding_goes_on_until_the_key_frame_of_the_next() {
        let mut script = Script::new(3, Some(Layer::whole(0)));
        script.key(0);
        script.selector.set_target(Some(Layer::whole(2)));
        assert_eq!(script.selector.key_frame_wanted(), Some(2));
        assert_eq!([script.delta(0), script.delta(1), script.delta(2)], [Pass, Ignore, Ignore]);
        // The one in between is not worth a switch.
        assert_eq!(script.key(1), Ignore);
        assert_eq!(script.key(2), Start);
        assert_eq!([script.delta(0), script.delta(1), script.delta(2)], [Ignore, Ignore, Pass]);
        script.selector.set_target(Some(Layer::whole(1)));
        assert_eq!([script.delta(2), script.key(1), script.delta(2)], [Pass, Start, Ignore]);
    }

    #[test]
    fn the_first_picture_is_any_that_is_not_too_large() {
        let mut script = Script::new(3, Some(Layer::whole(1)));
        assert_eq!(script.key(2), Ignore);
        assert_eq!(script.key(0), Start);
        assert_eq!(script.selector.key_frame_wanted(), Some(1));
        assert_eq!([script.delta(0), script.key(1), script.delta(0)], [Pass, Start, Ignore]);
    }

    #[test]
    fn of_an_old_source_nothing_passes() {
        let mut script = Script::new(3, Some(Layer::whole(1)));
        script.key(1);
        script.selector.switch_source(2, Some(Layer::whole(1)));
        assert_eq!(script.selector.current(), None);
        assert_eq!(script.delta(1), Ignore);
        // The new one has no third encoding.
        assert_eq!(script.key(2), Ignore);
        assert_eq!(script.key(1), Start);
    }

    #[test]
    fn an_encoding_that_never_comes_is_not_waited_for() {
        let mut script = Script::new(3, Some(Layer::whole(2)));
        script.key(0);
        assert_eq!(script.selector.key_frame_wanted(), Some(2));
        script.flow(&[0, 1]);
        assert_eq!(script.selector.key_frame_wanted(), Some(1));
        assert_eq!(script.key(1), Start);
        assert_eq!(script.selector.key_frame_wanted(), None);
        // When it comes after all, it is wanted again.
        script.delta(2);
        assert_eq!(script.selector.key_frame_wanted(), Some(2));
        assert_eq!(script.key(2), Start);
    }

    #[test]
    fn an_encoding_that_stops_is_left_for_the_next_smaller() {
        let mut script = Script::new(3, Some(Layer::whole(2)));
        script.key(2);
        script.flow(&[0, 1, 2]);
        assert_eq!(script.selector.key_frame_wanted(), None);
        script.flow(&[0, 1]);
        assert_eq!(script.selector.key_frame_wanted(), Some(1));
        assert_eq!(script.key(1), Start);
        script.flow(&[2]);
        assert_eq!(script.selector.key_frame_wanted(), Some(2), "only the largest is left");
    }

    #[test]
    fn a_still_picture_is_not_one_that_stopped() {
        let mut script = Script::new(2, Some(Layer::whole(1)));
        script.key(1);
        for _ in 0..10 {
            script.now += Duration::from_secs(3);
            script.delta(0);
            assert_eq!(script.selector.key_frame_wanted(), None);
            script.now += Duration::from_millis(5);
            assert_eq!(script.delta(1), Pass);
        }
    }

    #[test]
    fn a_key_frame_whose_start_comes_late_is_no_start() {
        let mut script = Script::new(1, Some(Layer::whole(0)));
        let key = PacketInfo { key_frame: true, frame_start: true, ..PacketInfo::default() };
        assert_eq!(script.send_numbered(11, 0, PacketInfo::default()), Ignore);
        assert_eq!(script.send_numbered(10, 0, key), Ignore);
        assert_eq!(script.selector.key_frame_wanted(), Some(0));
        assert_eq!(script.send_numbered(12, 0, key), Start);
    }

    #[test]
    fn temporal_layers_above_the_target_are_left_out() {
        let mut script = Script::new(1, Some(Layer { encoding: 0, temporal: 1 }));
        script.key(0);
        let passed = [0, 2, 1, 2].map(|temporal| script.layer(0, temporal, false));
        assert_eq!(passed, [Pass, Skip, Pass, Skip]);
        // Down at once.
        script.selector.set_target(Some(Layer { encoding: 0, temporal: 0 }));
        assert_eq!([0, 2, 1, 2].map(|temporal| script.layer(0, temporal, true)), [Pass, Skip, Skip, Skip]);
    }

    #[test]
    fn a_temporal_layer_is_joined_where_it_may_be_and_one_at_a_time() {
        let mut script = Script::new(1, Some(Layer { encoding: 0, temporal: 0 }));
        script.key(0);
        script.selector.set_target(Some(Layer::whole(0)));
        assert_eq!(script.layer(0, 1, false), Skip);
        // Layer 2 could be joined, but what comes of layer 1 after it could not be decoded.
        assert_eq!(script.layer(0, 2, true), Skip);
        assert_eq!(script.layer(0, 1, true), Pass);
        assert_eq!(script.layer(0, 2, false), Skip);
        assert_eq!(script.layer(0, 1, false), Pass);
        assert_eq!(script.layer(0, 2, true), Pass);
        assert_eq!(script.layer(0, 2, false), Pass);
    }

    #[test]
    fn a_key_frame_joins_all_temporal_layers() {
        let mut script = Script::new(1, Some(Layer { encoding: 0, temporal: 0 }));
        script.key(0);
        script.selector.set_target(Some(Layer { encoding: 0, temporal: 2 }));
        assert_eq!(script.key(0), Pass);
        assert_eq!([2, 1].map(|temporal| script.layer(0, temporal, false)), [Pass, Pass]);
    }

    #[test]
    fn without_a_target_nothing_is_sent_or_asked_for() {
        let mut script = Script::new(2, Some(Layer::whole(0)));
        script.key(0);
        script.selector.set_target(None);
        assert_eq!([script.delta(0), script.key(0)], [Ignore, Ignore]);
        assert_eq!(script.selector.key_frame_wanted(), None);
        script.selector.set_target(Some(Layer::whole(0)));
        assert_eq!([script.delta(0), script.key(0)], [Ignore, Start]);
        assert_eq!(Selector::default().key_frame_wanted(), None);
    }

    #[test]
    fn padding_is_skipped_and_starts_nothing() {
        let mut script = Script::new(1, Some(Layer::whole(0)));
        let padding = PacketInfo { empty: true, ..PacketInfo::default() };
        assert_eq!(script.send(0, padding), Ignore);
        script.key(0);
        assert_eq!(script.send(0, padding), Skip);
    }
}
