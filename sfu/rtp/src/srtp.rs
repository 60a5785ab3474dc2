//! SRTP and SRTCP (RFC 3711, RFC 7714), keyed by DTLS (RFC 5764) or by SDP (RFC 4568).
//!
//! A nonce that repeats gives GCM away, so that types see to it that none does: a [`MasterKey`] is
//! used up by the one [`Sealer`] (or [`Opener`]) made of it, a sealer gives out one
//! [`StreamSealer`] for each SSRC, and that takes each index only once. The index of SRTCP is the
//! sealer's own.
//!
//! ```text
//! MasterKey -> Sealer -> StreamSealer (one for each SSRC) -> RTP
//!                     -> SRTCP index                      -> RTCP
//! ```

mod cipher;
mod keys;
mod open;
mod raw;
mod replay;
mod seal;
mod sha1_pair;
#[cfg(test)]
mod tests;

pub use keys::{KeyLength, MasterKey, Profile, from_dtls};
pub use open::{OpenError, Opened, Opener};
pub use seal::{SealError, Sealer, StreamError, StreamSealer, Unsealed};

/// The longest authentication tag of any profile: what a packet grows by at most when sealed.
pub const TAG_BYTES_MAX: usize = 16;
/// What a compound RTCP packet grows by at most: the tag, and the word with the index.
pub const RTCP_GROWTH_BYTES_MAX: usize = TAG_BYTES_MAX + 4;
/// Streams (SSRCs) of one key. More are refused and none is forgotten, because what is forgotten
/// can be replayed, or sealed twice.
pub const STREAMS_MAX: usize = 1_024;

/// Fixed header of RTP (RFC 3550 section 5.1).
const RTP_HEADER_BYTES: usize = 12;
/// What stays readable of RTCP: the first header and its SSRC (RFC 3711 section 3.4).
const RTCP_HEADER_BYTES: usize = 8;
/// The bit that says that RTCP is encrypted, beside the index (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 1 << 31;
/// A key is for 2^48 packets of RTP in a stream, and for 2^31 of RTCP (RFC 3711 section 9.2).
const RTP_INDEX_MAX: u64 = (1 << 48) - 1;
const RTCP_INDEX_MAX: u32 = (1 << 31) - 1;

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
}
