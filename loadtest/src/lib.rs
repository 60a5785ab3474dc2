//! What tests a Broletto from the outside.

pub mod link;
pub mod relay;
