//! What is sent to a peer: paced, numbered for the transport, sealed, kept to be sent again.
//!
//! It is the one owner of what is sealed with the transport's keys: str0m, which shook hands for
//! them, never saw them.

use std::time::{Duration, Instant};

use broletto_rtp::congestion::{Class as Priority, Config, Estimator, Kind, Pacer, PacerConfig, Wishes};
use broletto_rtp::extension::{AudioLevel, Extension, ExtensionIds, Values, abs_send_time};
use broletto_rtp::feedback::TransportFeedback;
use broletto_rtp::ntp::WallClock;
use broletto_rtp::packet::{self, Header, RTX_BYTES};
use broletto_rtp::rtcp::{ReportBlock, write};
use broletto_rtp::send::SendStream;
use broletto_rtp::srtp::{MasterKey, Sealer, StreamSealer};
use str0m::media::Mid;

use super::formats::Formats;
use super::group::{Sized, first_group};
use super::receiver::Counts;
use crate::allocator::ESTIMATE_START_BPS;
use crate::codec::dependency::BYTES_MAX as DESCRIPTOR_BYTES_MAX;
use crate::egress::Outgoing;
use crate::io::Class;
use crate::outbox::{Outbox, Way};

/// Room for a header with all its extensions.
const HEADER_BYTES_MAX: usize = 12 + 4 + 48 + DESCRIPTOR_BYTES_MAX + 1;
/// Packets that are looked at together to be grouped: as many as the pacer lets out at once.
const BATCH_MAX: usize = 8;

/// An outgoing stream, as it was negotiated.
#[derive(Debug, Clone)]
pub(super) struct StreamSetup {
    pub mid: Mid,
    pub audio: bool,
    pub ssrc: u32,
    /// Of its retransmissions, if the peer takes any.
    pub repair_ssrc: Option<u32>,
    /// As the peer has them in this m-line.
    pub ids: ExtensionIds,
}

struct Stream {
    setup: StreamSetup,
    sealer: Option<StreamSealer>,
    repair_sealer: Option<StreamSealer>,
    history: SendStream<Outgoing>,
    /// The peer has reported on it, and so knows which m-line it is of.
    known: bool,
}

/// A packet in the pacer.
struct Queued {
    stream: usize,
    content: Content,
}

enum Content {
    Media(Outgoing),
    Repair(Outgoing),
    /// So many bytes of nothing, to find out what the path carries.
    Padding(u8),
}

pub(super) struct Sender {
    sealer: Option<Sealer>,
    streams: Vec<Stream>,
    pacer: Pacer<Queued>,
    /// None: the peer gives no feedback that it could be made from.
    estimator: Option<Estimator>,
    transport_number: u64,
    batch: Vec<Queued>,
    heads: Vec<[u8; HEADER_BYTES_MAX]>,
    clock: WallClock,
    pub counts: Counts,
}
