//! What tests a Broletto from the outside.

pub mod limit;
pub mod link;
pub mod relay;
