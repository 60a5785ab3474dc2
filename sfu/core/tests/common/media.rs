//! Synthetic pictures: real payload headers around a stamp that says what the packet is.

use broletto_control::Codec;

/// At the end of each payload.
const STAMP_BYTES: usize = 20;
const MAGIC: [u8; 4] = *b"brol";
/// Longest payload made, stamp included.
const PAYLOAD_BYTES_MAX: usize = 1_150;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub publisher: u16,
    pub encoding: u8,
    pub key_frame: bool,
    /// Counts the frames of an encoding; a frame that is no key frame needs the one before it.
    pub frame: u32,
    /// Which packet of the frame this is, and of how many.
    pub packet: u16,
    pub packets: u16,
    pub codec: Codec,
}

impl Stamp {
    fn write(&self, payload: &mut Vec<u8>) {
        payload.extend(MAGIC);
        payload.extend(self.publisher.to_be_bytes());
        payload.push(self.encoding);
        payload.push(u8::from(self.key_frame));
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.packet.to_be_bytes());
        payload.extend(self.packets.to_be_bytes());
        payload.push(match self.codec {
            Codec::H264 => 1,
            Codec::Vp8 => 2,
            _ => 0,
        });
        payload.extend([0; 3]);
    }

    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let stamp = &payload[payload.len().checked_sub(STAMP_BYTES)?..];
        if stamp[..4] != MAGIC {
            return None;
        }
        let short = |at: usize| u16::from_be_bytes([stamp[at], stamp[at + 1]]);
        Some(Stamp {
            publisher: short(4),
            encoding: stamp[6],
            key_frame: stamp[7] == 1,
            frame: u32::from_be_bytes([stamp[8], stamp[9], stamp[10], stamp[11]]),
            packet: short(12),
            packets: short(14),
            codec: match stamp[16] {
                1 => Codec::H264,
                2 => Codec::Vp8,
                _ => Codec::Opus,
            },
        })
    }
}

/// Of one encoding.
#[derive(Debug, Clone, Copy)]
pub struct Picture {
    pub codec: Codec,
    pub width: u16,
    pub height: u16,
}

/// The payloads of a frame of about so many bytes.
pub fn frame(picture: Picture, bytes: usize, stamp: Stamp) -> Vec<Vec<u8>> {
    match picture.codec {
        Codec::Vp8 => vp8(picture, bytes, stamp),
        Codec::H264 => h264(picture, bytes, stamp),
        other => unreachable!("no pictures are made of {other:?}"),
    }
}

pub fn audio(publisher: u16, frame: u32) -> Vec<u8> {
    let mut payload = vec![0x78; 60];
    Stamp { publisher, encoding: 0, key_frame: true, frame, packet: 0, packets: 1, codec: Codec::Opus }
        .write(&mut payload);
    payload
}

/// As [`audio`], behind the frame before it (RFC 2198).
pub fn redundant(payload_type: u8, publisher: u16, frame: u32) -> Vec<u8> {
    let older = audio(publisher, frame - 1);
    let length = (older.len() as u16).to_be_bytes();
    // A frame is 960 ticks; they are above the two highest bits of the length.
    let offset = (960_u16 << 2).to_be_bytes();
    let mut payload = vec![0x80 | payload_type, offset[0], offset[1] | length[0], length[1], payload_type];
    payload.extend(older);
    payload.extend(audio(publisher, frame));
    payload
}

fn vp8(picture: Picture, bytes: usize, stamp: Stamp) -> Vec<Vec<u8>> {
    let packets = bytes.div_ceil(PAYLOAD_BYTES_MAX).max(1);
    (0..packets)
        .map(|packet| {
            // X, and S at the first; I, L, T; a picture id of 15 bits, TL0PICIDX, TID 0.
            let start = if packet == 0 { 0x10 } else { 0 };
            let [high, low] = ((stamp.frame & 0x7fff) as u16).to_be_bytes();
            let mut payload = vec![0x80 | start, 0xe0, 0x80 | high, low, stamp.frame as u8, 0];
            if packet == 0 {
                payload.push(u8::from(!stamp.key_frame));
                payload.extend([0, 0]);
                if stamp.key_frame {
                    payload.extend([0x9d, 0x01, 0x2a]);
                    payload.extend(picture.width.to_le_bytes());
                    payload.extend(picture.height.to_le_bytes());
                }
            }
            fill(payload, bytes / packets, Stamp { packet: packet as u16, packets: packets as u16, ..stamp })
        })
        .collect()
}

fn h264(picture: Picture, bytes: usize, stamp: Stamp) -> Vec<Vec<u8>> {
    let slices = bytes.div_ceil(PAYLOAD_BYTES_MAX).max(2);
    let parameters = usize::from(stamp.key_frame);
    let packets = slices + parameters;
    let kind = if stamp.key_frame { 5 } else { 1 };
    (0..packets)
        .map(|packet| {
            let stamp = Stamp { packet: packet as u16, packets: packets as u16, ..stamp };
            if packet < parameters {
                return fill(sps(picture), 0, stamp);
            }
            // FU-A with start and end bits.
            let slice = packet - parameters;
            let start = if slice == 0 { 0x80 } else { 0 };
            let end = if slice + 1 == slices { 0x40 } else { 0 };
            fill(vec![0x7c, start | end | kind, 0x80], bytes / slices, stamp)
        })
        .collect()
}

fn fill(mut payload: Vec<u8>, bytes: usize, stamp: Stamp) -> Vec<u8> {
    payload.resize(payload.len().max(bytes.saturating_sub(STAMP_BYTES).min(PAYLOAD_BYTES_MAX)), 0xaa);
    stamp.write(&mut payload);
    payload
}

/// A sequence parameter set of constrained baseline (ITU-T H.264 section 7.3.2.1.1).
fn sps(picture: Picture) -> Vec<u8> {
    let mut bits = Bits::default();
    let macroblocks = |pixels: u16| u32::from(pixels).div_ceil(16);
    let cropped = |pixels: u16| (macroblocks(pixels) * 16 - u32::from(pixels)) / 2;
    for value in [0, 0, 2, 1] {
        bits.exp_golomb(value);
    }
    bits.push(0);
    bits.exp_golomb(macroblocks(picture.width) - 1);
    bits.exp_golomb(macroblocks(picture.height) - 1);
    bits.push(1);
    bits.push(1);
    bits.push(1);
    for value in [0, cropped(picture.width), 0, cropped(picture.height)] {
        bits.exp_golomb(value);
    }
    bits.push(0);
    bits.push(1);
    let mut unit = vec![0x67, 0x42, 0xe0, 0x1f];
    unit.extend(bits.bytes());
    unit
}

#[derive(Default)]
struct Bits(Vec<u8>);

impl Bits {
    fn push(&mut self, bit: u8) {
        self.0.push(bit);
    }

    fn exp_golomb(&mut self, value: u32) {
        let value = value + 1;
        let length = 32 - value.leading_zeros();
        (1..length).for_each(|_| self.push(0));
        (0..length).rev().for_each(|bit| self.push((value >> bit & 1) as u8));
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(8), 0);
        self.0.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | bit)).collect()
    }
}
