//! One incoming stream, with its encodings.

use std::time::{Duration, Instant};

use broletto_control::{Codec, Content, LayerState, ProducerId, ProducerStats, VideoSize};
use str0m::media::{Mid, Rid};

use crate::allocator;
use crate::codec::targets::SPATIAL_LAYERS_MAX;
use crate::codec::{Inspector, PacketInfo};
use crate::demand::LayerDemand;
use crate::key_frame::KeyFrameRequests;
use crate::selector::{Layer, SILENCE_MAX};
use crate::stats::RateMeter;

/// A producer of which nothing came for so long is not live. A muted microphone still sends
/// comfort noise twice a second.
const LIVE_FOR: Duration = Duration::from_secs(2);

/// An encoding that the publisher was asked for, and that did not come within this time, does not
/// come at all: the picture is too small for it, or the machine too slow.
const RESUME_MAX: Duration = Duration::from_secs(3);
/// A measured bitrate moves by this share of the difference at each tick, so that what is between
/// two frames of a second does not count.
const SMOOTHING: u64 = 4;

/// Where one consumer is: slots of the router's transports and of that transport's consumers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConsumerKey {
    pub transport: usize,
    pub consumer: usize,
}

#[derive(Debug)]
pub(crate) struct Producer {
    pub id: ProducerId,
    /// Slot of the transport it comes in on.
    pub transport: usize,
    pub mid: Mid,
    pub content: Content,
    pub paused: bool,
    /// Of the packet that came last.
    pub codec: Option<Codec>,
    /// From the smallest picture to the largest.
    pub encodings: Vec<Encoding>,
    /// Who gets it.
    pub consumers: Vec<ConsumerKey>,
    /// The round of deliveries in which its consumers' transports were made dirty.
    pub announced_in: Option<u64>,
    pub live: bool,
    /// What its publisher was told to send.
    pub demand: LayerDemand,
    packet_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Encoding {
    pub rid: Option<Rid>,
    pub ssrc: Option<u32>,
    pub key_frames: KeyFrameRequests,
    pub inspector: Inspector,
    /// Of all of it, as the last key frame told; it is remembered while the publisher sends nothing.
    pub size: Option<VideoSize>,
    spatial: [SpatialLayer; SPATIAL_LAYERS_MAX as usize],
    /// Highest temporal layer seen, plus one.
    temporal_layers: u8,
}

/// A spatial layer of an encoding; the only one where there are none to tell apart.
#[derive(Debug)]
struct SpatialLayer {
    /// What a receiver of it gets: with what it needs of the layers below.
    meter: RateMeter,
    /// As it was while it flowed.
    smoothed_bps: Option<u64>,
    packet_at: Option<Instant>,
    /// Since when it flows.
    appeared_at: Option<Instant>,
}

impl SpatialLayer {
    fn new(now: Instant) -> Self {
        SpatialLayer { meter: RateMeter::new(now), smoothed_bps: None, packet_at: None, appeared_at: None }
    }

    /// Takes what the meter shows, once it flowed for as long as the meter looks back.
    fn measure(&mut self, latest: Option<Instant>, now: Instant) {
        let Some(appeared_at) = self.appeared_at.filter(|_| self.flows(latest)) else { return };
        if now.saturating_duration_since(appeared_at) < Duration::from_secs(1) {
            return;
        }
        let measured = self.meter.bitrate_bps(now);
        self.smoothed_bps = Some(match self.smoothed_bps {
            Some(smoothed) => (smoothed * (SMOOTHING - 1) + measured) / SMOOTHING,
            None => measured,
        });
    }

    fn flows(&self, latest: Option<Instant>) -> bool {
        match (self.packet_at, latest) {
            (Some(packet_at), Some(latest)) => latest.saturating_duration_since(packet_at) <= SILENCE_MAX,
            _ => false,
        }
    }
}

impl Encoding {
    fn new(rid: Option<Rid>, now: Instant) -> Self {
        Encoding {
            rid,
            ssrc: None,
            key_frames: KeyFrameRequests::default(),
            inspector: Inspector::default(),
            size: None,
            spatial: std::array::from_fn(|_| SpatialLayer::new(now)),
            temporal_layers: 1,
        }
    }

    /// Its spatial layers, from the smallest.
    fn layers(&self) -> impl Iterator<Item = (u8, &SpatialLayer)> {
        (0u8..).zip(&self.spatial).take(usize::from(self.inspector.spatial_layers()))
    }

    /// Of the picture that a spatial layer shows.
    fn size_of(&self, spatial: u8) -> Option<VideoSize> {
        let whole = if self.inspector.spatial_layers() == 1 { self.size } else { None };
        whole.or_else(|| self.inspector.size_of(spatial))
    }

    fn flows(&self, latest: Option<Instant>) -> bool {
        self.spatial.iter().any(|layer| layer.flows(latest))
    }
}

impl Producer {
    /// `rids` name the encodings from the smallest picture to the largest; none: there is one.
    pub fn new(
        id: ProducerId,
        transport: usize,
        mid: Mid,
        content: Content,
        rids: &[String],
        now: Instant,
    ) -> Self {
        let encodings: Vec<Encoding> = match rids {
            [] => vec![Encoding::new(None, now)],
            rids => rids.iter().map(|rid| Encoding::new(Some(rid.as_str().into()), now)).collect(),
        };
        let demand = LayerDemand::new(encodings.len(), now);
        Producer {
            id,
            transport,
            mid,
            content,
            paused: false,
            codec: None,
            encodings,
            consumers: Vec::new(),
            announced_in: None,
            live: false,
            demand,
            packet_at: None,
        }
    }

    /// It begins anew, maybe with another camera: what was known of its pictures is forgotten, and
    /// the publisher sends all of them until it is told otherwise.
    pub fn restart(&mut self, now: Instant) {
        self.demand = LayerDemand::new(self.encodings.len(), now);
        for encoding in &mut self.encodings {
            encoding.size = None;
            encoding.spatial.iter_mut().for_each(|layer| layer.smoothed_bps = None);
        }
    }

    pub fn encoding_of(&self, rid: Option<Rid>) -> Option<usize> {
        self.encodings.iter().position(|encoding| encoding.rid == rid)
    }

    /// Whether it carries nothing that a packet of another kind would be.
    pub fn is_audio(&self) -> bool {
        self.content.is_audio()
    }

    /// Whether the encoding, or the spatial layer of it, did not flow before.
    pub fn note_packet(&mut self, encoding: usize, info: &PacketInfo, bytes: usize, now: Instant) -> bool {
        let encoding = &mut self.encodings[encoding];
        let mut appeared = false;
        if let Some(layer) = encoding.spatial.get_mut(usize::from(info.spatial_layer)) {
            appeared = !layer.flows(Some(now));
            if appeared {
                layer.appeared_at = Some(now);
            }
            layer.packet_at = Some(now);
        }
        self.packet_at = Some(now);
        let layers = usize::from(encoding.inspector.spatial_layers());
        for (index, layer) in (0u8..).zip(&mut encoding.spatial).take(layers) {
            if info.needed.has(index, Layer::TEMPORAL_MAX) {
                layer.meter.add(bytes, now);
            }
        }
        encoding.temporal_layers = encoding.temporal_layers.max(info.temporal_layer + 1).min(4);
        if info.key_frame {
            encoding.key_frames.handle_key_frame(now);
            encoding.size = info.size.or(encoding.size);
        }
        appeared
    }

    /// Whether `live` changed. None: it did not.
    pub fn update_live(&mut self, now: Instant) -> Option<bool> {
        let live = self.packet_at.is_some_and(|at| now.saturating_duration_since(at) < LIVE_FOR);
        (std::mem::replace(&mut self.live, live) != live).then_some(live)
    }

    /// What flows, and what would flow again if the publisher were asked for it, for the allocator.
    pub fn available(&self, now: Instant) -> Vec<allocator::Encoding> {
        let latest = self.latest(now);
        let mut available = Vec::new();
        for (index, encoding) in self.encodings.iter().enumerate() {
            let resumes = !encoding.flows(latest) && self.resumes(index, now);
            let top = encoding.inspector.spatial_layers() - 1;
            for (spatial, layer) in encoding.layers() {
                if !(resumes || layer.flows(latest)) {
                    continue;
                }
                available.push(allocator::Encoding {
                    index: index as u8,
                    spatial: if spatial == top { Layer::SPATIAL_MAX } else { spatial },
                    size: encoding.size_of(spatial),
                    bitrate_bps: layer.smoothed_bps,
                    temporal_layers: encoding.temporal_layers,
                });
            }
        }
        available
    }

    /// To be called at each tick.
    pub fn measure(&mut self, now: Instant) {
        let latest = self.latest(now);
        for (index, encoding) in self.encodings.iter_mut().enumerate() {
            encoding.spatial.iter_mut().for_each(|layer| layer.measure(latest, now));
            let asked_for = self.demand.asked_for(index, now);
            if !encoding.flows(latest) && asked_for.is_some_and(|asked_for| asked_for >= RESUME_MAX) {
                encoding.size = None;
            }
        }
    }

    /// Whether an encoding that does not flow is known, and rests only because nobody asked.
    fn resumes(&self, index: usize, now: Instant) -> bool {
        let asked_for = self.demand.asked_for(index, now);
        self.encodings[index].size.is_some() && asked_for.is_none_or(|asked_for| asked_for < RESUME_MAX)
    }

    fn latest(&self, now: Instant) -> Option<Instant> {
        self.packet_at.filter(|at| now.saturating_duration_since(*at) < LIVE_FOR)
    }

    pub fn stats(&mut self, now: Instant) -> ProducerStats {
        let mut layers = Vec::new();
        for encoding in &mut self.encodings {
            for index in 0..encoding.inspector.spatial_layers() {
                let size = encoding.size_of(index);
                let bitrate_bps = encoding.spatial[usize::from(index)].meter.bitrate_bps(now);
                layers.push(LayerState { size, bitrate_bps });
            }
        }
        ProducerStats { producer: self.id, codec: self.codec, layers }
    }

    pub fn remove_consumer(&mut self, key: ConsumerKey) {
        self.consumers.retain(|consumer| *consumer != key);
    }
}
