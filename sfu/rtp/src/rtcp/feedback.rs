//! Feedback: what is asked of a sender at once (RFC 4585 section 6.1, RFC 5104).
//!
//! ```text
//! |                 SSRC of who sends the feedback                |
//! |                 SSRC of the stream it is about                |
//! |                       items of the format ...
//! ```

use super::{Packet, Ssrc, kind, take_u32, words};
use crate::feedback::EncodedFeedback;

/// Formats, which stand where reports have their count.
pub(super) mod format {
    pub(in super::super) const NACK: u8 = 1;
    pub(in super::super) const TMMBR: u8 = 3;
    pub(in super::super) const TMMBN: u8 = 4;
    pub(in super::super) const TRANSPORT_WIDE: u8 = 15;
    pub(in super::super) const PLI: u8 = 1;
    pub(in super::super) const FIR: u8 = 4;
    pub(in super::super) const APPLICATION: u8 = 15;
}

const REMB_NAME: &[u8; 4] = b"REMB";

/// Who sends a feedback, and about which stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeedbackPacket {
    pub sender_ssrc: Ssrc,
    pub media_ssrc: Ssrc,
}

pub(super) enum Read<'a> {
    Packet(Packet<'a>),
    Unknown,
    Malformed,
}

pub(super) fn read(packet_type: u8, format: u8, body: &[u8]) -> Read<'_> {
    let Some((sender_ssrc, rest)) = take_u32(body) else { return Read::Malformed };
    let Some((media_ssrc, items)) = take_u32(rest) else { return Read::Malformed };
    let is_transport = packet_type == kind::TRANSPORT_FEEDBACK;
    let whole = |bytes: usize| !items.is_empty() && items.len().is_multiple_of(bytes);
    let packet = match format {
        format::NACK if is_transport => {
            whole(4).then_some(Packet::Nack(Nack { sender_ssrc, media_ssrc, items }))
        }
        // A notification may have no entry (RFC 5104 section 4.2.2.1).
        format::TMMBR | format::TMMBN if is_transport => {
            let limits = BitrateLimits { sender_ssrc, entries: items };
            let is_request = format == format::TMMBR;
            let packet = if is_request { Packet::Tmmbr(limits) } else { Packet::Tmmbn(limits) };
            (whole(8) || items.is_empty() && !is_request).then_some(packet)
        }
        format::TRANSPORT_WIDE if is_transport => {
            EncodedFeedback::read(sender_ssrc, media_ssrc, items).map(Packet::TransportFeedback)
        }
        format::PLI if !is_transport => Some(Packet::Pli(FeedbackPacket { sender_ssrc, media_ssrc })),
        format::FIR if !is_transport => {
            whole(8).then_some(Packet::Fir(KeyFrameRequests { sender_ssrc, entries: items }))
        }
        format::APPLICATION if !is_transport && items.starts_with(REMB_NAME) => {
            Remb::read(sender_ssrc, &items[REMB_NAME.len()..]).map(Packet::Remb)
        }
        _ => return Read::Unknown,
    };
    packet.map_or(Read::Malformed, Read::Packet)
}

/// Packets that are asked for again (RFC 4585 section 6.2.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nack<'a> {
    pub sender_ssrc: Ssrc,
    pub media_ssrc: Ssrc,
    items: &'a [u8],
}

impl<'a> Nack<'a> {
    /// As they stand there: a peer may name any of them, any number of times. At most 17 for each
    /// four bytes.
    pub fn numbers(&self) -> impl Iterator<Item = u16> + Clone + 'a {
        words(self.items).flat_map(|item| {
            let (number, following) = ((item >> 16) as u16, item as u16);
            let others = (0..16).filter(move |bit| following & (1 << bit) != 0);
            std::iter::once(number).chain(others.map(move |bit| number.wrapping_add(bit + 1)))
        })
    }
}

/// Key frames that are asked for (RFC 5104 section 4.3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeyFrameRequests<'a> {
    pub sender_ssrc: Ssrc,
    entries: &'a [u8],
}

impl<'a> KeyFrameRequests<'a> {
    /// The stream that should have one, and the number of the request: who repeats a request repeats
    /// its number.
    pub fn entries(&self) -> impl Iterator<Item = (Ssrc, u8)> + Clone + 'a {
        self.entries
            .as_chunks::<8>()
            .0
            .iter()
            .map(|&[a, b, c, d, number, ..]| (u32::from_be_bytes([a, b, c, d]), number))
    }
}

/// What streams may take at most (RFC 5104 section 4.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitrateLimits<'a> {
    pub sender_ssrc: Ssrc,
    entries: &'a [u8],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BitrateLimit {
    pub ssrc: Ssrc,
    pub bitrate_bps: u64,
    /// What each packet adds, on average.
    pub overhead_bytes: u16,
}

impl<'a> BitrateLimits<'a> {
    pub fn entries(&self) -> impl Iterator<Item = BitrateLimit> + Clone + 'a {
        self.entries.as_chunks::<8>().0.iter().map(|&[a, b, c, d, e, f, g, h]| {
            // 6 bits of exponent, 17 of mantissa, 9 of overhead.
            let limit = u32::from_be_bytes([e, f, g, h]);
            let overhead_bytes = (limit & 0x1ff) as u16;
            let bitrate_bps = scaled(u64::from(limit >> 9 & 0x1_ffff), limit >> 26);
            BitrateLimit { ssrc: u32::from_be_bytes([a, b, c, d]), bitrate_bps, overhead_bytes }
        })
    }
}

/// What a receiver believes that it can receive (draft-alvestrand-rmcat-remb-03 section 2.2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Remb<'a> {
    pub sender_ssrc: Ssrc,
    pub bitrate_bps: u64,
    ssrcs: &'a [u8],
}

impl<'a> Remb<'a> {
    fn read(sender_ssrc: Ssrc, bytes: &'a [u8]) -> Option<Self> {
        let (&[count, high, middle, low], rest) = bytes.split_first_chunk()?;
        // 6 bits of exponent, 18 of mantissa.
        let mantissa = u64::from(u32::from_be_bytes([0, high & 0x3, middle, low]));
        let bitrate_bps = scaled(mantissa, u32::from(high >> 2));
        Some(Remb { sender_ssrc, bitrate_bps, ssrcs: rest.get(..4 * usize::from(count))? })
    }

    pub fn ssrcs(&self) -> impl Iterator<Item = Ssrc> + Clone + 'a {
        words(self.ssrcs)
    }
}

/// What has no room is the most that there is.
fn scaled(mantissa: u64, exponent: u32) -> u64 {
    if mantissa.leading_zeros() < exponent { u64::MAX } else { mantissa.checked_shl(exponent).unwrap_or(0) }
}
