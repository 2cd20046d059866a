//! The bits of an address, 32 or 128 of them.

use std::fmt::Debug;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::family::Lookup;
use super::intervals::Intervals;
use super::trie::Trie;
use crate::prefix::{Prefix, host_mask4, host_mask6};

/// What the two families have in common.
pub(super) trait Bits: Copy + Debug + Ord + Send + Sync + 'static {
    /// How many bits there are.
    const WIDTH: u8;
    /// The same in words of 32 bits.
    const WORDS: usize;
    /// The first address.
    const ZERO: Self;
    /// What lookups read.
    type Lookup: Lookup<Self>;

    /// Clears the bits behind the length.
    fn clear(self, length: u8) -> Self;

    /// Sets the bits behind the length.
    fn fill(self, length: u8) -> Self;

    /// The address behind it, unless it is the last one.
    fn next(self) -> Option<Self>;

    /// How many leading bits are the same.
    fn common(self, other: Self) -> u8;

    /// The word of this place, the most significant one first.
    fn word(self, place: usize) -> u32;

    /// From words, the most significant one first.
    fn of_words(word: impl Fn(usize) -> u32) -> Self;

    /// As an address.
    fn address(self) -> IpAddr;
}

impl Bits for u32 {
    const WIDTH: u8 = 32;
    const WORDS: usize = 1;
    const ZERO: Self = 0;
    type Lookup = Trie;

    #[inline]
    fn clear(self, length: u8) -> Self {
        self & !host_mask4(length)
    }

    #[inline]
    fn fill(self, length: u8) -> Self {
        self | host_mask4(length)
    }

    #[inline]
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // at most 32
    fn common(self, other: Self) -> u8 {
        (self ^ other).leading_zeros() as u8
    }

    #[inline]
    fn word(self, _place: usize) -> u32 {
        self
    }

    #[inline]
    fn of_words(word: impl Fn(usize) -> u32) -> Self {
        word(0)
    }

    fn address(self) -> IpAddr {
        Ipv4Addr::from_bits(self).into()
    }
}

impl Bits for u128 {
    const WIDTH: u8 = 128;
    const WORDS: usize = 4;
    const ZERO: Self = 0;
    type Lookup = Intervals;

    #[inline]
    fn clear(self, length: u8) -> Self {
        self & !host_mask6(length)
    }

    #[inline]
    fn fill(self, length: u8) -> Self {
        self | host_mask6(length)
    }

    #[inline]
    fn next(self) -> Option<Self> {
        self.checked_add(1)
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // at most 128
    fn common(self, other: Self) -> u8 {
        (self ^ other).leading_zeros() as u8
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // one word is meant
    fn word(self, place: usize) -> u32 {
        (self >> (96 - 32 * place)) as u32
    }

    #[inline]
    fn of_words(word: impl Fn(usize) -> u32) -> Self {
        (0..4).fold(0, |bits, place| bits << 32 | Self::from(word(place)))
    }

    fn address(self) -> IpAddr {
        Ipv6Addr::from_bits(self).into()
    }
}

/// A prefix with its value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<B> {
    pub key: Key<B>,
    pub value: u32,
}

/// A prefix; in this order, one comes right before what it covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key<B> {
    pub bits: B,
    pub length: u8,
}

impl<B: Bits> Key<B> {
    /// The whole family.
    pub const ALL: Self = Self { bits: B::ZERO, length: 0 };

    #[inline]
    pub fn covers(&self, bits: B) -> bool {
        bits.clear(self.length) == self.bits
    }

    /// The last address that it covers.
    #[inline]
    pub fn last(&self) -> B {
        self.bits.fill(self.length)
    }

    pub fn prefix(&self) -> Prefix {
        Prefix::new(self.bits.address(), self.length).expect("no bits are set behind the length")
    }
}
