//! Blocks of addresses: a prefix without some prefixes inside it.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::prefix::Prefix;

/// An address as a number, IPv4 before IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Address {
    V4(u32),
    V6(u128),
}

impl Address {
    /// The next address of the family; `None` after the last.
    #[must_use]
    pub fn next(self) -> Option<Self> {
        match self {
            Self::V4(bits) => bits.checked_add(1).map(Self::V4),
            Self::V6(bits) => bits.checked_add(1).map(Self::V6),
        }
    }

    /// The address before; of the first of its family the last.
    #[must_use]
    pub fn previous(self) -> Self {
        match self {
            Self::V4(bits) => Self::V4(bits.wrapping_sub(1)),
            Self::V6(bits) => Self::V6(bits.wrapping_sub(1)),
        }
    }

    /// The last address of the family.
    #[must_use]
    pub fn highest(self) -> Self {
        match self {
            Self::V4(_) => Self::V4(u32::MAX),
            Self::V6(_) => Self::V6(u128::MAX),
        }
    }

    /// Whether both are of one family.
    #[must_use]
    pub fn same_family(self, other: Self) -> bool {
        matches!((self, other), (Self::V4(_), Self::V4(_)) | (Self::V6(_), Self::V6(_)))
    }
}

impl From<IpAddr> for Address {
    /// IPv4 addresses mapped into IPv6 are IPv4, as they are for Go's `net` package.
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(v4) => Self::V4(v4.to_bits()),
            IpAddr::V6(v6) => Self::V6(v6.to_bits()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address {
            Address::V4(bits) => Ipv4Addr::from_bits(bits).into(),
            Address::V6(bits) => Ipv6Addr::from_bits(bits).into(),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        IpAddr::from(*self).fmt(f)
    }
}

/// A prefix without some prefixes inside it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Block {
    /// All of it.
    pub cidr: Prefix,
    /// What is not part of it.
    pub except: Vec<Prefix>,
}

impl Block {
    /// A block; equal sets of addresses may be written differently.
    #[must_use]
    pub fn new(cidr: Prefix, mut except: Vec<Prefix>) -> Self {
        except.sort();
        except.dedup();
        Self { cidr, except }
    }

    /// Whether the address is part of it.
    #[must_use]
    pub fn contains(&self, address: Address) -> bool {
        let address = address.into();
        self.cidr.contains(address) && !self.except.iter().any(|one| one.contains(address))
    }

    /// The ranges (first, last) that it consists of, ascending.
    #[must_use]
    pub fn ranges(&self) -> Vec<(Address, Address)> {
        let mut ranges = Vec::with_capacity(self.except.len() + 1);
        let (mut first, last) = ends(&self.cidr);
        for hole in &self.except {
            let (start, end) = ends(hole);
            // Sorted, so a hole inside an earlier one begins before what is left.
            if start > first {
                ranges.push((first, start.previous()));
            }
            if end >= first {
                match end.next() {
                    Some(next) if next <= last => first = next,
                    _ => return ranges,
                }
            }
        }
        ranges.push((first, last));
        ranges
    }
}

fn ends(prefix: &Prefix) -> (Address, Address) {
    (prefix.address().into(), prefix.last().into())
}
