//! RTP, RTCP and SRTP on the wire, and congestion control, sans IO: bytes and `now` go in, packets,
//! estimates and deadlines come out. It knows no room.

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
