//! RFC 4571 section 2: each packet is preceded by its length in 16 bits.

use thiserror::Error;

use crate::sys::udp::DATAGRAM_BYTES_MAX;

pub(crate) const PREFIX_BYTES: usize = 2;
/// Room for several packets, so that a busy connection needs few reads.
const BUFFER_BYTES: usize = 4 * (PREFIX_BYTES + DATAGRAM_BYTES_MAX);

#[derive(Debug, PartialEq, Eq, Error)]
#[error("the peer framed a packet of {0} bytes, and at most {DATAGRAM_BYTES_MAX} are taken")]
pub(crate) struct TooLong(usize);

/// Cuts a stream of bytes into packets.
pub(crate) struct FrameReader {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl FrameReader {
    pub(crate) fn new() -> Self {
        FrameReader { buffer: vec![0; BUFFER_BYTES].into(), start: 0, end: 0 }
    }

    /// Where the next bytes go; never empty once [`FrameReader::next`] gave None.
    pub(crate) fn space(&mut self) -> &mut [u8] {
        self.buffer.copy_within(self.start..self.end, 0);
        (self.start, self.end) = (0, self.end - self.start);
        &mut self.buffer[self.end..]
    }

    /// So many bytes were written to the space.
    pub(crate) fn advance(&mut self, count: usize) {
        self.end = (self.end + count).min(self.buffer.len());
    }

    /// The next whole packet. Empty ones are skipped: the RFC lets them stand for nothing.
    pub(crate) fn next(&mut self) -> Result<Option<&[u8]>, TooLong> {
        loop {
            let [high, low, ..] = self.buffer[self.start..self.end] else { return Ok(None) };
            let length = usize::from(u16::from_be_bytes([high, low]));
            if length > DATAGRAM_BYTES_MAX {
                return Err(TooLong(length));
            }
            let start = self.start + PREFIX_BYTES;
            if self.end < start + length {
                return Ok(None);
            }
            self.start = start + length;
            if length > 0 {
                return Ok(Some(&self.buffer[start..start + length]));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(packets: &[&[u8]]) -> Vec<u8> {
        packets.iter().flat_map(|p| [&(p.len() as u16).to_be_bytes()[..], p].concat()).collect()
    }

    #[test]
    fn packets_are_found_however_the_stream_is_cut() {
        let long = [9; DATAGRAM_BYTES_MAX];
        let packets: [&[u8]; 7] = [b"a", b"", b"bcd", &long, b"", &long, b"e"];
        let stream = framed(&packets);
        for step in [1, 2, 3, 7, 1_000, usize::MAX] {
            let mut reader = FrameReader::new();
            let mut rest = &stream[..];
            let mut found = Vec::new();
            while !rest.is_empty() {
                let space = reader.space();
                let count = rest.len().min(step).min(space.len());
                space[..count].copy_from_slice(&rest[..count]);
                reader.advance(count);
                rest = &rest[count..];
                while let Some(packet) = reader.next().expect("none is too long") {
                    found.push(packet.to_vec());
                }
            }
            let expected: Vec<_> = packets.iter().filter(|p| !p.is_empty()).map(|p| p.to_vec()).collect();
            assert_eq!(found, expected, "in steps of {step}");
        }
    }

    #[test]
    fn a_packet_that_is_too_long_ends_the_stream() {
        let mut reader = FrameReader::new();
        reader.space()[..2].copy_from_slice(&u16::MAX.to_be_bytes());
        reader.advance(2);
        assert_eq!(reader.next(), Err(TooLong(65_535)));
    }
}
