//! What a node tells without being asked. Notifications of one router arrive in the order in
//! which the things they tell of happened.

use serde::{Deserialize, Serialize};

use crate::{Codec, ConsumerId, ProducerId, RouterId, TransportId, VideoSize};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Notification {
    /// ICE and DTLS came up, or consent was lost (RFC 7675).
    TransportState { transport: TransportId, state: TransportState },
    /// The node ended the transport by itself.
    TransportClosed { transport: TransportId, reason: CloseReason },
    /// The first packet of a producer came, or none came for a while.
    ProducerLive { producer: ProducerId, live: bool },
    /// Who is now shown or heard in this slot, and at which size. `source` None: nobody.
    ConsumerSource { transport: TransportId, consumer: ConsumerId, source: Option<ProducerId> },
    /// Which encodings (or spatial layers) of a producer some consumer wants, by index from the
    /// smallest; empty: none. The publisher may stop sending the others. A layer that becomes
    /// wanted is told at once, one that nobody wants any more after some seconds.
    ProducerDemand { transport: TransportId, producer: ProducerId, layers: Vec<u8> },
    /// Who speaks, loudest first; empty when nobody does. At most five, at most five times a second.
    Speakers { router: RouterId, speakers: Vec<SpeakerLevel> },
    /// Every few seconds, for each transport.
    TransportStats { transport: TransportId, stats: TransportStats },
    /// The router was closed because no signaling process claimed it for 60 s.
    RouterAbandoned { router: RouterId },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransportState {
    Connecting,
    Connected,
    /// Nothing was heard for a while; the transport comes back by itself or by an ICE restart.
    Disconnected,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "reason", rename_all = "snake_case")]
pub enum CloseReason {
    /// Never connected, or lost for longer than the grace time.
    TimedOut,
    /// The peer broke the protocol, or a fault of ours ended this session alone.
    Failed { message: String },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpeakerLevel {
    pub producer: ProducerId,
    /// RFC 6464 level: 0 is the loudest, 127 silence, in -dBov.
    pub level: u8,
}

#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct TransportStats {
    /// What the path to the participant is believed to carry, in bits a second.
    pub estimate_bps: Option<u64>,
    pub rtt_ms: Option<f32>,
    /// Share of packets to the participant that were lost, 0 to 1, in the last interval.
    pub loss_out: Option<f32>,
    /// Share of packets from the participant that were lost, 0 to 1, in the last interval.
    #[serde(default)]
    pub loss_in: Option<f32>,
    pub bytes_in: u64,
    pub bytes_out: u64,
    pub packets_in: u64,
    pub packets_out: u64,
    pub nacks_in: u64,
    pub nacks_out: u64,
    pub plis_in: u64,
    pub plis_out: u64,
    pub producers: Vec<ProducerStats>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ProducerStats {
    pub producer: ProducerId,
    pub codec: Option<Codec>,
    pub layers: Vec<LayerState>,
}

/// One simulcast encoding as it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct LayerState {
    /// None until a key frame told.
    pub size: Option<VideoSize>,
    /// In bits a second, over the last second.
    pub bitrate_bps: u64,
}
