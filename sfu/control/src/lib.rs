//! The only interface between signaling and the media plane.
//!
//! Signaling knows rooms and participants; the media plane knows routers, transports, producers
//! and consumers. They speak [`Frame`]s: in one process over a channel, in a cluster over a
//! WebSocket with mutual TLS, with the same JSON in text messages ([`codec`]).
//!
//! Every id is chosen by signaling, so a request that was lost with its connection can simply be
//! repeated: a request id seen before is answered with the stored response. Every request carries
//! the [`Epoch`] of the signaling process that made it, and a node refuses an epoch below the
//! highest it has seen.

pub mod codec;
mod frame;
mod ids;
mod notification;
mod request;
mod response;

pub use frame::{Frame, RequestFrame, ResponseFrame, VERSION, VERSION_MIN};
pub use ids::{ConsumerId, Epoch, Generation, Id, IdError, ProducerId, RequestId, RouterId, TransportId};
pub use notification::{
    CloseReason, LayerState, Notification, ProducerStats, SpeakerLevel, TransportState, TransportStats,
};
pub use request::{
    Codec, ConsumerRule, ConsumerSlot, ConsumerWish, Content, ProducerSlot, Request, RouterConfig,
    RouterWish, TransportWish, VideoSize,
};
pub use response::{ControlError, Response, RouterSummary};
