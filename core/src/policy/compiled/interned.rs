//! Filters and reasons: equal ones have one number, as long as somebody uses it.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};

use super::ids::{Clock, IdPool};

/// Values with numbers, counted.
#[derive(Debug, Clone)]
pub struct Interned<T> {
    /// Found by the values in the slots.
    ids: HashTable<u32>,
    hasher: DefaultHashBuilder,
    slots: Vec<Option<(T, u32)>>,
    pool: IdPool,
}

impl<T: Hash + Eq> Interned<T> {
    /// These values, at the numbers from 0 on, for ever.
    pub fn new(built_in: impl IntoIterator<Item = T>) -> Self {
        let mut made = Self {
            ids: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            slots: Vec::new(),
            pool: IdPool::default(),
        };
        for value in built_in {
            made.take(value, Clock::default());
        }
        made
    }

    /// Count one more use of a value.
    pub fn take(&mut self, value: T, clock: Clock) -> u32 {
        let hash = self.hasher.hash_one(&value);
        let known = self.ids.find(hash, |id| self.get(*id) == Some(&value));
        if let Some(&id) = known {
            self.take_again(id);
            return id;
        }
        let id = self.pool.take(clock);
        if self.slots.len() <= id as usize {
            self.slots.resize_with(id as usize + 1, || None);
        }
        self.slots[id as usize] = Some((value, 1));
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.ids.insert_unique(hash, id, |id| {
            slots[*id as usize].as_ref().map_or(0, |(value, _)| hasher.hash_one(value))
        });
        id
    }

    /// Count one more use of what has this number.
    pub fn take_again(&mut self, id: u32) {
        if let Some((_, uses)) = &mut self.slots[id as usize] {
            *uses += 1;
        }
    }

    /// Count one use less; return the value if that was the last.
    pub fn give(&mut self, id: u32, clock: Clock) -> Option<T> {
        let (value, uses) = self.slots[id as usize].as_mut()?;
        *uses -= 1;
        if *uses > 0 {
            return None;
        }
        let hash = self.hasher.hash_one(&*value);
        if let Ok(entry) = self.ids.find_entry(hash, |one| *one == id) {
            entry.remove();
        }
        self.pool.give(id, clock);
        self.slots[id as usize].take().map(|(value, _)| value)
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.slots.shrink_to_fit();
    }

    /// The value of a number, if it is used.
    pub fn get(&self, id: u32) -> Option<&T> {
        self.slots.get(id as usize)?.as_ref().map(|(value, _)| value)
    }

    /// The value of a number that is used.
    pub fn value(&self, id: u32) -> &T {
        self.get(id).expect("numbers in use are there")
    }
}
