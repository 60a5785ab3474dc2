//! What tests a Broletto from the outside.

pub mod client;
pub mod interop;
pub mod link;
pub mod payload;
pub mod relay;
pub mod server;
pub mod usage;
