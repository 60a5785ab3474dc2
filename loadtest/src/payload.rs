//! Synthetic pictures and voices: real payload headers, as far as any server on the way looks, around
//! a stamp that says what the packet is and when it was made.
//!
//! ```text
//! | payload header | filler ... | stamp |
//! ```

use broletto_protocol::Codec;

/// At the end of each payload.
pub const STAMP_BYTES: usize = 32;
const MAGIC: [u8; 4] = *b"brol";
/// Longest payload made, stamp included: with all headers it fits a path of 1,280 bytes.
const PAYLOAD_BYTES_MAX: usize = 1_150;
/// A voice packet, about 32 kbit/s at one in 20 ms.
const VOICE_BYTES: usize = 80;

/// What a packet is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stamp {
    pub publisher: u32,
    /// Simulcast encoding, from the smallest.
    pub encoding: u8,
    pub key_frame: bool,
    /// Counts the frames of an encoding; a frame that is no key frame needs the one before it.
    pub frame: u32,
    /// Which packet of the frame this is, and of how many.
    pub packet: u16,
    pub packets: u16,
    /// When it was made, by the tester's clock.
    pub made_us: u64,
}

/// Of one encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Picture {
    pub codec: Codec,
    pub width: u16,
    pub height: u16,
}

impl Stamp {
    fn write(&self, payload: &mut Vec<u8>, filler: usize) {
        payload.extend(MAGIC);
        payload.extend(self.publisher.to_be_bytes());
        payload.extend([self.encoding, u8::from(self.key_frame)]);
        payload.extend(self.frame.to_be_bytes());
        payload.extend(self.packet.to_be_bytes());
        payload.extend(self.packets.to_be_bytes());
        payload.extend(self.made_us.to_be_bytes());
        payload.extend((filler as u16).to_be_bytes());
        // Of the stamp and the filler, and of these two themselves none.
        payload.extend((payload.len() as u16 + 2).to_be_bytes());
        payload.extend([0; 2]);
    }

    /// None: it is none of ours, or a part of it is missing or changed.
    pub fn read(payload: &[u8]) -> Option<Stamp> {
        let (before, stamp) = payload.split_at(payload.len().checked_sub(STAMP_BYTES)?);
        if stamp[..4] != MAGIC {
            return None;
        }
        let short = |at: usize| u16::from_be_bytes([stamp[at], stamp[at + 1]]);
        let long = |at: usize| u32::from_be_bytes([stamp[at], stamp[at + 1], stamp[at + 2], stamp[at + 3]]);
        let read = Stamp {
            publisher: long(4),
            encoding: stamp[8],
            key_frame: stamp[9] == 1,
            frame: long(10),
            packet: short(14),
            packets: short(16),
            made_us: u64::from(long(18)) << 32 | u64::from(long(22)),
        };
        let filler = &before[before.len().checked_sub(usize::from(short(26)))?..];
        let whole = usize::from(short(28)) == payload.len() - 2 && stamp[30..] == [0, 0];
        (whole && filler.iter().all(|byte| *byte == read.filler())).then_some(read)
    }

    /// Differs from packet to packet, so that parts of two do not make one.
    fn filler(&self) -> u8 {
        (self.frame as u8).wrapping_mul(31) ^ (self.packet as u8).wrapping_mul(7) ^ self.publisher as u8
    }
}

/// One frame of Opus, 20 ms long.
pub fn voice(stamp: Stamp) -> Vec<u8> {
    // TOC: CELT only, fullband, 20 ms, mono, one frame (RFC 6716 section 3.1).
    fill(vec![0xf8], VOICE_BYTES, stamp)
}

/// Voices behind older ones (RFC 2198), which are given from the oldest and are 20 ms apart.
pub fn redundant(payload_type: u8, older: &[Vec<u8>], voice: &[u8]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (index, block) in older.iter().enumerate() {
        let ticks = (older.len() - index) as u32 * 960;
        let [_, offset @ ..] = (ticks << 10 | block.len() as u32 & 0x3ff).to_be_bytes();
        payload.push(0x80 | payload_type);
        payload.extend(offset);
    }
    payload.push(payload_type);
    older.iter().for_each(|block| payload.extend(block));
    payload.extend(voice);
    payload
}

/// What [`redundant`] put together: from the newest, with how many packets before each was sent. None:
/// malformed.
pub fn blocks(payload: &[u8]) -> Option<Vec<(u64, &[u8])>> {
    let (mut rest, mut older) = (payload, Vec::new());
    loop {
        let (first, tail) = rest.split_first()?;
        if first & 0x80 == 0 {
            rest = tail;
            break;
        }
        let (bytes, tail) = tail.split_first_chunk::<3>()?;
        let word = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        older.push((u64::from(word >> 10) / 960, (word & 0x3ff) as usize));
        rest = tail;
    }
    let mut blocks = Vec::new();
    for (before, length) in older {
        let (block, tail) = rest.split_at_checked(length)?;
        blocks.push((before, block));
        rest = tail;
    }
    blocks.push((0, rest));
    blocks.reverse();
    Some(blocks)
}

/// The payloads of a frame of about so many bytes; `packet` and `packets` of the stamp are filled in.
pub fn frame(picture: Picture, bytes: usize, stamp: Stamp) -> Vec<Vec<u8>> {
    let packets = bytes.div_ceil(PAYLOAD_BYTES_MAX).max(1);
    let parameters = usize::from(picture.codec == Codec::H264 && stamp.key_frame);
    let all = packets + parameters;
    (0..all)
        .map(|packet| {
            let stamp = Stamp { packet: packet as u16, packets: all as u16, ..stamp };
            let place = Place { first: packet == parameters, last: packet + 1 == all };
            let header = match picture.codec {
                Codec::H264 if packet < parameters => return parameter_sets(picture, stamp),
                Codec::H264 => h264(place, stamp),
                Codec::Vp8 => vp8(picture, place, stamp),
                Codec::Vp9 => vp9(picture, place, stamp),
                Codec::Av1 => av1(picture, place, stamp),
            };
            fill(header, bytes / packets, stamp)
        })
        .collect()
}

/// Where in its frame a packet is.
#[derive(Debug, Clone, Copy)]
struct Place {
    first: bool,
    last: bool,
}

/// `bytes` of payload in all, or as many as it needs.
fn fill(mut payload: Vec<u8>, bytes: usize, stamp: Stamp) -> Vec<u8> {
    let room = bytes.min(PAYLOAD_BYTES_MAX).saturating_sub(payload.len() + STAMP_BYTES);
    payload.resize(payload.len() + room, stamp.filler());
    stamp.write(&mut payload, room);
    payload
}

/// RFC 7741: a picture id of 15 bits, TL0PICIDX, temporal layer 0; RFC 6386 section 9.1.
fn vp8(picture: Picture, place: Place, stamp: Stamp) -> Vec<u8> {
    let start = if place.first { 0x10 } else { 0 };
    let [high, low] = ((stamp.frame & 0x7fff) as u16).to_be_bytes();
    let mut header = vec![0x80 | start, 0xe0, 0x80 | high, low, stamp.frame as u8, 0];
    if place.first {
        header.extend([u8::from(!stamp.key_frame), 0, 0]);
        if stamp.key_frame {
            header.extend([0x9d, 0x01, 0x2a]);
            header.extend(picture.width.to_le_bytes());
            header.extend(picture.height.to_le_bytes());
        }
    }
    header
}

/// RFC 9628, not flexible: one layer, each picture predicted from the one before; VP9 specification,
/// section 6.2.
fn vp9(picture: Picture, place: Place, stamp: Stamp) -> Vec<u8> {
    let has_structure = stamp.key_frame && place.first;
    let bits = [(0x40, !stamp.key_frame), (0x08, place.first), (0x04, place.last), (0x02, has_structure)];
    let flags = bits.into_iter().filter(|(_, set)| *set).fold(0xa1, |flags, (bit, _)| flags | bit);
    let [high, low] = ((stamp.frame & 0x7fff) as u16).to_be_bytes();
    let mut header = vec![flags, 0x80 | high, low, 0, stamp.frame as u8];
    if has_structure {
        header.push(0x18);
        header.extend(picture.width.to_be_bytes());
        header.extend(picture.height.to_be_bytes());
        header.extend([1, 0x04, 1]);
    }
    if place.first {
        let key: &[u8] = &[0x82, 0x49, 0x83, 0x42];
        header.extend(if stamp.key_frame { key } else { &[0x86] });
    }
    header
}

/// RFC 6184: FU-A with start and end bits; a frame that one packet holds is a single NAL unit.
fn h264(place: Place, stamp: Stamp) -> Vec<u8> {
    let kind = if stamp.key_frame { 5 } else { 1 };
    if place.first && place.last {
        return vec![0x60 | kind, 0x80];
    }
    let start = if place.first { 0x80 } else { 0 };
    let end = if place.last { 0x40 } else { 0 };
    vec![0x7c, start | end | kind, 0x80]
}

/// STAP-A of a sequence and a picture parameter set, and an SEI message that holds the stamp.
fn parameter_sets(picture: Picture, stamp: Stamp) -> Vec<u8> {
    let mut payload = vec![0x78];
    let unit = |payload: &mut Vec<u8>, unit: &[u8]| {
        payload.extend((unit.len() as u16).to_be_bytes());
        payload.extend(unit);
    };
    unit(&mut payload, &sps(picture));
    unit(&mut payload, &[0x68, 0xce, 0x3c, 0x80]);
    // User data, whose length counts the stamp (ITU-T H.264 section 7.3.2.3).
    payload.extend((STAMP_BYTES as u16 + 3).to_be_bytes());
    payload.extend([0x06, 5, STAMP_BYTES as u8]);
    stamp.write(&mut payload, 0);
    payload
}

/// Of constrained baseline (ITU-T H.264 section 7.3.2.1.1).
fn sps(picture: Picture) -> Vec<u8> {
    let mut bits = Bits::default();
    let macroblocks = |pixels: u16| u32::from(pixels).div_ceil(16);
    let cropped = |pixels: u16| (macroblocks(pixels) * 16 - u32::from(pixels)) / 2;
    for value in [0, 0, 2, 1] {
        bits.exp_golomb(value);
    }
    bits.push(0, 1);
    bits.exp_golomb(macroblocks(picture.width) - 1);
    bits.exp_golomb(macroblocks(picture.height) - 1);
    bits.push(0b111, 3);
    for value in [0, cropped(picture.width), 0, cropped(picture.height)] {
        bits.exp_golomb(value);
    }
    bits.push(0, 1);
    bits.push(1, 1);
    [&[0x67, 0x42, 0xe0, 0x1f], &bits.bytes()[..]].concat()
}

/// RTP Payload Format For AV1, section 4.4: a key frame begins with a sequence header behind its
/// length; the frame's own OBU is the last element, and may go on in the next packet.
fn av1(picture: Picture, place: Place, stamp: Stamp) -> Vec<u8> {
    let goes_on = if place.last { 0 } else { 0x40 };
    if !place.first {
        return vec![0x80 | goes_on | 0x10];
    }
    let mut header = Vec::new();
    if stamp.key_frame {
        let sequence = sequence_header(picture);
        header.extend([goes_on | 0x20 | 0x08, sequence.len() as u8]);
        header.extend(sequence);
    } else {
        header.push(goes_on | 0x10);
    }
    // OBU_FRAME without its size; show_existing_frame 0, frame_type, show_frame 1.
    header.extend([0x30, if stamp.key_frame { 0x10 } else { 0x30 }]);
    header
}

/// AV1 specification, section 5.5: main profile, one operating point, nothing that can be left out.
fn sequence_header(picture: Picture) -> Vec<u8> {
    let mut bits = Bits::default();
    bits.push(0, 3 + 1 + 1 + 1 + 1 + 5 + 12);
    bits.push(4, 5);
    bits.push(15, 4);
    bits.push(15, 4);
    bits.push(u32::from(picture.width - 1), 16);
    bits.push(u32::from(picture.height - 1), 16);
    // No frame ids and tools; screen content and integer motion vectors as each frame says.
    bits.push(0, 9);
    bits.push(0b11, 2);
    bits.push(0, 3 + 7 + 1);
    bits.push(1, 1);
    [&[0x08], &bits.bytes()[..]].concat()
}

#[derive(Default)]
struct Bits(Vec<bool>);

impl Bits {
    fn push(&mut self, value: u32, count: u32) {
        self.0.extend((0..count).rev().map(|bit| value >> bit & 1 == 1));
    }

    fn exp_golomb(&mut self, value: u32) {
        let length = 32 - (value + 1).leading_zeros();
        self.push(0, length - 1);
        self.push(value + 1, length);
    }

    fn bytes(mut self) -> Vec<u8> {
        self.0.resize(self.0.len().next_multiple_of(8), false);
        self.0.chunks(8).map(|bits| bits.iter().fold(0, |byte, bit| byte << 1 | u8::from(*bit))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CODECS: [Codec; 4] = [Codec::H264, Codec::Vp8, Codec::Vp9, Codec::Av1];

    fn stamp(key_frame: bool) -> Stamp {
        Stamp { publisher: 7, encoding: 2, key_frame, frame: 40_000, packet: 0, packets: 1, made_us: 1 << 40 }
    }

    #[test]
    fn what_was_stamped_is_read_again() {
        for codec in CODECS {
            for (key_frame, bytes) in [(true, 5_000), (false, 5_000), (true, 0), (false, 300)] {
                let picture = Picture { codec, width: 1280, height: 720 };
                let payloads = frame(picture, bytes, stamp(key_frame));
                let read: Vec<Stamp> = payloads.iter().filter_map(|one| Stamp::read(one)).collect();
                assert_eq!(read.len(), payloads.len(), "{codec:?}");
                for (index, read) in read.iter().enumerate() {
                    let (packet, packets) = (index as u16, payloads.len() as u16);
                    assert_eq!(*read, Stamp { packet, packets, ..stamp(key_frame) }, "{codec:?}");
                }
                assert!(payloads.iter().all(|payload| payload.len() <= PAYLOAD_BYTES_MAX));
            }
        }
        assert_eq!(Stamp::read(&voice(stamp(true))), Some(stamp(true)));
    }

    #[test]
    fn what_was_cut_mixed_or_changed_is_not_ours() {
        let whole = voice(stamp(true));
        assert_eq!(Stamp::read(&whole[1..]), None);
        assert_eq!(Stamp::read(&whole[..whole.len() - 1]), None);
        assert_eq!(Stamp::read(&[]), None);
        let mut changed = whole.clone();
        changed[20] ^= 1;
        assert_eq!(Stamp::read(&changed), None);
        let other = voice(Stamp { frame: 40_001, ..stamp(true) });
        let mixed = [&whole[..40], &other[40..]].concat();
        assert_eq!(Stamp::read(&mixed), None);
    }

    #[test]
    fn redundant_voices_are_taken_apart_again() {
        let voices = [7, 8, 9].map(|frame| voice(Stamp { frame, ..stamp(true) }));
        let payload = redundant(111, &voices[..2], &voices[2]);
        let read = blocks(&payload).expect("well formed");
        let frames =
            read.iter().map(|(before, block)| (*before, Stamp::read(block).map(|stamp| stamp.frame)));
        assert_eq!(frames.collect::<Vec<_>>(), [(0, Some(9)), (1, Some(8)), (2, Some(7))]);
        assert_eq!(blocks(&redundant(111, &[], &voices[0])), Some(vec![(0, &voices[0][..])]));
        assert_eq!(blocks(&payload[..5]), None);
        assert_eq!(blocks(&[]), None);
    }

    #[test]
    fn a_parameter_set_says_the_size() {
        // 640×360: 40 by 23 macroblocks, of the last of which 8 lines are cropped.
        let unit = sps(Picture { codec: Codec::H264, width: 640, height: 360 });
        assert_eq!(unit, [0x67, 0x42, 0xe0, 0x1f, 0xda, 0x02, 0x80, 0xbf, 0xe5, 0x40]);
    }
}
