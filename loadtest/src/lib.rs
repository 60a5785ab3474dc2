//! What tests a Broletto from the outside.

pub mod client;
pub mod interop;
pub mod link;
pub mod link_text;
pub mod meet;
pub mod payload;
pub mod peer;
pub mod progress;
pub mod quality;
pub mod relay;
pub mod report;
pub mod server;
pub mod storm;
pub mod usage;
