//! Keys of media: SDES (RFC 4568) and the fingerprints of DTLS-SRTP (RFC 5763).

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::description::{Description, Media};

/// Whether media are encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EncryptionPolicy {
    Off,
    /// Where the peer can (RFC 8643).
    BestEffort,
    Mandatory,
}

/// What was agreed for one stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encryption {
    None,
    Sdes {
        suite: SrtpSuite,
        /// Of the line that was chosen; the answer repeats it.
        tag: u32,
        send: SdesKey,
        receive: SdesKey,
    },
    Dtls {
        /// The peer's certificate has one of these.
        fingerprints: Vec<Fingerprint>,
        role: DtlsRole,
    },
}

/// Master key and salt, one after the other.
#[derive(Clone, PartialEq, Eq)]
pub struct SdesKey(pub Vec<u8>);

impl std::fmt::Debug for SdesKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SdesKey(…)")
    }
}

/// RFC 4568, section 6.2, and RFC 7714, section 14.2.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SrtpSuite {
    AeadAes256Gcm,
    AeadAes128Gcm,
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
}

/// In the order that offers of ours have. An answer takes the first of the peer's that is among them.
const SUITES: [SrtpSuite; 4] = [
    SrtpSuite::AeadAes256Gcm,
    SrtpSuite::AeadAes128Gcm,
    SrtpSuite::AesCm128HmacSha1_80,
    SrtpSuite::AesCm128HmacSha1_32,
];

/// Enough for the longest key with its salt.
pub(crate) const KEY_BYTES_MAX: usize = 44;

impl SrtpSuite {
    pub fn as_str(self) -> &'static str {
        match self {
            SrtpSuite::AeadAes256Gcm => "AEAD_AES_256_GCM",
            SrtpSuite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            SrtpSuite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            SrtpSuite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
        }
    }

    /// Of key and salt together.
    pub fn key_bytes(self) -> usize {
        match self {
            SrtpSuite::AeadAes256Gcm => 32 + 12,
            SrtpSuite::AeadAes128Gcm => 16 + 12,
            SrtpSuite::AesCm128HmacSha1_80 | SrtpSuite::AesCm128HmacSha1_32 => 16 + 14,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fingerprint {
    /// In lower case, such as `sha-256`.
    pub hash: String,
    pub bytes: Vec<u8>,
}

/// Who begins DTLS (RFC 5763, section 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DtlsRole {
    /// We send the ClientHello.
    Active,
    Passive,
}

impl DtlsRole {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            DtlsRole::Active => "active",
            DtlsRole::Passive => "passive",
        }
    }
}

/// A line of `a=crypto` that could be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crypto {
    pub(crate) tag: u32,
    pub(crate) suite: SrtpSuite,
    pub(crate) key: SdesKey,
}

/// The first line that is of a suite of ours and has one key.
pub(crate) fn crypto(media: &Media) -> Option<Crypto> {
    media.section.values("crypto").find_map(|value| {
        let mut words = value.split_ascii_whitespace();
        let tag = words.next()?.parse().ok()?;
        let name = words.next()?;
        let suite = SUITES.into_iter().find(|suite| suite.as_str().eq_ignore_ascii_case(name))?;
        let inline = words.next()?.strip_prefix("inline:")?;
        // Session parameters that change how packets look cannot be passed over (section 6.3.1).
        let changed = |word: &str| word.starts_with("UNENCRYPTED") || word.starts_with("UNAUTHENTICATED");
        if words.any(changed) || inline.contains(';') {
            return None;
        }
        // Lifetime and key identifier may follow. An identifier in packets is not spoken here.
        let mut parts = inline.split('|');
        let key = parts.next()?;
        if parts.any(|part| part.contains(':')) {
            return None;
        }
        // Some endpoints leave out the padding.
        let padding = "=".repeat((4 - key.trim_end_matches('=').len() % 4) % 4);
        let key = STANDARD.decode(format!("{}{padding}", key.trim_end_matches('='))).ok()?;
        (key.len() == suite.key_bytes()).then_some(Crypto { tag, suite, key: SdesKey(key) })
    })
}

/// The key of ours for a suite, out of random bytes.
pub(crate) fn own_key(suite: SrtpSuite, random: &[u8; KEY_BYTES_MAX]) -> SdesKey {
    SdesKey(random[..suite.key_bytes()].to_vec())
}

pub(crate) fn crypto_line(tag: u32, suite: SrtpSuite, key: &SdesKey) -> String {
    format!("a=crypto:{tag} {} inline:{}\r\n", suite.as_str(), STANDARD.encode(&key.0))
}

/// Of the line for a suite in an offer of ours.
pub(crate) fn tag_of(suite: SrtpSuite) -> u32 {
    (1..).zip(SUITES).find(|(_, known)| *known == suite).map_or(0, |(tag, _)| tag)
}

/// What an offer of ours has: one line for each suite.
pub(crate) fn crypto_lines(random: &[u8; KEY_BYTES_MAX]) -> String {
    let line = |(tag, suite): (u32, SrtpSuite)| crypto_line(tag, suite, &own_key(suite, random));
    (1..).zip(SUITES).map(line).collect()
}

/// Fingerprints of a line, or of the session. More than a few are not looked at.
pub(crate) fn fingerprints(description: &Description, media: &Media) -> Vec<Fingerprint> {
    let own: Vec<_> = media.section.values("fingerprint").filter_map(fingerprint).take(8).collect();
    if own.is_empty() {
        return description.session.values("fingerprint").filter_map(fingerprint).take(8).collect();
    }
    own
}

fn fingerprint(value: &str) -> Option<Fingerprint> {
    let (hash, bytes) = value.split_once(char::is_whitespace)?;
    let hash = hash.to_ascii_lowercase();
    let length = match hash.as_str() {
        // Weaker hashes are not proof of a certificate any more.
        "sha-256" => 32,
        "sha-384" => 48,
        "sha-512" => 64,
        _ => return None,
    };
    let bytes: Option<Vec<u8>> = bytes
        .trim()
        .split(':')
        .map(|byte| (byte.len() == 2).then(|| u8::from_str_radix(byte, 16).ok())?)
        .collect();
    bytes.filter(|bytes| bytes.len() == length).map(|bytes| Fingerprint { hash, bytes })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(attributes: &str) -> Description {
        Description::parse(&format!("v=0\r\nm=audio 2 RTP/SAVP 0\r\n{attributes}")).unwrap()
    }

    #[test]
    fn the_first_usable_crypto_line_is_taken() {
        let key = STANDARD.encode([7; 30]);
        let gcm = STANDARD.encode([9; 28]);
        let found =
            |attributes: String| crypto(&line(&attributes).media[0]).map(|found| (found.tag, found.suite));
        let cm = Some((2, SrtpSuite::AesCm128HmacSha1_80));
        assert_eq!(
            found(format!(
                "a=crypto:1 F8_128_HMAC_SHA1_80 inline:{key}\r\na=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^48\r\n"
            )),
            cm
        );
        let unpadded = gcm.trim_end_matches('=');
        assert_eq!(
            found(format!("a=crypto:5 aead_aes_128_gcm inline:{unpadded}\r\n")),
            Some((5, SrtpSuite::AeadAes128Gcm))
        );
        for attributes in [
            format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{key}|2^20|1:4\r\n"),
            format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{key} UNENCRYPTED_SRTP\r\n"),
            format!("a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:{gcm}\r\n"),
            "a=crypto:2 AES_CM_128_HMAC_SHA1_80 inline:%%%\r\n".to_owned(),
            "a=crypto:2 AES_CM_128_HMAC_SHA1_80\r\n".to_owned(),
        ] {
            assert_eq!(found(attributes.clone()), None, "{attributes}");
        }
    }

    #[test]
    fn what_we_write_we_read() {
        let random = std::array::from_fn(|at| at as u8);
        let description = line(&crypto_lines(&random));
        let found = crypto(&description.media[0]).unwrap();
        assert_eq!((found.suite, found.key), (SrtpSuite::AeadAes256Gcm, SdesKey(random.to_vec())));
    }

    #[test]
    fn fingerprints_of_weak_hashes_or_wrong_lengths_are_none() {
        let good = ["AB"; 32].join(":");
        assert_eq!(fingerprint(&format!("SHA-256 {good}")).unwrap().bytes, [0xab; 32]);
        for text in
            ["sha-1 AB", "sha-256 AB:CD", &format!("sha-256 {good}:AB"), "sha-256", &format!("md5 {good}")]
        {
            assert_eq!(fingerprint(text), None, "{text}");
        }
    }
}
