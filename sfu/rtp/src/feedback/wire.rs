//! ```text
//! |             base              |   packets that it tells of    |
//! |             reference time, in 64 ms          |     count     |
//! |    chunk      |    chunk      | ...
//! | delta | delta | ...     of those that came, in 250 µs, of one or two bytes
//!
//! chunk:  |0| S |     how many        |    all have the symbol S
//!         |1|0|      14 symbols       |    of one bit
//!         |1|1|       7 symbols       |    of two bits
//! ```

use super::TransportFeedback;
use crate::rtcp::Malformed;

/// A message that claims to tell of more packets is malformed: a few bytes could claim 65,535. So many
/// are sent in a second at 40 Mbit/s.
pub const ARRIVALS_MAX: usize = 4_096;

/// Our own messages tell of no more packets, and of no more that came. 2,048 packets are at most 293
/// chunks, so with two bytes for each delta a message is not longer than 1,106 bytes.
const WRITTEN_MAX: usize = 2_048;
const WRITTEN_CAME_MAX: usize = 250;

const REFERENCE_US: i64 = 64_000;
const DELTA_US: i64 = 250;
const DELTAS_PER_REFERENCE: i64 = REFERENCE_US / DELTA_US;

const LOST: u8 = 0;
const SMALL: u8 = 1;
const LARGE: u8 = 2;

const RUN_MAX: usize = (1 << 13) - 1;
const ONE_BIT_SYMBOLS: usize = 14;
const TWO_BIT_SYMBOLS: usize = 7;

/// A message whose packets are not read yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EncodedFeedback<'a> {
    pub sender_ssrc: u32,
    pub media_ssrc: u32,
    count: u8,
    base: u16,
    claimed: u16,
    reference_us: i64,
    /// Chunks and deltas.
    bytes: &'a [u8],
}

impl<'a> EncodedFeedback<'a> {
    pub(crate) fn read(sender_ssrc: u32, media_ssrc: u32, bytes: &'a [u8]) -> Option<Self> {
        let (&[b0, b1, c0, c1, high, middle, low, count], bytes) = bytes.split_first_chunk()?;
        let reference = i32::from_be_bytes([high, middle, low, 0]) >> 8;
        Some(EncodedFeedback {
            sender_ssrc,
            media_ssrc,
            count,
            base: u16::from_be_bytes([b0, b1]),
            claimed: u16::from_be_bytes([c0, c1]),
            reference_us: i64::from(reference) * REFERENCE_US,
            bytes,
        })
    }

    /// # Errors
    /// As [`EncodedFeedback::decode_into`].
    pub fn decode(&self) -> Result<TransportFeedback, Malformed> {
        let mut feedback = TransportFeedback::default();
        self.decode_into(&mut feedback)?;
        Ok(feedback)
    }

    /// Uses the room that `feedback` has.
    ///
    /// # Errors
    /// The message claims more than [`ARRIVALS_MAX`] packets, or ends before it told of all. What
    /// `feedback` says then is to be ignored.
    pub fn decode_into(&self, feedback: &mut TransportFeedback) -> Result<(), Malformed> {
        let claimed = usize::from(self.claimed);
        if claimed > ARRIVALS_MAX {
            return Err(Malformed::TooManyPackets { claimed: self.claimed, max: ARRIVALS_MAX });
        }
        let TransportFeedback { sender_ssrc, media_ssrc, count, base, arrivals } = feedback;
        (*sender_ssrc, *media_ssrc) = (self.sender_ssrc, self.media_ssrc);
        (*count, *base) = (self.count, self.base);
        arrivals.clear();
        // The deltas begin where the chunks end, which only the chunks tell.
        let mut left = claimed;
        let mut chunks = self.bytes;
        while left > 0 {
            let (chunk, rest) = Chunk::read(chunks)?;
            left = left.saturating_sub(chunk.symbols());
            chunks = rest;
        }
        let mut deltas = chunks;
        let mut chunks = self.bytes;
        let mut time_us = self.reference_us;
        while arrivals.len() < claimed {
            let (chunk, rest) = Chunk::read(chunks)?;
            chunks = rest;
            let told = chunk.symbols().min(claimed - arrivals.len());
            if let Chunk::Run { symbol: LOST, .. } = chunk {
                arrivals.resize(arrivals.len() + told, None);
                continue;
            }
            for at in 0..told {
                let (delta, rest) = read_delta(chunk.symbol(at), deltas)?;
                deltas = rest;
                time_us += delta.unwrap_or(0) * DELTA_US;
                arrivals.push(delta.map(|_| time_us));
            }
        }
        Ok(())
    }
}

fn read_delta(symbol: u8, deltas: &[u8]) -> Result<(Option<i64>, &[u8]), Malformed> {
    let cut_off = Malformed::FeedbackCutOff;
    match symbol {
        LOST => Ok((None, deltas)),
        SMALL => {
            let (delta, rest) = deltas.split_first().ok_or(cut_off)?;
            Ok((Some(i64::from(*delta)), rest))
        }
        LARGE => {
            let (delta, rest) = deltas.split_first_chunk().ok_or(cut_off)?;
            Ok((Some(i64::from(i16::from_be_bytes(*delta))), rest))
        }
        _ => Err(Malformed::ReservedSymbol),
    }
}

#[derive(Debug, Clone, Copy)]
enum Chunk {
    Run { symbol: u8, length: usize },
    OneBit(u16),
    TwoBit(u16),
}

impl Chunk {
    fn read(bytes: &[u8]) -> Result<(Self, &[u8]), Malformed> {
        let (chunk, rest) = bytes.split_first_chunk().ok_or(Malformed::FeedbackCutOff)?;
        let bits = u16::from_be_bytes(*chunk);
        let chunk = match bits >> 14 {
            0b10 => Chunk::OneBit(bits),
            0b11 => Chunk::TwoBit(bits),
            _ => Chunk::Run { symbol: (bits >> 13) as u8, length: usize::from(bits) & RUN_MAX },
        };
        Ok((chunk, rest))
    }

    fn symbols(self) -> usize {
        match self {
            Chunk::Run { length, .. } => length,
            Chunk::OneBit(_) => ONE_BIT_SYMBOLS,
            Chunk::TwoBit(_) => TWO_BIT_SYMBOLS,
        }
    }

    fn symbol(self, at: usize) -> u8 {
        match self {
            Chunk::Run { symbol, .. } => symbol,
            Chunk::OneBit(bits) => (bits >> (ONE_BIT_SYMBOLS - 1 - at)) as u8 & 1,
            Chunk::TwoBit(bits) => (bits >> (2 * (TWO_BIT_SYMBOLS - 1 - at))) as u8 & 3,
        }
    }
}

/// How many arrivals, from the first on, one of our messages has room for. At least one.
pub(super) fn encodable(arrivals: &[Option<i64>]) -> usize {
    let mut came = 0;
    let mut end = 0;
    for delta in deltas(arrivals).take(WRITTEN_MAX) {
        if delta.is_some_and(|delta| i16::try_from(delta).is_err()) {
            break;
        }
        end += 1;
        came += usize::from(delta.is_some());
        if came == WRITTEN_CAME_MAX {
            break;
        }
    }
    end
}

/// Appends all that follows the SSRCs. Returns how many arrivals that has.
pub(crate) fn encode(feedback: &TransportFeedback, out: &mut Vec<u8>) -> usize {
    let arrivals = &feedback.arrivals[..encodable(&feedback.arrivals)];
    let [_, _, _, _, _, reference @ ..] = reference(arrivals).to_be_bytes();
    out.extend(feedback.base.to_be_bytes());
    out.extend((arrivals.len() as u16).to_be_bytes());
    out.extend(reference);
    out.push(feedback.count);
    let mut open = OpenChunk::default();
    for delta in deltas(arrivals) {
        open.push(symbol(delta), out);
    }
    open.close(out);
    for delta in deltas(arrivals).flatten() {
        match u8::try_from(delta) {
            Ok(small) => out.push(small),
            Err(_) => out.extend((delta as i16).to_be_bytes()),
        }
    }
    arrivals.len()
}

fn reference(arrivals: &[Option<i64>]) -> i64 {
    arrivals.iter().flatten().next().map_or(0, |first| first.div_euclid(REFERENCE_US))
}

/// Of each packet that came, from the one that came before, in units of the wire. Rounded so that
/// errors do not add up.
fn deltas(arrivals: &[Option<i64>]) -> impl Iterator<Item = Option<i64>> + '_ {
    let mut before = reference(arrivals) * DELTAS_PER_REFERENCE;
    arrivals.iter().map(move |arrival| {
        arrival.map(|came| {
            let ticks = came.div_euclid(DELTA_US);
            ticks - std::mem::replace(&mut before, ticks)
        })
    })
}

fn symbol(delta: Option<i64>) -> u8 {
    match delta {
        None => LOST,
        Some(0..=255) => SMALL,
        Some(_) => LARGE,
    }
}

/// Symbols that wait for a chunk. They have room in one: as a run, or as a vector.
#[derive(Debug, Default)]
struct OpenChunk {
    length: usize,
    /// The first of them. Of a run that is longer, all are like these.
    symbols: [u8; ONE_BIT_SYMBOLS],
    is_mixed: bool,
    has_large: bool,
}

impl OpenChunk {
    fn push(&mut self, symbol: u8, out: &mut Vec<u8>) {
        if !self.has_room(symbol) {
            self.emit(out);
        }
        if let Some(slot) = self.symbols.get_mut(self.length) {
            *slot = symbol;
        }
        self.is_mixed |= symbol != self.symbols[0];
        self.has_large |= symbol == LARGE;
        self.length += 1;
    }

    fn has_room(&self, symbol: u8) -> bool {
        let goes_on = !self.is_mixed && self.symbols[0] == symbol;
        self.length < TWO_BIT_SYMBOLS
            || self.length < ONE_BIT_SYMBOLS && symbol != LARGE && !self.has_large
            || self.length < RUN_MAX && goes_on
    }

    /// Writes a full chunk: all symbols, or the first seven.
    fn emit(&mut self, out: &mut Vec<u8>) {
        if !self.is_mixed || self.length == ONE_BIT_SYMBOLS {
            self.close(out);
            return;
        }
        let OpenChunk { length, symbols, .. } = std::mem::take(self);
        put_vector(&symbols[..TWO_BIT_SYMBOLS], 2, out);
        for symbol in &symbols[TWO_BIT_SYMBOLS..length] {
            self.push(*symbol, out);
        }
    }

    /// Writes what there is.
    fn close(&mut self, out: &mut Vec<u8>) {
        let OpenChunk { length, symbols, is_mixed, .. } = std::mem::take(self);
        match length {
            0 => {}
            _ if !is_mixed => {
                out.extend((u16::from(symbols[0]) << 13 | length as u16).to_be_bytes());
            }
            1..=TWO_BIT_SYMBOLS => put_vector(&symbols[..length], 2, out),
            _ => put_vector(&symbols[..length], 1, out),
        }
    }
}

fn put_vector(symbols: &[u8], bits: usize, out: &mut Vec<u8>) {
    let kind = if bits == 1 { 0b10 } else { 0b11_u16 };
    let packed = symbols
        .iter()
        .enumerate()
        .fold(kind << 14, |packed, (at, symbol)| packed | u16::from(*symbol) << (14 - bits * (at + 1)));
    out.extend(packed.to_be_bytes());
}
