//! RTP headers (RFC 3550 section 5.1) with extensions of one and two bytes (RFC 8285).

const ONE_BYTE: u16 = 0xbede;
/// Extensions of two-byte form: the four lower bits are for the application.
const TWO_BYTES: u16 = 0x1000;
pub const HEADER_BYTES: usize = 12;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    pub payload_type: u8,
    pub marker: bool,
    /// It ends with padding, or is nothing else.
    pub padded: bool,
    pub sequence_number: u16,
    pub timestamp: u32,
    pub ssrc: u32,
    /// Start and length of the extensions, without their own header.
    extensions: Option<(usize, usize)>,
    two_bytes: bool,
    pub payload_offset: usize,
}

impl Header {
    /// None: it is no RTP packet.
    pub fn parse(packet: &[u8]) -> Option<Header> {
        let first = *packet.first()?;
        if packet.len() < HEADER_BYTES || first >> 6 != 2 {
            return None;
        }
        let mut offset = HEADER_BYTES + 4 * usize::from(first & 0x0f);
        let (mut extensions, mut two_bytes) = (None, false);
        if first & 0x10 != 0 {
            let head = packet.get(offset..offset + 4)?;
            let profile = short(head);
            let length = 4 * usize::from(short(&head[2..]));
            two_bytes = profile & 0xfff0 == TWO_BYTES;
            if two_bytes || profile == ONE_BYTE {
                extensions = Some((offset + 4, length));
            }
            offset += 4 + length;
        }
        (packet.len() >= offset).then(|| Header {
            payload_type: packet[1] & 0x7f,
            marker: packet[1] & 0x80 != 0,
            padded: first & 0x20 != 0,
            sequence_number: short(&packet[2..]),
            timestamp: long(&packet[4..]),
            ssrc: long(&packet[8..]),
            extensions,
            two_bytes,
            payload_offset: offset,
        })
    }

    /// The value of an extension.
    pub fn extension<'a>(&self, packet: &'a [u8], id: u8) -> Option<&'a [u8]> {
        let (start, length) = self.extensions?;
        let mut rest = packet.get(start..start + length)?;
        while let [first, tail @ ..] = rest {
            if *first == 0 {
                rest = tail;
                continue;
            }
            let (found, length, tail) = match self.two_bytes {
                true => (*first, usize::from(*tail.first()?), &tail[1..]),
                false => (first >> 4, usize::from(first & 0x0f) + 1, tail),
            };
            let value = tail.get(..length)?;
            if found == id {
                return Some(value);
            }
            rest = &tail[length..];
        }
        None
    }
}

/// What the sender had before it padded: the last byte of padding says how long it is. Nothing, if that
/// is longer than the payload.
pub fn without_padding<'a>(payload: &'a [u8], header: &Header) -> &'a [u8] {
    let padding = if header.padded { payload.last().copied().unwrap_or(0) } else { 0 };
    payload.get(..payload.len().wrapping_sub(padding.into())).unwrap_or_default()
}

/// Writes a header with extensions of the one-byte form, each of 1 to 16 bytes.
pub fn write(
    packet: &mut Vec<u8>,
    (payload_type, marker): (u8, bool),
    sequence_number: u64,
    timestamp: u32,
    ssrc: u32,
    extensions: &[(u8, &[u8])],
) {
    packet.push(if extensions.is_empty() { 0x80 } else { 0x90 });
    packet.push(payload_type | if marker { 0x80 } else { 0 });
    packet.extend((sequence_number as u16).to_be_bytes());
    packet.extend(timestamp.to_be_bytes());
    packet.extend(ssrc.to_be_bytes());
    if extensions.is_empty() {
        return;
    }
    let bytes: usize = extensions.iter().map(|(_, value)| 1 + value.len()).sum();
    packet.extend(ONE_BYTE.to_be_bytes());
    packet.extend((bytes.div_ceil(4) as u16).to_be_bytes());
    for (id, value) in extensions {
        packet.push(id << 4 | (value.len() - 1) as u8);
        packet.extend(*value);
    }
    packet.resize(packet.len() + bytes.next_multiple_of(4) - bytes, 0);
}

/// The number that is nearest to `reference` of those that end in `number`.
pub fn extend(number: u16, reference: u64) -> u64 {
    let distance = number.wrapping_sub(reference as u16) as i16;
    // Before the very first there is nothing.
    reference.checked_add_signed(distance.into()).unwrap_or(u64::from(number))
}

pub(super) fn short(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

pub(super) fn long(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([bytes[0], bytes[1], bytes[2], bytes[3]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_written_header_is_read_again() {
        let mut packet = Vec::new();
        write(&mut packet, (96, true), 65_537, 7, 9, &[(3, &[1, 2]), (4, b"video")]);
        packet.extend(b"payload");
        let header = Header::parse(&packet).expect("it is RTP");
        assert_eq!((header.payload_type, header.marker, header.sequence_number), (96, true, 1));
        assert_eq!((header.timestamp, header.ssrc), (7, 9));
        assert_eq!(&packet[header.payload_offset..], b"payload");
        assert_eq!(header.extension(&packet, 3), Some(&[1, 2][..]));
        assert_eq!(header.extension(&packet, 4), Some(&b"video"[..]));
        assert_eq!(header.extension(&packet, 5), None);
        for length in 0..header.payload_offset {
            assert_eq!(Header::parse(&packet[..length]), None);
        }
    }

    #[test]
    fn padding_is_taken_away_and_never_more_than_there_is() {
        let mut packet = Vec::new();
        write(&mut packet, (96, false), 1, 7, 9, &[]);
        let plain = Header::parse(&packet).expect("it is RTP");
        packet[0] |= 0x20;
        let padded = Header::parse(&packet).expect("it is RTP");
        assert_eq!(without_padding(b"media\0\x02", &plain), b"media\0\x02");
        assert_eq!(without_padding(b"media\0\x02", &padded), b"media");
        for nothing in [&b""[..], b"\0\x02", b"media\x07"] {
            assert_eq!(without_padding(nothing, &padded), b"");
        }
    }

    #[test]
    fn numbers_are_extended_across_their_wrap() {
        assert_eq!(extend(2, 65_534), 65_538);
        assert_eq!(extend(65_534, 65_538), 65_534);
        assert_eq!(extend(65_535, 2), 65_535);
    }
}
