//! What tests a Broletto from the outside.

pub mod client;
pub mod compare;
pub mod crowd;
pub mod forward;
pub mod interop;
pub mod janus;
pub mod kernel;
pub mod limit;
pub mod link;
pub mod link_text;
pub mod load;
pub mod meet;
pub mod node;
pub mod participant;
pub mod payload;
pub mod peer;
pub mod progress;
pub mod quality;
pub mod relay;
pub mod report;
pub mod server;
pub mod sfu;
pub mod storm;
pub mod udp;
pub mod usage;
