//! Which address is free: [`AddressPool`].

mod bitmap;
mod blocks;
mod bytes;
mod cells;
mod error;
mod journal;
mod leases;
mod name;
mod owners;
mod paged;
mod pool;
mod queue;
mod snapshot;
mod space;
#[cfg(test)]
mod tests;

pub use blocks::{
    BlockChange, BlockError, BlockPool, BlockSnapshot, BlockStats, Route, RouteChange,
};
pub use error::{Error, Result};
pub use journal::{JournalError, JournalFile, JournaledPool, Storage};
pub use name::Owner;
pub use pool::{AddressPool, Lease, Stats};
pub use snapshot::{Change, Snapshot};
pub use space::Interval;

/// Position of an address in its pool: 0 is the first address of the first range.
type Index = u128;
