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
pub(super) const FULL: u64 = u64::MAX;

/// Its words have 2^`SHIFT` bits: fewer than 64 where tests go through all sets there are.
#[derive(Debug, Default, Clone)]
pub(super) struct Bitmap<const SHIFT: u32 = WORD_SHIFT> {
    levels: Vec<HashMap<Index, u64>>,
}

/// The word that a number is in, and the number's bit there.
#[inline]
pub(super) fn split(index: Index) -> (Index, u32) {
    Bitmap::<WORD_SHIFT>::split(index)
}

impl<const SHIFT: u32> Bitmap<SHIFT> {
    const BITS: u32 = 1 << SHIFT;
    const FULL: u64 = FULL >> (u64::BITS - Self::BITS);

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // it is less than 64
    fn split(index: Index) -> (Index, u32) {
        (index >> SHIFT, (index & (Index::from(Self::BITS) - 1)) as u32)
    }

    pub fn insert(&mut self, mut index: Index) {
        for level in 0.. {
            if level == self.levels.len() {
                self.levels.push(HashMap::new());
            }
            let (number, bit) = Self::split(index);
            let word = self.levels[level].entry(number).or_insert(0);
            let was_full = *word == Self::FULL;
            *word |= 1 << bit;
            if was_full || *word != Self::FULL {
                return;
            }
            index = number;
        }
    }

    pub fn remove(&mut self, mut index: Index) {
        for level in &mut self.levels {
            let (number, bit) = Self::split(index);
            let Entry::Occupied(mut entry) = level.entry(number) else {
                return;
            };
            let was_full = *entry.get() == Self::FULL;
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
        let (number, bit) = Self::split(from);
        let Some(word) = self.levels.get(level).and_then(|words| words.get(&number)) else {
            return Some(from);
        };
        let absent = !word & Self::FULL & (Self::FULL << bit);
        if absent != 0 {
            return Some((number << SHIFT) | Index::from(absent.trailing_zeros()));
        }
        let number = self.next_absent_at(level + 1, number + 1)?;
        let first = number.checked_mul(Index::from(Self::BITS))?;
        let word = self.levels[level].get(&number).copied().unwrap_or(0);
        Some(first | Index::from(word.trailing_ones()))
    }

    #[cfg(test)]
    pub fn words(&self) -> usize {
        self.levels.iter().map(HashMap::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    /// Numbers of which all sets are tried; words of 2 bits make four levels of them.
    const COUNT: u32 = 11;

    /// The words that a set must have: no more, no fewer, each level said by the one below.
    fn words(members: &BTreeSet<Index>, shift: u32) -> Vec<HashMap<Index, u64>> {
        let (mut levels, mut numbers) = (Vec::new(), members.clone());
        while !numbers.is_empty() {
            let mut words: HashMap<Index, u64> = HashMap::new();
            for number in &numbers {
                *words.entry(number / (1 << shift)).or_default() |= 1 << (number % (1 << shift));
            }
            let full = words.iter().filter(|(_, word)| word.count_ones() == 1 << shift);
            numbers = full.map(|(number, _)| *number).collect();
            levels.push(words);
        }
        levels
    }

    fn check<const SHIFT: u32>(bitmap: &Bitmap<SHIFT>, members: &BTreeSet<Index>) {
        let expected = words(members, SHIFT);
        let (used, unused) = bitmap.levels.split_at(expected.len());
        assert_eq!(used, expected);
        assert!(unused.iter().all(HashMap::is_empty));
    }

    /// The first number from `from` to `last` that is absent, or the one behind them all.
    fn next_absent(from: Index, last: Index, members: &BTreeSet<Index>) -> Option<Index> {
        let absent = (from..=last).find(|number| !members.contains(number));
        absent.or_else(|| last.checked_add(1))
    }

    /// From every set of some numbers that lie side by side, every step there is.
    fn try_all_sets<const SHIFT: u32>(first: Index) {
        let number = |at: u32| first + Index::from(at);
        for set in 0..1u32 << COUNT {
            let inside = (0..COUNT).filter(|at| set >> at & 1 != 0).map(number);
            let mut members: BTreeSet<Index> = inside.collect();
            let mut bitmap = Bitmap::<SHIFT>::default();
            for member in &members {
                bitmap.insert(*member);
            }
            check(&bitmap, &members);
            for from in (0..COUNT).map(number) {
                let expected = next_absent(from, number(COUNT - 1), &members);
                assert_eq!(bitmap.next_absent(from), expected, "{members:?} from {from}");
            }
            for changed in (0..COUNT).map(number) {
                for add in [!members.contains(&changed), members.contains(&changed)] {
                    if add {
                        bitmap.insert(changed);
                        members.insert(changed);
                    } else {
                        bitmap.remove(changed);
                        members.remove(&changed);
                    }
                    check(&bitmap, &members);
                }
            }
        }
    }

    #[test]
    fn every_step_from_every_small_set_is_right() {
        try_all_sets::<1>(0);
        try_all_sets::<2>(3);
    }

    #[test]
    fn so_it_is_where_numbers_end() {
        try_all_sets::<1>(Index::MAX - Index::from(COUNT - 1));
    }

    /// Words as they are in a pool, of which three levels are full but for a few numbers.
    #[test]
    fn two_holes_are_found_in_full_levels_wherever_they_are() {
        const END: Index = 64 * 64 + 3 * 64;
        let mut bitmap = Bitmap::<WORD_SHIFT>::default();
        (0..END).for_each(|number| bitmap.insert(number));
        let edges =
            [0, 1, 63, 64, 65, 127, 128, 64 * 63 - 1, 64 * 63, 64 * 64 - 1, 64 * 64, END - 1];
        for one in &edges {
            for other in &edges {
                bitmap.remove(*one);
                bitmap.remove(*other);
                for from in &edges {
                    let holes = [*one, *other, END].into_iter().filter(|hole| hole >= from);
                    assert_eq!(bitmap.next_absent(*from), holes.min(), "{one} {other} {from}");
                }
                bitmap.insert(*other);
                bitmap.insert(*one);
            }
        }
        check(&bitmap, &(0..END).collect());
    }
}
