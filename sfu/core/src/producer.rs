//! One incoming stream, with its encodings.

use std::time::{Duration, Instant};

use broletto_control::{Codec, Content, LayerState, ProducerId, ProducerStats, VideoSize};
use str0m::media::{Mid, Rid};
use str0m::rtp::Ssrc;

use crate::allocator;
use crate::codec::targets::SPATIAL_LAYERS_MAX;
use crate::codec::{Inspector, PacketInfo};
use crate::key_frame::KeyFrameRequests;
use crate::selector::{Layer, SILENCE_MAX};
use crate::stats::RateMeter;

/// A producer of which nothing came for so long is not live. A muted microphone still sends
/// comfort noise twice a second.
const LIVE_FOR: Duration = Duration::from_secs(2);

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
    pub live: bool,
    packet_at: Option<Instant>,
}

#[derive(Debug)]
pub(crate) struct Encoding {
    pub rid: Option<Rid>,
    pub ssrc: Option<Ssrc>,
    pub key_frames: KeyFrameRequests,
    pub inspector: Inspector,
    /// Of all of it.
    size: Option<VideoSize>,
    spatial: [SpatialLayer; SPATIAL_LAYERS_MAX as usize],
    /// Highest temporal layer seen, plus one.
    temporal_layers: u8,
}

/// A spatial layer of an encoding; the only one where there are none to tell apart.
#[derive(Debug)]
struct SpatialLayer {
    /// What a receiver of it gets: with what it needs of the layers below.
    meter: RateMeter,
    packet_at: Option<Instant>,
    /// Since when it flows.
    appeared_at: Option<Instant>,
}

impl SpatialLayer {
    fn new(now: Instant) -> Self {
        SpatialLayer { meter: RateMeter::new(now), packet_at: None, appeared_at: None }
    }

    /// None until it flowed for as long as the meter looks back.
    fn measured_bps(&mut self, now: Instant) -> Option<u64> {
        let flowed = now.saturating_duration_since(self.appeared_at?);
        (flowed >= Duration::from_secs(1)).then(|| self.meter.bitrate_bps(now))
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

    /// The size of each spatial layer, from the smallest, with what was measured of it.
    fn layers(&mut self) -> impl Iterator<Item = (u8, Option<VideoSize>, &mut SpatialLayer)> {
        let (inspector, size) = (&self.inspector, self.size);
        let count = inspector.spatial_layers();
        let layers = self.spatial.iter_mut().take(usize::from(count)).zip(0u8..);
        layers.map(move |(layer, index)| {
            let whole = if count == 1 { size } else { None };
            (index, whole.or_else(|| inspector.size_of(index)), layer)
        })
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
        let encodings = match rids {
            [] => vec![Encoding::new(None, now)],
            rids => rids.iter().map(|rid| Encoding::new(Some(rid.as_str().into()), now)).collect(),
        };
        Producer {
            id,
            transport,
            mid,
            content,
            paused: false,
            codec: None,
            encodings,
            consumers: Vec::new(),
            live: false,
            packet_at: None,
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
        for (index, _, layer) in encoding.layers() {
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

    /// What flows now, for the allocator.
    pub fn flowing(&mut self, now: Instant) -> Vec<allocator::Encoding> {
        let latest = self.packet_at.filter(|at| now.saturating_duration_since(*at) < LIVE_FOR);
        let mut flowing = Vec::new();
        for (index, encoding) in self.encodings.iter_mut().enumerate() {
            let temporal_layers = encoding.temporal_layers;
            let top = encoding.inspector.spatial_layers() - 1;
            for (spatial, size, layer) in encoding.layers().filter(|(_, _, layer)| layer.flows(latest)) {
                flowing.push(allocator::Encoding {
                    index: index as u8,
                    spatial: if spatial == top { Layer::SPATIAL_MAX } else { spatial },
                    size,
                    bitrate_bps: layer.measured_bps(now),
                    temporal_layers,
                });
            }
        }
        flowing
    }

    pub fn stats(&mut self, now: Instant) -> ProducerStats {
        let layers = self.encodings.iter_mut().flat_map(Encoding::layers);
        let layers =
            layers.map(|(_, size, layer)| LayerState { size, bitrate_bps: layer.meter.bitrate_bps(now) });
        ProducerStats { producer: self.id, codec: self.codec, layers: layers.collect() }
    }

    pub fn remove_consumer(&mut self, key: ConsumerKey) {
        self.consumers.retain(|consumer| *consumer != key);
    }
}
