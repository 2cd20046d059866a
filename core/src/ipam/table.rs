//! A map from numbers that knows the next number it has nothing for.
//!
//! Sixty-four neighbours share a chunk, which holds the values of those only that have one:
//!
//! ```text
//! members  ...0010_1101      the value of number 3 is the third, for two bits below it are set
//! values   [v0, v2, v3, v5]
//! ```

use hashbrown::HashMap;
use hashbrown::hash_map::Entry;

use super::Index;
use super::bitmap::{Bitmap, FULL, WORD_SHIFT, split};

#[derive(Debug)]
pub(super) struct Table<V> {
    chunks: HashMap<Index, Chunk<V>>,
    /// The numbers of the chunks that have all values.
    full: Bitmap,
}

#[derive(Debug)]
struct Chunk<V> {
    members: u64,
    values: Vec<V>,
}

impl<V> Default for Table<V> {
    fn default() -> Self {
        Self { chunks: HashMap::new(), full: Bitmap::default() }
    }
}

impl<V> Chunk<V> {
    /// Where the value of a bit is among the values, or would be.
    fn place(&self, bit: u32) -> (bool, usize) {
        let mask = 1 << bit;
        (self.members & mask != 0, (self.members & (mask - 1)).count_ones() as usize)
    }

    fn replace(&mut self, bit: u32, value: Option<V>) -> Option<V> {
        match (self.place(bit), value) {
            ((true, at), Some(value)) => Some(std::mem::replace(&mut self.values[at], value)),
            ((true, at), None) => {
                self.members &= !(1 << bit);
                Some(self.values.remove(at))
            }
            ((false, at), Some(value)) => {
                self.members |= 1 << bit;
                self.values.insert(at, value);
                None
            }
            ((false, _), None) => None,
        }
    }
}

impl<V> Table<V> {
    pub fn get(&self, index: Index) -> Option<&V> {
        let (number, bit) = split(index);
        let chunk = self.chunks.get(&number)?;
        let (member, at) = chunk.place(bit);
        member.then(|| &chunk.values[at])
    }

    pub fn get_mut(&mut self, index: Index) -> Option<&mut V> {
        let (number, bit) = split(index);
        let chunk = self.chunks.get_mut(&number)?;
        let (member, at) = chunk.place(bit);
        member.then(|| &mut chunk.values[at])
    }

    /// Sets or removes the value of a number; returns the one before.
    pub fn replace(&mut self, index: Index, value: Option<V>) -> Option<V> {
        let (number, bit) = split(index);
        let mut entry = match self.chunks.entry(number) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(_) if value.is_none() => return None,
            Entry::Vacant(entry) => entry.insert_entry(Chunk { members: 0, values: Vec::new() }),
        };
        let chunk = entry.get_mut();
        let was_full = chunk.members == FULL;
        let before = chunk.replace(bit, value);
        match (was_full, chunk.members) {
            (false, FULL) => self.full.insert(number),
            (true, members) if members != FULL => self.full.remove(number),
            (false, 0) => drop(entry.remove()),
            _ => {}
        }
        before
    }

    /// The first number from `from` on that has no value; `None` where numbers end.
    pub fn next_vacant(&self, from: Index) -> Option<Index> {
        let (number, bit) = split(from);
        let Some(chunk) = self.chunks.get(&number) else {
            return Some(from);
        };
        let vacant = !chunk.members & (FULL << bit);
        if vacant != 0 {
            return Some((number << WORD_SHIFT) | Index::from(vacant.trailing_zeros()));
        }
        let number = self.full.next_absent(number + 1)?;
        let first = number.checked_mul(Index::from(u64::BITS))?;
        let members = self.chunks.get(&number).map_or(0, |chunk| chunk.members);
        Some(first | Index::from(members.trailing_ones()))
    }

    /// All numbers that have a value, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (Index, &V)> {
        self.chunks.iter().flat_map(|(number, chunk)| {
            let bits = (0..u64::BITS).filter(|bit| chunk.members & (1 << bit) != 0);
            bits.map(move |bit| (number << WORD_SHIFT) | Index::from(bit)).zip(&chunk.values)
        })
    }

    #[cfg(test)]
    pub fn words(&self) -> usize {
        self.chunks.values().map(|chunk| 1 + chunk.values.capacity()).sum::<usize>()
            + self.full.words()
    }
}
