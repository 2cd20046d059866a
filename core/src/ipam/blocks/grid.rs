//! Which blocks a prefix has, and which addresses a block.

use std::net::IpAddr;

use super::super::error::Error;
use super::super::space::{Interval, Span, merged, number, span};
use super::BlockError;
use crate::prefix::{Prefix, bits};

/// A prefix cut into blocks of one length, of which there are at most 2^127.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Grid {
    cidr: Prefix,
    length: u8,
    excluded: Vec<Span>,
}

impl Grid {
    pub fn new(cidr: Prefix, length: u8, exclude: &[Interval]) -> Result<Self, BlockError> {
        let allowed = (cidr.length(), bits(cidr.address()).min(cidr.length().saturating_add(127)));
        if !(allowed.0..=allowed.1).contains(&length) {
            return Err(BlockError::Length { length, cidr, allowed });
        }
        Ok(Self { cidr, length, excluded: spans(exclude, cidr.address().is_ipv6())? })
    }

    pub fn cidr(&self) -> Prefix {
        self.cidr
    }

    pub fn length(&self) -> u8 {
        self.length
    }

    pub fn excluded(&self) -> impl Iterator<Item = Interval> {
        self.excluded.iter().map(|span| Interval {
            first: self.of_number(span.first),
            last: self.of_number(span.last),
        })
    }

    /// How many blocks there are, as a power of two.
    pub fn block_bits(&self) -> u32 {
        (self.length - self.cidr.length()).into()
    }

    /// How many blocks there are.
    pub fn blocks(&self) -> u128 {
        1 << self.block_bits()
    }

    /// The place of a block's last address in it.
    pub fn last_offset(&self) -> u128 {
        (1u128.checked_shl(self.host_bits()).unwrap_or(0)).wrapping_sub(1)
    }

    pub fn prefix(&self, block: u128) -> Prefix {
        let first = self.of_number(self.first(block));
        Prefix::covering(first, self.length).expect("the length is one of the family's")
    }

    /// The block that is this prefix.
    pub fn block(&self, prefix: Prefix) -> Result<u128, BlockError> {
        if prefix.length() != self.length || !self.cidr.covers(&prefix) {
            return Err(BlockError::NoBlock { prefix, length: self.length, cidr: self.cidr });
        }
        Ok(self.place(prefix.address()).0)
    }

    /// The block that an address is in, and its place there.
    pub fn find(&self, address: IpAddr) -> Result<(u128, u128), Error> {
        let inside = self.cidr.contains(address);
        inside.then(|| self.place(address)).ok_or(Error::OutOfRange(address))
    }

    pub fn is_excluded(&self, address: IpAddr) -> bool {
        self.span_of(number(address)).is_some()
    }

    pub fn address(&self, block: u128, offset: u128) -> IpAddr {
        self.of_number(self.first(block) + offset)
    }

    /// The first place from `from` on that is not excluded.
    pub fn next_allowed(&self, block: u128, from: u128) -> Option<u128> {
        let first = self.first(block);
        let Some(span) = self.span_of(first + from) else {
            return Some(from);
        };
        let behind = span.last.checked_add(1)? - first;
        Some(behind).filter(|offset| *offset <= self.last_offset())
    }

    /// If nothing of a block is left, the first one behind it of which that is not known.
    pub fn behind_excluded(&self, block: u128) -> Option<u128> {
        let (first, last) = self.ends(block);
        let span = self.span_of(first).filter(|span| span.last >= last)?;
        let (block, offset) = self.place_of(span.last.min(number(self.cidr.last())));
        Some(block + u128::from(offset == self.last_offset()))
    }

    /// If a block has an address of these, the first one behind it of which that is not known.
    pub fn behind_avoided(&self, block: u128, avoid: &[Span]) -> Option<u128> {
        let (first, last) = self.ends(block);
        let at = avoid.partition_point(|span| span.last < first);
        let span = avoid.get(at).filter(|span| span.first <= last)?;
        let (block, _) = self.place_of(span.last.min(number(self.cidr.last())));
        Some(block + 1)
    }

    fn host_bits(&self) -> u32 {
        u32::from(bits(self.cidr.address()) - self.length)
    }

    fn first(&self, block: u128) -> u128 {
        number(self.cidr.address()) + block.checked_shl(self.host_bits()).unwrap_or(0)
    }

    fn ends(&self, block: u128) -> (u128, u128) {
        let first = self.first(block);
        (first, first + self.last_offset())
    }

    /// The excluded span that a number is in.
    fn span_of(&self, n: u128) -> Option<&Span> {
        let at = self.excluded.partition_point(|span| span.last < n);
        self.excluded.get(at).filter(|span| span.first <= n)
    }

    fn place(&self, address: IpAddr) -> (u128, u128) {
        self.place_of(number(address))
    }

    /// Block and place of an address of the pool, which is given as a number.
    fn place_of(&self, n: u128) -> (u128, u128) {
        let n = n - number(self.cidr.address());
        (n.checked_shr(self.host_bits()).unwrap_or(0), n & self.last_offset())
    }

    fn of_number(&self, n: u128) -> IpAddr {
        match self.cidr.address() {
            IpAddr::V4(_) => IpAddr::V4(u32::try_from(n).expect("IPv4 has 32 bits").into()),
            IpAddr::V6(_) => IpAddr::V6(n.into()),
        }
    }
}

/// Sorted, disjoint.
pub(super) fn spans<'a>(
    intervals: impl IntoIterator<Item = &'a Interval>,
    v6: bool,
) -> Result<Vec<Span>, Error> {
    let spans = intervals.into_iter().map(|interval| span(interval, v6));
    Ok(merged(spans.collect::<Result<_, _>>()?))
}
