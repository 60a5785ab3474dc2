//! One outgoing stream, whose source may change while it runs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use broletto_control::{Codec, ConsumerId, ConsumerRule, ProducerId, VideoSize};
use str0m::Rtc;
use str0m::media::{Mid, Pt};
use str0m::rtp::{Ssrc, Vp8Descriptor, Vp8Patch};

use crate::codec::dependency::Structure;
use crate::dwell::Dwell;
use crate::egress::{self, Outgoing};
use crate::extension::Leaves;
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
    pub payload: Arc<[u8]>,
    /// Of audio that came with older frames (RFC 2198): the whole of it; `payload` is the last.
    pub redundant: Option<(Redundant, Arc<[u8]>)>,
    /// Of VP8: where its numbers are.
    pub vp8: Option<Vp8Descriptor>,
    /// Its dependency descriptor, and the structure that tells what the parts of it mean.
    pub descriptor: Option<Arc<[u8]>>,
    pub structure: Option<Arc<Structure>>,
}

/// The payload type under which the peer takes each codec on one m-line. None: it does not.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct PayloadTypes {
    pub opus: Option<Pt>,
    /// Opus with older frames.
    pub red: Option<Pt>,
    pub h264: Option<Pt>,
    pub vp8: Option<Pt>,
    pub vp9: Option<Pt>,
    pub av1: Option<Pt>,
}

impl PayloadTypes {
    pub fn of(&self, codec: Codec) -> Option<Pt> {
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
    pub ssrc: Option<Ssrc>,
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
            ssrc: None,
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

    /// Whether it was sent.
    pub fn forward(&mut self, packet: &Packet, rtc: &mut Rtc, now: Instant) -> bool {
        let (Some(payload_type), Some(ssrc)) = (self.payload_types.of(packet.codec), self.ssrc) else {
            return false;
        };
        if self.codec != Some(packet.codec) {
            // The publisher changed codec within one stream: what follows is garbage to the
            // decoder until it starts anew at a key frame.
            if self.codec.replace(packet.codec).is_some() {
                self.restart();
            }
        }
        let incoming = &packet.incoming;
        let selection = self.selector.select(incoming, now);
        let starts = selection == Selection::Start;
        let rewritten = match selection {
            Selection::Start => self.rewriter.start(incoming, packet.captured_at),
            Selection::Pass => match self.rewriter.rewrite(incoming, packet.captured_at) {
                Ok(rewritten) => rewritten,
                Err(_) => return false,
            },
            Selection::Skip => {
                let Some(filler) = self.rewriter.skip(incoming) else { return false };
                egress::write(
                    rtc,
                    Outgoing {
                        ssrc,
                        payload_type,
                        sequence_number: filler.sequence_number,
                        timestamp: filler.timestamp,
                        marker: false,
                        captured_at: packet.captured_at,
                        audio_level: None,
                        nackable: !self.audio,
                        payload: Arc::default(),
                        vp8: None,
                        descriptor: None,
                    },
                );
                return true;
            }
            Selection::Ignore => return false,
        };
        let (payload_type, payload) = match self.redundant(packet, payload_type) {
            // What came before a switch is of no use after it.
            Some(redundant) if !starts => redundant,
            _ => (payload_type, payload(packet, &rewritten)),
        };
        egress::write(
            rtc,
            Outgoing {
                ssrc,
                payload_type,
                sequence_number: rewritten.sequence_number,
                timestamp: rewritten.timestamp,
                marker: packet.marker || self.ends_picture(packet),
                captured_at: packet.captured_at,
                audio_level: packet.audio_level,
                nackable: !self.audio,
                payload,
                vp8: vp8_patch(packet, &rewritten),
                descriptor: self.descriptor(packet, &rewritten),
            },
        );
        true
    }

    /// Of the layers above, whose last packet has the marker, the receiver gets nothing.
    fn ends_picture(&self, packet: &Packet) -> bool {
        let info = &packet.incoming.info;
        info.frame_end && self.selector.spatial_layer() == Some(info.spatial_layer)
    }

    /// H.264 and VP8 say all that is needed in their payloads, unless these are encrypted.
    fn descriptor(&mut self, packet: &Packet, rewritten: &Rewritten) -> Option<Leaves> {
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
        Some(Leaves { bytes: packet.descriptor.clone()?, place, frame_number, active })
    }

    /// The packet with the older frames in it, if it has some and the peer takes them.
    fn redundant(&self, packet: &Packet, opus: Pt) -> Option<(Pt, Arc<[u8]>)> {
        let payload_type = self.payload_types.red.filter(|_| self.redundancy)?;
        let (redundant, payload) = packet.redundant.as_ref()?;
        let retyped = redundant.retyped(payload, *opus);
        Some((payload_type, retyped.map_or_else(|| payload.clone(), Arc::from)))
    }
}

/// The payload with the receiver's numbers. VP8's are written into the datagram on its way out, for
/// which str0m has a patch. VP9's are not, so a payload whose numbers are not those of its source (a
/// receiver's first source keeps its own) has to be copied.
fn payload(packet: &Packet, rewritten: &Rewritten) -> Arc<[u8]> {
    if let (Some(ids), Some(rewrite)) = (&packet.incoming.info.vp9, &rewritten.vp9)
        && rewrite.changes(ids)
    {
        let mut payload: Arc<[u8]> = packet.payload.as_ref().into();
        rewrite.apply(ids, Arc::make_mut(&mut payload));
        return payload;
    }
    packet.payload.clone()
}

fn vp8_patch(packet: &Packet, rewritten: &Rewritten) -> Option<Vp8Patch> {
    let mut builder = packet.vp8.as_ref()?.patch();
    let ids = rewritten.vp8?;
    if let Some(picture_id) = ids.picture_id {
        builder = builder.picture_id(picture_id);
    }
    if let Some(tl0_pic_idx) = ids.tl0_pic_idx {
        builder = builder.tl0_pic_idx(tl0_pic_idx);
    }
    builder.build().ok()
}
