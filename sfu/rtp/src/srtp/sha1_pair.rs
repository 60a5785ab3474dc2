//! SHA-1 of two messages of one length at once.
//!
//! Each round of SHA-1 waits for the one before it, so that a processor with instructions for it
//! spends most of its time waiting. The rounds of a second message fit into the gaps: two packets
//! take little longer than one.

/// The five words that a hash is between two blocks.
pub(super) type State = [u32; 5];

/// Whether [`compress`] may be called.
pub(super) fn is_supported() -> bool {
    #[cfg(target_arch = "x86_64")]
    return std::arch::is_x86_feature_detected!("sha") && std::arch::is_x86_feature_detected!("sse4.1");
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Takes both messages, which are whole blocks of 64 bytes and as many, into their states (FIPS
/// 180-4 section 6.1.2).
///
/// # Panics
/// Unless [`is_supported`].
pub(super) fn compress(states: &mut [State; 2], messages: [&[u8]; 2]) {
    assert_eq!(messages[0].len(), messages[1].len());
    assert!(is_supported());
    #[cfg(target_arch = "x86_64")]
    // SAFETY: the processor has the instructions, which was asserted.
    unsafe {
        x86_64::compress(states, messages);
    }
}

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    use std::arch::x86_64::*;
    use std::array;

    use super::State;

    #[derive(Clone, Copy)]
    struct Lane {
        /// The first four words, the first in the highest place.
        abcd: __m128i,
        /// Before the first group of rounds the fifth word, in the highest place. Later `abcd` as it
        /// was before the last group, of which the instructions make the fifth word.
        e: __m128i,
        /// The last 16 words of the message schedule.
        schedule: [__m128i; 4],
    }

    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    pub(super) fn compress(states: &mut [State; 2], messages: [&[u8]; 2]) {
        let [(first, _), (second, _)] = messages.map(|message| message.as_chunks::<64>());
        let mut lanes: [Lane; 2] = array::from_fn(|lane| {
            let [a, b, c, d, e] = states[lane].map(|word| word as i32);
            Lane {
                abcd: _mm_set_epi32(a, b, c, d),
                e: _mm_set_epi32(e, 0, 0, 0),
                schedule: [_mm_setzero_si128(); 4],
            }
        });
        for blocks in first.iter().zip(second) {
            let before = lanes;
            load(&mut lanes[0], blocks.0);
            load(&mut lanes[1], blocks.1);
            all_rounds(&mut lanes);
            for (lane, before) in lanes.iter_mut().zip(before) {
                lane.abcd = _mm_add_epi32(lane.abcd, before.abcd);
                lane.e = _mm_sha1nexte_epu32(lane.e, before.e);
            }
        }
        for (state, lane) in states.iter_mut().zip(lanes) {
            let words = [
                _mm_extract_epi32::<3>(lane.abcd),
                _mm_extract_epi32::<2>(lane.abcd),
                _mm_extract_epi32::<1>(lane.abcd),
                _mm_extract_epi32::<0>(lane.abcd),
                _mm_extract_epi32::<3>(lane.e),
            ];
            *state = words.map(|word| word as u32);
        }
    }

    /// The first 16 words of the schedule: the block itself, big-endian.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn load(lane: &mut Lane, block: &[u8; 64]) {
        let reversed = _mm_set_epi64x(0x0001_0203_0405_0607, 0x0809_0a0b_0c0d_0e0f);
        for (words, bytes) in lane.schedule.iter_mut().zip(block.as_chunks::<16>().0) {
            // SAFETY: 16 bytes are read, which need not be aligned.
            let bytes = unsafe { _mm_loadu_si128(bytes.as_ptr().cast()) };
            *words = _mm_shuffle_epi8(bytes, reversed);
        }
    }

    /// The 80 rounds of a block, four at a time: `K` says which function and constant they have.
    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn all_rounds(lanes: &mut [Lane; 2]) {
        four_rounds::<0, 0>(lanes);
        four_rounds::<0, 1>(lanes);
        four_rounds::<0, 2>(lanes);
        four_rounds::<0, 3>(lanes);
        four_rounds::<0, 4>(lanes);
        four_rounds::<1, 5>(lanes);
        four_rounds::<1, 6>(lanes);
        four_rounds::<1, 7>(lanes);
        four_rounds::<1, 8>(lanes);
        four_rounds::<1, 9>(lanes);
        four_rounds::<2, 10>(lanes);
        four_rounds::<2, 11>(lanes);
        four_rounds::<2, 12>(lanes);
        four_rounds::<2, 13>(lanes);
        four_rounds::<2, 14>(lanes);
        four_rounds::<3, 15>(lanes);
        four_rounds::<3, 16>(lanes);
        four_rounds::<3, 17>(lanes);
        four_rounds::<3, 18>(lanes);
        four_rounds::<3, 19>(lanes);
    }

    #[inline]
    #[target_feature(enable = "sha,sse2,ssse3,sse4.1")]
    fn four_rounds<const K: i32, const GROUP: usize>(lanes: &mut [Lane; 2]) {
        for Lane { abcd, e, schedule } in lanes {
            if GROUP >= 4 {
                let [oldest, second, third, newest] = array::from_fn(|age| schedule[(GROUP + age) % 4]);
                let sum = _mm_xor_si128(_mm_sha1msg1_epu32(oldest, second), third);
                schedule[GROUP % 4] = _mm_sha1msg2_epu32(sum, newest);
            }
            let words = schedule[GROUP % 4];
            let input = if GROUP == 0 { _mm_add_epi32(*e, words) } else { _mm_sha1nexte_epu32(*e, words) };
            *e = *abcd;
            *abcd = _mm_sha1rnds4_epu32::<K>(*abcd, input);
        }
    }
}
