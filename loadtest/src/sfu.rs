//! What a load needs of a media server, whoever made it.

use std::net::IpAddr;
use std::time::Duration;

use broletto_control::Codec;

use crate::participant::{Publisher, Session};

/// What its one room carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Where the server takes media.
    pub ip: IpAddr,
    pub codec: Codec,
    /// That will be there.
    pub publishers: usize,
}

/// A server that runs, with one room.
pub trait Sfu {
    fn name(&self) -> &'static str;

    /// The process whose processor time and memory count.
    fn process(&self) -> u32;

    /// Carries a publisher's offer to the room, and the answer back.
    fn publish(&mut self, publisher: &mut Publisher, offer: &str) -> anyhow::Result<()>;

    /// Negotiates a session that receives from all publishers there are.
    fn subscribe(&mut self, session: &mut Session) -> anyhow::Result<()>;

    /// Keeps up the connection to the server while time goes on.
    fn attend(&mut self, duration: Duration) -> anyhow::Result<()>;

    /// What it believes the paths to subscribers to carry, in bits a second, as far as it told.
    fn estimates_bps(&self) -> Vec<u64>;
}
