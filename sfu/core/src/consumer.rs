//! One outgoing stream, whose source may change while it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broletto_control::{Codec, ConsumerId, ConsumerRule, ProducerId, VideoSize};
use str0m::media::Mid;

use crate::buffer::Shared;
use crate::codec::dependency::Structure;
use crate::dwell::Dwell;
use crate::egress::{Descriptor, Edit, Outgoing};
use crate::packet::IncomingPacket;
use crate::red::Redundant;
use crate::rewriter::{Rewriter, Rewritten};
use crate::selector::{Layer, Selection, Selector};

/// A packet on its way to the consumers of its producer.
#[derive(Debug)]
pub(crate) struct Packet {
    pub incoming: IncomingPacket,
    pub codec: Codec,
    pub marker: bool,
    pub audio_level: Option<(u8, bool)>,
    pub captured_at: Instant,
    pub payload: Shared,
    /// Of audio that came with older frames (RFC 2198): the whole of it; `payload` is the last.
    pub redundant: Option<(Redundant, Shared)>,
    /// Its dependency descriptor, and the structure that tells what the parts of it mean.
    pub descriptor: Option<Shared>,
    pub structure: Option<Arc<Structure>>,
}

/// The payload type under which the peer takes each codec on one m-line. None: it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PayloadTypes {
    pub opus: Option<u8>,
    /// Opus with older frames.
    pub red: Option<u8>,
    pub h264: Option<u8>,
    pub vp8: Option<u8>,
    pub vp9: Option<u8>,
    pub av1: Option<u8>,
}

impl PayloadTypes {
    pub fn of(&self, codec: Codec) -> Option<u8> {
        match codec {
            Codec::Opus => self.opus,
            Codec::H264 => self.h264,
            Codec::Vp8 => self.vp8,
            Codec::Vp9 => self.vp9,
            Codec::Av1 => self.av1,
        }
    }
}

#[derive(Debug)]
pub(crate) struct Consumer {
    pub id: ConsumerId,
    pub mid: Mid,
    pub audio: bool,
    pub rule: ConsumerRule,
    pub size: Option<VideoSize>,
    /// Slot of the router's producers.
    pub source: Option<usize>,
    /// What was told about it last.
    pub notified: Option<ProducerId>,
    pub payload_types: PayloadTypes,
    /// Which of the transport's outgoing streams is its own.
    pub stream: Option<usize>,
    /// Whether the peer takes dependency descriptors.
    pub takes_descriptors: bool,
    /// Whether the path has room for audio with older frames in it.
    pub redundancy: bool,
    dwell: Dwell,
    selector: Selector,
    rewriter: Rewriter,
    /// Of the picture that the receiver has: another one starts with a key frame.
    codec: Option<Codec>,
    /// Decode targets that the receiver was told are active. None: nothing but the structure was.
    active: Option<u32>,
}

impl Consumer {
    /// `sequence_number` is where its numbers start. Its timestamps show `time` at `since`, as those
    /// of all consumers of its transport do.
    pub fn new(
        id: ConsumerId,
        mid: Mid,
        audio: bool,
        sequence_number: u16,
        time: Duration,
        since: Instant,
    ) -> Self {
        let clock_rate = if audio { 48_000 } else { 90_000 };
        let timestamp = (time.as_millis() * u128::from(clock_rate) / 1_000) as u32;
        let mut rewriter = Rewriter::new(clock_rate, sequence_number, timestamp);
        rewriter.count_from(since);
        Consumer {
            id,
            mid,
            audio,
            rule: ConsumerRule::Off,
            size: None,
            source: None,
            notified: None,
            payload_types: PayloadTypes::default(),
            stream: None,
            takes_descriptors: false,
            redundancy: true,
            dwell: Dwell::default(),
            selector: Selector::default(),
            rewriter,
            codec: None,
            active: None,
        }
    }

    /// A source whose codec the peer never accepted is refused: better nothing than garbage.
    pub fn accepts(&self, audio: bool, codec: Option<Codec>) -> bool {
        audio == self.audio && codec.is_none_or(|codec| self.payload_types.of(codec).is_some())
    }

    pub fn switch_source(&mut self, source: Option<usize>, encodings: usize) {
        self.source = source;
        self.dwell = Dwell::default();
        // Video waits for the allocator, which runs right after; audio is always sent.
        let target = (self.audio && source.is_some()).then(|| Layer::whole(0));
        self.selector.switch_source(encodings as u8, target);
    }

    /// The allocator's decision. `limited`: the path is why it is not more.
    pub fn set_target(&mut self, target: Option<Layer>, limited: bool, now: Instant) {
        self.dwell.note(target, limited, now);
        self.selector.set_target(target);
    }

    pub fn may_climb(&self, now: Instant) -> bool {
        self.dwell.may_climb(now)
    }

    pub fn target(&self) -> Option<Layer> {
        self.selector.target()
    }

    /// The receiver missed what was sent meanwhile: it needs a key frame.
    pub fn restart(&mut self) {
        let target = self.selector.target();
        self.selector.set_target(None);
        self.selector.set_target(target);
    }

    pub fn current(&self) -> Option<Layer> {
        self.selector.current()
    }

    /// Of an encoding that is wanted, and whose key frame is waited for.
    pub fn key_frame_wanted(&self) -> Option<usize> {
        self.selector.key_frame_wanted().map(usize::from)
    }

    /// The encoding that a receiver which lost the picture needs a key frame of.
    pub fn encoding_shown(&self) -> Option<usize> {
        let layer = self.selector.current().or(self.selector.target())?;
        Some(usize::from(layer.encoding))
    }

    /// What its receiver is to get of a packet.
    pub fn forward(&mut self, packet: &Packet, now: Instant) -> Option<Outgoing> {
        let payload_type = self.payload_types.of(packet.codec)?;
        if self.codec != Some(packet.codec) {
            // The publisher changed codec within one stream: what follows is garbage to the
            // decoder until it starts anew at a key frame.
            if self.codec.replace(packet.codec).is_some() {
                self.restart();
            }
        }
        let incoming = &packet.incoming;
        let selection = self.selector.select(incoming, now);
        let rewritten = match selection {
            Selection::Start => self.rewriter.start(incoming, packet.captured_at),
            Selection::Pass => self.rewriter.rewrite(incoming, packet.captured_at).ok()?,
            Selection::Skip => {
                let filler = self.rewriter.skip(incoming)?;
                return Some(Outgoing {
                    payload_type,
                    sequence_number: filler.sequence_number,
                    timestamp: filler.timestamp,
                    marker: false,
                    audio_level: None,
                    payload: Shared::default(),
                    edit: Edit::Nothing,
                    descriptor: None,
                });
            }
            Selection::Ignore => return None,
        };
        let (payload_type, payload, edit) = match self.redundant(packet, payload_type) {
            // What came before a switch is of no use after it.
            Some(redundant) if selection != Selection::Start => redundant,
            _ => (payload_type, packet.payload.clone(), edit(packet, &rewritten)),
        };
        Some(Outgoing {
            payload_type,
            sequence_number: rewritten.sequence_number,
            timestamp: rewritten.timestamp,
            marker: packet.marker || self.ends_picture(packet),
            audio_level: packet.audio_level,
            payload,
            edit,
            descriptor: self.descriptor(packet, &rewritten),
        })
    }

    /// Of the layers above, whose last packet has the marker, the receiver gets nothing.
    fn ends_picture(&self, packet: &Packet) -> bool {
        let info = &packet.incoming.info;
        info.frame_end && self.selector.spatial_layer() == Some(info.spatial_layer)
    }

    /// H.264 and VP8 say all that is needed in their payloads, unless these are encrypted.
    fn descriptor(&mut self, packet: &Packet, rewritten: &Rewritten) -> Option<Descriptor> {
        if !self.takes_descriptors || !matches!(packet.codec, Codec::Vp9 | Codec::Av1) {
            return None;
        }
        let place = packet.incoming.info.descriptor?;
        let frame_number = rewritten.frame_number?;
        let mut active = None;
        if let Some(structure) =
            packet.structure.as_ref().filter(|_| place.first_of_frame || place.has_active())
        {
            let source = structure.decode_targets(packet.incoming.info.active);
            let served = structure.decode_targets(self.selector.served()) & source;
            let told =
                if place.has_structure { structure.all() } else { self.active.unwrap_or(structure.all()) };
            if served != told || place.has_active() {
                active = Some(served);
            }
            self.active = Some(served);
        }
        Some(Descriptor { bytes: packet.descriptor.as_ref()?.range(), place, frame_number, active })
    }

    /// The packet with the older frames in it, if it has some and the peer takes them.
    fn redundant(&self, packet: &Packet, opus: u8) -> Option<(u8, Shared, Edit)> {
        let payload_type = self.payload_types.red.filter(|_| self.redundancy)?;
        let (redundant, payload) = packet.redundant.as_ref()?;
        Some((payload_type, payload.clone(), Edit::Redundant(*redundant, opus)))
    }
}

/// The receiver's numbers in the place of the publisher's.
fn edit(packet: &Packet, rewritten: &Rewritten) -> Edit {
    let info = &packet.incoming.info;
    match (info.vp8, rewritten.vp8, info.vp9, rewritten.vp9) {
        (Some(ids), Some(rewrite), ..) | (_, _, Some(ids), Some(rewrite)) => Edit::Ids(ids, rewrite),
        _ => Edit::Nothing,
    }
}
