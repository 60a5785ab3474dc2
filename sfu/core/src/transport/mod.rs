//! How packets reach a router.

mod answer;
mod codecs;
mod formats;
mod group;
mod keys;
mod loss;
mod offer;
mod path;
mod receiver;
mod sender;
mod ssrcs;
mod webrtc;

pub(crate) use keys::crypto_provider;
pub(crate) use offer::{MediaLine, Offer};
pub(crate) use receiver::Arrived;
pub(crate) use webrtc::{Environment, Failure, Stream, TransportEvent, WebRtc};
