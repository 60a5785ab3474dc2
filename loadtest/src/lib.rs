//! What tests a Broletto from the outside.

pub mod compare;
pub mod crowd;
pub mod forward;
pub mod janus;
pub mod kernel;
pub mod limit;
pub mod link;
pub mod load;
pub mod node;
pub mod participant;
pub mod relay;
pub mod sfu;
pub mod udp;
