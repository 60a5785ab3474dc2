//! How packets reach a router.

mod answer;
mod codecs;
#[cfg_attr(not(test), expect(dead_code, reason = "str0m still has the keys of what it seals"))]
mod keys;
mod loss;
mod offer;
mod path;
mod ssrcs;
mod stats;
mod webrtc;

pub(crate) use offer::{MediaLine, Offer};
pub(crate) use webrtc::{Environment, Failure, Stream, TransportEvent, WebRtc};
