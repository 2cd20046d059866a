//! A table of routes for both families: one writer, readers that never wait.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::Arc;

use super::bits::{Bits, Entry, Key};
use super::family::{Family, View};
use super::published::Published;
use super::{Bytes, Error, NO_VALUE, Route, Snapshot, Value};
use crate::prefix::{self, Prefix};

/// Both families at one moment.
#[derive(Debug)]
pub(super) struct Version {
    number: u64,
    pub v4: View<u32>,
    pub v6: View<u128>,
}

/// Routes by prefix, IPv4 and IPv6, of which lookups find the longest that matches.
///
/// Every change publishes a version: what it shares with the one before it has not moved, so a
/// change costs a few nodes, whatever the size of the table. Readers take the newest version
/// without a lock, and keep it as long as they like: its nodes are used again once nobody has it.
#[derive(Debug)]
pub struct RouteTable {
    v4: Family<u32>,
    v6: Family<u128>,
    published: Arc<Published<Version>>,
    /// The number of the newest version.
    number: u64,
    /// Versions before it that may be in use.
    past: VecDeque<Arc<Version>>,
}

/// Reads a table that another thread may change at the same time.
#[derive(Debug, Clone)]
pub struct Reader {
    published: Arc<Published<Version>>,
}

impl Reader {
    /// The table as it is now. Never waits, also if the table is being changed.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::new(self.published.load_full())
    }

    /// See [`Snapshot::value`], of the table as it is now.
    #[must_use]
    #[inline]
    pub fn value(&self, address: IpAddr) -> Option<Value> {
        self.published.load().value(address)
    }

    /// See [`Snapshot::lookup`], of the table as it is now.
    #[must_use]
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<Route> {
        self.published.load().longest(address, prefix::bits(address))
    }
}

/// A prefix as one of its family.
pub(super) enum Either {
    V4(Key<u32>),
    V6(Key<u128>),
}

pub(super) fn either(prefix: Prefix) -> Either {
    let length = prefix.length();
    match prefix.address() {
        IpAddr::V4(v4) => Either::V4(Key { bits: v4.to_bits(), length }),
        IpAddr::V6(v6) => Either::V6(Key { bits: v6.to_bits(), length }),
    }
}

impl Default for RouteTable {
    fn default() -> Self {
        Self::new()
    }
}

impl RouteTable {
    /// A table without routes.
    #[must_use]
    pub fn new() -> Self {
        Self::of(Family::new(), Family::new())
    }

    pub(super) fn of(v4: Family<u32>, v6: Family<u128>) -> Self {
        let version = Version { number: 0, v4: v4.view(), v6: v6.view() };
        let published = Arc::new(Published::from_pointee(version));
        Self { v4, v6, published, number: 0, past: VecDeque::new() }
    }

    /// For other threads.
    #[must_use]
    pub fn reader(&self) -> Reader {
        Reader { published: self.published.clone() }
    }

    /// The table as it is now, for good.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        self.reader().snapshot()
    }

    /// Adds a route or gives it another value; the value before.
    ///
    /// # Errors
    /// If the value is [`NO_VALUE`].
    pub fn insert(&mut self, prefix: Prefix, value: Value) -> Result<Option<Value>, Error> {
        check(value)?;
        let before = match either(prefix) {
            Either::V4(key) => self.v4.insert(Entry { key, value }),
            Either::V6(key) => self.v6.insert(Entry { key, value }),
        };
        if before != Some(value) {
            self.publish();
        }
        Ok(before)
    }

    /// Removes a route; its value, if it was there.
    pub fn remove(&mut self, prefix: Prefix) -> Option<Value> {
        let before = match either(prefix) {
            Either::V4(key) => self.v4.remove(key),
            Either::V6(key) => self.v6.remove(key),
        };
        if before.is_some() {
            self.publish();
        }
        before
    }

    /// Adds many routes, or gives them other values; of the same prefix the last one counts.
    ///
    /// Readers see all of them, or none. Many at once take much less time than one by one.
    ///
    /// # Errors
    /// If a value is [`NO_VALUE`]; then nothing is changed.
    pub fn load(&mut self, routes: impl IntoIterator<Item = Route>) -> Result<(), Error> {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for (prefix, value) in routes {
            check(value)?;
            match either(prefix) {
                Either::V4(key) => v4.push(Entry { key, value }),
                Either::V6(key) => v6.push(Entry { key, value }),
            }
        }
        self.load_entries(v4, v6);
        Ok(())
    }

    /// As [`Self::load`], of values that were checked.
    pub(super) fn load_entries(&mut self, mut v4: Vec<Entry<u32>>, mut v6: Vec<Entry<u128>>) {
        sort(&mut v4);
        sort(&mut v6);
        add(&mut self.v4, &v4);
        add(&mut self.v6, &v6);
        self.publish();
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.v4.view().len() + self.v6.view().len()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the table takes in memory.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let (v4, v6) = (self.v4.bytes(), self.v6.bytes());
        Bytes { lookup_v4: v4.0, lookup_v6: v6.0, total_v4: v4.1, total_v6: v6.1 }
    }

    fn publish(&mut self) {
        self.number += 1;
        let version = Version { number: self.number, v4: self.v4.view(), v6: self.v6.view() };
        self.past.push_back(self.published.swap(Arc::new(version)));
        while let Some(oldest) = self.past.pop_front() {
            // Taken out only if nobody else has it; nobody can get it any more.
            if let Err(in_use) = Arc::try_unwrap(oldest) {
                self.past.push_front(in_use);
                break;
            }
        }
        let oldest = self.past.front().map_or(self.number, |version| version.number);
        self.v4.published(self.number, oldest);
        self.v6.published(self.number, oldest);
    }
}

fn check(value: Value) -> Result<(), Error> {
    if value == NO_VALUE { Err(Error::Value) } else { Ok(()) }
}

/// Ascending, and of the same prefix only the last one.
fn sort<B: Bits>(entries: &mut Vec<Entry<B>>) {
    if entries.is_sorted_by(|one, next| one.key < next.key) {
        return;
    }
    entries.sort_by_key(|entry| entry.key);
    entries.dedup_by(|next, kept| {
        let same = next.key == kept.key;
        if same {
            kept.value = next.value;
        }
        same
    });
}

/// Adds ascending entries: one by one if they are few, else by making the family anew.
fn add<B: Bits>(family: &mut Family<B>, entries: &[Entry<B>]) {
    let view = family.view();
    if entries.len() * FEW < view.len() {
        for entry in entries {
            family.insert(*entry);
        }
    } else if !entries.is_empty() {
        *family = Family::of(&merged(&view.entries(), entries));
    }
}

/// A change costs as much as making so many routes anew.
const FEW: usize = 8;

/// Both in their order; the newer counts where both have a prefix.
fn merged<B: Bits>(old: &[Entry<B>], new: &[Entry<B>]) -> Vec<Entry<B>> {
    let mut all = Vec::with_capacity(old.len() + new.len());
    let mut rest = old;
    for entry in new {
        let (before, after) = rest.split_at(rest.partition_point(|old| old.key < entry.key));
        all.extend_from_slice(before);
        all.push(*entry);
        rest = after;
        if rest.first().is_some_and(|old| old.key == entry.key) {
            rest = &rest[1..];
        }
    }
    all.extend_from_slice(rest);
    all
}

#[cfg(test)]
impl RouteTable {
    /// Whether an empty table has given up all nodes.
    pub fn is_clean(&self) -> bool {
        self.v4.live() + self.v6.live() == 0
    }
}
