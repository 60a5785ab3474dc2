//! Reports, descriptions and farewells.

use super::{Ssrc, take_u32, words};
use crate::ntp::NtpTime;

const BLOCK_BYTES: usize = 24;
/// The SDES item that names an endpoint (RFC 3550 section 6.5.1).
pub(super) const CNAME: u8 = 1;
/// Of extended reports (RFC 3611 sections 4.4 and 4.5).
pub(super) const REFERENCE_TIME: u8 = 4;
pub(super) const DELAYS: u8 = 5;

/// How a stream fared on the way to who reports it (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReportBlock {
    /// The stream's.
    pub ssrc: Ssrc,
    /// Since the report before, in 256ths.
    pub fraction_lost: u8,
    /// In all; of 24 bits. Negative if more came than were sent, by duplicates.
    pub lost: i32,
    /// Highest sequence number, its lower 32 bits.
    pub highest: u32,
    /// In ticks of the stream's clock.
    pub jitter: u32,
    /// [`NtpTime::middle`] of the last sender report, 0 if there was none.
    pub last_report: u32,
    /// Since that came, in 2^-16 s.
    pub delay: u32,
}

impl ReportBlock {
    fn read(bytes: &[u8; BLOCK_BYTES]) -> Self {
        let [ssrc, loss, highest, jitter, last_report, delay] =
            std::array::from_fn(|at| u32::from_be_bytes(std::array::from_fn(|byte| bytes[4 * at + byte])));
        let (fraction_lost, lost) = ((loss >> 24) as u8, (loss << 8).cast_signed() >> 8);
        ReportBlock { ssrc, fraction_lost, lost, highest, jitter, last_report, delay }
    }
}

fn blocks(bytes: &[u8]) -> impl Iterator<Item = ReportBlock> + Clone + '_ {
    bytes.as_chunks().0.iter().map(ReportBlock::read)
}

/// What a sender says of its stream (RFC 3550 section 6.4.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReport {
    pub ssrc: Ssrc,
    /// When it was sent, by the sender's clock.
    pub time: NtpTime,
    /// Of media that is captured at that time.
    pub timestamp: u32,
    /// Both wrap. Octets are those of payloads.
    pub packets: u32,
    pub octets: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SenderReportPacket<'a> {
    pub report: SenderReport,
    blocks: &'a [u8],
}

impl<'a> SenderReportPacket<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        let (ssrc, rest) = take_u32(body)?;
        let (time, rest) = rest.split_first_chunk()?;
        let (timestamp, rest) = take_u32(rest)?;
        let (packets, rest) = take_u32(rest)?;
        let (octets, rest) = take_u32(rest)?;
        let time = NtpTime(u64::from_be_bytes(*time));
        let report = SenderReport { ssrc, time, timestamp, packets, octets };
        Some(SenderReportPacket { report, blocks: rest.get(..BLOCK_BYTES * usize::from(count))? })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + Clone + 'a {
        blocks(self.blocks)
    }
}

/// RFC 3550 section 6.4.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceiverReport<'a> {
    /// Of who reports.
    pub sender_ssrc: Ssrc,
    blocks: &'a [u8],
}

impl<'a> ReceiverReport<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, rest) = take_u32(body)?;
        Some(ReceiverReport { sender_ssrc, blocks: rest.get(..BLOCK_BYTES * usize::from(count))? })
    }

    pub fn blocks(&self) -> impl Iterator<Item = ReportBlock> + Clone + 'a {
        blocks(self.blocks)
    }
}

/// Source descriptions (RFC 3550 section 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Descriptions<'a> {
    count: u8,
    chunks: &'a [u8],
}

impl<'a> Descriptions<'a> {
    pub(super) fn read(count: u8, chunks: &'a [u8]) -> Option<Self> {
        let mut rest = chunks;
        for _ in 0..count {
            (_, rest) = chunk(rest)?;
        }
        Some(Descriptions { count, chunks })
    }

    /// The SSRCs that have a canonical name, and that.
    pub fn names(&self) -> impl Iterator<Item = (Ssrc, &'a [u8])> + 'a {
        let mut rest = self.chunks;
        let chunks = (0..self.count).map_while(move |_| {
            let (described, behind) = chunk(rest)?;
            rest = behind;
            Some(described)
        });
        chunks.filter_map(|(ssrc, name)| Some((ssrc, name?)))
    }
}

type Chunk<'a> = (Ssrc, Option<&'a [u8]>);

/// The first chunk, and what follows. A chunk is an SSRC and items, up to one of type 0, and filled up
/// to whole words.
fn chunk(bytes: &[u8]) -> Option<(Chunk<'_>, &[u8])> {
    let (ssrc, mut rest) = take_u32(bytes)?;
    let mut name = None;
    loop {
        let (&item, behind) = rest.split_first()?;
        if item == 0 {
            let read = bytes.len() - behind.len();
            return Some(((ssrc, name), bytes.get(read.next_multiple_of(4)..)?));
        }
        let (&length, behind) = behind.split_first()?;
        let (value, behind) = behind.split_at_checked(usize::from(length))?;
        if item == CNAME {
            name = Some(value);
        }
        rest = behind;
    }
}

/// Sources that end (RFC 3550 section 6.6).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bye<'a> {
    ssrcs: &'a [u8],
}

impl<'a> Bye<'a> {
    pub(super) fn read(count: u8, body: &'a [u8]) -> Option<Self> {
        Some(Bye { ssrcs: body.get(..4 * usize::from(count))? })
    }

    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + Clone + 'a {
        words(self.ssrcs)
    }
}

/// RFC 3611.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ExtendedReport<'a> {
    pub sender_ssrc: Ssrc,
    blocks: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExtendedBlock {
    /// When a receiver that sends nothing sent this (section 4.4).
    ReferenceTime(NtpTime),
    Delay(Delay),
}

/// How long such a receiver's report has been here (section 4.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delay {
    /// Of the receiver.
    pub ssrc: Ssrc,
    /// [`NtpTime::middle`] of its reference time, 0 if there was none.
    pub last_report: u32,
    /// Since that came, in 2^-16 s.
    pub delay: u32,
}

impl<'a> ExtendedReport<'a> {
    pub(super) fn read(body: &'a [u8]) -> Option<Self> {
        let (sender_ssrc, blocks) = take_u32(body)?;
        let mut rest = blocks;
        while !rest.is_empty() {
            let (kind, contents, behind) = extended_block(rest)?;
            let fits = match kind {
                REFERENCE_TIME => contents.len() == 8,
                DELAYS => contents.len() % 12 == 0,
                _ => true,
            };
            if !fits {
                return None;
            }
            rest = behind;
        }
        Some(ExtendedReport { sender_ssrc, blocks })
    }

    /// Those that are known.
    pub fn blocks(&self) -> impl Iterator<Item = ExtendedBlock> + 'a {
        let mut rest = self.blocks;
        let blocks = std::iter::from_fn(move || {
            let (kind, contents, behind) = extended_block(rest)?;
            rest = behind;
            Some((kind, contents))
        });
        blocks.flat_map(|(kind, contents)| {
            let (time, delays) = match kind {
                REFERENCE_TIME => (contents.first_chunk(), &[][..]),
                DELAYS => (None, contents.as_chunks::<12>().0),
                _ => (None, &[][..]),
            };
            let time = time.map(|bytes| ExtendedBlock::ReferenceTime(NtpTime(u64::from_be_bytes(*bytes))));
            time.into_iter().chain(delays.iter().map(|delay| {
                let [ssrc, last_report, delay] = std::array::from_fn(|at| {
                    u32::from_be_bytes(std::array::from_fn(|byte| delay[4 * at + byte]))
                });
                ExtendedBlock::Delay(Delay { ssrc, last_report, delay })
            }))
        })
    }
}

/// Type and contents of the first block, and what follows.
fn extended_block(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&[kind, _, high, low], rest) = bytes.split_first_chunk()?;
    let length = 4 * usize::from(u16::from_be_bytes([high, low]));
    let (contents, rest) = rest.split_at_checked(length)?;
    Some((kind, contents, rest))
}
