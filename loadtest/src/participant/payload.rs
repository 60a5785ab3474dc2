//! Synthetic media: payload headers as real encoders write them, and at the end of each payload a
//! stamp that says when it was sent.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use broletto_control::Codec;

const MAGIC: [u8; 4] = *b"bltt";
/// At the end of each payload.
const STAMP_BYTES: usize = 24;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    /// By the wall clock, as the kernel's arrival times are.
    pub sent_at: Duration,
    /// Which encoding of which publisher.
    pub source: u32,
    /// Counts the packets of the source.
    pub counter: u64,
}

impl Stamp {
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let stamp = &payload[payload.len().checked_sub(STAMP_BYTES)?..];
        let number = |at: usize| u64::from_be_bytes(stamp[at..at + 8].try_into().expect("it is eight bytes"));
        (stamp[..4] == MAGIC).then(|| Stamp {
            source: u32::from_be_bytes(stamp[4..8].try_into().expect("it is four bytes")),
            sent_at: Duration::from_nanos(number(8)),
            counter: number(16),
        })
    }

    /// Into the last bytes of a payload that has room for it.
    pub fn write(&self, payload: &mut [u8]) {
        let at = payload.len() - STAMP_BYTES;
        let stamp = &mut payload[at..];
        stamp[..4].copy_from_slice(&MAGIC);
        stamp[4..8].copy_from_slice(&self.source.to_be_bytes());
        stamp[8..16].copy_from_slice(&(self.sent_at.as_nanos() as u64).to_be_bytes());
        stamp[16..].copy_from_slice(&self.counter.to_be_bytes());
    }
}

/// Since 1970.
pub fn wall_clock() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub codec: Codec,
    pub width: u16,
    pub height: u16,
}

/// Payloads of a frame, each of `bytes`; the parameter sets of H.264 come first in a packet of their
/// own, which is shorter.
pub fn frame(picture: Picture, number: u32, key_frame: bool, packets: usize, bytes: usize) -> Vec<Vec<u8>> {
    let mut payloads = match picture.codec {
        Codec::Vp8 => (0..packets).map(|packet| vp8(picture, number, key_frame, packet == 0)).collect(),
        Codec::H264 => h264(picture, key_frame, packets),
        other => unreachable!("no pictures are made of {other:?}"),
    };
    let whole = payloads.len() - packets;
    for payload in &mut payloads[whole..] {
        payload.resize(bytes.max(payload.len() + STAMP_BYTES), 0xaa);
    }
    for payload in &mut payloads[..whole] {
        payload.resize(payload.len() + STAMP_BYTES, 0);
    }
    payloads
}

/// A frame of Opus: a fullband CELT configuration of 20 ms, and one frame (RFC 6716 section 3.1).
pub fn opus(bytes: usize) -> Vec<u8> {
    let mut payload = vec![0xf8; 1];
    payload.resize(bytes.max(1 + STAMP_BYTES), 0xaa);
    payload
}

/// RFC 7741 sections 4.2 and 4.3.
fn vp8(picture: Picture, number: u32, key_frame: bool, first: bool) -> Vec<u8> {
    let [high, low] = ((number & 0x7fff) as u16).to_be_bytes();
    // X, and S at the first; I, L, T; a picture id of 15 bits, TL0PICIDX, TID 0.
    let mut payload = vec![if first { 0x90 } else { 0x80 }, 0xe0, 0x80 | high, low, number as u8, 0];
    if first {
        payload.extend([u8::from(!key_frame), 0, 0]);
        if key_frame {
            payload.extend([0x9d, 0x01, 0x2a]);
            payload.extend(picture.width.to_le_bytes());
            payload.extend(picture.height.to_le_bytes());
        }
    }
    payload
}

/// Fragments of one slice (RFC 6184 section 5.8).
fn h264(picture: Picture, key_frame: bool, packets: usize) -> Vec<Vec<u8>> {
    let kind = if key_frame { 5 } else { 1 };
    let parameters = key_frame.then(|| parameter_sets(picture));
    let fragments = (0..packets).map(|packet| {
        let start = if packet == 0 { 0x80 } else { 0 };
        let end = if packet + 1 == packets { 0x40 } else { 0 };
        match packets {
            // A fragment never has both flags: one packet is the unit itself.
            1 => vec![0x60 | kind, 0x88],
            _ => vec![0x7c, start | end | kind, 0x88],
        }
    });
    parameters.into_iter().chain(fragments).collect()
}

/// STAP-A of a sequence and a picture parameter set (RFC 6184 section 5.7.1).
fn parameter_sets(picture: Picture) -> Vec<u8> {
    let mut payload = vec![0x78];
    for unit in [sequence_parameters(picture), vec![0x68, 0xce, 0x3c, 0x80]] {
        payload.extend((unit.len() as u16).to_be_bytes());
        payload.extend(unit);
    }
    // The stamp is in a unit too, of filler data, which decoders skip.
    payload.extend((1 + STAMP_BYTES as u16).to_be_bytes());
    payload.push(0x0c);
    payload
}

/// Constrained baseline (ITU-T H.264 section 7.3.2.1.1).
fn sequence_parameters(picture: Picture) -> Vec<u8> {
    let macroblocks = |pixels: u16| u32::from(pixels).div_ceil(16);
    let cropped = |pixels: u16| (macroblocks(pixels) * 16 - u32::from(pixels)) / 2;
    let mut bits = Bits::default();
    // Id, frame number bits, order of pictures, reference frames.
    [0, 0, 2, 1].into_iter().for_each(|value| bits.exp_golomb(value));
    bits.push(0);
    bits.exp_golomb(macroblocks(picture.width) - 1);
    bits.exp_golomb(macroblocks(picture.height) - 1);
    // Frames only, direct 8x8, cropping.
    (0..3).for_each(|_| bits.push(1));
    [0, cropped(picture.width), 0, cropped(picture.height)]
        .into_iter()
        .for_each(|edge| bits.exp_golomb(edge));
    bits.push(0);
    bits.push(1);
    [vec![0x67, 0x42, 0xe0, 0x1f], bits.bytes()].concat()
}

#[derive(Default)]
struct Bits(Vec<u8>);

impl Bits {
    fn push(&mut self, bit: u8) {
        self.0.push(bit);
    }

    fn exp_golomb(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        (1..length).for_each(|_| self.push(0));
        (0..length).rev().for_each(|bit| self.push(((value + 1) >> bit & 1) as u8));
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stamp_is_read_from_the_end_of_each_payload() {
        let stamp = Stamp { sent_at: Duration::from_nanos(1_700_000_000_123_456_789), source: 3, counter: 9 };
        for codec in [Codec::Vp8, Codec::H264] {
            for key_frame in [true, false] {
                let picture = Picture { codec, width: 1_280, height: 720 };
                let payloads = frame(picture, 1, key_frame, 8, 1_176);
                assert_eq!(payloads.iter().filter(|payload| payload.len() == 1_176).count(), 8);
                for mut payload in payloads {
                    stamp.write(&mut payload);
                    assert_eq!(Stamp::read(&payload), Some(stamp));
                }
            }
        }
        assert_eq!(Stamp::read(&[0; 40]), None);
        assert_eq!(Stamp::read(&[0; 4]), None);
    }
}
