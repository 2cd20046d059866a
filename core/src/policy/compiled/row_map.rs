//! The rows of a side by peer class: for each class as few bits as number the few filters that the
//! side has, zero where it has no row.
//!
//! ```text
//! peer class   0  1  2  3  4  5 ...
//! places      00 01 00 00 10 01 ...
//! filters     [a, b]
//! ```

use crate::policy::tables::{FilterId, PeerClass};

/// A place is read with the seven bytes behind its first one, in one step.
const BEHIND: usize = size_of::<u64>() - 1;

/// Peer classes -> filters.
#[derive(Debug, Clone, Default)]
pub struct RowMap {
    places: Places,
    rows: u32,
    /// Filters, and how many rows have them; what none has is free.
    filters: Vec<(FilterId, u32)>,
}

/// Numbers of so many bits each, zero where nothing was set.
#[derive(Debug, Clone, Default)]
struct Places {
    bytes: Vec<u8>,
    /// At most 32.
    bits: u32,
}

impl Places {
    /// For numbers up to `most`, at places up to `last`.
    fn new(most: u32, last: PeerClass) -> Self {
        let bits = u32::BITS - most.leading_zeros();
        let mut made = Self { bytes: Vec::new(), bits };
        made.bytes.resize(made.split(last).0 + 1 + BEHIND, 0);
        made
    }

    /// How many numbers there is room for.
    fn len(&self) -> u32 {
        let bits = self.bytes.len().saturating_sub(BEHIND) * 8;
        number(bits.div_ceil(self.bits.max(1) as usize))
    }

    /// The byte and the bit in it where a number begins.
    #[inline]
    fn split(&self, at: u32) -> (usize, usize) {
        let bit = at as usize * self.bits as usize;
        (bit / 8, bit % 8)
    }

    fn mask(&self) -> u64 {
        (1 << self.bits) - 1
    }

    #[inline]
    #[expect(clippy::cast_possible_truncation, reason = "the mask leaves 32 bits at most")]
    fn get(&self, at: u32) -> u32 {
        let (byte, bit) = self.split(at);
        let window = self.bytes.get(byte..).and_then(<[u8]>::first_chunk);
        let window = window.map_or(0, |bytes| u64::from_le_bytes(*bytes));
        ((window >> bit) & self.mask()) as u32
    }

    /// The number has to be one of those that there is room for.
    fn set(&mut self, at: u32, number: u32) {
        let (byte, bit) = self.split(at);
        if self.bytes.len() <= byte + BEHIND {
            self.bytes.resize(byte + 1 + BEHIND, 0);
        }
        let mask = self.mask() << bit;
        if let Some(bytes) = self.bytes[byte..].first_chunk_mut() {
            let window = u64::from_le_bytes(*bytes);
            *bytes = (window & !mask | u64::from(number) << bit).to_le_bytes();
        }
    }
}

fn number(place: usize) -> u32 {
    u32::try_from(place).expect("classes and filters are numbered by u32")
}

impl RowMap {
    /// The filter of a peer class that has a row.
    #[inline]
    pub fn get(&self, peer: PeerClass) -> Option<FilterId> {
        let place = self.places.get(peer).checked_sub(1)?;
        Some(self.filters[place as usize].0)
    }

    /// Whether a peer class has a row.
    pub fn has(&self, peer: PeerClass) -> bool {
        self.places.get(peer) != 0
    }

    /// Give a peer class a row, which it has not.
    pub fn insert(&mut self, peer: PeerClass, filter: FilterId) {
        debug_assert!(!self.has(peer));
        let place = self.count(filter) + 1;
        if u64::from(place) > self.places.mask() {
            let narrow = std::mem::replace(&mut self.places, Places::new(place, peer));
            for at in 0..narrow.len() {
                match narrow.get(at) {
                    0 => {}
                    place => self.places.set(at, place),
                }
            }
        }
        self.places.set(peer, place);
        self.rows += 1;
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
        let place = self.places.get(peer).checked_sub(1)?;
        self.places.set(peer, 0);
        self.rows -= 1;
        let (filter, rows) = &mut self.filters[place as usize];
        *rows -= 1;
        Some(*filter)
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.places.bytes.shrink_to_fit();
        self.filters.shrink_to_fit();
    }

    /// All rows, by peer class.
    pub fn iter(&self) -> impl Iterator<Item = (PeerClass, FilterId)> {
        (0..self.places.len()).filter_map(|peer| Some((peer, self.get(peer)?)))
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.rows as usize
    }
}

impl FromIterator<(PeerClass, FilterId)> for RowMap {
    /// Of peer classes in any order, each once.
    fn from_iter<T: IntoIterator<Item = (PeerClass, FilterId)>>(rows: T) -> Self {
        let rows: Vec<_> = rows.into_iter().collect();
        let Some(last) = rows.iter().map(|(peer, _)| *peer).max() else { return Self::default() };
        let mut ids: Vec<_> = rows.iter().map(|(_, filter)| *filter).collect();
        ids.sort_unstable();
        ids.dedup();
        let mut filters: Vec<_> = ids.iter().map(|id| (*id, 0)).collect();
        let mut places = Places::new(number(ids.len()), last);
        for (peer, filter) in &rows {
            let at = ids.partition_point(|id| id < filter);
            filters[at].1 += 1;
            places.set(*peer, number(at + 1));
        }
        Self { places, rows: number(rows.len()), filters }
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
