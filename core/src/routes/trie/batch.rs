//! Many lookups at once: level by level through the trie, so that the memory answers many of them
//! at a time, and without branches that depend on what it answers.

use super::super::words::Words;
#[cfg(target_arch = "x86_64")]
use super::avx512;
use super::{FULL, LEVELS, Ref, dense_place, slot, small_place};

/// Addresses that go through the levels together.
const BLOCK: usize = 128;

/// Looks up each address, from a root that is a node.
pub(super) fn lookup(words: &Words, root: Ref, addresses: &[u32], values: &mut [u32]) {
    // SAFETY: the processor has what the functions were compiled for, as is asked before.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    unsafe {
        if avx512::is_had() {
            return avx512::lookup(words, root, addresses, values);
        }
        if is_x86_64_v3() {
            return x86_64_v3(words, root, addresses, values);
        }
    }
    portable(words, root, addresses, values);
}

/// What each way gives that this processor has: the portable one, x86-64-v3, AVX-512.
#[cfg(test)]
pub(super) fn by_each_way(words: &Words, root: Ref, addresses: &[u32]) -> Vec<Vec<u32>> {
    let mut values = vec![0; addresses.len()];
    portable(words, root, addresses, &mut values);
    let mut found = vec![values.clone()];
    // SAFETY: as above.
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    unsafe {
        if is_x86_64_v3() {
            x86_64_v3(words, root, addresses, &mut values);
            found.push(values.clone());
        }
        if avx512::is_had() {
            avx512::lookup(words, root, addresses, &mut values);
            found.push(values);
        }
    }
    found
}

#[cfg(target_arch = "x86_64")]
fn is_x86_64_v3() -> bool {
    is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("avx2")
}

/// The same, compiled for processors that count bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx2")]
fn x86_64_v3(words: &Words, root: Ref, addresses: &[u32], values: &mut [u32]) {
    portable(words, root, addresses, values);
}

#[inline(always)]
fn portable(words: &Words, root: Ref, addresses: &[u32], values: &mut [u32]) {
    for (addresses, values) in addresses.chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
        block(words, root, addresses, values);
        resolve(words, values);
    }
}

/// References to values become values.
#[inline(always)]
pub(super) fn resolve(words: &Words, references: &mut [u32]) {
    let mut large = false;
    for value in references.iter_mut() {
        let found = Ref(*value);
        large |= found.is_large();
        *value = if found.is_large() { found.0 } else { found.0.wrapping_sub(1) };
    }
    if large {
        resolve_large(words, references);
    }
}

/// Values that references have no room for.
#[cold]
fn resolve_large(words: &Words, values: &mut [u32]) {
    for value in values {
        if Ref(*value).is_large() {
            *value = words.get(Ref(*value).at());
        }
    }
}

/// Places of addresses in their block.
struct List {
    places: [u8; BLOCK],
    count: usize,
}

impl List {
    const fn new() -> Self {
        Self { places: [0; BLOCK], count: 0 }
    }

    /// Adds a place if it is wished, in the same time if it is not.
    #[inline(always)]
    fn push(&mut self, place: u8, wished: bool) {
        self.places[self.count & (BLOCK - 1)] = place;
        self.count += usize::from(wished);
    }

    #[inline(always)]
    fn places(&self) -> &[u8] {
        &self.places[..self.count]
    }
}

/// Leaves references to values.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // a block has few places
fn block(words: &Words, root: Ref, addresses: &[u32], values: &mut [u32]) {
    const { assert!(LEVELS.len() == 4 && FULL == 2) };
    let [mut second, mut third, mut last] = [const { List::new() }; 3];
    for (place, (&address, value)) in addresses.iter().zip(values.iter_mut()).enumerate() {
        let node = Ref(words.get(root.at() + slot(0, address) as usize));
        words.prefetch(node.at() + slot(1, address) as usize);
        *value = node.0;
        second.push(place as u8, node.is_dense());
    }
    for &place in second.places() {
        let (address, value) = (addresses[place as usize], &mut values[place as usize]);
        let node = Ref(words.get(Ref(*value).at() + slot(1, address) as usize));
        words.prefetch(node.at());
        *value = node.0;
        third.push(place, node.is_small());
    }
    let places = prefetched(words, addresses, values, &third, |address, node| {
        small_place(words, node.at(), slot(2, address))
    });
    for (&place, at) in third.places().iter().zip(places) {
        let node = Ref(words.get(at));
        words.prefetch(node.at());
        values[place as usize] = node.0;
        last.push(place, node.is_dense());
    }
    let places = prefetched(words, addresses, values, &last, |address, node| {
        dense_place(words, node.at(), slot(3, address))
    });
    for (&place, at) in last.places().iter().zip(places) {
        values[place as usize] = words.get(at);
    }
}

/// The places of words in nodes, which may be in another cache line than the node begins in.
#[inline(always)]
fn prefetched(
    words: &Words,
    addresses: &[u32],
    values: &[u32],
    which: &List,
    found: impl Fn(u32, Ref) -> usize,
) -> [usize; BLOCK] {
    let mut places = [0; BLOCK];
    for (&place, at) in which.places().iter().zip(&mut places) {
        *at = found(addresses[place as usize], Ref(values[place as usize]));
        words.prefetch(*at);
    }
    places
}
