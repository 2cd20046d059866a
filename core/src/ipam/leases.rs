//! Who has which address: one record for each lease, found by its number and by the owner.
//!
//! The records of an owner form a ring, in the order in which the addresses were taken.

use std::hash::{BuildHasher, Hasher};
use std::iter;

use hashbrown::DefaultHashBuilder;

use super::cells::{Id, NUMBERS};
use super::name::Owner;
use super::owners::Owners;
use super::paged::Page;

const NONE: u32 = u32::MAX;

#[derive(Debug, Clone, Default)]
#[repr(align(64))] // one line of the cache
struct Record {
    owner: Owner,
    hash: u64,
    /// The address.
    id: Id,
    /// The owner's next record; of a record that is not in use, the next one of those.
    next: u32,
    previous: u32,
    /// Whether it is the one of the owner's records that the index has.
    first: bool,
}

/// Records of a page.
const PAGE: usize = 64;

#[derive(Debug)]
pub(super) struct Leases {
    records: Vec<Page<[Record; PAGE]>>,
    /// The first record that is not in use.
    vacant: u32,
    len: usize,
    owners: Owners,
    hasher: DefaultHashBuilder,
}

impl Default for Leases {
    fn default() -> Self {
        Self {
            records: Vec::new(),
            vacant: NONE,
            len: 0,
            owners: Owners::default(),
            hasher: DefaultHashBuilder::default(),
        }
    }
}

impl Leases {
    pub fn len(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn owner(&self, lease: u32) -> &Owner {
        &self.record(lease).owner
    }

    /// Notes who has an address; returns the number of the lease.
    #[inline(always)]
    pub fn add(&mut self, id: Id, owner: &str) -> u32 {
        if self.vacant == NONE {
            self.add_page();
        }
        let (hash, lease) = (self.hash(owner), self.vacant);
        let same = |other: u32| is_of(record(&self.records, other), hash, owner);
        let first = self.owners.find_or_add(hash, lease, same);
        let record = record_mut(&mut self.records, lease);
        self.vacant = record.next;
        (record.id, record.hash, record.next, record.previous) = (id, hash, lease, lease);
        record.first = first.is_none();
        record.owner.set(owner);
        if let Some(first) = first {
            self.link(lease, first);
        }
        self.len += 1;
        lease
    }

    /// Forgets a lease. Whose it was can be asked until another one is added.
    #[inline(always)]
    pub fn remove(&mut self, lease: u32) {
        self.len -= 1;
        let record = record_mut(&mut self.records, lease);
        let next = std::mem::replace(&mut record.next, self.vacant);
        self.vacant = lease;
        if next == lease {
            self.owners.remove(record.hash, lease);
        } else {
            self.unlink(lease, next);
        }
    }

    /// The addresses of an owner, in the order in which they were taken.
    pub fn of(&self, owner: &str) -> impl Iterator<Item = Id> {
        self.of_in(&self.owners, owner)
    }

    /// The same, with an index that [`Self::index`] made.
    pub fn of_in(&self, index: &Owners, owner: &str) -> impl Iterator<Item = Id> {
        let hash = self.hash(owner);
        let first = index.find(hash, |other| is_of(self.record(other), hash, owner));
        self.ring(first).map(|lease| self.record(lease).id)
    }

    /// An index of the owners of all these leases, of which it has the first ones.
    pub fn index(&self, leases: impl Iterator<Item = u32>) -> Owners {
        let mut owners = Owners::default();
        for lease in leases.filter(|lease| self.is_first(*lease)) {
            owners.find_or_add(self.record(lease).hash, lease, |_| false);
        }
        owners
    }

    /// All leases of the owner whose first one this is.
    pub fn ring(&self, first: Option<u32>) -> impl Iterator<Item = u32> {
        let next = move |lease: &u32| Some(self.record(*lease).next).filter(|n| Some(*n) != first);
        iter::successors(first, next)
    }

    /// Whether it is the first lease of its owner.
    pub fn is_first(&self, lease: u32) -> bool {
        self.record(lease).first
    }

    pub fn id(&self, lease: u32) -> Id {
        self.record(lease).id
    }

    /// The same leases without the index of owners.
    pub fn share(&mut self) -> Self {
        Self {
            records: self.records.iter_mut().map(Page::share).collect(),
            owners: Owners::default(),
            hasher: self.hasher,
            ..*self
        }
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        self.records.len() * size_of::<[Record; PAGE]>() + self.owners.bytes()
    }

    #[inline]
    fn hash(&self, owner: &str) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(owner.as_bytes());
        hasher.finish()
    }

    #[inline]
    fn record(&self, lease: u32) -> &Record {
        record(&self.records, lease)
    }

    fn record_mut(&mut self, lease: u32) -> &mut Record {
        record_mut(&mut self.records, lease)
    }

    #[cold]
    #[inline(never)]
    fn add_page(&mut self) {
        let first = u32::try_from(self.records.len() * PAGE).unwrap_or(NUMBERS);
        assert!(first < NUMBERS, "a pool has room for 2^30 leases, which take 64 GiB");
        let mut page: Box<[Record; PAGE]> = Box::new(std::array::from_fn(|_| Record::default()));
        for (record, next) in page.iter_mut().zip(first + 1..) {
            record.next = next;
        }
        page[PAGE - 1].next = NONE;
        self.records.push(Page::Own(page));
        self.vacant = first;
    }

    /// Makes a lease the last one of an owner's ring.
    #[cold]
    #[inline(never)]
    fn link(&mut self, lease: u32, first: u32) {
        let last = std::mem::replace(&mut self.record_mut(first).previous, lease);
        self.record_mut(last).next = lease;
        let record = self.record_mut(lease);
        (record.next, record.previous) = (first, last);
    }

    /// Takes a lease out of an owner's ring, in which there are others.
    #[cold]
    #[inline(never)]
    fn unlink(&mut self, lease: u32, next: u32) {
        let &Record { hash, previous, first, .. } = self.record(lease);
        self.record_mut(previous).next = next;
        self.record_mut(next).previous = previous;
        if first {
            self.owners.replace(hash, lease, next);
            self.record_mut(next).first = true;
        }
    }
}

#[inline]
fn record(records: &[Page<[Record; PAGE]>], lease: u32) -> &Record {
    let page = records[lease as usize / PAGE].get().expect("pages of records are kept");
    &page[lease as usize % PAGE]
}

#[inline]
fn record_mut(records: &mut [Page<[Record; PAGE]>], lease: u32) -> &mut Record {
    let page = records[lease as usize / PAGE].get_mut().expect("pages of records are kept");
    &mut page[lease as usize % PAGE]
}

#[inline]
fn is_of(record: &Record, hash: u64, owner: &str) -> bool {
    record.hash == hash && record.owner == *owner
}
