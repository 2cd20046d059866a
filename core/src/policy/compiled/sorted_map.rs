//! Maps of a few keys, of which there are many: a hash table of one key takes as much as of three.

use smallvec::SmallVec;

/// Keys, ascending, and their values.
#[derive(Debug, Clone)]
pub struct SortedMap<K, V>(SmallVec<[(K, V); 2]>);

impl<K, V> Default for SortedMap<K, V> {
    fn default() -> Self {
        Self(SmallVec::new())
    }
}

impl<K: Ord + Copy, V: Copy> SortedMap<K, V> {
    fn place(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by_key(&key, |(key, _)| *key)
    }

    /// The value of a key.
    pub fn get(&self, key: K) -> Option<V> {
        Some(self.0[self.place(key).ok()?].1)
    }

    /// Give a key a value; return the one it had.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, value)),
            Err(at) => {
                self.0.insert(at, (key, value));
                None
            }
        }
    }

    /// Take a key out; return its value.
    pub fn remove(&mut self, key: K) -> Option<V> {
        let at = self.place(key).ok()?;
        Some(self.0.remove(at).1)
    }

    /// All keys with their values, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (K, V)> {
        self.0.iter().copied()
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.0.shrink_to_fit();
    }
}

impl<K: Ord + Copy> SortedMap<K, u32> {
    /// Count one more of a key; return whether it is the first.
    pub fn more(&mut self, key: K) -> bool {
        let count = self.get(key).unwrap_or(0) + 1;
        self.insert(key, count);
        count == 1
    }

    /// Count one less of a key; return whether it was the last.
    pub fn less(&mut self, key: K) -> bool {
        match self.remove(key) {
            None => false,
            Some(1) => true,
            Some(count) => {
                self.insert(key, count - 1);
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((0u8..9, prop::option::of(0u32..9)), 0..60)) {
            let mut truth = BTreeMap::new();
            let mut map = SortedMap::default();
            for (key, value) in steps {
                match value {
                    Some(value) => prop_assert_eq!(map.insert(key, value), truth.insert(key, value)),
                    None => prop_assert_eq!(map.remove(key), truth.remove(&key)),
                }
                prop_assert_eq!(map.get(key), truth.get(&key).copied());
                prop_assert!(map.iter().eq(truth.iter().map(|(key, value)| (*key, *value))));
            }
        }

        #[test]
        fn it_counts(steps in prop::collection::vec((0u8..4, any::<bool>()), 0..60)) {
            let mut truth = [0_u32; 4];
            let mut map = SortedMap::default();
            for (key, more) in steps {
                let count = &mut truth[usize::from(key)];
                if more {
                    *count += 1;
                    prop_assert_eq!(map.more(key), *count == 1);
                } else {
                    prop_assert_eq!(map.less(key), *count == 1);
                    *count = count.saturating_sub(1);
                }
                prop_assert_eq!(map.get(key), (*count > 0).then_some(*count));
            }
        }
    }
}
