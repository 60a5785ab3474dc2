//! Master keys, and the session keys that are derived from them (RFC 3711 section 4.3).

use std::fmt;

use aws_lc_rs::cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey};

use super::cipher::Cipher;

/// How packets are encrypted and authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Profile {
    /// RFC 7714. The cheapest.
    AeadAes128Gcm,
    /// RFC 7714.
    AeadAes256Gcm,
    /// RFC 3711, tags of 80 bits.
    Aes128CmSha1_80,
    /// RFC 3711, tags of 32 bits on RTP and of 80 bits on RTCP. Only room systems ask for it.
    Aes128CmSha1_32,
}

impl Profile {
    pub fn key_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => 16,
            Profile::AeadAes256Gcm => 32,
        }
    }

    pub fn salt_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 12,
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => 14,
        }
    }

    /// How much longer an RTP packet is when sealed.
    pub fn rtp_tag_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
            Profile::Aes128CmSha1_80 => 10,
            Profile::Aes128CmSha1_32 => 4,
        }
    }

    pub(super) fn rtcp_tag_bytes(self) -> usize {
        match self {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => 16,
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => 10,
        }
    }

    /// Length of what DTLS exports for both directions (RFC 5764 section 4.2).
    pub fn exported_bytes(self) -> usize {
        2 * (self.key_bytes() + self.salt_bytes())
    }
}

/// The secret of one direction. It is not `Clone`, so that it ends in one [`super::Sealer`] only.
pub struct MasterKey {
    profile: Profile,
    key: [u8; 32],
    /// Padded at its end with zeros to the 14 bytes that the derivation works on (RFC 7714
    /// section 11).
    salt: [u8; 14],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("keying material for {profile:?} has {expected} bytes, and {got} came")]
pub struct KeyLength {
    pub profile: Profile,
    pub expected: usize,
    pub got: usize,
}

impl MasterKey {
    /// From key and salt one after the other, as `inline:` of SDP has them (RFC 4568 section 6.1).
    ///
    /// # Errors
    /// When the length is not the profile's.
    pub fn new(profile: Profile, key_and_salt: &[u8]) -> Result<Self, KeyLength> {
        let (expected, got) = (profile.key_bytes() + profile.salt_bytes(), key_and_salt.len());
        if expected != got {
            return Err(KeyLength { profile, expected, got });
        }
        let (key, salt) = key_and_salt.split_at(profile.key_bytes());
        Ok(MasterKey::from_parts(profile, key, salt))
    }

    /// The parts have the profile's lengths.
    fn from_parts(profile: Profile, key: &[u8], salt: &[u8]) -> Self {
        let mut master = MasterKey { profile, key: [0; 32], salt: [0; 14] };
        master.key[..key.len()].copy_from_slice(key);
        master.salt[..salt.len()].copy_from_slice(salt);
        master
    }

    pub fn profile(&self) -> Profile {
        self.profile
    }

    pub(super) fn rtp_cipher(&self) -> Cipher {
        self.cipher([0, 1, 2], self.profile.rtp_tag_bytes())
    }

    pub(super) fn rtcp_cipher(&self) -> Cipher {
        self.cipher([3, 4, 5], self.profile.rtcp_tag_bytes())
    }

    /// The labels of the keys for encryption, for authentication, and of the salt.
    fn cipher(&self, [encryption, authentication, salt]: [u8; 3], tag_bytes: usize) -> Cipher {
        let mut key = [0; 32];
        let key = &mut key[..self.profile.key_bytes()];
        self.derive(encryption, key);
        match self.profile {
            Profile::AeadAes128Gcm | Profile::AeadAes256Gcm => {
                let mut session_salt = [0; 12];
                self.derive(salt, &mut session_salt);
                Cipher::gcm(key, session_salt)
            }
            Profile::Aes128CmSha1_80 | Profile::Aes128CmSha1_32 => {
                let (mut session_salt, mut authentication_key) = ([0; 14], [0; 20]);
                self.derive(salt, &mut session_salt);
                self.derive(authentication, &mut authentication_key);
                Cipher::counter_mode(key, session_salt, &authentication_key, tag_bytes)
            }
        }
    }

    /// AES-CM as a pseudo-random function (RFC 3711 section 4.3.3, RFC 7714 section 11), with a
    /// derivation rate of 0: keys are derived once.
    ///
    /// ```text
    /// master salt  |0 ............ 6|label|8 ........ 13|  xor
    /// counter block                                     |0|0|
    /// ```
    pub(super) fn derive(&self, label: u8, out: &mut [u8]) {
        let mut block = [0; 16];
        block[..14].copy_from_slice(&self.salt);
        block[7] ^= label;
        let algorithm = if self.profile.key_bytes() == 32 { &AES_256 } else { &AES_128 };
        let key = UnboundCipherKey::new(algorithm, &self.key[..self.profile.key_bytes()])
            .and_then(EncryptingKey::ctr)
            .expect("the length is the profile's");
        out.fill(0);
        key.less_safe_encrypt(out, EncryptionContext::Iv128(block.into())).expect("any length will do");
    }
}

impl Drop for MasterKey {
    fn drop(&mut self) {
        self.key.fill(0);
        // Keeps the writes, which nothing reads.
        std::hint::black_box(&self.key);
    }
}

impl fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MasterKey").field("profile", &self.profile).finish_non_exhaustive()
    }
}

/// Our and their master key, out of what DTLS exported (RFC 5764 section 4.2).
///
/// ```text
/// | client's key | server's key | client's salt | server's salt |
/// ```
///
/// # Errors
/// When the length is not the profile's.
pub fn from_dtls(
    profile: Profile,
    exported: &[u8],
    is_client: bool,
) -> Result<(MasterKey, MasterKey), KeyLength> {
    let (expected, got) = (profile.exported_bytes(), exported.len());
    if expected != got {
        return Err(KeyLength { profile, expected, got });
    }
    let (keys, salts) = exported.split_at(2 * profile.key_bytes());
    let (client_key, server_key) = keys.split_at(profile.key_bytes());
    let (client_salt, server_salt) = salts.split_at(profile.salt_bytes());
    let client = MasterKey::from_parts(profile, client_key, client_salt);
    let server = MasterKey::from_parts(profile, server_key, server_salt);
    Ok(if is_client { (client, server) } else { (server, client) })
}
