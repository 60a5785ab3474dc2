//! Which packets of its source a consumer gets: one encoding of it, up to one spatial and one
//! temporal layer.
//!
//! Encodings and spatial layers are steps of one ladder. A switch to another encoding happens at that
//! encoding's key frame; to another spatial layer, at the next picture with which the receiver can
//! decode it: a key picture, or any if it has all that the layer needs. Until then the present one
//! goes on. A step that does not come (browsers send no large one when the picture is small or the
//! machine is slow) is not waited for.

use std::time::{Duration, Instant};

use crate::codec::targets::{SPATIAL_LAYERS_MAX, TEMPORAL_LAYERS_MAX, Targets};
use crate::packet::{ENCODINGS_MAX, IncomingPacket};

/// How long a step may be silent while others flow, before it counts as not sent.
pub const SILENCE_MAX: Duration = Duration::from_millis(500);

/// An encoding, and the highest of its spatial and temporal layers that are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Layer {
    pub encoding: u8,
    pub spatial: u8,
    pub temporal: u8,
}

impl Layer {
    pub const SPATIAL_MAX: u8 = SPATIAL_LAYERS_MAX - 1;
    pub const TEMPORAL_MAX: u8 = TEMPORAL_LAYERS_MAX - 1;

    /// All of an encoding.
    pub const fn whole(encoding: u8) -> Self {
        Layer { encoding, spatial: Self::SPATIAL_MAX, temporal: Self::TEMPORAL_MAX }
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
    /// What the receiver could decode from here on, for it got all that is needed.
    complete: Targets,
    /// Timestamp of the newest picture of the present encoding.
    picture: u32,
    seen: [Seen; ENCODINGS_MAX],
    /// How many encodings the source has.
    encodings: u8,
    /// When the last packet came, of any encoding.
    latest_at: Option<Instant>,
}

/// Of an encoding.
#[derive(Debug, Default, Clone, Copy)]
struct Seen {
    sequence_number: Option<u64>,
    /// When the first packet of another step came after the last of this one, for each spatial layer.
    others_since: [Option<Instant>; SPATIAL_LAYERS_MAX as usize],
    /// How many spatial layers there are, less one.
    spatial_top: u8,
    /// Spatial layers that the source does not serve just now.
    inactive: [bool; SPATIAL_LAYERS_MAX as usize],
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

    /// The highest spatial layer that is being sent.
    pub fn spatial_layer(&self) -> Option<u8> {
        self.current.map(|current| self.spatial_of(current))
    }

    /// The targets that the receiver can decode of what is being sent.
    pub fn served(&self) -> Targets {
        let Some(current) = self.current else { return Targets::NONE };
        let served = Targets::up_to(self.spatial_of(current), current.temporal);
        self.complete.without(Targets::ALL.without(served))
    }

    /// The encoding whose key frame is waited for.
    pub fn key_frame_wanted(&self) -> Option<u8> {
        let goal = self.goal()?;
        let is_wanted = self.current.is_none_or(|current| {
            let spatial = self.spatial_of(goal);
            current.encoding != goal.encoding
                || self.spatial_of(current) != spatial
                    && self.complete.highest_temporal(spatial, Layer::TEMPORAL_MAX).is_none()
        });
        is_wanted.then_some(goal.encoding)
    }

    pub fn select(&mut self, packet: &IncomingPacket, now: Instant) -> Selection {
        if packet.encoding >= self.encodings {
            return Selection::Ignore;
        }
        let newest = self.note(packet, now);
        let Some(target) = self.target else { return Selection::Ignore };
        let info = &packet.info;

        // A key frame that begins late would leave out those of its packets that came before.
        if info.key_frame && newest && self.starts(packet, target) {
            return Selection::Start;
        }
        let Some(mut current) = self.current.filter(|current| current.encoding == packet.encoding) else {
            return Selection::Ignore;
        };
        if info.empty {
            return Selection::Skip;
        }

        let mut reachable = self.complete;
        if info.frame_start && newest {
            if self.complete.has_all(info.joins_if) {
                reachable = reachable.and(info.joins);
            }
            // All the layers of a picture are chosen alike.
            let begins_picture = self.picture != packet.timestamp || info.key_frame;
            self.picture = packet.timestamp;
            if begins_picture {
                current = self.next(current, target, reachable);
                self.current = Some(current);
            }
        }
        if info.needed.has(self.spatial_of(current), current.temporal) {
            self.complete = reachable;
            Selection::Pass
        } else {
            self.complete = self.complete.without(info.needed);
            Selection::Skip
        }
    }

    /// Whether the stream goes on with this key frame of another encoding.
    fn starts(&mut self, packet: &IncomingPacket, target: Layer) -> bool {
        let Some(goal) = self.goal() else { return false };
        let encoding = packet.encoding;
        let starts = match self.current {
            Some(current) => encoding == goal.encoding && encoding != current.encoding,
            // Any picture at once is better than the right one later.
            None => encoding <= goal.encoding,
        };
        if starts {
            let spatial = if encoding == goal.encoding { goal.spatial } else { Layer::SPATIAL_MAX };
            self.current = Some(Layer { encoding, spatial, temporal: target.temporal });
            self.complete = Targets::ALL;
            self.picture = packet.timestamp;
        }
        starts
    }

    /// What is sent from a picture on, out of what can be decoded then.
    fn next(&self, current: Layer, target: Layer, reachable: Targets) -> Layer {
        let goal = self.goal().filter(|goal| goal.encoding == current.encoding).unwrap_or(current);
        let reached = [goal.spatial, current.spatial].into_iter().find_map(|spatial| {
            let layer = Layer { spatial, ..current };
            let temporal = reachable.highest_temporal(self.spatial_of(layer), target.temporal)?;
            Some(Layer { temporal, ..layer })
        });
        reached.unwrap_or(current)
    }

    /// Whether `packet` is the newest of its encoding.
    fn note(&mut self, packet: &IncomingPacket, now: Instant) -> bool {
        let info = &packet.info;
        for seen in &mut self.seen[..usize::from(self.encodings)] {
            for since in &mut seen.others_since[..=usize::from(seen.spatial_top)] {
                since.get_or_insert(now);
            }
        }
        self.latest_at = Some(now);
        let seen = &mut self.seen[usize::from(packet.encoding)];
        if let Some(since) = seen.others_since.get_mut(usize::from(info.spatial_layer)) {
            *since = None;
        }
        let newest = seen.sequence_number.is_none_or(|highest| highest < packet.sequence_number);
        if newest {
            seen.sequence_number = Some(packet.sequence_number);
            seen.spatial_top = info.spatial_layers.clamp(1, SPATIAL_LAYERS_MAX) - 1;
            if seen.spatial_top > 0 {
                seen.inactive =
                    std::array::from_fn(|layer| !info.active.has_any(Targets::from(layer as u8, 0)));
            }
        }
        newest
    }

    /// The spatial layer that stands for `layer` in an encoding that may have fewer.
    fn spatial_of(&self, layer: Layer) -> u8 {
        let seen = self.seen.get(usize::from(layer.encoding));
        layer.spatial.min(seen.map_or(0, |seen| seen.spatial_top))
    }

    /// The step to be sent: the target, or else the next smaller one that flows, or else the next
    /// larger.
    fn goal(&self) -> Option<Layer> {
        let target = self.target?;
        let encoding = target.encoding.min(self.encodings.checked_sub(1)?);
        let wanted = Layer { encoding, ..target };
        let wanted = (encoding, self.spatial_of(wanted));
        let steps = || {
            let encodings = self.seen[..usize::from(self.encodings)].iter().zip(0u8..);
            encodings.flat_map(|(seen, encoding)| (0..=seen.spatial_top).map(move |layer| (encoding, layer)))
        };
        let flows = |(encoding, layer): &(u8, u8)| self.flows(*encoding, *layer);
        let below = steps().take_while(|step| *step <= wanted).filter(flows).last();
        let (encoding, spatial) =
            below.or_else(|| steps().find(|step| *step > wanted && flows(step))).unwrap_or(wanted);
        let is_whole = spatial == self.seen[usize::from(encoding)].spatial_top;
        Some(Layer { encoding, spatial: if is_whole { Layer::SPATIAL_MAX } else { spatial }, ..target })
    }

    fn flows(&self, encoding: u8, spatial: u8) -> bool {
        let (seen, layer) = (&self.seen[usize::from(encoding)], usize::from(spatial));
        if seen.spatial_top > 0 && seen.inactive[layer] {
            return false;
        }
        match (seen.others_since[layer], self.latest_at) {
            (Some(since), Some(latest)) => latest.duration_since(since) <= SILENCE_MAX,
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::PacketInfo;
    use Selection::{Ignore, Pass, Skip, Start};

    const FRAME: Duration = Duration::from_millis(33);

    fn temporal(temporal: u8) -> Layer {
        Layer { temporal, ..Layer::whole(0) }
    }

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
            self.selector.select(
                &IncomingPacket { encoding, sequence_number, timestamp: sequence_number as u32, info },
                self.now,
            )
        }

        fn key(&mut self, encoding: u8) -> Selection {
            self.send(encoding, PacketInfo::default().starts_anew())
        }

        fn delta(&mut self, encoding: u8) -> Selection {
            self.layer(encoding, 0, false)
        }

        fn layer(&mut self, encoding: u8, temporal_layer: u8, layer_sync: bool) -> Selection {
            let info = PacketInfo::default().in_temporal_layer(temporal_layer, layer_sync);
            self.send(encoding, PacketInfo { frame_start: true, ..info })
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
        let key = PacketInfo::default().starts_anew();
        assert_eq!(script.send_numbered(11, 0, PacketInfo::default()), Ignore);
        assert_eq!(script.send_numbered(10, 0, key), Ignore);
        assert_eq!(script.selector.key_frame_wanted(), Some(0));
        assert_eq!(script.send_numbered(12, 0, key), Start);
    }

    #[test]
    fn temporal_layers_above_the_target_are_left_out() {
        let mut script = Script::new(1, Some(temporal(1)));
        script.key(0);
        let passed = [0, 2, 1, 2].map(|temporal| script.layer(0, temporal, false));
        assert_eq!(passed, [Pass, Skip, Pass, Skip]);
        // Down at once.
        script.selector.set_target(Some(temporal(0)));
        assert_eq!([0, 2, 1, 2].map(|temporal| script.layer(0, temporal, true)), [Pass, Skip, Skip, Skip]);
    }

    #[test]
    fn a_temporal_layer_is_joined_where_it_may_be_and_one_at_a_time() {
        let mut script = Script::new(1, Some(temporal(0)));
        script.key(0);
        // Of both layers something is missing.
        assert_eq!([2, 1].map(|temporal| script.layer(0, temporal, false)), [Skip, Skip]);
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
        let mut script = Script::new(1, Some(temporal(0)));
        script.key(0);
        script.selector.set_target(Some(temporal(2)));
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

    /// A picture of three spatial layers of one encoding, of a packet each. In a key picture the
    /// larger depend on the smaller; in the others only if they are all `linked`.
    fn picture(script: &mut Script, key: bool, temporal_layer: u8, linked: bool) -> [Selection; 3] {
        script.now += FRAME;
        let first = script.sequence_number + 1;
        script.sequence_number += 3;
        [0, 1, 2].map(|spatial_layer| {
            let highest = if key || linked { 2 } else { spatial_layer };
            let above = |temporal| {
                (spatial_layer..=highest)
                    .fold(Targets::NONE, |all, layer| all.and(Targets::from(layer, temporal)))
            };
            let info = PacketInfo {
                key_frame: key && spatial_layer == 0,
                frame_start: true,
                frame_end: true,
                spatial_layer,
                spatial_layers: 3,
                temporal_layer,
                needed: above(temporal_layer),
                joins: if key && spatial_layer == 0 {
                    Targets::ALL
                } else if temporal_layer == 0 {
                    Targets::from(spatial_layer, 1)
                } else {
                    Targets::NONE
                },
                joins_if: if key { Targets::NONE } else { Targets::of(spatial_layer, 0) },
                ..PacketInfo::default()
            };
            let sequence_number = first + u64::from(spatial_layer);
            let packet = IncomingPacket { encoding: 0, sequence_number, timestamp: first as u32, info };
            script.selector.select(&packet, script.now)
        })
    }

    fn spatial(spatial: u8) -> Layer {
        Layer { spatial, ..Layer::whole(0) }
    }

    #[test]
    fn of_spatial_layers_that_are_linked_in_key_pictures_one_is_sent_in_the_others() {
        for (layer, key, other) in [
            (0, [Start, Skip, Skip], [Pass, Skip, Skip]),
            (1, [Start, Pass, Skip], [Skip, Pass, Skip]),
            (2, [Start, Pass, Pass], [Skip, Skip, Pass]),
        ] {
            let mut script = Script::new(1, Some(spatial(layer)));
            assert_eq!(picture(&mut script, true, 0, false), key, "layer {layer}");
            assert_eq!([1, 0].map(|temporal| picture(&mut script, false, temporal, false)), [other; 2]);
            assert_eq!(script.selector.spatial_layer(), Some(layer));
            assert_eq!(script.selector.key_frame_wanted(), None);
        }
    }

    #[test]
    fn a_spatial_layer_that_lacks_its_past_is_joined_at_a_key_picture() {
        let mut script = Script::new(1, Some(spatial(0)));
        picture(&mut script, true, 0, false);
        picture(&mut script, false, 0, false);
        for (target, before, key, after) in [
            (2, [Pass, Skip, Skip], [Pass, Pass, Pass], [Skip, Skip, Pass]),
            (0, [Skip, Skip, Pass], [Pass, Skip, Skip], [Pass, Skip, Skip]),
            (1, [Pass, Skip, Skip], [Pass, Pass, Skip], [Skip, Pass, Skip]),
        ] {
            script.selector.set_target(Some(spatial(target)));
            assert_eq!(script.selector.key_frame_wanted(), Some(0), "to {target}");
            assert_eq!(picture(&mut script, false, 0, false), before, "to {target}");
            assert_eq!(picture(&mut script, true, 0, false), key, "to {target}");
            assert_eq!(script.selector.key_frame_wanted(), None, "to {target}");
            assert_eq!(picture(&mut script, false, 0, false), after, "to {target}");
        }
    }

    #[test]
    fn of_layers_that_are_always_linked_the_lower_are_there_at_once() {
        let mut script = Script::new(1, Some(spatial(2)));
        picture(&mut script, true, 0, true);
        assert_eq!(picture(&mut script, false, 0, true), [Pass; 3]);
        script.selector.set_target(Some(spatial(1)));
        assert_eq!(script.selector.key_frame_wanted(), None);
        assert_eq!(picture(&mut script, false, 0, true), [Pass, Pass, Skip]);
        // And up again at a key picture only.
        script.selector.set_target(Some(spatial(2)));
        assert_eq!(script.selector.key_frame_wanted(), Some(0));
        assert_eq!(picture(&mut script, false, 0, true), [Pass, Pass, Skip]);
        assert_eq!(picture(&mut script, true, 0, true), [Pass; 3]);
    }

    #[test]
    fn temporal_layers_of_a_spatial_one_go_down_at_once_and_up_where_they_may() {
        let mut script = Script::new(1, Some(spatial(2)));
        picture(&mut script, true, 0, false);
        script.selector.set_target(Some(Layer { temporal: 0, ..spatial(2) }));
        assert_eq!(picture(&mut script, false, 1, false), [Skip; 3]);
        // No picture of the base layer was left out yet.
        assert_eq!(script.selector.served(), Targets::up_to(2, 0));
        script.selector.set_target(Some(spatial(2)));
        assert_eq!(picture(&mut script, false, 1, false), [Skip; 3]);
        assert_eq!(picture(&mut script, false, 0, false), [Skip, Skip, Pass]);
        assert_eq!(picture(&mut script, false, 1, false), [Skip, Skip, Pass]);
    }

    #[test]
    fn a_spatial_layer_that_the_source_does_not_serve_is_not_waited_for() {
        let mut script = Script::new(1, Some(spatial(2)));
        picture(&mut script, true, 0, false);
        let info = PacketInfo {
            frame_start: true,
            spatial_layers: 3,
            active: Targets::up_to(1, 3),
            ..PacketInfo::default()
        };
        script.send(0, info);
        assert_eq!(script.selector.key_frame_wanted(), None, "all are complete after the key picture");
        picture(&mut script, false, 0, false);
        script.send(0, info);
        assert_eq!(script.selector.key_frame_wanted(), Some(0));
        assert_eq!(script.selector.goal().map(|goal| goal.spatial), Some(1));
    }
}
