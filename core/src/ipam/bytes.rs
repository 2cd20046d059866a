//! A pool as bytes, by which two can be compared, too.

use std::borrow::Cow;
use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use serde::de::{self, Deserializer, Visitor};
use serde::ser::Serializer;
use serde::{Deserialize, Serialize};

use super::cells::Cell;
use super::pool::AddressPool;
use super::space::Interval;
use crate::codec::{self, CodecError};

const KIND: &str = "address-pool";
const VERSION: u32 = 1;
const LOWER: u128 = u64::MAX as u128;

/// An address as 4 or 16 bytes in network order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Packed(pub IpAddr);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            IpAddr::V4(v4) => serializer.serialize_bytes(&v4.octets()),
            IpAddr::V6(v6) => serializer.serialize_bytes(&v6.octets()),
        }
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Octets;
        impl Visitor<'_> for Octets {
            type Value = Packed;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "an address as 4 or 16 bytes")
            }

            fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Packed, E> {
                let v4 = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
                let v6 = || <[u8; 16]>::try_from(bytes).map(IpAddr::from);
                v4.or_else(|_| v6()).map(Packed).map_err(|_| E::invalid_length(bytes.len(), &self))
            }
        }
        deserializer.deserialize_bytes(Octets)
    }
}

/// A number of 128 bits, which msgpack does not have: its upper and its lower half.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(into = "(u64, u64)", from = "(u64, u64)")]
pub(super) struct Wide(pub u128);

impl From<Wide> for (u64, u64) {
    fn from(Wide(n): Wide) -> Self {
        ((n >> u64::BITS) as u64, (n & LOWER) as u64)
    }
}

impl From<(u64, u64)> for Wide {
    fn from((upper, lower): (u64, u64)) -> Self {
        Self((u128::from(upper) << u64::BITS) | u128::from(lower))
    }
}

/// Everything that decides what a pool does from now on. Times are in nanoseconds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Body<'a> {
    ranges: Vec<(Packed, Packed)>,
    excluded: Vec<(Packed, Packed)>,
    cooldown: u64,
    clock: u64,
    cursor: Wide,
    reserved: Vec<Packed>,
    /// By the address taken first, in the order of the pool.
    owners: Vec<Held<'a>>,
    /// In the order of release.
    released: Vec<(Packed, u64)>,
}

/// An owner, and its addresses in the order in which they were taken.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Held<'a>(Cow<'a, str>, Vec<Packed>);

pub(super) fn pack(intervals: impl Iterator<Item = Interval>) -> Vec<(Packed, Packed)> {
    intervals.map(|interval| (Packed(interval.first), Packed(interval.last))).collect()
}

pub(super) fn unpack(intervals: &[(Packed, Packed)]) -> Vec<Interval> {
    intervals.iter().map(|(first, last)| Interval { first: first.0, last: last.0 }).collect()
}

impl AddressPool {
    /// The pool as bytes; equal pools have equal ones.
    pub fn to_bytes(&self) -> Vec<u8> {
        codec::to_bytes(KIND, VERSION, &self.body())
    }

    /// The pool of these bytes, which goes on as the one that they were made of.
    ///
    /// # Errors
    /// If the bytes are not what [`Self::to_bytes`] makes, or say what cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let body = codec::from_bytes(KIND, VERSION, bytes)?;
        Self::of(&body)
    }

    fn body(&self) -> Body<'_> {
        let address = |index| Packed(self.space.address(index));
        let reserved = |cell: &Cell| *cell == Cell::RESERVED || cell.is_taken_and_reserved();
        Body {
            ranges: pack(self.space.ranges().iter().copied()),
            excluded: pack(self.space.excluded()),
            cooldown: self.cooldown,
            clock: self.clock,
            cursor: Wide(self.cursor),
            reserved: (self.cells.iter().filter(|(_, cell)| reserved(cell)))
                .map(|(index, _)| address(index))
                .collect(),
            owners: self.held().collect(),
            released: (self.released().into_iter())
                .map(|note| (address(self.cells.index(note.id)), note.time))
                .collect(),
        }
    }

    fn held(&self) -> impl Iterator<Item = Held<'_>> {
        let leases = self.cells.iter().filter_map(|(_, cell)| cell.lease());
        leases.filter(|lease| self.leases.is_first(*lease)).map(|first| {
            let ids = self.leases.ring(Some(first)).map(|lease| self.leases.id(lease));
            let held = ids.map(|id| Packed(self.space.address(self.cells.index(id))));
            Held(Cow::Borrowed(self.leases.owner(first)), held.collect())
        })
    }

    fn of(body: &Body<'_>) -> Result<Self, CodecError> {
        let cooldown = Duration::from_nanos(body.cooldown);
        let (ranges, excluded) = (unpack(&body.ranges), unpack(&body.excluded));
        let mut pool = Self::new(&ranges, &excluded, cooldown).map_err(CodecError::malformed)?;
        for Packed(address) in &body.reserved {
            if !pool.reserve(*address).map_err(CodecError::malformed)? {
                return Err(CodecError::malformed(format!("{address} is reserved already")));
            }
        }
        for Held(owner, held) in &body.owners {
            for Packed(address) in held {
                pool.allocate_address(owner, *address, true).map_err(CodecError::malformed)?;
            }
        }
        for (Packed(address), time) in &body.released {
            let released_at = Duration::from_nanos(*time);
            let new = pool.restore_cooling(*address, released_at).map_err(CodecError::malformed)?;
            if !new || pool.clock != *time || *time > body.clock {
                return Err(CodecError::malformed(format!("{address} was not released then")));
            }
        }
        let Wide(cursor) = body.cursor;
        if cursor > pool.space.capacity() {
            return Err(CodecError::malformed(format!("cursor {cursor} is outside the pool")));
        }
        (pool.clock, pool.cursor) = (body.clock, cursor);
        Ok(pool)
    }
}

impl PartialEq for AddressPool {
    /// Whether both hold the same, and go on in the same way.
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.body() == other.body()
    }
}

impl Eq for AddressPool {}
