//! Many lookups at once: level by level through the tree, so that the memory answers many of them
//! at a time.

use super::super::words::{Words, prefetch};
use super::search::{Portable, Search};
use super::{CELLS, CHILDREN, Cell, Tree, cell, child, resolved, upper};

/// Addresses that go through the levels together.
const BLOCK: usize = 64;

/// Looks up each address.
pub(super) fn lookup(words: &Words, tree: Tree, addresses: &[u128], values: &mut [u32]) {
    #[cfg(target_arch = "x86_64")]
    {
        use super::search::{Avx2, Avx512};
        // SAFETY: the processor has what the functions were compiled for, or there were no values
        // of these types.
        #[allow(unsafe_code)]
        unsafe {
            if let Some(search) = Avx512::new() {
                return avx512(search, words, tree, addresses, values);
            }
            if let Some(search) = Avx2::new() {
                return avx2(search, words, tree, addresses, values);
            }
        }
    }
    blocks(Portable, words, tree, addresses, values);
}

/// What each way gives that this processor has: the portable one, AVX2, AVX-512.
#[cfg(test)]
pub(super) fn by_each_way(words: &Words, tree: Tree, addresses: &[u128]) -> Vec<Vec<u32>> {
    let mut found = vec![vec![0; addresses.len()]];
    blocks(Portable, words, tree, addresses, &mut found[0]);
    #[cfg(target_arch = "x86_64")]
    {
        use super::search::{Avx2, Avx512};
        let mut values = vec![0; addresses.len()];
        // SAFETY: as above.
        #[allow(unsafe_code)]
        unsafe {
            if let Some(search) = Avx2::new() {
                avx2(search, words, tree, addresses, &mut values);
                found.push(values.clone());
            }
            if let Some(search) = Avx512::new() {
                avx512(search, words, tree, addresses, &mut values);
                found.push(values);
            }
        }
    }
    found
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,bmi2,popcnt")]
fn avx512(
    search: super::search::Avx512,
    words: &Words,
    tree: Tree,
    addresses: &[u128],
    values: &mut [u32],
) {
    blocks(search, words, tree, addresses, values);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi2,popcnt")]
fn avx2(
    search: super::search::Avx2,
    words: &Words,
    tree: Tree,
    addresses: &[u128],
    values: &mut [u32],
) {
    blocks(search, words, tree, addresses, values);
}

#[inline(always)]
fn blocks(search: impl Search, words: &Words, tree: Tree, addresses: &[u128], values: &mut [u32]) {
    if tree.depth == 0 {
        values.fill(super::super::NO_VALUE);
        return;
    }
    for (addresses, values) in addresses.chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
        for next in (0..BLOCK).step_by(4) {
            prefetch(addresses.as_ptr().wrapping_add(BLOCK + next));
        }
        if block(search, words, tree, addresses, values) {
            for (address, value) in addresses.iter().zip(values) {
                *value = resolved(search, words, Cell(*value), *address);
            }
        } else {
            for value in values {
                *value = value.wrapping_sub(1);
            }
        }
    }
}

/// Leaves cells; whether one of them says that the value is elsewhere.
#[inline(always)]
fn block(
    search: impl Search,
    words: &Words,
    tree: Tree,
    addresses: &[u128],
    values: &mut [u32],
) -> bool {
    let mut nodes = [tree.root; BLOCK];
    let mut offsets = [0; BLOCK];
    if tree.depth == 1 {
        for (address, offset) in addresses.iter().zip(&mut offsets) {
            *offset = super::offset(0, upper(*address), tree.root.shift());
        }
    }
    for below in (1..tree.depth).rev() {
        // What is near the root is in the cache anyway.
        match below {
            1 => {
                for ((address, node), offset) in addresses.iter().zip(&mut nodes).zip(&mut offsets)
                {
                    let key = upper(*address);
                    let (child, first) = child(search, words, *node, key);
                    *offset = super::offset(first, key, child.shift());
                    words.prefetch(child.at());
                    words.prefetch(child.at() + CELLS);
                    *node = child;
                }
            }
            2 => {
                for (address, node) in addresses.iter().zip(&mut nodes) {
                    *node = child(search, words, *node, upper(*address)).0;
                    words.prefetch(node.at());
                    words.prefetch(node.at() + CHILDREN / 2);
                    words.prefetch(node.at() + CHILDREN);
                }
            }
            _ => {
                for (address, node) in addresses.iter().zip(&mut nodes) {
                    *node = child(search, words, *node, upper(*address)).0;
                }
            }
        }
    }
    let mut all = 0;
    for ((node, offset), value) in nodes.iter().zip(&offsets).zip(values) {
        *value = cell(search, words, *node, *offset).0;
        all |= *value;
    }
    Cell(all).is_elsewhere()
}
