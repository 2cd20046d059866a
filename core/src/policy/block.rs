//! Blocks of addresses: a prefix without some prefixes inside it.
//!
//! Addresses are canonical: IPv4 mapped into IPv6 is IPv4. They are ordered IPv4 before IPv6.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::prefix::Prefix;

/// The next address of the family; `None` after the last.
#[must_use]
pub fn next(address: IpAddr) -> Option<IpAddr> {
    match address {
        IpAddr::V4(v4) => v4.to_bits().checked_add(1).map(|bits| Ipv4Addr::from_bits(bits).into()),
        IpAddr::V6(v6) => v6.to_bits().checked_add(1).map(|bits| Ipv6Addr::from_bits(bits).into()),
    }
}

/// The address before; of the first of its family the last.
#[must_use]
pub fn previous(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_sub(1)).into(),
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_sub(1)).into(),
    }
}

/// The last address of the family.
#[must_use]
pub fn highest(family_of: IpAddr) -> IpAddr {
    match family_of {
        IpAddr::V4(_) => Ipv4Addr::BROADCAST.into(),
        IpAddr::V6(_) => Ipv6Addr::from_bits(u128::MAX).into(),
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
    pub fn contains(&self, address: IpAddr) -> bool {
        self.cidr.contains(address) && !self.except.iter().any(|one| one.contains(address))
    }

    /// The ranges (first, last) that it consists of, ascending.
    #[must_use]
    pub fn ranges(&self) -> Vec<(IpAddr, IpAddr)> {
        let mut ranges = Vec::with_capacity(self.except.len() + 1);
        let (mut first, last) = (self.cidr.address(), self.cidr.last());
        for hole in &self.except {
            let (start, end) = (hole.address(), hole.last());
            // Sorted, so a hole inside an earlier one begins before what is left.
            if start > first {
                ranges.push((first, previous(start)));
            }
            if end >= first {
                match next(end) {
                    Some(after) if after <= last => first = after,
                    _ => return ranges,
                }
            }
        }
        ranges.push((first, last));
        ranges
    }
}
