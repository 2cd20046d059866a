//! A pool as it was at one moment, and what changed between two.

use std::net::IpAddr;
use std::sync::OnceLock;

use super::name::Owner;
use super::owners::Owners;
use super::pool::{AddressPool, Lease, Stats};

/// A pool as it was when the snapshot was taken. It shares with the pool what the pool did not
/// change since, so that it costs next to nothing to take and to keep.
#[derive(Debug)]
pub struct Snapshot {
    pool: AddressPool,
    /// Made when it is first asked for.
    owners: OnceLock<Owners>,
}

/// An address whose owner is another one than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The address.
    pub address: IpAddr,
    /// Whose it was.
    pub before: Option<Owner>,
    /// Whose it is.
    pub after: Option<Owner>,
}

impl Snapshot {
    pub(super) fn new(pool: AddressPool) -> Self {
        Self { pool, owners: OnceLock::new() }
    }

    /// Whose an address was.
    pub fn owner_of(&self, address: IpAddr) -> Option<&Owner> {
        self.pool.owner_of(address)
    }

    /// The addresses of an owner, in the order in which they were taken. The first call goes
    /// through all leases.
    pub fn addresses_of(&self, owner: &str) -> Vec<IpAddr> {
        let AddressPool { space, cells, leases, .. } = &self.pool;
        let taken = || cells.iter().filter_map(|(_, cell)| cell.lease());
        let owners = self.owners.get_or_init(|| leases.index(taken()));
        leases.of_in(owners, owner).map(|id| space.address(cells.index(id))).collect()
    }

    /// All that was taken, in the order of the pool.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.pool.leases()
    }

    /// The address family, 4 or 6.
    pub fn family(&self) -> u8 {
        self.pool.family()
    }

    /// Whether an address is one of the pool's, free or not.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.pool.covers(address)
    }

    /// How many addresses were taken.
    pub fn len(&self) -> usize {
        self.pool.len()
    }

    /// Whether nothing was taken.
    pub fn is_empty(&self) -> bool {
        self.pool.is_empty()
    }

    /// The numbers of addresses, by what they were.
    pub fn stats(&self) -> Stats {
        self.pool.stats()
    }

    /// See [`AddressPool::to_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        self.pool.to_bytes()
    }

    /// The addresses whose owner is another one in `later`, by address.
    ///
    /// Of two snapshots of one pool, only pages that changed in between are looked at.
    pub fn diff(&self, later: &Self) -> Vec<Change> {
        let (a, b) = (&self.pool, &later.pool);
        let mut changes: Vec<Change> = changed(a, b)
            .map(|Lease { address, owner }| Change {
                address,
                after: b.owner_of(address).cloned(),
                before: Some(owner),
            })
            .filter(|change| change.before != change.after)
            .collect();
        let new = changed(b, a).filter(|lease| a.owner_of(lease.address).is_none());
        changes.extend(new.map(|Lease { address, owner }| Change {
            address,
            before: None,
            after: Some(owner),
        }));
        changes.sort_unstable_by_key(|change| change.address);
        changes
    }
}

/// The leases of `a` but for those of pages that `b` has, too.
fn changed<'a>(a: &'a AddressPool, b: &'a AddressPool) -> impl Iterator<Item = Lease> {
    let cells: Box<dyn Iterator<Item = _>> = if a.space.is_like(&b.space) {
        Box::new(a.cells.differing(&b.cells))
    } else {
        Box::new(a.cells.iter())
    };
    cells.filter_map(|(index, cell)| a.lease(index, cell))
}

impl PartialEq for Snapshot {
    fn eq(&self, other: &Self) -> bool {
        self.pool == other.pool
    }
}

impl Eq for Snapshot {}
