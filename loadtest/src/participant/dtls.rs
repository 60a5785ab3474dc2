//! DTLS that offers one SRTP profile only, and that hands out the keys.
//!
//! The library below offers all the profiles that it knows, and the far side takes the one that it
//! likes best. So the `ClientHello` is changed on its way out, and each time that it is hashed or
//! signed as a part of the handshake, so that both sides agree on what was said.

use std::cell::RefCell;
use std::sync::{Arc, LazyLock};
use std::time::Instant;

use dimpl::CryptoError as DtlsCryptoError;
use dimpl::crypto::{
    Buf, CryptoProvider as DtlsCryptoProvider, HashAlgorithm, HashContext, HashProvider, KeyProvider,
    SignatureAlgorithm, SigningKey,
};
use str0m::crypto::dtls::{
    DtlsCert, DtlsImplError, DtlsInstance, DtlsOutput, DtlsProvider, DtlsVersion, ProtocolVersion,
    SrtpProfile,
};
use str0m::crypto::{CryptoError, CryptoProvider};

/// What media is sealed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, clap::ValueEnum, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Cipher {
    /// AEAD_AES_128_GCM (RFC 7714).
    Gcm,
    /// AES_CM_128_HMAC_SHA1_80 (RFC 3711).
    Cm,
}

impl Cipher {
    /// IANA's number of the protection profile (RFC 5764 section 4.1.2, RFC 7714 section 14.2).
    const fn profile(self) -> u16 {
        match self {
            Cipher::Gcm => 7,
            Cipher::Cm => 1,
        }
    }
}

/// What DTLS has agreed on (RFC 5764 section 4.2).
pub struct KeyingMaterial {
    pub cipher: Cipher,
    /// Client's key, server's key, client's salt, server's salt.
    pub bytes: Vec<u8>,
}

/// The keys that a handshake on this thread has just made.
pub fn take_keys() -> Option<KeyingMaterial> {
    KEYS.take()
}

thread_local! {
    static KEYS: RefCell<Option<KeyingMaterial>> = const { RefCell::new(None) };
}

/// For [`str0m::RtcConfig::set_crypto_provider`].
pub fn provider(cipher: Cipher) -> Arc<CryptoProvider> {
    static GCM: OneProfile = OneProfile(Cipher::Gcm);
    static CM: OneProfile = OneProfile(Cipher::Cm);
    let dtls_provider = match cipher {
        Cipher::Gcm => &GCM,
        Cipher::Cm => &CM,
    };
    Arc::new(CryptoProvider { dtls_provider, ..str0m::crypto::from_feature_flags() })
}

/// `use_srtp` as the library writes it: type and length, three profiles, no MKI.
const OFFERED: [u8; 13] = [0, 14, 0, 9, 0, 6, 0, 8, 0, 7, 0, 1, 0];

/// Names the wished profile in the place of each, so that no length changes.
fn restrict(message: &mut [u8], cipher: Cipher) {
    let Some(at) = message.windows(OFFERED.len()).position(|window| window == OFFERED) else { return };
    for profile in message[at + 6..at + 12].chunks_exact_mut(2) {
        profile.copy_from_slice(&cipher.profile().to_be_bytes());
    }
}

#[derive(Debug)]
struct OneProfile(Cipher);

impl DtlsProvider for OneProfile {
    fn generate_certificate(&self) -> Option<DtlsCert> {
        str0m::crypto::from_feature_flags().dtls_provider.generate_certificate()
    }

    fn new_dtls(
        &self,
        certificate: &DtlsCert,
        now: Instant,
        _version: DtlsVersion,
        mtu: Option<usize>,
    ) -> Result<Box<dyn DtlsInstance>, CryptoError> {
        let mut builder = dimpl::Config::builder().with_crypto_provider(crypto(self.0).clone());
        if let Some(mtu) = mtu {
            builder = builder.mtu(mtu);
        }
        let config = builder.build().map_err(|error| CryptoError::Other(error.to_string()))?;
        let certificate = dimpl::DtlsCertificate {
            certificate: certificate.certificate.clone(),
            private_key: certificate.private_key.clone(),
        };
        let dtls = dimpl::Dtls::new_12(Arc::new(config), certificate, now);
        Ok(Box::new(Instance { dtls, cipher: self.0 }))
    }
}

struct Instance {
    dtls: dimpl::Dtls,
    cipher: Cipher,
}

impl std::fmt::Debug for Instance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Instance").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

impl DtlsInstance for Instance {
    fn poll_output<'a>(&mut self, buffer: &'a mut [u8]) -> DtlsOutput<'a> {
        let length = match self.dtls.poll_output(buffer) {
            DtlsOutput::Packet(packet) => packet.len(),
            DtlsOutput::KeyingMaterial(keys, profile) => {
                let cipher = match profile {
                    SrtpProfile::AEAD_AES_128_GCM => Some(Cipher::Gcm),
                    SrtpProfile::AES128_CM_SHA1_80 => Some(Cipher::Cm),
                    _ => None,
                };
                if let Some(cipher) = cipher {
                    KEYS.set(Some(KeyingMaterial { cipher, bytes: keys.to_vec() }));
                }
                return DtlsOutput::KeyingMaterial(keys, profile);
            }
            DtlsOutput::BufferTooSmall { needed } => return DtlsOutput::BufferTooSmall { needed },
            DtlsOutput::Timeout(at) => return DtlsOutput::Timeout(at),
            DtlsOutput::Connected => return DtlsOutput::Connected,
            DtlsOutput::CloseNotify => return DtlsOutput::CloseNotify,
            DtlsOutput::PeerCert(certificate) => {
                let length = certificate.len();
                return DtlsOutput::PeerCert(&buffer[..length]);
            }
            DtlsOutput::ApplicationData(data) => {
                let length = data.len();
                return DtlsOutput::ApplicationData(&buffer[..length]);
            }
            // A kind that a later version of the library adds: nothing of it is needed here, and the
            // next deadline comes with the next poll.
            _ => return DtlsOutput::Timeout(Instant::now()),
        };
        restrict(&mut buffer[..length], self.cipher);
        DtlsOutput::Packet(&buffer[..length])
    }

    fn set_active(&mut self, active: bool) {
        self.dtls.set_active(active);
    }

    fn handle_packet(&mut self, packet: &[u8]) -> Result<(), DtlsImplError> {
        self.dtls.handle_packet(packet)
    }

    fn handle_timeout(&mut self, now: Instant) -> Result<(), DtlsImplError> {
        self.dtls.handle_timeout(now)
    }

    fn send_application_data(&mut self, data: &[u8]) -> Result<usize, DtlsImplError> {
        self.dtls.send_application_data(data)
    }

    fn is_active(&self) -> bool {
        self.dtls.is_active()
    }

    fn protocol_version(&self) -> Option<ProtocolVersion> {
        self.dtls.protocol_version()
    }

    fn is_closing(&self) -> bool {
        self.dtls.is_closing()
    }

    fn is_closed(&self) -> bool {
        self.dtls.is_closed()
    }

    fn close(&mut self) -> Result<(), DtlsImplError> {
        self.dtls.close()
    }
}

fn crypto(cipher: Cipher) -> &'static DtlsCryptoProvider {
    static BELOW: LazyLock<DtlsCryptoProvider> = LazyLock::new(dimpl::crypto::aws_lc_rs::default_provider);
    static GCM_SEAMS: Seams = Seams { below: &BELOW, cipher: Cipher::Gcm };
    static CM_SEAMS: Seams = Seams { below: &BELOW, cipher: Cipher::Cm };
    fn with(seams: &'static Seams) -> DtlsCryptoProvider {
        DtlsCryptoProvider { hash_provider: seams, key_provider: seams, ..BELOW.clone() }
    }
    static GCM: LazyLock<DtlsCryptoProvider> = LazyLock::new(|| with(&GCM_SEAMS));
    static CM: LazyLock<DtlsCryptoProvider> = LazyLock::new(|| with(&CM_SEAMS));
    match cipher {
        Cipher::Gcm => &GCM,
        Cipher::Cm => &CM,
    }
}

/// Where the handshake is hashed and signed.
struct Seams {
    below: &'static LazyLock<DtlsCryptoProvider>,
    cipher: Cipher,
}

impl std::fmt::Debug for Seams {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Seams").field("cipher", &self.cipher).finish_non_exhaustive()
    }
}

impl HashProvider for Seams {
    fn create_hash(&self, algorithm: HashAlgorithm) -> Box<dyn HashContext> {
        Box::new(Hash { below: self.below.hash_provider.create_hash(algorithm), cipher: self.cipher })
    }
}

impl KeyProvider for Seams {
    fn load_private_key(&self, der: &[u8]) -> Result<Box<dyn SigningKey>, DtlsCryptoError> {
        let below = self.below.key_provider.load_private_key(der)?;
        Ok(Box::new(Key { below, cipher: self.cipher }))
    }
}

#[derive(Debug)]
struct Hash {
    below: Box<dyn HashContext>,
    cipher: Cipher,
}

impl HashContext for Hash {
    fn update(&mut self, data: &[u8]) {
        let mut data = data.to_vec();
        restrict(&mut data, self.cipher);
        self.below.update(&data);
    }

    fn clone_and_finalize(&self, out: &mut Buf) {
        self.below.clone_and_finalize(out);
    }
}

#[derive(Debug)]
struct Key {
    below: Box<dyn SigningKey>,
    cipher: Cipher,
}

impl SigningKey for Key {
    fn sign(&mut self, data: &[u8], hash: HashAlgorithm, out: &mut Buf) -> Result<(), DtlsCryptoError> {
        let mut data = data.to_vec();
        restrict(&mut data, self.cipher);
        self.below.sign(&data, hash, out)
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        self.below.algorithm()
    }

    fn hash_algorithm(&self) -> HashAlgorithm {
        self.below.hash_algorithm()
    }

    fn supported_hash_algorithms(&self) -> &[HashAlgorithm] {
        self.below.supported_hash_algorithms()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_profile_takes_the_place_of_all_and_nothing_else_changes() {
        let hello = [&b"before"[..], &OFFERED, b"after"].concat();
        for (cipher, profile) in [(Cipher::Gcm, 7), (Cipher::Cm, 1)] {
            let mut restricted = hello.clone();
            restrict(&mut restricted, cipher);
            let expected = [0, 14, 0, 9, 0, 6, 0, profile, 0, profile, 0, profile, 0];
            assert_eq!(restricted, [&b"before"[..], &expected, b"after"].concat());
            let mut other = b"no hello".to_vec();
            restrict(&mut other, cipher);
            assert_eq!(other, b"no hello");
        }
    }
}
