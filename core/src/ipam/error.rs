//! Everything that can be wrong with a pool or a wish for an address.

use std::fmt;
use std::net::IpAddr;

use super::name::Owner;
use super::space::Interval;

/// Result of the operations of a pool.
pub type Result<T> = std::result::Result<T, Error>;

/// Why a pool cannot be made, or an address cannot be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The pool has no range at all.
    NoRange,
    /// A range ends before it starts.
    Reversed(Interval),
    /// A range or an excluded interval mixes IPv4 and IPv6, or is not of the pool's family.
    MixedFamilies(Interval),
    /// Two ranges have addresses in common.
    Overlap(Interval, Interval),
    /// The ranges hold all of IPv6: one address more than can be counted.
    TooLarge,
    /// Nothing is free.
    Exhausted {
        /// Addresses that have an owner.
        taken: u128,
        /// Addresses that were released less than the cool-down ago.
        cooling: u128,
        /// Addresses that are reserved and have no owner.
        reserved: u128,
        /// Addresses of the pool, without the excluded ones.
        capacity: u128,
    },
    /// The wished address has an owner.
    Taken(IpAddr, Owner),
    /// The wished address is in no range of the pool.
    OutOfRange(IpAddr),
    /// The wished address is reserved, or excluded from the pool.
    Reserved(IpAddr),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoRange => write!(f, "ranges: at least one is needed"),
            Self::Reversed(range) => write!(f, "{range}: the end is before the start"),
            Self::MixedFamilies(range) => {
                write!(f, "{range}: all addresses of a pool must be of one family")
            }
            Self::Overlap(a, b) => write!(f, "{a} and {b}: ranges must not overlap"),
            Self::TooLarge => write!(f, "ranges: all of IPv6 is too large for a pool"),
            Self::Exhausted { taken, cooling, reserved, capacity } => write!(
                f,
                "no address is free: {taken} of {capacity} are taken, {cooling} cool down, \
                 {reserved} are reserved"
            ),
            Self::Taken(address, owner) => write!(f, "{address} is taken by {owner}"),
            Self::OutOfRange(address) => write!(f, "{address} is in no range of the pool"),
            Self::Reserved(address) => write!(f, "{address} is reserved"),
        }
    }
}

impl std::error::Error for Error {}
