//! What can be read of a table, of one moment.

use std::net::IpAddr;
use std::sync::Arc;

use super::bits::{Bits, Entry, Key};
use super::family::View;
use super::table::{Either, Version, either};
use super::{NO_VALUE, Route, Value};
use crate::prefix::{self, Prefix};

/// A table at one moment: it never changes. To take one costs nothing; as long as it is kept, what
/// the table does not have any more stays in memory.
#[derive(Debug, Clone)]
pub struct Snapshot(Arc<Version>);

/// A prefix whose value is another one than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// The prefix.
    pub prefix: Prefix,
    /// Its value before, if it was there.
    pub before: Option<Value>,
    /// Its value after, if it is there.
    pub after: Option<Value>,
}

impl Version {
    #[inline]
    pub fn value(&self, address: IpAddr) -> Option<Value> {
        let value = match address {
            IpAddr::V4(v4) => self.v4.value(v4.to_bits()),
            IpAddr::V6(v6) => self.v6.value(v6.to_bits()),
        };
        (value != NO_VALUE).then_some(value)
    }

    #[inline]
    pub fn longest(&self, address: IpAddr, length: u8) -> Option<Route> {
        match address {
            IpAddr::V4(v4) => self.v4.rib().longest(v4.to_bits(), length).map(route),
            IpAddr::V6(v6) => self.v6.rib().longest(v6.to_bits(), length).map(route),
        }
    }
}

fn route<B: Bits>(entry: Entry<B>) -> Route {
    (entry.key.prefix(), entry.value)
}

impl Snapshot {
    pub(super) fn new(version: Arc<Version>) -> Self {
        Self(version)
    }

    pub(super) fn version(&self) -> &Version {
        &self.0
    }

    /// How many routes there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.v4.len() + self.0.v6.len()
    }

    /// Whether there is no route.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many routes there are of IPv4, and of IPv6.
    #[must_use]
    pub fn lens(&self) -> (usize, usize) {
        (self.0.v4.len(), self.0.v6.len())
    }

    /// The value of this very prefix.
    #[must_use]
    pub fn get(&self, prefix: Prefix) -> Option<Value> {
        match either(prefix) {
            Either::V4(key) => self.0.v4.rib().get(key),
            Either::V6(key) => self.0.v6.rib().get(key),
        }
    }

    /// The value of the longest prefix that covers the address.
    #[must_use]
    #[inline]
    pub fn value(&self, address: IpAddr) -> Option<Value> {
        self.0.value(address)
    }

    /// The longest prefix that covers the address, and its value.
    #[must_use]
    #[inline]
    pub fn lookup(&self, address: IpAddr) -> Option<Route> {
        self.0.longest(address, prefix::bits(address))
    }

    /// All prefixes that cover the address, the longest first.
    pub fn matches(&self, address: IpAddr) -> impl Iterator<Item = Route> {
        let next =
            move |(prefix, _): &Route| self.0.longest(address, prefix.length().checked_sub(1)?);
        std::iter::successors(self.lookup(address), next)
    }

    /// All routes that the prefix covers, itself too, in their order.
    #[must_use]
    pub fn covered_by(&self, prefix: Prefix) -> Vec<Route> {
        match either(prefix) {
            Either::V4(key) => covered(&self.0.v4, key),
            Either::V6(key) => covered(&self.0.v6, key),
        }
    }

    /// Some routes in their order, from the first one after a prefix on.
    #[must_use]
    pub fn after(&self, prefix: Option<Prefix>, count: usize) -> Vec<Route> {
        let (v4, v6) = match prefix.map(either) {
            None => (Some(Key::ALL), Key::ALL),
            Some(Either::V4(key)) => (Some(key), Key::ALL),
            Some(Either::V6(key)) => (None, key),
        };
        let mut routes = Vec::with_capacity(count);
        if let Some(key) = v4 {
            self.0.v4.rib().visit(key, &mut |entry| take(&mut routes, entry, prefix, count));
        }
        self.0.v6.rib().visit(v6, &mut |entry| take(&mut routes, entry, prefix, count));
        routes
    }

    /// All routes: IPv4 before IPv6, by address, a prefix right before what it covers.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        const AT_ONCE: usize = 256;
        let next = |routes: &Vec<Route>| {
            let last = routes.last()?.0;
            Some(self.after(Some(last), AT_ONCE))
        };
        std::iter::successors(Some(self.after(None, AT_ONCE)), next).flatten()
    }

    /// The values of many IPv4 addresses; [`NO_VALUE`] where no prefix covers one.
    ///
    /// # Panics
    /// If both are not of the same length.
    pub fn values4(&self, addresses: &[u32], values: &mut [Value]) {
        self.0.v4.values(addresses, values);
    }

    /// The values of many IPv6 addresses; [`NO_VALUE`] where no prefix covers one.
    ///
    /// # Panics
    /// If both are not of the same length.
    pub fn values6(&self, addresses: &[u128], values: &mut [Value]) {
        self.0.v6.values(addresses, values);
    }

    /// The prefixes whose values differ in `later`, in their order.
    ///
    /// Between snapshots of one table it costs what changed, not what there is, unless the table's
    /// storage has grown in between.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<Change> {
        let mut changes = changed(&self.0.v4, &later.0.v4);
        changes.extend(changed(&self.0.v6, &later.0.v6));
        changes
    }
}

fn take<B: Bits>(
    routes: &mut Vec<Route>,
    entry: Entry<B>,
    after: Option<Prefix>,
    count: usize,
) -> bool {
    let route = route(entry);
    if after != Some(route.0) && routes.len() < count {
        routes.push(route);
    }
    routes.len() < count
}

fn covered<B: Bits>(view: &View<B>, key: Key<B>) -> Vec<Route> {
    let rib = view.rib();
    let mut inside = Vec::new();
    rib.inside(key, &mut inside);
    let own = rib.get(key).map(|value| Entry { key, value });
    own.into_iter().chain(inside).map(route).collect()
}

fn changed<B: Bits>(a: &View<B>, b: &View<B>) -> Vec<Change> {
    if a.is(b) {
        return Vec::new();
    }
    let (before, after) = if a.shares_words(b) {
        (differing(a, b), differing(b, a))
    } else {
        (a.entries(), b.entries())
    };
    let mut changes = Vec::new();
    for Entry { key, value } in before {
        let after = b.rib().get(key);
        if after != Some(value) {
            changes.push((key, Some(value), after));
        }
    }
    for Entry { key, value } in after {
        if a.rib().get(key).is_none() {
            changes.push((key, None, Some(value)));
        }
    }
    changes.sort_unstable_by_key(|(key, ..)| *key);
    let change =
        |(key, before, after): (Key<B>, _, _)| Change { prefix: key.prefix(), before, after };
    changes.into_iter().map(change).collect()
}

/// Entries of nodes that only the first one has.
fn differing<B: Bits>(a: &View<B>, b: &View<B>) -> Vec<Entry<B>> {
    let (a, b) = (a.rib(), b.rib());
    a.leaves_not_in(&b).into_iter().flat_map(|leaf| a.entries_of(leaf)).collect()
}

impl PartialEq for Snapshot {
    /// Whether both have the same routes.
    fn eq(&self, other: &Self) -> bool {
        let (a, b) = (&self.0, &other.0);
        Arc::ptr_eq(a, b)
            || (self.lens() == other.lens()
                && ((a.v4.is(&b.v4) && a.v6.is(&b.v6)) || self.routes().eq(other.routes())))
    }
}

impl Eq for Snapshot {}
