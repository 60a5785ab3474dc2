//! Ids and secrets that nobody can guess, and the form in which they are kept.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::RngCore;
use sha2::{Digest, Sha256};

/// RFC 4648 section 6, in lower case.
const BASE32: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
const CODE_DIGITS: u32 = 9;

/// 128 bits, in base32.
pub(crate) fn room_id(rng: &mut ChaCha12Rng) -> String {
    let mut bytes = [0; 16];
    rng.fill_bytes(&mut bytes);
    base32(&bytes)
}

/// 160 bits, in base32.
pub(crate) fn secret(rng: &mut ChaCha12Rng) -> String {
    let mut bytes = [0; 20];
    rng.fill_bytes(&mut bytes);
    base32(&bytes)
}

/// Digits for people to type. It need not be unguessable: tries are limited for each source.
pub(crate) fn code(rng: &mut ChaCha12Rng) -> String {
    // The bias of the remainder is below 10^-10.
    let number = rng.next_u64() % 10_u64.pow(CODE_DIGITS);
    format!("{number:0width$}", width = CODE_DIGITS as usize)
}

/// SHA-256 in hexadecimal: secrets are kept and saved in this form only.
pub(crate) fn hash(secret: &str) -> String {
    Sha256::digest(secret).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(5) * 8);
    for chunk in bytes.chunks(5) {
        let mut group = [0; 8];
        group[3..3 + chunk.len()].copy_from_slice(chunk);
        let bits = u64::from_be_bytes(group);
        // Five bytes stand in bits 39 to 0, eight characters of five bits each.
        for index in 0..(chunk.len() * 8).div_ceil(5) {
            text.push(char::from(BASE32[(bits >> (35 - 5 * index)) as usize & 31]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand_chacha::rand_core::SeedableRng;

    #[test]
    fn base32_agrees_with_the_vectors_of_rfc_4648_section_10() {
        for (bytes, text) in [
            ("", ""),
            ("f", "my"),
            ("fo", "mzxq"),
            ("foo", "mzxw6"),
            ("foob", "mzxw6yq"),
            ("fooba", "mzxw6ytb"),
            ("foobar", "mzxw6ytboi"),
        ] {
            assert_eq!(base32(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn w3_a_room_id_carries_128_bits_and_a_code_nine_digits() {
        let mut rng = ChaCha12Rng::from_seed([7; 32]);
        assert_eq!(room_id(&mut rng).len(), 26);
        assert_ne!(room_id(&mut rng), room_id(&mut rng));
        assert_eq!(secret(&mut rng).len(), 32);
        for _ in 0..100 {
            let code = code(&mut rng);
            assert!(code.len() == 9 && code.bytes().all(|byte| byte.is_ascii_digit()), "{code}");
        }
    }
}
