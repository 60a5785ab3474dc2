//! RTCP: what peers tell each other about their streams (RFC 3550 section 6).
//!
//! ```text
//!  0                   1                   2                   3
//! |V=2|P|  count  |  packet type  |      length in words - 1      |
//! |                     SSRC of who sends it                      |
//! |                       what the type has ...
//! ```
//!
//! A datagram is a compound of such packets. It may begin with any (RFC 5506).

mod feedback;
mod report;
pub mod write;

use thiserror::Error;

pub use feedback::{BitrateLimit, BitrateLimits, FeedbackPacket, KeyFrameRequests, Nack, Remb};
pub use report::{
    Bye, Delay, Descriptions, ExtendedBlock, ExtendedReport, ReceiverReport, ReportBlock, SenderReport,
    SenderReportPacket,
};

use crate::feedback::EncodedFeedback;

/// How many report blocks, chunks or sources a packet has room for: its count has five bits.
pub const COUNT_MAX: usize = 31;
/// Transport-wide feedback tells of thousands of packets in a few bytes: a compound has no more of it.
pub const TRANSPORT_FEEDBACKS_MAX: usize = 8;
/// Who something is about, 0 where the format says so or there is nobody.
pub type Ssrc = u32;

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const COUNT_MASK: u8 = 0x1f;
const HEADER_BYTES: usize = 4;

/// Packet types (RFC 3550 section 12.1, RFC 4585 section 6.1, RFC 3611 section 2).
mod kind {
    pub(super) const SENDER_REPORT: u8 = 200;
    pub(super) const RECEIVER_REPORT: u8 = 201;
    pub(super) const DESCRIPTIONS: u8 = 202;
    pub(super) const BYE: u8 = 203;
    pub(super) const TRANSPORT_FEEDBACK: u8 = 205;
    pub(super) const PAYLOAD_FEEDBACK: u8 = 206;
    pub(super) const EXTENDED_REPORT: u8 = 207;
}

/// What a peer sent that is no RTCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("{got} bytes are left of the compound, its next packet needs {needed}")]
    Short { needed: usize, got: usize },
    #[error("an RTCP packet is of version {got}, not 2")]
    Version { got: u8 },
    #[error("an RTCP packet claims {claimed} bytes of padding in a body of {got} bytes")]
    Padding { claimed: u8, got: usize },
    /// `count`: as its header has it, a number or a format.
    #[error("an RTCP packet of type {packet_type} and count {count} cannot have a body of {got} bytes")]
    Body { packet_type: u8, count: u8, got: usize },
    #[error("a transport-wide feedback claims {claimed} packets, more than {max}")]
    TooManyPackets { claimed: u16, max: usize },
    #[error("a compound has more than {TRANSPORT_FEEDBACKS_MAX} transport-wide feedbacks")]
    TooManyFeedbacks,
    #[error("a transport-wide feedback has a symbol that is reserved")]
    ReservedSymbol,
    #[error("a transport-wide feedback ends before it told all packets")]
    FeedbackCutOff,
}

/// One packet of a compound. Lists are read when they are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packet<'a> {
    SenderReport(SenderReportPacket<'a>),
    ReceiverReport(ReceiverReport<'a>),
    Descriptions(Descriptions<'a>),
    Bye(Bye<'a>),
    Nack(Nack<'a>),
    /// Picture loss indication (RFC 4585 section 6.3.1), for the media SSRC.
    Pli(FeedbackPacket),
    /// Full intra requests (RFC 5104 section 4.3.1).
    Fir(KeyFrameRequests<'a>),
    /// RFC 5104 section 4.2.1.
    Tmmbr(BitrateLimits<'a>),
    /// RFC 5104 section 4.2.2.
    Tmmbn(BitrateLimits<'a>),
    /// draft-alvestrand-rmcat-remb. Read for the statistics of old endpoints: an estimate that a peer
    /// makes up is not believed.
    Remb(Remb<'a>),
    TransportFeedback(EncodedFeedback<'a>),
    ExtendedReport(ExtendedReport<'a>),
}

/// The packets of a compound, without those of types that are not known. One that is malformed does
/// not hide those behind it, unless it is unknown where it ends.
#[derive(Debug, Clone)]
pub struct Packets<'a> {
    rest: &'a [u8],
    feedbacks: usize,
}

pub fn parse(compound: &[u8]) -> Packets<'_> {
    Packets { rest: compound, feedbacks: 0 }
}

impl<'a> Iterator for Packets<'a> {
    type Item = Result<Packet<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if self.rest.is_empty() {
                return None;
            }
            let frame = match Frame::split(self.rest) {
                Ok((frame, rest)) => {
                    self.rest = rest;
                    frame
                }
                Err(malformed) => {
                    self.rest = &[];
                    return Some(Err(malformed));
                }
            };
            let packet = frame.and_then(Frame::read);
            if let Ok(Some(Packet::TransportFeedback(_))) = packet {
                self.feedbacks += 1;
                if self.feedbacks > TRANSPORT_FEEDBACKS_MAX {
                    self.rest = &[];
                    return Some(Err(Malformed::TooManyFeedbacks));
                }
            }
            if let Some(packet) = packet.transpose() {
                return Some(packet);
            }
        }
    }
}

/// A packet whose end is known.
#[derive(Debug, Clone, Copy)]
struct Frame<'a> {
    packet_type: u8,
    count: u8,
    /// Without padding.
    body: &'a [u8],
}

type Split<'a> = (Result<Frame<'a>, Malformed>, &'a [u8]);

impl<'a> Frame<'a> {
    /// The first packet, or what is wrong with it alone, and what follows it.
    fn split(compound: &'a [u8]) -> Result<Split<'a>, Malformed> {
        let short = |needed| Malformed::Short { needed, got: compound.len() };
        let (header, rest) = compound.split_first_chunk::<HEADER_BYTES>().ok_or(short(HEADER_BYTES))?;
        let [first, packet_type, high, low] = *header;
        if first >> 6 != VERSION {
            return Err(Malformed::Version { got: first >> 6 });
        }
        let length = 4 * usize::from(u16::from_be_bytes([high, low]));
        let (body, rest) = rest.split_at_checked(length).ok_or(short(HEADER_BYTES + length))?;
        let padding = if first & PADDING_BIT != 0 { Some(body.last().copied().unwrap_or(0)) } else { None };
        let frame = match padding {
            None => Ok(body),
            Some(claimed) if claimed == 0 || usize::from(claimed) > body.len() => {
                Err(Malformed::Padding { claimed, got: body.len() })
            }
            Some(claimed) => Ok(&body[..body.len() - usize::from(claimed)]),
        };
        Ok((frame.map(|body| Frame { packet_type, count: first & COUNT_MASK, body }), rest))
    }

    /// None: of a type that is not known.
    fn read(self) -> Result<Option<Packet<'a>>, Malformed> {
        let Frame { packet_type, count, body } = self;
        let packet = match packet_type {
            kind::SENDER_REPORT => SenderReportPacket::read(count, body).map(Packet::SenderReport),
            kind::RECEIVER_REPORT => ReceiverReport::read(count, body).map(Packet::ReceiverReport),
            kind::DESCRIPTIONS => Descriptions::read(count, body).map(Packet::Descriptions),
            kind::BYE => Bye::read(count, body).map(Packet::Bye),
            kind::EXTENDED_REPORT => ExtendedReport::read(body).map(Packet::ExtendedReport),
            kind::TRANSPORT_FEEDBACK | kind::PAYLOAD_FEEDBACK => {
                match feedback::read(packet_type, count, body) {
                    feedback::Read::Packet(packet) => Some(packet),
                    feedback::Read::Unknown => return Ok(None),
                    feedback::Read::Malformed => None,
                }
            }
            _ => return Ok(None),
        };
        packet.map(Some).ok_or(Malformed::Body { packet_type, count, got: body.len() })
    }
}

/// The next four bytes, in network order.
fn take_u32(bytes: &[u8]) -> Option<(u32, &[u8])> {
    let (word, rest) = bytes.split_first_chunk()?;
    Some((u32::from_be_bytes(*word), rest))
}

/// The words of a whole list.
fn words(bytes: &[u8]) -> impl Iterator<Item = u32> + Clone + '_ {
    bytes.as_chunks().0.iter().map(|word| u32::from_be_bytes(*word))
}

#[cfg(test)]
mod tests;
