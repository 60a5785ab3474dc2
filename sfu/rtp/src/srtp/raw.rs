//! AES in counter mode and HMAC-SHA-1, called beneath the safe interface of the crypto library,
//! which copies and wipes so much for each packet that both together take a fifth longer.
//!
//! The structures are plain memory without pointers, and no call below keeps an address.

use std::array;
use std::mem::MaybeUninit;
use std::ptr;

use aws_lc_sys as sys;

use super::sha1_pair;

/// Key schedule of AES-128.
pub(super) struct CounterKey(sys::AES_KEY);

impl CounterKey {
    pub(super) fn new(key: &[u8; 16]) -> Self {
        let mut schedule = MaybeUninit::zeroed();
        // SAFETY: `key` has 128 bits, and zeros are a valid schedule already, whatever the call does.
        let (result, schedule) = unsafe {
            (sys::AES_set_encrypt_key(key.as_ptr(), 128, schedule.as_mut_ptr()), schedule.assume_init())
        };
        assert_eq!(result, 0, "AES has keys of 128 bits");
        CounterKey(schedule)
    }

    /// XORs `data` with the key stream that begins at counter block `block`.
    pub(super) fn apply(&self, block: [u8; 16], data: &mut [u8]) {
        // SAFETY: source and destination are the same valid bytes, which the function allows.
        unsafe { self.apply_raw(block, data.as_ptr(), data.as_mut_ptr(), data.len()) }
    }

    /// As [`CounterKey::apply`], from `data` to `out`, which are of one length.
    pub(super) fn apply_to(&self, block: [u8; 16], data: &[u8], out: &mut [u8]) {
        assert_eq!(data.len(), out.len());
        // SAFETY: both are valid for their length, which is one, and cannot overlap.
        unsafe { self.apply_raw(block, data.as_ptr(), out.as_mut_ptr(), out.len()) }
    }

    /// # Safety
    /// `data` is valid for reads and `out` for writes of `length` bytes; they are the same or do
    /// not overlap.
    unsafe fn apply_raw(&self, mut block: [u8; 16], data: *const u8, out: *mut u8, length: usize) {
        let (mut key_stream, mut used) = ([0; 16], 0);
        // SAFETY: as this function's contract; the counter block and what is left of the key stream
        // are blocks of 16 bytes, and `used` is below 16.
        unsafe {
            sys::AES_ctr128_encrypt(
                data,
                out,
                length,
                &self.0,
                block.as_mut_ptr(),
                key_stream.as_mut_ptr(),
                &mut used,
            );
        }
    }
}

/// An HMAC key (RFC 2104) as the states of both hashes after their first block, so that a packet
/// costs no key set-up.
pub(super) struct HmacSha1 {
    inner: Sha1,
    outer: Sha1,
    takes_pairs: bool,
}

impl HmacSha1 {
    pub(super) fn new(key: &[u8; 20]) -> Self {
        let state_after = |pad: u8| {
            let mut block = [pad; 64];
            block.iter_mut().zip(key).for_each(|(byte, key)| *byte ^= key);
            let mut state = Sha1::new();
            state.update(&block);
            state
        };
        let takes_pairs = sha1_pair::is_supported();
        HmacSha1 { inner: state_after(0x36), outer: state_after(0x5c), takes_pairs }
    }

    /// Whether [`HmacSha1::tag_pair`] may be called.
    pub(super) fn takes_pairs(&self) -> bool {
        self.takes_pairs
    }

    /// As [`HmacSha1::tag`], of two bodies of one length, each with what stands behind it.
    pub(super) fn tag_pair(&self, bodies: [&[u8]; 2], after: [[u8; 4]; 2]) -> [[u8; 20]; 2] {
        let mut states = [self.inner.0.h; 2];
        let whole = bodies.map(|body| &body[..body.len() / 64 * 64]);
        sha1_pair::compress(&mut states, whole);
        let length = bodies[0].len() + after[0].len();
        let (last, last_blocks) =
            padded_pair(array::from_fn(|lane| [&bodies[lane][whole[lane].len()..], &after[lane]]), length);
        sha1_pair::compress(&mut states, last.each_ref().map(|last| &last[..last_blocks * 64]));

        let inner = states.map(digest_of);
        let mut states = [self.outer.0.h; 2];
        let (last, last_blocks) = padded_pair(inner.each_ref().map(|inner| [&inner[..], &[]]), 20);
        sha1_pair::compress(&mut states, last.each_ref().map(|last| &last[..last_blocks * 64]));
        states.map(digest_of)
    }

    /// Of `body` and `after`, one behind the other.
    pub(super) fn tag(&self, body: &[u8], after: &[u8]) -> [u8; 20] {
        let mut inner = self.inner;
        inner.update(body);
        inner.update(after);
        let mut outer = self.outer;
        outer.update(&inner.finish());
        outer.finish()
    }
}

/// What is left of two messages of one length, padded to one or two blocks (FIPS 180-4 section
/// 5.1.1), and how many these are. `length` is the message's behind its first block, the key.
fn padded_pair(rest: [[&[u8]; 2]; 2], length: usize) -> ([[u8; 128]; 2], usize) {
    let mut blocks = 1;
    let padded = rest.map(|[start, end]| {
        let mut block = [0; 128];
        let used = start.len() + end.len();
        block[..start.len()].copy_from_slice(start);
        block[start.len()..used].copy_from_slice(end);
        block[used] = 0x80;
        blocks = (used + 1 + 8).div_ceil(64);
        let bits = (64 + length as u64) * 8;
        block[blocks * 64 - 8..blocks * 64].copy_from_slice(&bits.to_be_bytes());
        block
    });
    (padded, blocks)
}

fn digest_of(state: sha1_pair::State) -> [u8; 20] {
    let mut digest = [0; 20];
    for (bytes, word) in digest.as_chunks_mut::<4>().0.iter_mut().zip(state) {
        *bytes = word.to_be_bytes();
    }
    digest
}

#[derive(Clone, Copy)]
struct Sha1(sys::SHA_CTX);

impl Sha1 {
    fn new() -> Self {
        let mut state = MaybeUninit::zeroed();
        // SAFETY: all fields are numbers, for which zero is a value, and the call sets them.
        let (result, state) = unsafe { (sys::SHA1_Init(state.as_mut_ptr()), state.assume_init()) };
        assert_eq!(result, 1, "SHA-1 has an initial state");
        Sha1(state)
    }

    fn update(&mut self, data: &[u8]) {
        // SAFETY: the state is valid, and `data` for its length. The call cannot fail.
        unsafe { sys::SHA1_Update(&mut self.0, data.as_ptr().cast(), data.len()) };
    }

    fn finish(mut self) -> [u8; 20] {
        let mut digest = [0; 20];
        // SAFETY: the state is valid, and a digest has 20 bytes. The call cannot fail.
        unsafe { sys::SHA1_Final(digest.as_mut_ptr(), &mut self.0) };
        digest
    }
}

impl Drop for CounterKey {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

impl Drop for HmacSha1 {
    fn drop(&mut self) {
        wipe(&mut self.inner);
        wipe(&mut self.outer);
    }
}

/// Overwrites what is about to go.
fn wipe<T>(secret: &mut T) {
    // SAFETY: the caller's types are numbers only, for which zero is a value.
    unsafe { ptr::write_volatile(secret, MaybeUninit::zeroed().assume_init()) };
}
