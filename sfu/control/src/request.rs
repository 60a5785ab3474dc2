//! What signaling asks of a node.

use serde::{Deserialize, Serialize};

use crate::{ConsumerId, Generation, ProducerId, RouterId, TransportId};

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum Request {
    /// The first request on a connection. Answered by [`crate::Response::Hello`].
    Hello { version: u32 },
    /// Makes a router, or does nothing if it is there with the same configuration.
    CreateRouter { router: RouterId, config: RouterConfig },
    /// Closes a router and every transport on it.
    CloseRouter { router: RouterId },
    /// Replaces the order of preference of video codecs. Takes effect in the answers made after it.
    SetCodecs { router: RouterId, video_codecs: Vec<Codec> },
    /// An SDP offer of a browser: makes the transport, or renegotiates it (growing the pool of
    /// receive m-lines, ICE restart). Answered by [`crate::Response::Answer`].
    ///
    /// Each m-line of the offer that sends is named in `producers`, each that receives in
    /// `consumers`; one that is named in neither is answered inactive. Slots that an earlier offer
    /// named keep their ids.
    Offer {
        router: RouterId,
        transport: TransportId,
        sdp: String,
        producers: Vec<ProducerSlot>,
        consumers: Vec<ConsumerSlot>,
    },
    /// Closes a transport with its producers and consumers.
    CloseTransport { transport: TransportId },
    /// A paused producer's packets are dropped and it is never chosen as a speaker.
    PauseProducer { transport: TransportId, producer: ProducerId, paused: bool },
    /// What one participant wishes to see. Consumers that are not named keep their rule.
    SetConsumers { transport: TransportId, wishes: Vec<ConsumerWish> },
    /// The whole state that signaling wishes for. Routers and transports of this node that are
    /// absent are closed; what is wished for and not there comes back in
    /// [`crate::Response::Synced`]. Afterwards the node notifies the present state of every
    /// transport, consumer and speaker, so that signaling need not have saved it.
    Sync { generation: Generation, routers: Vec<RouterWish> },
    /// Which routers are here. Answered by [`crate::Response::Routers`].
    List,
    /// No new transports are taken; running ones go on.
    Drain,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterConfig {
    /// Which tenant's quota the router counts against; opaque to the media plane.
    pub tenant: String,
    /// In order of preference; a publisher sends the first that it can.
    pub video_codecs: Vec<Codec>,
    /// End-to-end encrypted: payloads cannot be read, and decoding media never sees them.
    #[serde(default)]
    pub opaque: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Codec {
    Opus,
    H264,
    Vp8,
    Vp9,
    Av1,
}

/// What a producer carries. It decides priorities: audio before screens before cameras.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Content {
    Microphone,
    Camera,
    Screen,
    ScreenAudio,
}

impl Content {
    pub fn is_audio(self) -> bool {
        match self {
            Content::Microphone | Content::ScreenAudio => true,
            Content::Camera | Content::Screen => false,
        }
    }
}

/// An m-line of the offer that sends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProducerSlot {
    /// `a=mid` of the m-line (RFC 9143).
    pub mid: String,
    pub producer: ProducerId,
    pub content: Content,
    /// As in [`Request::PauseProducer`]; a camera that is off starts paused.
    #[serde(default)]
    pub paused: bool,
}

/// An m-line of the offer that receives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerSlot {
    /// `a=mid` of the m-line (RFC 9143).
    pub mid: String,
    pub consumer: ConsumerId,
    #[serde(default)]
    pub rule: ConsumerRule,
}

/// How a consumer's source is chosen. A participant's own producers are never chosen by a
/// speaker rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(tag = "follow", rename_all = "snake_case")]
pub enum ConsumerRule {
    /// Nothing is sent.
    #[default]
    Off,
    /// One producer, whoever speaks.
    Producer { producer: ProducerId },
    /// One of the pool of this transport's consumers of the same kind that have this rule. The
    /// pool shows the participants who spoke last (video: cameras) or are loudest (audio:
    /// everyone, when there are as many slots as speakers). Who is in the pool already keeps the
    /// slot: tiles swap, they do not reshuffle. A producer that a `Producer` rule of the same
    /// transport names is left out.
    Speaker,
}

/// In pixels, as decoded and shown upright.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct VideoSize {
    pub width: u16,
    pub height: u16,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsumerWish {
    pub consumer: ConsumerId,
    pub rule: ConsumerRule,
    /// The tile's size in device pixels: no layer much larger than this is sent. None: audio, or
    /// as large as comes.
    #[serde(default)]
    pub size: Option<VideoSize>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RouterWish {
    pub router: RouterId,
    pub config: RouterConfig,
    pub transports: Vec<TransportWish>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TransportWish {
    pub transport: TransportId,
    /// Producers that should be paused; all others run.
    pub paused: Vec<ProducerId>,
    pub wishes: Vec<ConsumerWish>,
}
