//! The last entry of a node that starts at a key or before it, as processors find it best.

use super::ENTRIES;

/// The keys of an inner node, as words.
pub(super) type Keys = [u32; 2 * ENTRIES];

/// The starts of a leaf.
pub(super) type Starts = [u32; ENTRIES];

/// A way to search a node, the first entry of which is never after the key.
pub(super) trait Search: Copy {
    /// Among the keys of an inner node.
    fn inner(self, keys: &Keys, key: u64) -> usize;

    /// Among the starts of a leaf.
    fn leaf(self, starts: &Starts, offset: u32) -> usize;
}

/// By halves, on any processor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Portable;

/// The last of all entries for which it is so; it is for the first ones.
#[inline(always)]
fn last(is: impl Fn(usize) -> bool) -> usize {
    const { assert!(ENTRIES == 16) };
    let mut entry = 0;
    for half in [8, 4, 2, 1] {
        entry += if is(entry + half) { half } else { 0 };
    }
    entry
}

impl Search for Portable {
    #[inline(always)]
    fn inner(self, keys: &Keys, key: u64) -> usize {
        last(|entry| super::key(keys, entry) <= key)
    }

    #[inline(always)]
    fn leaf(self, starts: &Starts, offset: u32) -> usize {
        last(|entry| starts[entry] <= offset)
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86_64::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86_64 {
    // Vectors are compared by functions that only some processors have.
    #![allow(unsafe_code)]

    use std::arch::x86_64::{
        __m256i, __m512i, _mm256_castsi256_pd, _mm256_castsi256_ps, _mm256_cmpgt_epi32,
        _mm256_cmpgt_epi64, _mm256_loadu_si256, _mm256_movemask_pd, _mm256_movemask_ps,
        _mm256_set1_epi32, _mm256_set1_epi64x, _mm256_xor_si256, _mm512_cmple_epu32_mask,
        _mm512_cmple_epu64_mask, _mm512_loadu_si512, _mm512_set1_epi32, _mm512_set1_epi64,
    };

    use super::{ENTRIES, Keys, Search, Starts};

    /// 16 words at once. It is only had where the processor has them.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx512(());

    impl Avx512 {
        pub fn new() -> Option<Self> {
            let has = is_x86_feature_detected!("avx512f")
                && is_x86_feature_detected!("avx512bw")
                && is_x86_feature_detected!("avx512vl")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt");
            has.then_some(Self(()))
        }
    }

    impl Search for Avx512 {
        #[inline(always)]
        #[allow(clippy::cast_possible_wrap)] // bits stay what they are
        fn inner(self, keys: &Keys, key: u64) -> usize {
            let keys: *const __m512i = keys.as_ptr().cast();
            // SAFETY: the processor has AVX-512, or there would be no `self`; the words are there.
            let (low, high) = unsafe {
                let key = _mm512_set1_epi64(key as i64);
                (
                    _mm512_cmple_epu64_mask(_mm512_loadu_si512(keys), key),
                    _mm512_cmple_epu64_mask(_mm512_loadu_si512(keys.add(1)), key),
                )
            };
            (u32::from(high) << 8 | u32::from(low)).count_ones() as usize - 1
        }

        #[inline(always)]
        #[allow(clippy::cast_possible_wrap)] // bits stay what they are
        fn leaf(self, starts: &Starts, offset: u32) -> usize {
            let starts: *const __m512i = starts.as_ptr().cast();
            // SAFETY: as above.
            let found = unsafe {
                let offset = _mm512_set1_epi32(offset as i32);
                _mm512_cmple_epu32_mask(_mm512_loadu_si512(starts), offset)
            };
            found.count_ones() as usize - 1
        }
    }

    /// 8 words at once. It is only had where the processor has them.
    #[derive(Debug, Clone, Copy)]
    pub struct Avx2(());

    impl Avx2 {
        pub fn new() -> Option<Self> {
            let has = is_x86_feature_detected!("avx2")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("popcnt");
            has.then_some(Self(()))
        }
    }

    // AVX2 compares signed numbers: with the first bit turned round, they are in the same order.
    impl Search for Avx2 {
        #[inline(always)]
        #[allow(clippy::cast_possible_wrap)] // bits stay what they are
        fn inner(self, keys: &Keys, key: u64) -> usize {
            let keys: *const __m256i = keys.as_ptr().cast();
            let mut after = 0;
            for four in 0..4 {
                // SAFETY: the processor has AVX2, or there would be no `self`; the words are there.
                after |= unsafe {
                    let turn = _mm256_set1_epi64x(i64::MIN);
                    let key = _mm256_set1_epi64x(key as i64 ^ i64::MIN);
                    let keys = _mm256_xor_si256(_mm256_loadu_si256(keys.add(four)), turn);
                    let greater = _mm256_cmpgt_epi64(keys, key);
                    _mm256_movemask_pd(_mm256_castsi256_pd(greater)) << (4 * four)
                };
            }
            ENTRIES - 1 - after.count_ones() as usize
        }

        #[inline(always)]
        #[allow(clippy::cast_possible_wrap)] // bits stay what they are
        fn leaf(self, starts: &Starts, offset: u32) -> usize {
            let starts: *const __m256i = starts.as_ptr().cast();
            let mut after = 0;
            for eight in 0..2 {
                // SAFETY: as above.
                after |= unsafe {
                    let turn = _mm256_set1_epi32(i32::MIN);
                    let offset = _mm256_set1_epi32(offset as i32 ^ i32::MIN);
                    let starts = _mm256_xor_si256(_mm256_loadu_si256(starts.add(eight)), turn);
                    let greater = _mm256_cmpgt_epi32(starts, offset);
                    _mm256_movemask_ps(_mm256_castsi256_ps(greater)) << (8 * eight)
                };
            }
            ENTRIES - 1 - after.count_ones() as usize
        }
    }
}
