//! One consumer's continuous stream, whatever its source is just now.
//!
//! A receiver must see the packets that were lost on the way to us as gaps, so that it asks for
//! them, and must not see the ones that were left out on purpose. So every number of the source has
//! its place in the output, given out when the number is first passed by:
//!
//! ```text
//! source   100  101  102  103  104   102 late
//!          sent sent lost left sent
//! output     7    8   (9)  out   10    9
//! ```
//!
//! [`Renumbering`] keeps this for sequence numbers, and for the picture ids of VP8, where a frame
//! that was left out would otherwise look like one still to wait for. The picture ids of VP9 and the
//! frame numbers of dependency descriptors keep their gaps, because frames refer to each other by
//! differences: [`Shift`] moves them as a whole.

use std::time::Instant;

use thiserror::Error;

use crate::codec::Ids;
use crate::codec::ids::{IdRewrite, PICTURE_ID_MAX, PICTURE_ID_SHORT_MAX, PictureId};
use crate::packet::IncomingPacket;
use crate::timeline::Timeline;

/// How far back a late packet still finds its number: 1024 packets, 128 VP8 frames.
type SequenceNumbers = Renumbering<16>;
type PictureIds = Renumbering<2>;

/// What the receiver gets to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rewritten {
    /// Extended: it starts below 32,768 and never wraps.
    pub sequence_number: u64,
    pub timestamp: u32,
    pub vp8: Option<IdRewrite>,
    pub vp9: Option<IdRewrite>,
    /// Of its dependency descriptor.
    pub frame_number: Option<u16>,
}

/// A packet without payload that fills a gap left for a packet which will not be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Filler {
    pub sequence_number: u64,
    pub timestamp: u32,
}

/// Why a packet that the selector let through is not sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NotSent {
    #[error("it is older than the packet at which the stream was switched to its source")]
    BeforeSwitch,
    #[error("it came too late to know its number")]
    TooLate,
    #[error("it was dealt with before")]
    Repeated,
}

#[derive(Debug)]
pub struct Rewriter {
    sequence: SequenceNumbers,
    timeline: Timeline,
    pictures: PictureIds,
    /// Whether the present source has sent a picture id.
    pictures_started: bool,
    /// Output minus input, wrapping. None until the present source has sent one.
    tl0_offset: Option<u8>,
    tl0_next: u8,
    vp9_pictures: Shift,
    vp9_tl0: Shift,
    frame_numbers: Shift,
}

impl Rewriter {
    /// The first packet has the number and time given here; 15 bits are used of the number, so that
    /// a receiver which misses it cannot mistake the rollover counter (RFC 3711 section 3.3.1).
    pub fn new(clock_rate: u32, sequence_number: u16, timestamp: u32) -> Self {
        Rewriter {
            sequence: SequenceNumbers::new(u64::from(sequence_number & 0x7fff)),
            timeline: Timeline::new(clock_rate, timestamp),
            pictures: PictureIds::new(0),
            pictures_started: false,
            tl0_offset: None,
            tl0_next: 0,
            vp9_pictures: Shift::new(PICTURE_ID_MAX),
            vp9_tl0: Shift::new(u8::MAX.into()),
            frame_numbers: Shift::new(u16::MAX),
        }
    }

    /// As [`Timeline::count_from`].
    pub fn count_from(&mut self, since: Instant) {
        self.timeline.count_from(since);
    }

    /// The stream goes on with a new source, or another encoding of it, from `packet` on: its first
    /// key-frame packet, which was captured `at`.
    pub fn start(&mut self, packet: &IncomingPacket, at: Instant) -> Rewritten {
        self.timeline.start(packet.timestamp, at);
        self.sequence.restart(packet.sequence_number);
        self.pictures_started = false;
        self.tl0_offset = None;
        self.vp9_pictures.restart();
        self.vp9_tl0.restart();
        self.frame_numbers.restart();
        self.rewrite(packet, at).expect("the number at which a source starts is free")
    }

    /// A packet of the present source that the receiver is to get, captured `at`.
    pub fn rewrite(&mut self, packet: &IncomingPacket, at: Instant) -> Result<Rewritten, NotSent> {
        let sequence_number = self.sequence.check(packet.sequence_number)?;
        let vp8 = match packet.info.vp8 {
            Some(ids) => Some(self.rewrite_vp8(&ids)?),
            None => None,
        };
        let vp9 = packet.info.vp9.map(|ids| self.rewrite_vp9(&ids));
        let frame_number = packet.info.descriptor.map(|place| self.frame_numbers.shift(place.frame_number));
        self.sequence.take(packet.sequence_number);

        let timestamp = self.timeline.output(packet.timestamp, at);
        Ok(Rewritten { sequence_number, timestamp, vp8, vp9, frame_number })
    }

    /// A packet of the present source that the receiver is not to get. If a gap was left for it,
    /// the receiver would ask for it in vain, and gets the filler instead.
    pub fn skip(&mut self, packet: &IncomingPacket) -> Option<Filler> {
        if let Some(id) = packet.info.vp8.and_then(|ids| ids.picture_id).filter(|_| self.pictures_started) {
            self.pictures.leave_out(unwrapped(id, self.pictures.end - 1));
        }
        if self.sequence.leave_out(packet.sequence_number) {
            return None;
        }
        let sequence_number = self.sequence.check(packet.sequence_number).ok()?;
        self.sequence.take(packet.sequence_number);
        Some(Filler { sequence_number, timestamp: self.timeline.late_output(packet.timestamp) })
    }

    fn rewrite_vp8(&mut self, ids: &Ids) -> Result<IdRewrite, NotSent> {
        let picture_id = match ids.picture_id {
            Some(id) => Some(self.rewrite_picture_id(id)?),
            None => None,
        };
        let tl0_pic_idx = ids.tl0_pic_idx.map(|tl0| {
            let offset = *self.tl0_offset.get_or_insert(self.tl0_next.wrapping_sub(tl0.value));
            let output = tl0.value.wrapping_add(offset);
            let next = output.wrapping_add(1);
            if next.wrapping_sub(self.tl0_next).cast_signed() > 0 {
                self.tl0_next = next;
            }
            output
        });
        Ok(IdRewrite { picture_id, tl0_pic_idx })
    }

    fn rewrite_vp9(&mut self, ids: &Ids) -> IdRewrite {
        let picture_id = ids.picture_id.map(|id| {
            let output = self.vp9_pictures.shift(id.value);
            if id.long { output } else { output & PICTURE_ID_SHORT_MAX }
        });
        let tl0_pic_idx = ids.tl0_pic_idx.map(|tl0| self.vp9_tl0.shift(tl0.value.into()) as u8);
        IdRewrite { picture_id, tl0_pic_idx }
    }

    fn rewrite_picture_id(&mut self, id: PictureId) -> Result<u16, NotSent> {
        if !self.pictures_started {
            self.pictures.restart(PICTURE_ORIGIN + u64::from(id.value));
            self.pictures_started = true;
        }
        let input = unwrapped(id, self.pictures.end - 1);
        let output = self.pictures.place(input)?;
        self.pictures.take(input);
        let mask = if id.long { PICTURE_ID_MAX } else { PICTURE_ID_SHORT_MAX };
        Ok(output as u16 & mask)
    }
}

/// Unwrapped picture ids count from here, so that there is room below the first.
const PICTURE_ORIGIN: u64 = 1 << 32;

/// The number next to `near` that `id` is the end of.
fn unwrapped(id: PictureId, near: u64) -> u64 {
    let period = if id.long { i64::from(PICTURE_ID_MAX) + 1 } else { i64::from(PICTURE_ID_SHORT_MAX) + 1 };
    let ahead = (i64::from(id.value) - near.cast_signed()).rem_euclid(period);
    let distance = if ahead >= period / 2 { ahead - period } else { ahead };
    near.saturating_add_signed(distance)
}

/// Input numbers of one source, and the place of each in the output.
#[derive(Debug)]
struct Renumbering<const WORDS: usize> {
    /// The first input number of the source.
    origin: u64,
    /// One past the highest input number that was passed by.
    end: u64,
    /// The output number that `end` will have.
    next: u64,
    /// A bit for each of the last input numbers: no output number was given to it.
    left_out: [u64; WORDS],
    /// A bit for each of the last input numbers: its output number was used.
    used: [u64; WORDS],
}

impl<const WORDS: usize> Renumbering<WORDS> {
    const CAPACITY: u64 = 64 * WORDS as u64;

    fn new(next: u64) -> Self {
        Renumbering { origin: 0, end: 0, next, left_out: [0; WORDS], used: [0; WORDS] }
    }

    /// Another source: `input` gets the next output number.
    fn restart(&mut self, input: u64) {
        *self = Renumbering { origin: input, end: input, ..Self::new(self.next) };
    }

    /// The output number of `input`, whether it was used or not.
    fn place(&self, input: u64) -> Result<u64, NotSent> {
        if input < self.origin {
            return Err(NotSent::BeforeSwitch);
        }
        if input >= self.end {
            return Ok(self.next + self.gap(input));
        }
        if self.end - input > Self::CAPACITY {
            return Err(NotSent::TooLate);
        }
        if Self::bit(&self.left_out, input) {
            return Err(NotSent::Repeated);
        }
        let left_out: u32 = chunks::<WORDS>(input, self.end)
            .map(|(word, mask)| (self.left_out[word] & mask).count_ones())
            .sum();
        Ok(self.next - (self.end - input - u64::from(left_out)))
    }

    /// The output number of `input`, if it was not used yet.
    fn check(&self, input: u64) -> Result<u64, NotSent> {
        let output = self.place(input)?;
        if input < self.end && Self::bit(&self.used, input) { Err(NotSent::Repeated) } else { Ok(output) }
    }

    /// Uses the output number of `input`, for which there must be one.
    fn take(&mut self, input: u64) {
        if input >= self.end {
            self.pass_by(input);
            self.next += 1;
        }
        self.used[word::<WORDS>(input)] |= 1 << (input % 64);
    }

    /// Gives no output number to `input`. False if it is too late for that.
    fn leave_out(&mut self, input: u64) -> bool {
        if input < self.end {
            return false;
        }
        self.pass_by(input);
        self.left_out[word::<WORDS>(input)] |= 1 << (input % 64);
        true
    }

    /// Leaves a gap for the numbers between the highest and `input`.
    fn pass_by(&mut self, input: u64) {
        self.next += self.gap(input);
        let oldest = self.end.max((input + 1).saturating_sub(Self::CAPACITY));
        for (word, mask) in chunks::<WORDS>(oldest, input + 1) {
            self.left_out[word] &= !mask;
            self.used[word] &= !mask;
        }
        self.end = input + 1;
    }

    /// How many numbers are missing before `input`. Beyond the capacity none of them could be filled
    /// in any more, and a receiver that sees a larger gap gives up the stream.
    fn gap(&self, input: u64) -> u64 {
        (input - self.end).min(Self::CAPACITY - 1)
    }

    fn bit(words: &[u64; WORDS], input: u64) -> bool {
        words[word::<WORDS>(input)] >> (input % 64) & 1 == 1
    }
}

fn word<const WORDS: usize>(input: u64) -> usize {
    (input / 64) as usize % WORDS
}

/// The words that hold the bits of `from..to`, each with a mask of those bits.
fn chunks<const WORDS: usize>(from: u64, to: u64) -> impl Iterator<Item = (usize, u64)> {
    (from / 64..to.div_ceil(64)).map(move |index| {
        let low = from.saturating_sub(index * 64);
        let high = (to - index * 64).min(64);
        (index as usize % WORDS, u64::MAX >> (64 - (high - low)) << low)
    })
}

/// Numbers of a few bits that keep their differences within a source, and go on after the highest
/// one with the next source. The first source keeps its numbers, so that nothing needs to be written.
#[derive(Debug)]
struct Shift {
    mask: u16,
    /// Output minus input. None: the present source has sent no number yet.
    offset: Option<u16>,
    /// One past the highest output. None: there was none.
    next: Option<u16>,
}

impl Shift {
    /// Numbers of as many bits as are set in `mask`, the lowest ones.
    fn new(mask: u16) -> Self {
        Shift { mask, offset: None, next: None }
    }

    fn restart(&mut self) {
        self.offset = None;
    }

    fn shift(&mut self, input: u16) -> u16 {
        let first = self.next.unwrap_or(input);
        let offset = *self.offset.get_or_insert(first.wrapping_sub(input));
        let output = input.wrapping_add(offset) & self.mask;
        let next = output.wrapping_add(1) & self.mask;
        let ahead = next.wrapping_sub(first) & self.mask;
        if self.next.is_none() || (1..=self.mask / 2).contains(&ahead) {
            self.next = Some(next);
        }
        output
    }
}

#[cfg(test)]
mod tests;
