//! The rows of a side by peer class: a bit for each class; for those whose bit is set, the place of
//! the filter among the few that the side has.
//!
//! ```text
//! peer class   0 1 2 3 4 5 6 7 | 8 ...
//! bits         0 1 0 0 1 1 0 0 | 1 ...     before: 0 | 3 ...
//! places         0     1 0     | 1 ...
//! filters      [a, b]
//! ```
//!
//! A row takes a byte (four, where a side has more than 256 filters), and each peer class, with a row
//! or not, a quarter of one.

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
    places: Places,
    /// Filters, and how many rows have them; what none has is free.
    filters: Vec<(FilterId, u32)>,
}

/// Places in the list of filters, by row.
#[derive(Debug, Clone)]
enum Places {
    Narrow(Vec<u8>),
    Wide(Vec<u32>),
}

impl Default for Places {
    fn default() -> Self {
        Self::Narrow(Vec::new())
    }
}

impl Places {
    fn of(places: Vec<u32>) -> Self {
        match places.iter().map(|place| u8::try_from(*place)).collect() {
            Ok(narrow) => Self::Narrow(narrow),
            Err(_) => Self::Wide(places),
        }
    }

    #[inline]
    fn get(&self, row: usize) -> usize {
        match self {
            Self::Narrow(places) => usize::from(places[row]),
            Self::Wide(places) => places[row] as usize,
        }
    }

    fn len(&self) -> usize {
        match self {
            Self::Narrow(places) => places.len(),
            Self::Wide(places) => places.len(),
        }
    }

    fn trim(&mut self) {
        match self {
            Self::Narrow(places) => places.shrink_to_fit(),
            Self::Wide(places) => places.shrink_to_fit(),
        }
    }

    fn insert(&mut self, row: usize, place: u32) {
        if let Self::Narrow(places) = self {
            match u8::try_from(place) {
                Ok(place) => return places.insert(row, place),
                Err(_) => *self = Self::Wide(places.iter().copied().map(u32::from).collect()),
            }
        }
        if let Self::Wide(places) = self {
            places.insert(row, place);
        }
    }

    fn remove(&mut self, row: usize) -> usize {
        match self {
            Self::Narrow(places) => usize::from(places.remove(row)),
            Self::Wide(places) => places.remove(row) as usize,
        }
    }
}

/// The word of a peer class, its bit there, and the bits below that.
fn place(peer: PeerClass) -> (usize, u32, u32) {
    let bit = 1 << (peer % BITS);
    ((peer / BITS) as usize, bit, bit - 1)
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("classes and filters are numbered by u32")
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
        Some(self.filters[self.places.get(word.rank(below))].0)
    }

    /// Whether a peer class has a row.
    pub fn has(&self, peer: PeerClass) -> bool {
        self.get(peer).is_some()
    }

    /// Give a peer class a row, which it has not.
    pub fn insert(&mut self, peer: PeerClass, filter: FilterId) {
        let (at, bit, below) = place(peer);
        if self.words.len() <= at {
            let before = number(self.len());
            self.words.resize(at + 1, Word { bits: 0, before });
        }
        debug_assert_eq!(self.words[at].bits & bit, 0);
        let place = self.count(filter);
        self.places.insert(self.words[at].rank(below), place);
        self.words[at].bits |= bit;
        for later in &mut self.words[at + 1..] {
            later.before += 1;
        }
    }

    /// Count one more row of a filter; return its place.
    fn count(&mut self, filter: FilterId) -> u32 {
        let known = self.filters.iter().position(|(id, _)| *id == filter);
        let free = || self.filters.iter().position(|(_, rows)| *rows == 0);
        let at = known.or_else(free).unwrap_or_else(|| {
            self.filters.push((filter, 0));
            self.filters.len() - 1
        });
        let rows = self.filters[at].1 + 1;
        self.filters[at] = (filter, rows);
        number(at)
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
        let (filter, rows) = &mut self.filters[self.places.remove(rank)];
        *rows -= 1;
        Some(*filter)
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.words.shrink_to_fit();
        self.places.trim();
        self.filters.shrink_to_fit();
    }

    /// All rows, by peer class.
    pub fn iter(&self) -> impl Iterator<Item = (PeerClass, FilterId)> {
        let classes = (0..).zip(&self.words).flat_map(|(at, word)| {
            (0..BITS).filter(|bit| word.bits & (1 << bit) != 0).map(move |bit| at * BITS + bit)
        });
        classes.zip((0..self.len()).map(|row| self.filters[self.places.get(row)].0))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.places.len()
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
        let mut ids: Vec<_> = rows.iter().map(|(_, filter)| *filter).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut filters: Vec<_> = ids.iter().map(|id| (*id, 0)).collect();
        let mut places = Vec::with_capacity(rows.len());
        for (_, filter) in rows {
            let at = ids.partition_point(|id| *id < filter);
            filters[at].1 += 1;
            places.push(number(at));
        }
        Self { words, places: Places::of(places), filters }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn it_has_room_for_more_filters_than_a_byte_can_number() {
        let mut map = RowMap::default();
        (0..300).for_each(|peer| map.insert(peer, 1000 + peer));
        assert!((0..300).all(|peer| map.get(peer) == Some(1000 + peer)));
        let made: RowMap = map.iter().collect();
        assert!(map.iter().eq(made.iter()));
        (0..300).for_each(|peer| assert_eq!(map.remove(peer), Some(1000 + peer)));
        assert_eq!(map.len(), 0);
        assert_eq!(map.get(7), None);
    }

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
