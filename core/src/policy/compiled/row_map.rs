//! The rows of a side by peer class: a bit for each class, and the filters of those whose bit is set.
//!
//! ```text
//! peer class   0 1 2 3 4 5 6 7 | 8 ...
//! bits         0 1 0 0 1 1 0 0 | 1 ...     before: 0 | 3 ...
//! filters        a     b c     | d ...
//! ```
//!
//! A lookup reads a word and a filter. A row takes 4 bytes, and each peer class, with a row or not, a
//! quarter of one.

use crate::policy::tables::{FilterId, PeerClass};

const BITS: u32 = u32::BITS;

/// 32 peer classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word {
    /// Which of them have a row.
    bits: u32,
    /// How many rows the words before have.
    before: u32,
}

/// Peer classes -> filters.
#[derive(Debug, Clone, Default)]
pub struct RowMap {
    words: Vec<Word>,
    filters: Vec<FilterId>,
}

/// The word of a peer class, its bit there, and the bits below that.
fn place(peer: PeerClass) -> (usize, u32, u32) {
    let bit = 1 << (peer % BITS);
    ((peer / BITS) as usize, bit, bit - 1)
}

impl Word {
    fn rank(self, below: u32) -> usize {
        (self.before + (self.bits & below).count_ones()) as usize
    }
}

impl RowMap {
    /// The filter of a peer class that has a row.
    #[inline]
    pub fn get(&self, peer: PeerClass) -> Option<FilterId> {
        let (at, bit, below) = place(peer);
        let word = self.words.get(at).filter(|word| word.bits & bit != 0)?;
        self.filters.get(word.rank(below)).copied()
    }

    /// Whether a peer class has a row.
    pub fn has(&self, peer: PeerClass) -> bool {
        self.get(peer).is_some()
    }

    /// Give a peer class a row, which it has not.
    pub fn insert(&mut self, peer: PeerClass, filter: FilterId) {
        let (at, bit, below) = place(peer);
        if self.words.len() <= at {
            let before = self.count();
            self.words.resize(at + 1, Word { bits: 0, before });
        }
        debug_assert_eq!(self.words[at].bits & bit, 0);
        self.filters.insert(self.words[at].rank(below), filter);
        self.words[at].bits |= bit;
        for later in &mut self.words[at + 1..] {
            later.before += 1;
        }
    }

    /// Take the row of a peer class away.
    pub fn remove(&mut self, peer: PeerClass) -> Option<FilterId> {
        let (at, bit, below) = place(peer);
        let word = self.words.get_mut(at).filter(|word| word.bits & bit != 0)?;
        let rank = word.rank(below);
        word.bits &= !bit;
        for later in &mut self.words[at + 1..] {
            later.before -= 1;
        }
        Some(self.filters.remove(rank))
    }

    /// All rows, by peer class.
    pub fn iter(&self) -> impl Iterator<Item = (PeerClass, FilterId)> {
        let classes = (0..).zip(&self.words).flat_map(|(at, word)| {
            (0..BITS).filter(|bit| word.bits & (1 << bit) != 0).map(move |bit| at * BITS + bit)
        });
        classes.zip(self.filters.iter().copied())
    }

    /// The filters, by peer class.
    pub fn filters(&self) -> &[FilterId] {
        &self.filters
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.filters.len()
    }

    fn count(&self) -> u32 {
        u32::try_from(self.filters.len()).expect("classes are numbered by u32")
    }
}

impl FromIterator<(PeerClass, FilterId)> for RowMap {
    /// Of peer classes in any order, each once.
    fn from_iter<T: IntoIterator<Item = (PeerClass, FilterId)>>(rows: T) -> Self {
        let mut rows: Vec<_> = rows.into_iter().collect();
        rows.sort_unstable();
        let last = rows.last().map(|(peer, _)| place(*peer).0 + 1);
        let mut words = vec![Word { bits: 0, before: 0 }; last.unwrap_or(0)];
        for (peer, _) in &rows {
            let (at, bit, _) = place(*peer);
            words[at].bits |= bit;
        }
        let mut before = 0;
        for word in &mut words {
            word.before = before;
            before += word.bits.count_ones();
        }
        Self { words, filters: rows.into_iter().map(|(_, filter)| filter).collect() }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(
            first in prop::collection::btree_map(0u32..200, 0u32..9, 0..40),
            steps in prop::collection::vec((0u32..200, prop::option::of(0u32..9)), 0..60),
        ) {
            let mut truth: BTreeMap<_, _> = first.clone();
            let mut map: RowMap = first.into_iter().rev().collect();
            for (peer, filter) in steps {
                prop_assert_eq!(map.remove(peer), truth.remove(&peer));
                if let Some(filter) = filter {
                    map.insert(peer, filter);
                    truth.insert(peer, filter);
                }
                prop_assert_eq!(map.len(), truth.len());
            }
            prop_assert!((0..300).all(|peer| map.get(peer) == truth.get(&peer).copied()));
            prop_assert_eq!(map.iter().collect::<Vec<_>>(), truth.into_iter().collect::<Vec<_>>());
        }
    }
}
