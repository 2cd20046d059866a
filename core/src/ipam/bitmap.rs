//! A set of numbers that finds the next number it does not hold, in a few steps at any size.
//!
//! ```text
//! level 2   ...0001                          one bit per full word of level 1
//! level 1   1111...1111  ...0111             one bit per full word of level 0
//! level 0   1111...1111  1111...1111  0101   one bit per member
//! ```
//!
//! Only words with a bit set are stored: memory goes with the members, not with the space.

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::Index;

pub(super) const WORD_SHIFT: u32 = u64::BITS.ilog2();
const WORD_MASK: Index = u64::BITS as Index - 1;
pub(super) const FULL: u64 = u64::MAX;

#[derive(Debug, Default, Clone)]
pub(super) struct Bitmap {
    levels: Vec<HashMap<Index, u64>>,
}

/// The word that a number is in, and the number's bit there.
#[inline]
pub(super) fn split(index: Index) -> (Index, u32) {
    (index >> WORD_SHIFT, (index & WORD_MASK) as u32)
}

impl Bitmap {
    pub fn insert(&mut self, mut index: Index) {
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(HashMap::new());
            }
            let (number, bit) = split(index);
            let word = self.levels[level].entry(number).or_insert(0);
            let was_full = *word == FULL;
            *word |= 1 << bit;
            if was_full || *word != FULL {
                return;
            }
            index = number;
        }
    }

    pub fn remove(&mut self, mut index: Index) {
        for level in &mut self.levels {
            let (number, bit) = split(index);
            let Entry::Occupied(mut entry) = level.entry(number) else {
                return;
            };
            let was_full = *entry.get() == FULL;
            *entry.get_mut() &= !(1 << bit);
            if *entry.get() == 0 {
                entry.remove();
            }
            if !was_full {
                return;
            }
            index = number;
        }
    }

    /// The first number from `from` on that is not a member; `None` where numbers end.
    pub fn next_absent(&self, from: Index) -> Option<Index> {
        self.next_absent_at(0, from)
    }

    fn next_absent_at(&self, level: usize, from: Index) -> Option<Index> {
        let (number, bit) = split(from);
        let Some(word) = self.levels.get(level).and_then(|words| words.get(&number)) else {
            return Some(from);
        };
        let absent = !word & (FULL << bit);
        if absent != 0 {
            return Some((number << WORD_SHIFT) | Index::from(absent.trailing_zeros()));
        }
        let number = self.next_absent_at(level + 1, number + 1)?;
        let first = number.checked_mul(Index::from(u64::BITS))?;
        let word = self.levels[level].get(&number).copied().unwrap_or(0);
        Some(first | Index::from(word.trailing_ones()))
    }

    #[cfg(test)]
    pub fn words(&self) -> usize {
        self.levels.iter().map(HashMap::len).sum()
    }
}
