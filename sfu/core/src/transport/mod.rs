//! How packets reach a router.

mod answer;
mod codecs;
mod loss;
mod offer;
mod path;
mod ssrcs;
mod stats;
mod webrtc;

pub(crate) use offer::{MediaLine, Offer};
pub(crate) use webrtc::{Environment, Failure, Stream, TransportEvent, WebRtc};
