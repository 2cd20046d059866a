//! The index from an owner to its first lease: a hash table with linear probing.
//!
//! Its entries have half of the hash, so that owners are compared, and records of leases looked at,
//! only where that is the same. A slot is emptied by moving up what was put behind it (D. Knuth,
//! "The Art of Computer Programming", volume 3, 6.4, algorithm R): nothing ever has to be cleaned up.

const LEAST_SLOTS: usize = 8;

/// The upper half of a hash, and a lease's number plus 1; 0 is an empty slot.
type Entry = u64;

const LEASE_MASK: Entry = u32::MAX as Entry;

#[derive(Debug)]
pub(super) struct Owners {
    /// A power of two of them, of which at most half are used.
    slots: Vec<Entry>,
    used: usize,
    /// So many may be used.
    room: usize,
}

impl Default for Owners {
    fn default() -> Self {
        Self { slots: vec![0; LEAST_SLOTS], used: 0, room: LEAST_SLOTS / 2 }
    }
}

#[inline]
fn entry(hash: u64, lease: u32) -> Entry {
    (hash & !LEASE_MASK) | u64::from(lease + 1)
}

#[inline]
fn lease(entry: Entry) -> u32 {
    (entry & LEASE_MASK) as u32 - 1
}

impl Owners {
    /// The first lease of an owner.
    #[inline]
    pub fn find(&self, hash: u64, same: impl Fn(u32) -> bool) -> Option<u32> {
        let found = self.slots[self.search(hash, same)];
        (found != 0).then(|| lease(found))
    }

    /// The first lease of the owner; if it has none, enters this one and returns `None`.
    #[inline(always)]
    pub fn find_or_add(
        &mut self,
        hash: u64,
        first: u32,
        same: impl Fn(u32) -> bool,
    ) -> Option<u32> {
        if self.used == self.room {
            self.grow();
        }
        let slot = self.search(hash, same);
        let found = self.slots[slot];
        if found != 0 {
            return Some(lease(found));
        }
        self.slots[slot] = entry(hash, first);
        self.used += 1;
        None
    }

    /// Takes out an owner, whose first lease this is.
    #[inline(always)]
    pub fn remove(&mut self, hash: u64, first: u32) {
        let (entry, mut slot) = (entry(hash, first), self.home(hash));
        while self.slots[slot] != entry {
            slot = self.after(slot);
        }
        self.clear(slot);
    }

    /// If this is an owner's first lease, it is the other one from now on.
    pub fn replace(&mut self, hash: u64, first: u32, other: u32) {
        let slot = self.search(hash, |lease| lease == first);
        if self.slots[slot] != 0 {
            self.slots[slot] = entry(hash, other);
        }
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<Entry>()
    }

    /// The slot that a search for a hash begins with.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (hash >> u32::BITS) as usize & (self.slots.len() - 1)
    }

    #[inline]
    fn after(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    /// The slot of what is asked for, or the empty one that proves that it is not there.
    #[inline(always)]
    fn search(&self, hash: u64, same: impl Fn(u32) -> bool) -> usize {
        let mut slot = self.home(hash);
        loop {
            let found = self.slots[slot];
            if found == 0 || ((found ^ hash) >> u32::BITS == 0 && same(lease(found))) {
                return slot;
            }
            slot = self.after(slot);
        }
    }

    #[cold]
    #[inline(never)]
    fn grow(&mut self) {
        self.room = self.slots.len();
        let slots = vec![0; 2 * self.slots.len()];
        for entry in std::mem::replace(&mut self.slots, slots) {
            if entry != 0 {
                let slot = self.search(entry, |_| false);
                self.slots[slot] = entry;
            }
        }
    }

    /// Empties a slot, and closes the gap for what was put behind it.
    #[inline(always)]
    fn clear(&mut self, slot: usize) {
        let (mut gap, mut slot) = (slot, self.after(slot));
        while self.slots[slot] != 0 {
            let found = self.slots[slot];
            let mask = self.slots.len() - 1;
            let distance = |from: usize| slot.wrapping_sub(from) & mask;
            if distance(self.home(found)) >= distance(gap) {
                self.slots[gap] = found;
                gap = slot;
            }
            slot = self.after(slot);
        }
        self.slots[gap] = 0;
        self.used -= 1;
    }
}
