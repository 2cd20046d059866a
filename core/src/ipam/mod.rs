//! Which address is free: [`AddressPool`].

mod bitmap;
mod error;
mod pool;
mod space;
mod table;
#[cfg(test)]
mod tests;

pub use error::{Error, Result};
pub use pool::{AddressPool, Lease, Stats};
pub use space::Interval;

/// Position of an address in its pool: 0 is the first address of the first range.
type Index = u128;
