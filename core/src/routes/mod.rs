//! Which route matches: [`RouteTable`].

mod bits;
mod bytes;
mod family;
#[cfg(test)]
mod interleavings;
mod intervals;
mod memory;
mod published;
mod rib;
mod runs;
mod snapshot;
mod table;
#[cfg(test)]
mod tests;
mod trie;
mod words;

use std::fmt;

use crate::prefix::Prefix;

pub use snapshot::{Change, Snapshot};
pub use table::{Reader, RouteTable};

/// What a route leads to: any number but [`NO_VALUE`].
pub type Value = u32;

/// A prefix and its value.
pub type Route = (Prefix, Value);

/// Stands for "no route" where values are plain numbers.
pub const NO_VALUE: Value = Value::MAX;

/// What a table takes in memory, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes {
    /// What lookups of IPv4 addresses read.
    pub lookup_v4: usize,
    /// What lookups of IPv6 addresses read.
    pub lookup_v6: usize,
    /// Everything that IPv4 takes, with what updates need and what is kept free for them.
    pub total_v4: usize,
    /// The same of IPv6.
    pub total_v6: usize,
}

/// Why a route is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Error {
    /// The value is [`NO_VALUE`].
    Value,
}

impl fmt::Display for Error {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Value => write!(out, "{NO_VALUE} stands for no route, and is no value of one"),
        }
    }
}

impl std::error::Error for Error {}
