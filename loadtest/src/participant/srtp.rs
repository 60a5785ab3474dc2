//! SRTP and SRTCP of a participant (RFC 3711, RFC 7714), kept apart from the server's on purpose:
//! what both sides would get wrong in the same way, no test would see.

use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::cipher::{AES_128, EncryptingKey, EncryptionContext, UnboundCipherKey};
use aws_lc_rs::{constant_time, hmac};

use super::dtls::{Cipher, KeyingMaterial};
use super::rtp;

const KEY_BYTES: usize = 16;
const GCM_SALT_BYTES: usize = 12;
const GCM_TAG_BYTES: usize = 16;
const CM_SALT_BYTES: usize = 14;
const CM_TAG_BYTES: usize = 10;
const CM_AUTH_KEY_BYTES: usize = 20;
/// The E flag: the packet is encrypted (RFC 3711 section 3.4).
const ENCRYPTED: u32 = 1 << 31;
/// Header and sender's SSRC of an RTCP packet, which stay clear.
const RTCP_CLEAR_BYTES: usize = 8;
/// Senders whose numbers are kept apart. A far side that has more is refused.
const SSRCS_MAX: usize = 1_024;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpError {
    Malformed,
    /// Not sealed with our keys.
    Forged,
    TooManySources,
}

/// What goes out and what comes in.
pub struct Srtp {
    rtp_out: Key,
    rtcp_out: Key,
    rtp_in: Key,
    rtcp_in: Key,
    rtcp_index: u32,
    sources: Vec<Source>,
}

/// Numbers of a sender of RTP, extended.
struct Source {
    ssrc: u32,
    highest: u64,
}

impl Srtp {
    /// `is_client`: in the DTLS handshake.
    pub fn new(keys: &KeyingMaterial, is_client: bool) -> Self {
        let salt_bytes = match keys.cipher {
            Cipher::Gcm => GCM_SALT_BYTES,
            Cipher::Cm => CM_SALT_BYTES,
        };
        let (masters, salts) = keys.bytes.split_at(2 * KEY_BYTES);
        let of = |client: bool, labels: Labels| {
            let index = usize::from(!client);
            let master = &masters[index * KEY_BYTES..][..KEY_BYTES];
            Key::derive(keys.cipher, master, &salts[index * salt_bytes..][..salt_bytes], labels)
        };
        Srtp {
            rtp_out: of(is_client, RTP),
            rtcp_out: of(is_client, RTCP),
            rtp_in: of(!is_client, RTP),
            rtcp_in: of(!is_client, RTCP),
            rtcp_index: 0,
            sources: Vec::new(),
        }
    }

    /// Seals a whole RTP packet, whose number is `sequence_number` without the higher bits.
    pub fn seal_rtp(&self, packet: &mut Vec<u8>, sequence_number: u64) {
        let header = rtp::Header::parse(packet).expect("we have written it");
        let (ssrc, offset) = (header.ssrc, header.payload_offset);
        match &self.rtp_out {
            Key::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, sequence_number);
                seal_gcm(key, nonce, packet, offset, None);
            }
            Key::Cm { key, salt, auth } => {
                encrypt_cm(key, cm_counter(salt, ssrc, sequence_number), &mut packet[offset..]);
                let tag = authenticate(auth, packet, &((sequence_number >> 16) as u32).to_be_bytes());
                packet.extend(&tag[..CM_TAG_BYTES]);
            }
        }
    }

    /// Opens an RTP packet in place: its payload, and its number with the higher bits.
    pub fn open_rtp<'a>(
        &mut self,
        packet: &'a mut [u8],
        header: &rtp::Header,
    ) -> Result<(&'a [u8], u64), SrtpError> {
        let known = self.sources.iter().position(|source| source.ssrc == header.ssrc);
        let sequence_number = match known {
            Some(index) => rtp::extend(header.sequence_number, self.sources[index].highest),
            None if self.sources.len() >= SSRCS_MAX => return Err(SrtpError::TooManySources),
            None => u64::from(header.sequence_number),
        };
        let (ssrc, offset) = (header.ssrc, header.payload_offset);
        let length = match &self.rtp_in {
            Key::Gcm { key, salt } => {
                open_gcm(key, gcm_nonce(salt, ssrc, sequence_number), packet, offset, None)?
            }
            Key::Cm { key, salt, auth } => {
                let end = packet.len().checked_sub(CM_TAG_BYTES).filter(|end| *end >= offset);
                let (sealed, tag) = packet.split_at_mut(end.ok_or(SrtpError::Malformed)?);
                let expected = authenticate(auth, sealed, &((sequence_number >> 16) as u32).to_be_bytes());
                constant_time::verify_slices_are_equal(&expected[..CM_TAG_BYTES], tag)
                    .map_err(|_| SrtpError::Forged)?;
                encrypt_cm(key, cm_counter(salt, ssrc, sequence_number), &mut sealed[offset..]);
                sealed.len() - offset
            }
        };
        match known {
            Some(index) => {
                let highest = &mut self.sources[index].highest;
                *highest = (*highest).max(sequence_number);
            }
            None => self.sources.push(Source { ssrc, highest: sequence_number }),
        }
        Ok((&packet[offset..offset + length], sequence_number))
    }

    /// Seals a compound RTCP packet.
    pub fn seal_rtcp(&mut self, packet: &mut Vec<u8>) {
        self.rtcp_index = (self.rtcp_index + 1) & !ENCRYPTED;
        let trailer = (self.rtcp_index | ENCRYPTED).to_be_bytes();
        let ssrc = u32::from_be_bytes(packet[4..8].try_into().expect("it is four bytes"));
        match &self.rtcp_out {
            Key::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, self.rtcp_index.into());
                seal_gcm(key, nonce, packet, RTCP_CLEAR_BYTES, Some(&trailer));
                packet.extend(trailer);
            }
            Key::Cm { key, salt, auth } => {
                let counter = cm_counter(salt, ssrc, self.rtcp_index.into());
                encrypt_cm(key, counter, &mut packet[RTCP_CLEAR_BYTES..]);
                packet.extend(trailer);
                let tag = authenticate(auth, packet, &[]);
                packet.extend(&tag[..CM_TAG_BYTES]);
            }
        }
    }

    /// Opens a compound RTCP packet in place.
    pub fn open_rtcp<'a>(&self, packet: &'a mut [u8]) -> Result<&'a [u8], SrtpError> {
        let ssrc = packet.get(4..8).ok_or(SrtpError::Malformed)?;
        let ssrc = u32::from_be_bytes(ssrc.try_into().expect("it is four bytes"));
        let after_trailer = match &self.rtcp_in {
            Key::Gcm { .. } => 0,
            Key::Cm { .. } => CM_TAG_BYTES,
        };
        let at = packet.len().checked_sub(after_trailer + 4).filter(|at| *at >= RTCP_CLEAR_BYTES);
        let at = at.ok_or(SrtpError::Malformed)?;
        let trailer: [u8; 4] = packet[at..at + 4].try_into().expect("it is four bytes");
        let index = u32::from_be_bytes(trailer);
        if index & ENCRYPTED == 0 {
            return Err(SrtpError::Malformed);
        }
        let index = u64::from(index & !ENCRYPTED);
        let length = match &self.rtcp_in {
            Key::Gcm { key, salt } => {
                let nonce = gcm_nonce(salt, ssrc, index);
                open_gcm(key, nonce, &mut packet[..at], RTCP_CLEAR_BYTES, Some(&trailer))?
            }
            Key::Cm { key, salt, auth } => {
                let expected = authenticate(auth, &packet[..at + 4], &[]);
                constant_time::verify_slices_are_equal(&expected[..CM_TAG_BYTES], &packet[at + 4..])
                    .map_err(|_| SrtpError::Forged)?;
                encrypt_cm(key, cm_counter(salt, ssrc, index), &mut packet[RTCP_CLEAR_BYTES..at]);
                at - RTCP_CLEAR_BYTES
            }
        };
        Ok(&packet[..RTCP_CLEAR_BYTES + length])
    }
}

/// Labels of the derivation (RFC 3711 section 4.3.2): key, authentication, salt.
type Labels = [u8; 3];
const RTP: Labels = [0, 1, 2];
const RTCP: Labels = [3, 4, 5];

#[allow(clippy::large_enum_variant, reason = "there are four in a session")]
enum Key {
    Gcm { key: LessSafeKey, salt: [u8; GCM_SALT_BYTES] },
    Cm { key: EncryptingKey, salt: [u8; CM_SALT_BYTES], auth: hmac::Key },
}

impl Key {
    fn derive(cipher: Cipher, master: &[u8], salt: &[u8], [key, auth, salting]: Labels) -> Self {
        let derive = |label: u8, out: &mut [u8]| {
            let mut counter = [0; 16];
            counter[..salt.len()].copy_from_slice(salt);
            counter[7] ^= label;
            encrypt_cm(&counter_key(master), counter, out);
        };
        let mut session_key = [0; KEY_BYTES];
        derive(key, &mut session_key);
        match cipher {
            Cipher::Gcm => {
                let mut salt = [0; GCM_SALT_BYTES];
                derive(salting, &mut salt);
                let key = UnboundKey::new(&AES_128_GCM, &session_key).expect("it has the right length");
                Key::Gcm { key: LessSafeKey::new(key), salt }
            }
            Cipher::Cm => {
                let (mut salt, mut secret) = ([0; CM_SALT_BYTES], [0; CM_AUTH_KEY_BYTES]);
                derive(salting, &mut salt);
                derive(auth, &mut secret);
                let auth = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, &secret);
                Key::Cm { key: counter_key(&session_key), salt, auth }
            }
        }
    }
}

fn counter_key(key: &[u8]) -> EncryptingKey {
    let key = UnboundCipherKey::new(&AES_128, key).expect("it has the right length");
    EncryptingKey::ctr(key).expect("AES has a counter mode")
}

/// Encrypts or decrypts, which is the same in counter mode.
fn encrypt_cm(key: &EncryptingKey, counter: [u8; 16], text: &mut [u8]) {
    let context = EncryptionContext::Iv128(counter.into());
    key.less_safe_encrypt(text, context).expect("it is short enough");
}

/// RFC 3711 section 4.1.1.
fn cm_counter(salt: &[u8; CM_SALT_BYTES], ssrc: u32, index: u64) -> [u8; 16] {
    let mut counter = [0; 16];
    counter[..CM_SALT_BYTES].copy_from_slice(salt);
    xor(&mut counter[4..8], &ssrc.to_be_bytes());
    xor(&mut counter[8..14], &index.to_be_bytes()[2..]);
    counter
}

/// RFC 7714 sections 8.1 and 9.1: the index of SRTCP has as many bits as that of SRTP here.
fn gcm_nonce(salt: &[u8; GCM_SALT_BYTES], ssrc: u32, index: u64) -> Nonce {
    let mut nonce = *salt;
    xor(&mut nonce[2..6], &ssrc.to_be_bytes());
    xor(&mut nonce[6..12], &index.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(nonce)
}

fn xor(bytes: &mut [u8], with: &[u8]) {
    bytes.iter_mut().zip(with).for_each(|(byte, with)| *byte ^= with);
}

fn authenticate(key: &hmac::Key, packet: &[u8], more: &[u8]) -> [u8; 20] {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(more);
    context.sign().as_ref().try_into().expect("SHA-1 has 20 bytes")
}

/// What is clear goes into the tag, and with it the trailer of SRTCP (RFC 7714 section 9.2).
fn seal_gcm(key: &LessSafeKey, nonce: Nonce, packet: &mut Vec<u8>, offset: usize, trailer: Option<&[u8; 4]>) {
    let (clear, text) = packet.split_at_mut(offset);
    let tag = match trailer {
        Some(trailer) => key.seal_in_place_separate_tag(nonce, Aad::from([&*clear, trailer].concat()), text),
        None => key.seal_in_place_separate_tag(nonce, Aad::from(&*clear), text),
    };
    packet.extend(tag.expect("it is short enough").as_ref());
}

/// The length of the text.
fn open_gcm(
    key: &LessSafeKey,
    nonce: Nonce,
    packet: &mut [u8],
    offset: usize,
    trailer: Option<&[u8; 4]>,
) -> Result<usize, SrtpError> {
    if packet.len() < offset + GCM_TAG_BYTES {
        return Err(SrtpError::Malformed);
    }
    let (clear, sealed) = packet.split_at_mut(offset);
    let opened = match trailer {
        Some(trailer) => key.open_in_place(nonce, Aad::from([&*clear, trailer].concat()), sealed),
        None => key.open_in_place(nonce, Aad::from(&*clear), sealed),
    };
    opened.map(|text| text.len()).map_err(|_| SrtpError::Forged)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair(cipher: Cipher) -> (Srtp, Srtp) {
        let salt_bytes = match cipher {
            Cipher::Gcm => GCM_SALT_BYTES,
            Cipher::Cm => CM_SALT_BYTES,
        };
        let bytes = (0..2 * (KEY_BYTES + salt_bytes)).map(|index| index as u8).collect();
        let keys = KeyingMaterial { cipher, bytes };
        (Srtp::new(&keys, true), Srtp::new(&keys, false))
    }

    fn packet(sequence_number: u64) -> Vec<u8> {
        let mut packet = vec![0x80, 96];
        packet.extend((sequence_number as u16).to_be_bytes());
        packet.extend([0, 0, 0, 1, 0, 0, 0, 2]);
        packet.extend(b"payload");
        packet
    }

    #[test]
    fn what_one_side_seals_the_other_opens_across_the_wrap_of_numbers() {
        for cipher in [Cipher::Gcm, Cipher::Cm] {
            let (client, mut server) = pair(cipher);
            for sequence_number in 65_500..65_600 {
                let mut sealed = packet(sequence_number);
                client.seal_rtp(&mut sealed, sequence_number);
                let header = rtp::Header::parse(&sealed).expect("it is RTP");
                let opened = server.open_rtp(&mut sealed, &header);
                assert_eq!(opened, Ok((&b"payload"[..], sequence_number)), "{cipher:?}");
            }
        }
    }

    #[test]
    fn reports_go_both_ways_and_a_changed_byte_is_noticed() {
        for cipher in [Cipher::Gcm, Cipher::Cm] {
            let (mut client, mut server) = pair(cipher);
            let report = [0x80, 201, 0, 1, 0, 0, 0, 9, 1, 2, 3, 4];
            let mut sealed = report.to_vec();
            client.seal_rtcp(&mut sealed);
            assert_eq!(server.open_rtcp(&mut sealed.clone()), Ok(&report[..]), "{cipher:?}");
            sealed[9] ^= 1;
            assert_eq!(server.open_rtcp(&mut sealed), Err(SrtpError::Forged), "{cipher:?}");
            let mut sealed = report.to_vec();
            server.seal_rtcp(&mut sealed);
            assert_eq!(client.open_rtcp(&mut sealed), Ok(&report[..]), "{cipher:?}");
        }
    }
}
