//! Sealing, and the one owner of each stream.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::cipher::{Cipher, Claimed};
use super::{
    MasterKey, Profile, RTCP_HEADER_BYTES, RTCP_INDEX_MAX, RTP_HEADER_BYTES, RTP_INDEX_MAX, STREAMS_MAX,
    u16_at, u32_at,
};

/// What we send under one master key: gives out the streams, and seals RTCP.
pub struct Sealer {
    profile: Profile,
    rtp: Arc<Cipher>,
    rtcp: Cipher,
    /// Of the next RTCP packet. One count for all SSRCs is one for each of them.
    rtcp_index: u32,
    /// For each stream that was ever given out, the lowest index that it may still use. Its second
    /// owner, if there is one, is the [`StreamSealer`].
    streams: HashMap<u32, Arc<AtomicU64>>,
}

/// Why there is no [`StreamSealer`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum StreamError {
    #[error("stream {ssrc} has an owner already")]
    Taken { ssrc: u32 },
    #[error("{STREAMS_MAX} streams were sealed with this key, which are all it is for")]
    TooMany,
}

/// Why a packet was not sealed. Its bytes are untouched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    #[error("the packet has {length} bytes, its header {header_length}")]
    TooShort { header_length: usize, length: usize },
    #[error("the sealed packet needs {needed} bytes, and there are {room}")]
    NoRoom { needed: usize, room: usize },
    #[error("the header is not of packet {sequence_number} of stream {ssrc}")]
    OtherPacket { ssrc: u32, sequence_number: u64 },
    #[error("packet {sequence_number} was to be sealed, and {lowest} is the lowest that may be")]
    Reused { sequence_number: u64, lowest: u64 },
    /// RFC 3711 section 9.2.
    #[error("the key is used up")]
    Exhausted,
}

impl Sealer {
    pub fn new(key: MasterKey) -> Self {
        Sealer {
            profile: key.profile(),
            rtp: Arc::new(key.rtp_cipher()),
            rtcp: key.rtcp_cipher(),
            rtcp_index: 0,
            streams: HashMap::new(),
        }
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    /// The right to seal packets of a stream. It comes back when the [`StreamSealer`] is dropped,
    /// and the next owner goes on above the last number that was sealed.
    ///
    /// # Errors
    /// While there is another owner, and when there were [`STREAMS_MAX`] other streams.
    pub fn stream(&mut self, ssrc: u32) -> Result<StreamSealer, StreamError> {
        let full = self.streams.len() >= STREAMS_MAX;
        let lowest = match self.streams.entry(ssrc) {
            Entry::Occupied(entry) if Arc::strong_count(entry.get()) > 1 => {
                return Err(StreamError::Taken { ssrc });
            }
            Entry::Occupied(entry) => entry.into_mut(),
            Entry::Vacant(_) if full => return Err(StreamError::TooMany),
            Entry::Vacant(entry) => entry.insert(Arc::default()),
        };
        Ok(StreamSealer {
            ssrc,
            cipher: Arc::clone(&self.rtp),
            // The former owner wrote it before it gave up its share of the counter, but maybe on
            // another thread.
            lowest: lowest.load(Ordering::Acquire),
            remembered: Arc::clone(lowest),
        })
    }

    /// Seals a compound RTCP packet in place (RFC 3711 section 3.4), which makes `buffer` up to
    /// [`super::RTCP_GROWTH_BYTES_MAX`] bytes longer. With so much capacity nothing is allocated.
    ///
    /// # Errors
    /// When the packet is shorter than a header, or the key is used up.
    pub fn seal_rtcp(&mut self, buffer: &mut Vec<u8>) -> Result<(), SealError> {
        let too_short = SealError::TooShort { header_length: RTCP_HEADER_BYTES, length: buffer.len() };
        let ssrc = u32_at(buffer, 4).ok_or(too_short)?;
        if self.rtcp_index > RTCP_INDEX_MAX {
            return Err(SealError::Exhausted);
        }
        self.rtcp.seal_rtcp(ssrc, self.rtcp_index, buffer);
        self.rtcp_index += 1;
        Ok(())
    }

    #[cfg(test)]
    pub(super) fn set_rtcp_index(&mut self, index: u32) {
        self.rtcp_index = index;
    }
}

impl fmt::Debug for Sealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sealer { profile, rtcp_index, streams, .. } = self;
        let mut out = f.debug_struct("Sealer");
        out.field("profile", profile).field("rtcp_index", rtcp_index).field("streams", streams);
        out.finish_non_exhaustive()
    }
}

/// A packet of [`StreamSealer::seal_rtp_group`]; the fields are the parameters of
/// [`StreamSealer::seal_rtp`]. Sealed, it is as much longer as [`StreamSealer::tag_bytes`] says.
#[derive(Debug)]
pub struct Unsealed<'a> {
    pub out: &'a mut [u8],
    pub header_length: usize,
    pub plain_length: usize,
    pub sequence_number: u64,
}

/// The one owner of a stream: who has it, and nobody else, seals packets of its SSRC, each once.
pub struct StreamSealer {
    ssrc: u32,
    cipher: Arc<Cipher>,
    /// The lowest index that was not used yet, nor skipped.
    lowest: u64,
    remembered: Arc<AtomicU64>,
}

impl StreamSealer {
    pub fn ssrc(&self) -> u32 {
        self.ssrc
    }

    /// How much longer a packet becomes.
    pub fn tag_bytes(&self) -> usize {
        self.cipher.tag_bytes()
    }

    /// Seals in place the packet whose header and payload are the first `plain_length` bytes of
    /// `out`, and returns its length with the tag. `header_length` counts contributing sources and
    /// extensions (RFC 3711 section 3.1). The number is extended: what is above its lowest 16 bits
    /// is the roll-over counter.
    ///
    /// # Errors
    /// When the number is not above the last one sealed, when the header has another number or
    /// SSRC, and when there is no room for the tag.
    pub fn seal_rtp(
        &mut self,
        out: &mut [u8],
        header_length: usize,
        plain_length: usize,
        sequence_number: u64,
    ) -> Result<usize, SealError> {
        let packet = self.claim(Unsealed { out, header_length, plain_length, sequence_number })?;
        let length = packet.out.len();
        self.cipher.seal_rtp(self.ssrc, packet);
        Ok(length)
    }

    /// Seals packets one after the other, as [`StreamSealer::seal_rtp`] does. With AES-CM two of one
    /// length, one behind the other, take little longer than one.
    ///
    /// # Errors
    /// As [`StreamSealer::seal_rtp`]. What came before the packet at fault is sealed then.
    pub fn seal_rtp_group<'a>(
        &mut self,
        packets: impl IntoIterator<Item = Unsealed<'a>>,
    ) -> Result<(), SealError> {
        if !self.cipher.takes_pairs() {
            return packets.into_iter().try_for_each(|packet| {
                let packet = self.claim(packet)?;
                self.cipher.seal_rtp(self.ssrc, packet);
                Ok(())
            });
        }
        let mut packets = packets.into_iter().peekable();
        while let Some(first) = packets.next() {
            let second = packets.next_if(|second| second.plain_length == first.plain_length);
            let first = self.claim(first)?;
            match second.map(|second| self.claim(second)) {
                None => self.cipher.seal_rtp(self.ssrc, first),
                Some(Ok(second)) => self.cipher.seal_rtp_pair(self.ssrc, [first, second]),
                Some(Err(error)) => {
                    self.cipher.seal_rtp(self.ssrc, first);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// Checks everything and uses the number up.
    fn claim<'a>(&mut self, packet: Unsealed<'a>) -> Result<Claimed<'a>, SealError> {
        let Unsealed { out, header_length, plain_length, sequence_number } = packet;
        if header_length < RTP_HEADER_BYTES || plain_length < header_length {
            return Err(SealError::TooShort { header_length, length: plain_length });
        }
        let (needed, room) = (plain_length + self.cipher.tag_bytes(), out.len());
        let Some(out) = out.get_mut(..needed) else { return Err(SealError::NoRoom { needed, room }) };
        let ssrc = self.ssrc;
        if u16_at(out, 2) != Some(sequence_number as u16) || u32_at(out, 8) != Some(ssrc) {
            return Err(SealError::OtherPacket { ssrc, sequence_number });
        }
        if sequence_number > RTP_INDEX_MAX {
            return Err(SealError::Exhausted);
        }
        if sequence_number < self.lowest {
            return Err(SealError::Reused { sequence_number, lowest: self.lowest });
        }
        self.lowest = sequence_number + 1;
        Ok(Claimed { out, header_length, index: sequence_number })
    }
}

impl Drop for StreamSealer {
    fn drop(&mut self) {
        self.remembered.store(self.lowest, Ordering::Release);
    }
}

impl fmt::Debug for StreamSealer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut out = f.debug_struct("StreamSealer");
        out.field("ssrc", &self.ssrc).field("lowest", &self.lowest).finish_non_exhaustive()
    }
}
