//! The session keys of one direction and of one protocol, ready for use: nothing of a key is worked
//! out a second time for a packet.
//!
//! Callers have checked lengths, and never seal twice with one nonce.
//!
//! GCM is ring's, whose code for processors with wide AES but without AVX-512 takes two thirds of
//! the time that AWS-LC's takes.

use aws_lc_rs::constant_time;
use ring::aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::raw::{CounterKey, HmacSha1};
use super::{ENCRYPTED, RTCP_HEADER_BYTES};

pub(super) enum Cipher {
    Gcm(Gcm),
    CounterMode(CounterMode),
}

/// A packet of RTP that nobody else seals under its index.
pub(super) struct Claimed<'a> {
    /// Header, payload and room for the tag.
    pub out: &'a mut [u8],
    pub header_length: usize,
    pub index: u64,
}

/// A tag is wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Forged;

impl Cipher {
    pub(super) fn gcm(key: &[u8], salt: [u8; 12]) -> Self {
        let algorithm = if key.len() == 32 { &AES_256_GCM } else { &AES_128_GCM };
        let key = UnboundKey::new(algorithm, key).expect("the length is the profile's");
        let mut wide = [0; 16];
        wide[4..].copy_from_slice(&salt);
        Cipher::Gcm(Gcm { key: LessSafeKey::new(key), salt: u128::from_be_bytes(wide) })
    }

    pub(super) fn counter_mode(
        key: &[u8],
        salt: [u8; 14],
        authentication_key: &[u8; 20],
        tag_bytes: usize,
    ) -> Self {
        let mut wide = [0; 16];
        wide[..14].copy_from_slice(&salt);
        Cipher::CounterMode(CounterMode {
            key: CounterKey::new(key.try_into().expect("the length is the profile's")),
            salt: u128::from_be_bytes(wide),
            authentication: HmacSha1::new(authentication_key),
            tag_bytes,
        })
    }

    pub(super) fn tag_bytes(&self) -> usize {
        match self {
            Cipher::Gcm(_) => Gcm::TAG_BYTES,
            Cipher::CounterMode(cipher) => cipher.tag_bytes,
        }
    }

    pub(super) fn seal_rtp(&self, ssrc: u32, packet: Claimed<'_>) {
        let Claimed { out, header_length, index } = packet;
        let (body, tag) = out.split_at_mut(out.len() - self.tag_bytes());
        match self {
            Cipher::Gcm(cipher) => {
                let (header, payload) = body.split_at_mut(header_length);
                tag.copy_from_slice(&cipher.seal(ssrc, index, header, payload));
            }
            Cipher::CounterMode(cipher) => {
                cipher.key.apply(cipher.block(ssrc, index), &mut body[header_length..]);
                tag.copy_from_slice(&cipher.authentication.tag(body, &roc(index))[..cipher.tag_bytes]);
            }
        }
    }

    /// Whether two packets together cost less than twice one.
    pub(super) fn takes_pairs(&self) -> bool {
        match self {
            Cipher::Gcm(_) => false,
            Cipher::CounterMode(cipher) => cipher.authentication.takes_pairs(),
        }
    }

    /// As [`Cipher::seal_rtp`], for two packets of one length.
    pub(super) fn seal_rtp_pair(&self, ssrc: u32, packets: [Claimed<'_>; 2]) {
        let Cipher::CounterMode(cipher) = self else {
            return packets.into_iter().for_each(|packet| self.seal_rtp(ssrc, packet));
        };
        let indices = packets.each_ref().map(|packet| packet.index);
        let [first, second] = packets.map(|Claimed { out, header_length, index }| {
            let (body, tag) = out.split_at_mut(out.len() - cipher.tag_bytes);
            cipher.key.apply(cipher.block(ssrc, index), &mut body[header_length..]);
            (body, tag)
        });
        let tags = cipher.authentication.tag_pair([first.0, second.0], indices.map(roc));
        first.1.copy_from_slice(&tags[0][..cipher.tag_bytes]);
        second.1.copy_from_slice(&tags[1][..cipher.tag_bytes]);
    }

    /// Writes header and payload to `out`, which is as long as them. What it holds after an error
    /// means nothing.
    pub(super) fn open_rtp(
        &self,
        ssrc: u32,
        index: u64,
        packet: &[u8],
        header_length: usize,
        out: &mut [u8],
    ) -> Result<(), Forged> {
        let (body, tag) = packet.split_at(packet.len() - self.tag_bytes());
        let (header, sealed) = body.split_at(header_length);
        let (out_header, out_payload) = out.split_at_mut(header_length);
        match self {
            Cipher::Gcm(cipher) => cipher.open(ssrc, index, header, sealed, tag, out_payload)?,
            Cipher::CounterMode(cipher) => {
                cipher.check(body, &roc(index), tag)?;
                cipher.key.apply_to(cipher.block(ssrc, index), sealed, out_payload);
            }
        }
        out_header.copy_from_slice(header);
        Ok(())
    }

    /// Encrypts the compound packet in `buffer` and appends what belongs to it.
    ///
    /// ```text
    /// GCM           | header, SSRC | sealed | tag | E, index |   (RFC 7714 section 9)
    /// counter mode  | header, SSRC | sealed | E, index | tag |   (RFC 3711 section 3.4)
    /// ```
    pub(super) fn seal_rtcp(&self, ssrc: u32, index: u32, buffer: &mut Vec<u8>) {
        let trailer = (ENCRYPTED | index).to_be_bytes();
        match self {
            Cipher::Gcm(cipher) => {
                let (header, payload) = buffer.split_at_mut(RTCP_HEADER_BYTES);
                let tag = cipher.seal(ssrc, index.into(), &Gcm::rtcp_aad(header, trailer), payload);
                buffer.extend_from_slice(&tag);
                buffer.extend_from_slice(&trailer);
            }
            Cipher::CounterMode(cipher) => {
                cipher.key.apply(cipher.block(ssrc, index.into()), &mut buffer[RTCP_HEADER_BYTES..]);
                buffer.extend_from_slice(&trailer);
                let tag = cipher.authentication.tag(buffer, &[]);
                buffer.extend_from_slice(&tag[..cipher.tag_bytes]);
            }
        }
    }

    /// The word with the index, out of a packet that is long enough.
    pub(super) fn rtcp_trailer(&self, packet: &[u8]) -> [u8; 4] {
        let end = match self {
            Cipher::Gcm(_) => packet.len(),
            Cipher::CounterMode(cipher) => packet.len() - cipher.tag_bytes,
        };
        *packet[..end].last_chunk().expect("the packet is long enough")
    }

    /// Writes the compound packet to `out`, which is as long as it.
    pub(super) fn open_rtcp(
        &self,
        ssrc: u32,
        index: u32,
        packet: &[u8],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        let (header, sealed) = packet[..out.len()].split_at(RTCP_HEADER_BYTES);
        let (out_header, out_payload) = out.split_at_mut(RTCP_HEADER_BYTES);
        match self {
            Cipher::Gcm(cipher) => {
                let tag = &packet[packet.len() - 4 - Gcm::TAG_BYTES..packet.len() - 4];
                let aad = Gcm::rtcp_aad(header, self.rtcp_trailer(packet));
                cipher.open(ssrc, index.into(), &aad, sealed, tag, out_payload)?;
            }
            Cipher::CounterMode(cipher) => {
                let (body, tag) = packet.split_at(packet.len() - cipher.tag_bytes);
                cipher.check(body, &[], tag)?;
                cipher.key.apply_to(cipher.block(ssrc, index.into()), sealed, out_payload);
            }
        }
        out_header.copy_from_slice(header);
        Ok(())
    }
}

pub(super) struct Gcm {
    key: LessSafeKey,
    /// In the lowest 96 bits.
    salt: u128,
}

impl Gcm {
    const TAG_BYTES: usize = 16;

    /// RFC 7714 sections 8.1 and 9.1. The index of SRTCP has 31 bits, and zeros before them.
    ///
    /// ```text
    /// |0|0|  SSRC  | index, 48 bits |  xor salt
    /// ```
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let nonce = self.salt ^ (u128::from(ssrc) << 48) ^ u128::from(index);
        let [_, _, _, _, nonce @ ..] = nonce.to_be_bytes();
        Nonce::assume_unique_for_key(nonce)
    }

    /// Encrypts `payload` and returns the tag.
    fn seal(&self, ssrc: u32, index: u64, aad: &[u8], payload: &mut [u8]) -> [u8; Gcm::TAG_BYTES] {
        let tag = self.key.seal_in_place_separate_tag(self.nonce(ssrc, index), Aad::from(aad), payload);
        *tag.expect("a packet is short").as_ref().first_chunk().expect("a tag has 16 bytes")
    }

    /// Writes to `out`, which is as long as `sealed`.
    fn open(
        &self,
        ssrc: u32,
        index: u64,
        aad: &[u8],
        sealed: &[u8],
        tag: &[u8],
        out: &mut [u8],
    ) -> Result<(), Forged> {
        out.copy_from_slice(sealed);
        let (nonce, tag) = (self.nonce(ssrc, index), tag.try_into().map_err(|_| Forged)?);
        let opened = self.key.open_in_place_separate_tag(nonce, Aad::from(aad), tag, out, 0..);
        opened.map(drop).map_err(|_| Forged)
    }

    /// RFC 7714 section 9.2.
    fn rtcp_aad(header: &[u8], trailer: [u8; 4]) -> [u8; RTCP_HEADER_BYTES + 4] {
        let mut aad = [0; RTCP_HEADER_BYTES + 4];
        aad[..RTCP_HEADER_BYTES].copy_from_slice(header);
        aad[RTCP_HEADER_BYTES..].copy_from_slice(&trailer);
        aad
    }
}

pub(super) struct CounterMode {
    key: CounterKey,
    /// In the highest 112 bits.
    salt: u128,
    authentication: HmacSha1,
    tag_bytes: usize,
}

impl CounterMode {
    /// The first counter block of a packet (RFC 3711 section 4.1.1).
    ///
    /// ```text
    /// |0|0|0|0|  SSRC  | index, 48 bits |0|0|  xor salt
    /// ```
    fn block(&self, ssrc: u32, index: u64) -> [u8; 16] {
        (self.salt ^ (u128::from(ssrc) << 64) ^ (u128::from(index) << 16)).to_be_bytes()
    }

    /// `after` is the roll-over counter of RTP (RFC 3711 section 4.2).
    fn check(&self, body: &[u8], after: &[u8], tag: &[u8]) -> Result<(), Forged> {
        let expected = self.authentication.tag(body, after);
        constant_time::verify_slices_are_equal(&expected[..self.tag_bytes], tag).map_err(|_| Forged)
    }
}

/// The roll-over counter (RFC 3711 section 3.3.1).
fn roc(index: u64) -> [u8; 4] {
    ((index >> 16) as u32).to_be_bytes()
}
