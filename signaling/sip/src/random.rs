//! Tags, branches and tokens that nobody can guess.

use rand_chacha::ChaCha12Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use std::time::Duration;

#[derive(Debug)]
pub(crate) struct Random(ChaCha12Rng);

impl Random {
    pub(crate) fn new(seed: [u8; 32]) -> Self {
        Random(ChaCha12Rng::from_seed(seed))
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    /// 96 bits, in hexadecimal. RFC 3261, section 19.3, asks for 32.
    pub(crate) fn token(&mut self) -> String {
        hexadecimal(&self.bytes::<12>())
    }

    /// In steps of 10 ms, as RFC 3261, section 14.1, asks.
    pub(crate) fn between(&mut self, least: Duration, most: Duration) -> Duration {
        let steps = (most - least).as_millis() as u64 / 10;
        least + Duration::from_millis(self.0.next_u64() % (steps + 1) * 10)
    }
}

pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
