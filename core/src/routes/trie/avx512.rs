//! Many lookups at once, 16 addresses to a vector: for processors that read words from 16 places
//! and count the bits of all lanes with one instruction (AVX-512 with VPOPCNTDQ: Intel since
//! Ice Lake, AMD since Zen 4).

// Words of many places are read by functions that only some processors have.
#![allow(unsafe_code)]

use std::arch::x86_64::{
    __m256i, __m512i, __mmask8, __mmask16, _mm512_add_epi32, _mm512_and_si512,
    _mm512_castsi256_si512, _mm512_castsi512_si256, _mm512_cmpeq_epi32_mask, _mm512_cvtepi64_epi32,
    _mm512_cvtepu32_epi64, _mm512_extracti64x4_epi64, _mm512_inserti64x4,
    _mm512_mask_i32gather_epi32, _mm512_mask_i32gather_epi64, _mm512_mask_storeu_epi32,
    _mm512_maskz_loadu_epi32, _mm512_maskz_mov_epi32, _mm512_popcnt_epi64, _mm512_set1_epi32,
    _mm512_set1_epi64, _mm512_setzero_si512, _mm512_slli_epi32, _mm512_sllv_epi32,
    _mm512_srlv_epi32, _mm512_srlv_epi64, _mm512_storeu_si512, _mm512_sub_epi64,
};

use super::super::words::{UNIT, Words};
use super::batch::resolve;
use super::{DENSE, FULL, LEVELS, PLACE, Ref, SMALL, SMALL_HEAD, TAG, dense_place, slot, start};

/// Addresses of a vector.
const LANES: usize = 16;

/// Vectors that are asked for before the first is read.
const AHEAD: usize = 8;

pub(super) fn is_had() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512vpopcntdq")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("popcnt")
}

/// Looks up each address, from a root that is a node. What one level found waits in the place of
/// its value, until the memory has answered.
///
/// # Safety
/// The processor is asked ([`is_had`]), and the root is that of a version that the caller has.
#[target_feature(enable = "avx512f,avx512vpopcntdq,bmi1,popcnt")]
pub(super) unsafe fn lookup(words: &Words, root: Ref, addresses: &[u32], values: &mut [u32]) {
    const { assert!(LEVELS.len() == 4 && FULL == 2 && UNIT == 2) };
    let vectors = addresses.len().div_ceil(LANES);
    let places = |number: usize| number * LANES..addresses.len().min((number + 1) * LANES);
    for step in 0..vectors + 2 * AHEAD {
        // SAFETY: as the caller's.
        unsafe {
            if step < vectors {
                let places = places(step);
                full(words, root, &addresses[places.clone()], &mut values[places]);
            }
            if (AHEAD..vectors + AHEAD).contains(&step) {
                let places = places(step - AHEAD);
                small(words, &addresses[places.clone()], &mut values[places]);
            }
            if step >= 2 * AHEAD {
                let places = places(step - 2 * AHEAD);
                last(words, &addresses[places.clone()], &mut values[places]);
            }
        }
    }
}

/// The first two levels.
///
/// # Safety
/// As of [`lookup`].
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn full(words: &Words, root: Ref, addresses: &[u32], values: &mut [u32]) {
    let lanes = u16::MAX >> (LANES - addresses.len());
    // SAFETY: there are so many addresses and values; the words are of nodes of the version.
    unsafe {
        let addresses = _mm512_maskz_loadu_epi32(lanes, addresses.as_ptr().cast());
        let at = _mm512_add_epi32(places(all(root.0)), slots(0, addresses));
        let first = read(words, at, lanes, _mm512_setzero_si512());
        let at = _mm512_add_epi32(places(first), slots(1, addresses));
        let second = read(words, at, are(first, DENSE), first);
        prefetch(words, second, are(second, SMALL));
        _mm512_mask_storeu_epi32(values.as_mut_ptr().cast(), lanes, second);
    }
}

/// The third level.
///
/// # Safety
/// As of [`lookup`].
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn small(words: &Words, addresses: &[u32], values: &mut [u32]) {
    let lanes = u16::MAX >> (LANES - addresses.len());
    // SAFETY: as above.
    unsafe {
        let second = _mm512_maskz_loadu_epi32(lanes, values.as_ptr().cast());
        let wished = are(second, SMALL);
        if wished == 0 {
            return;
        }
        let addresses = _mm512_maskz_loadu_epi32(lanes, addresses.as_ptr().cast());
        let at = small_places(words, second, slots(2, addresses), wished);
        let third = read(words, at, wished, second);
        let dense = are(third, DENSE);
        if dense != 0 {
            prefetch(words, third, dense);
        }
        _mm512_mask_storeu_epi32(values.as_mut_ptr().cast(), lanes, third);
    }
}

/// The last level, which few prefixes reach, and values instead of references.
///
/// # Safety
/// As of [`lookup`].
#[inline]
#[target_feature(enable = "avx512f,bmi1,popcnt")]
unsafe fn last(words: &Words, addresses: &[u32], values: &mut [u32]) {
    let lanes = u16::MAX >> (LANES - addresses.len());
    // SAFETY: as above.
    let third = unsafe { _mm512_maskz_loadu_epi32(lanes, values.as_ptr().cast()) };
    let mut dense = are(third, DENSE);
    while dense != 0 {
        let lane = dense.trailing_zeros() as usize;
        let node = Ref(values[lane]);
        values[lane] = words.get(dense_place(words, node.at(), slot(3, addresses[lane])));
        dense &= dense - 1;
    }
    resolve(words, values);
}

#[inline]
#[target_feature(enable = "avx512f")]
#[allow(clippy::cast_possible_wrap)] // bits stay what they are
fn all(number: u32) -> __m512i {
    _mm512_set1_epi32(number as i32)
}

/// The slots of addresses at a level: see [`slot`].
#[inline]
#[target_feature(enable = "avx512f")]
fn slots(level: usize, addresses: __m512i) -> __m512i {
    let (before, until) = (u32::from(start(level)), u32::from(LEVELS[level]));
    _mm512_srlv_epi32(_mm512_sllv_epi32(addresses, all(before)), all(32 - until + before))
}

/// Where references have this form.
#[inline]
#[target_feature(enable = "avx512f")]
fn are(references: __m512i, tag: u32) -> __mmask16 {
    _mm512_cmpeq_epi32_mask(_mm512_and_si512(references, all(TAG)), all(tag))
}

/// The first words of children: see [`Ref::at`].
#[inline]
#[target_feature(enable = "avx512f")]
fn places(references: __m512i) -> __m512i {
    _mm512_slli_epi32::<1>(_mm512_and_si512(references, all(PLACE)))
}

/// The words at these places in some lanes, and in the others what is given.
///
/// # Safety
/// There are words at the places of those lanes, of a version that the caller has.
#[inline]
#[target_feature(enable = "avx512f")]
unsafe fn read(words: &Words, at: __m512i, lanes: __mmask16, others: __m512i) -> __m512i {
    // SAFETY: as the caller's. A block has no more words than 31 bits count (`Ref::child`).
    unsafe { _mm512_mask_i32gather_epi32::<4>(others, lanes, at, words.as_ptr().cast()) }
}

/// Asks for the nodes of some lanes; the others ask for the first words of the block.
#[inline]
#[target_feature(enable = "avx512f")]
fn prefetch(words: &Words, references: __m512i, lanes: __mmask16) {
    let mut at = [0u32; LANES];
    let wished = _mm512_maskz_mov_epi32(lanes, places(references));
    // SAFETY: there is room for a vector.
    unsafe { _mm512_storeu_si512(at.as_mut_ptr().cast(), wished) };
    for at in at {
        words.prefetch(at as usize);
    }
}

/// The words of the slots' runs: see [`super::small_place`].
///
/// # Safety
/// In these lanes the references are to small nodes of a version that the caller has.
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn small_places(words: &Words, nodes: __m512i, slots: __m512i, lanes: __mmask16) -> __m512i {
    let units = _mm512_and_si512(nodes, all(PLACE));
    let low = |vector| _mm512_castsi512_si256(vector);
    let high = |vector| _mm512_extracti64x4_epi64::<1>(vector);
    let [low_lanes, high_lanes] = lanes.to_le_bytes();
    // SAFETY: as the caller's.
    let (low, high) = unsafe {
        (
            runs(words, low(units), low(slots), low_lanes),
            runs(words, high(units), high(slots), high_lanes),
        )
    };
    let runs = _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
    const BEFORE: u32 = 1;
    const { assert!(SMALL_HEAD == BEFORE as usize + 1) };
    _mm512_add_epi32(places(nodes), _mm512_add_epi32(runs, all(BEFORE)))
}

/// How many runs begin in small nodes before slots or with them.
///
/// # Safety
/// As of [`small_places`].
#[inline]
#[target_feature(enable = "avx512f,avx512vpopcntdq")]
unsafe fn runs(words: &Words, units: __m256i, slots: __m256i, lanes: __mmask8) -> __m256i {
    let none = _mm512_setzero_si512();
    // SAFETY: as the caller's; the first two words of a node are one of 64 bits, on little-endian
    // processors as this one.
    let begins =
        unsafe { _mm512_mask_i32gather_epi64::<8>(none, lanes, units, words.as_ptr().cast()) };
    let behind = _mm512_sub_epi64(_mm512_set1_epi64(63), _mm512_cvtepu32_epi64(slots));
    let until = _mm512_srlv_epi64(_mm512_set1_epi64(-1), behind);
    _mm512_cvtepi64_epi32(_mm512_popcnt_epi64(_mm512_and_si512(begins, until)))
}
