//! RTP headers (RFC 3550 section 5.1), padding, and retransmissions (RFC 4588).
//!
//! ```text
//!  0                   1                   2                   3
//! |V=2|P|X|  CC   |M|     PT      |       sequence number         |
//! |                           timestamp                           |
//! |                             SSRC                              |
//! |                        CSRC, CC times                         |
//! |      profile of extensions    |        length in words        |
//! |                       the extensions ...
//! ```
//!
//! All of that is in clear; what follows, padding and its length included, is sealed by SRTP. So a
//! packet is read in two steps: [`Packet::parse`] before it is opened, [`strip_padding`] after.

use thiserror::Error;

use crate::extension::{self, ExtensionIds, Values};

pub const FIXED_HEADER_BYTES: usize = 12;
/// What a retransmission has in front of the payload: the sequence number that it had at first.
pub const RTX_BYTES: usize = 2;

const VERSION: u8 = 2;
const PADDING_BIT: u8 = 0x20;
const EXTENSION_BIT: u8 = 0x10;
const MARKER_BIT: u8 = 0x80;

/// What a peer sent that is no RTP packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Malformed {
    #[error("the packet has {got} bytes, its header needs {needed}")]
    Short { needed: usize, got: usize },
    #[error("the packet is of RTP version {got}, not 2")]
    Version { got: u8 },
    #[error("the packet claims {claimed} bytes of padding in {got} bytes of payload")]
    Padding { claimed: u8, got: usize },
}

/// Whether a datagram, known to be RTP or RTCP by its first byte, is RTCP (RFC 5761 section 4).
pub fn is_rtcp(datagram: &[u8]) -> bool {
    datagram.get(1).is_some_and(|packet_type| (192..=223).contains(packet_type))
}

/// The fields that every packet has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub marker: bool,
    /// Seven bits.
    pub payload_type: u8,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
}

/// The part of a packet that is in clear.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Packet<'a> {
    pub header: Header,
    /// [`strip_padding`] is to be called once the payload is open.
    pub has_padding: bool,
    /// Four bytes for each contributing source.
    pub csrcs: &'a [u8],
    pub extensions: Option<Block<'a>>,
    /// Where the payload begins.
    pub header_length: usize,
}

/// The header extensions of a packet, in one piece.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Block<'a> {
    pub profile: u16,
    pub bytes: &'a [u8],
}

impl<'a> Packet<'a> {
    /// # Errors
    /// The header is of another version, or longer than the datagram.
    pub fn parse(datagram: &'a [u8]) -> Result<Self, Malformed> {
        let short = |needed| Malformed::Short { needed, got: datagram.len() };
        let Some((fixed, rest)) = datagram.split_first_chunk::<FIXED_HEADER_BYTES>() else {
            return Err(short(FIXED_HEADER_BYTES));
        };
        let [first, second, n0, n1, t0, t1, t2, t3, s0, s1, s2, s3] = *fixed;
        if first >> 6 != VERSION {
            return Err(Malformed::Version { got: first >> 6 });
        }
        let csrc_bytes = 4 * usize::from(first & 0xf);
        let mut header_length = FIXED_HEADER_BYTES + csrc_bytes;
        let (csrcs, rest) = rest.split_at_checked(csrc_bytes).ok_or(short(header_length))?;
        let mut extensions = None;
        if first & EXTENSION_BIT != 0 {
            header_length += extension::HEADER_BYTES;
            let (words, rest) = rest.split_first_chunk().ok_or(short(header_length))?;
            let [p0, p1, l0, l1] = *words;
            let length = 4 * usize::from(u16::from_be_bytes([l0, l1]));
            header_length += length;
            let bytes = rest.get(..length).ok_or(short(header_length))?;
            extensions = Some(Block { profile: u16::from_be_bytes([p0, p1]), bytes });
        }
        let header = Header {
            marker: second & MARKER_BIT != 0,
            payload_type: second & !MARKER_BIT,
            sequence_number: u16::from_be_bytes([n0, n1]),
            timestamp: u32::from_be_bytes([t0, t1, t2, t3]),
            ssrc: u32::from_be_bytes([s0, s1, s2, s3]),
        };
        Ok(Packet { header, has_padding: first & PADDING_BIT != 0, csrcs, extensions, header_length })
    }
}

impl Header {
    /// Writes the header and those of `values` that have an id. Returns how long it became; None if
    /// it has no room in `out`.
    pub fn write(&self, ids: &ExtensionIds, values: &Values<'_>, out: &mut [u8]) -> Option<usize> {
        let (fixed, rest) = out.split_first_chunk_mut::<FIXED_HEADER_BYTES>()?;
        let length = extension::write(ids, values, rest)?;
        fixed[0] = VERSION << 6 | if length > 0 { EXTENSION_BIT } else { 0 };
        fixed[1] = self.payload_type & !MARKER_BIT | if self.marker { MARKER_BIT } else { 0 };
        fixed[2..4].copy_from_slice(&self.sequence_number.to_be_bytes());
        fixed[4..8].copy_from_slice(&self.timestamp.to_be_bytes());
        fixed[8..12].copy_from_slice(&self.ssrc.to_be_bytes());
        Some(FIXED_HEADER_BYTES + length)
    }
}

/// Says that the packet whose header is in `header` ends in padding. The padding is the caller's to
/// append: zeros, and its length in the last byte.
pub fn mark_padded(header: &mut [u8]) {
    if let Some(first) = header.first_mut() {
        *first |= PADDING_BIT;
    }
}

/// The opened payload of a packet that has padding, without it. What was padding only becomes empty.
///
/// # Errors
/// The padding is longer than the payload, or claims to have no length.
pub fn strip_padding(payload: &[u8]) -> Result<&[u8], Malformed> {
    let claimed = payload.last().copied().unwrap_or(0);
    let malformed = Malformed::Padding { claimed, got: payload.len() };
    let kept = payload.len().checked_sub(usize::from(claimed)).ok_or(malformed)?;
    if claimed == 0 { Err(malformed) } else { Ok(&payload[..kept]) }
}

/// The sequence number that a retransmitted packet had at first, and its payload (RFC 4588 section
/// 4). None: it is padding.
pub fn repaired(rtx_payload: &[u8]) -> Option<(u16, &[u8])> {
    let (number, payload) = rtx_payload.split_first_chunk::<RTX_BYTES>()?;
    (!payload.is_empty()).then_some((u16::from_be_bytes(*number), payload))
}

/// What a retransmission has in front of its payload.
pub fn repair_prefix(original: u16) -> [u8; RTX_BYTES] {
    original.to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HEADER: Header =
        Header { marker: true, payload_type: 96, sequence_number: 0x1234, timestamp: 7, ssrc: 0xdead_beef };

    #[test]
    fn contributing_sources_and_extensions_are_part_of_the_header() {
        let mut datagram = vec![0xb1, 0xe0, 0x12, 0x34, 0, 0, 0, 7, 0xde, 0xad, 0xbe, 0xef];
        datagram.extend([1, 2, 3, 4]);
        datagram.extend([0xbe, 0xde, 0, 1, 0x10, 9, 0, 0]);
        datagram.extend(b"sealed");
        let packet = Packet::parse(&datagram).expect("it is whole");
        assert_eq!((packet.header, packet.has_padding, packet.header_length), (HEADER, true, 24));
        assert_eq!(packet.csrcs, [1, 2, 3, 4]);
        assert_eq!(packet.extensions, Some(Block { profile: 0xbede, bytes: &[0x10, 9, 0, 0] }));
        for length in 0..24 {
            let error = Packet::parse(&datagram[..length]).expect_err("it is cut off");
            assert!(matches!(error, Malformed::Short { needed, got } if needed > got && got == length));
        }
        datagram[0] = 0x40;
        assert_eq!(Packet::parse(&datagram), Err(Malformed::Version { got: 1 }));
    }

    #[test]
    fn padding_is_stripped() {
        assert_eq!(strip_padding(&[7, 0, 0, 3]), Ok(&[7][..]));
        assert_eq!(strip_padding(&[0, 2]), Ok(&[][..]), "padding only");
        assert_eq!(strip_padding(&[0, 3]), Err(Malformed::Padding { claimed: 3, got: 2 }));
        assert_eq!(strip_padding(&[1, 0]), Err(Malformed::Padding { claimed: 0, got: 2 }));
        assert_eq!(strip_padding(&[]), Err(Malformed::Padding { claimed: 0, got: 0 }));
    }

    #[test]
    fn rtcp_is_told_by_its_second_byte() {
        assert!(is_rtcp(&[0x80, 200]) && is_rtcp(&[0x80, 192]) && is_rtcp(&[0x81, 223]));
        assert!(!is_rtcp(&[0x80, 96]) && !is_rtcp(&[0x80, 0x80 | 96]) && !is_rtcp(&[0x80]));
    }

    #[test]
    fn a_retransmission_tells_the_first_number() {
        let mut payload = repair_prefix(0xabcd).to_vec();
        assert_eq!(repaired(&payload), None, "nothing follows");
        payload.push(5);
        assert_eq!(repaired(&payload), Some((0xabcd, &[5][..])));
        assert_eq!(repaired(&payload[..1]), None);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            marker: bool, payload_type in 0..128_u8, sequence_number: u16, timestamp: u32, ssrc: u32,
            transport_number: Option<u16>, room in 0..64_usize,
        ) {
            let header = Header { marker, payload_type, sequence_number, timestamp, ssrc };
            let mut ids = ExtensionIds::default();
            ids.set(extension::Extension::TransportNumber, 5).expect("it is free");
            let values = Values { transport_number, ..Values::default() };
            let mut out = [0xff; 64];
            let written = header.write(&ids, &values, &mut out[..room]);
            let needed = if transport_number.is_some() { 20 } else { 12 };
            prop_assert_eq!(written, (room >= needed).then_some(needed));
            if let Some(length) = written {
                let packet = Packet::parse(&out[..length]).expect("it was written by us");
                prop_assert_eq!((packet.header, packet.header_length), (header, length));
                let read = packet.extensions.map(|block| extension::parse(&ids, block)).unwrap_or_default();
                prop_assert_eq!(read, values);
            }
        }

        #[test]
        fn nothing_panics(datagram in prop::collection::vec(any::<u8>(), 0..80)) {
            is_rtcp(&datagram);
            if let Ok(packet) = Packet::parse(&datagram) {
                prop_assert!(packet.header_length <= datagram.len());
            }
            if let Ok(stripped) = strip_padding(&datagram) {
                prop_assert!(stripped.len() < datagram.len());
            }
        }
    }
}
