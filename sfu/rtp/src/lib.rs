//! RTP, RTCP and SRTP on the wire, and congestion control, sans IO: bytes and `now` go in, packets,
//! estimates and deadlines come out. It knows no room.

// A test may start at any time, because only differences count.
#![cfg_attr(test, allow(clippy::disallowed_methods))]

pub mod congestion;
pub mod extension;
pub mod feedback;
pub mod ntp;
pub mod packet;
pub mod receive;
pub mod rtcp;
pub mod send;
pub mod sequence;
pub mod srtp;
