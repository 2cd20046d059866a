//! Addresses, prefixes and values of routes in bulk.

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;

use super::buffer::{Input, Order, Output, layout};
use super::errors::{InvalidPrefix, InvalidValue};
use crate::prefix::Prefix;
use crate::routes::{NO_VALUE, Route, Snapshot};

/// Addresses that are looked up before their values are written.
const BLOCK: usize = 1024;

/// The order by its name.
pub fn order(name: &str) -> PyResult<Order> {
    match name {
        "host" => Ok(Order::Host),
        "network" => Ok(Order::Network),
        _ => Err(PyValueError::new_err(format!("order: {name:?} is neither 'host' nor 'network'"))),
    }
}

/// Addresses of one family.
pub enum Addresses {
    /// A number for each.
    V4(Input<u32>),
    /// Upper and lower half of each.
    V6(Input<u64>),
    /// Four bytes for each.
    Bytes4(Input<u8>),
    /// Sixteen bytes for each.
    Bytes6(Input<u8>),
}

impl Addresses {
    /// In host order u32 of shape (n,) or u64 of shape (n, 2); in network order bytes of shape
    /// (n, 4) or (n, 16), or u32 of shape (n,).
    pub fn new(value: &Bound<'_, PyAny>, order: Order) -> PyResult<Self> {
        let name = "addresses";
        let (_, width) = layout(name, value)?;
        Ok(match (order, width) {
            (Order::Host, 2) => Self::V6(Input::new(name, value, 2, order)?),
            (Order::Network, 4) => Self::Bytes4(Input::new(name, value, 4, order)?),
            (Order::Network, 16) => Self::Bytes6(Input::new(name, value, 16, order)?),
            _ => Self::V4(Input::new(name, value, 0, order)?),
        })
    }

    pub fn rows(&self) -> usize {
        match self {
            Self::V4(items) => items.rows(),
            Self::V6(items) => items.rows(),
            Self::Bytes4(items) | Self::Bytes6(items) => items.rows(),
        }
    }

    /// The value of each address, [`NO_VALUE`] where there is none.
    pub fn look_up(&self, snapshot: &Snapshot, values: &Output<u32>) {
        let mut found = [0; BLOCK];
        let (mut v4, mut v6) = ([0; BLOCK], [0; BLOCK]);
        for first in (0..self.rows()).step_by(BLOCK) {
            let count = BLOCK.min(self.rows() - first);
            let found = &mut found[..count];
            match self {
                Self::V4(_) | Self::Bytes4(_) => {
                    self.read4(first, &mut v4[..count]);
                    snapshot.values4(&v4[..count], found);
                }
                Self::V6(_) | Self::Bytes6(_) => {
                    self.read6(first, &mut v6[..count]);
                    snapshot.values6(&v6[..count], found);
                }
            }
            values.write(first, found);
        }
    }

    fn read4(&self, first: usize, target: &mut [u32]) {
        match self {
            Self::V4(items) => items.read(first, target),
            Self::Bytes4(items) => {
                let mut bytes = [[0; 4]; BLOCK];
                let bytes = &mut bytes[..target.len()];
                items.read(first, bytes.as_flattened_mut());
                for (slot, bytes) in target.iter_mut().zip(bytes) {
                    *slot = u32::from_be_bytes(*bytes);
                }
            }
            Self::V6(_) | Self::Bytes6(_) => {}
        }
    }

    fn read6(&self, first: usize, target: &mut [u128]) {
        match self {
            Self::V6(items) => {
                let mut halves = [[0; 2]; BLOCK];
                let halves = &mut halves[..target.len()];
                items.read(first, halves.as_flattened_mut());
                for (slot, [upper, lower]) in target.iter_mut().zip(halves) {
                    *slot = u128::from(*upper) << 64 | u128::from(*lower);
                }
            }
            Self::Bytes6(items) => {
                let mut bytes = [[0; 16]; BLOCK];
                let bytes = &mut bytes[..target.len()];
                items.read(first, bytes.as_flattened_mut());
                for (slot, bytes) in target.iter_mut().zip(bytes) {
                    *slot = u128::from_be_bytes(*bytes);
                }
            }
            Self::V4(_) | Self::Bytes4(_) => {}
        }
    }

    /// All as prefixes of these lengths, with these values.
    pub fn routes(&self, lengths: &Input<u8>, values: &Input<u32>) -> PyResult<Vec<Route>> {
        let rows = self.rows();
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        match self {
            Self::V4(_) | Self::Bytes4(_) => v4.resize(rows, 0),
            Self::V6(_) | Self::Bytes6(_) => v6.resize(rows, 0),
        }
        for first in (0..rows).step_by(BLOCK) {
            let block = first..rows.min(first + BLOCK);
            match self {
                Self::V4(_) | Self::Bytes4(_) => self.read4(first, &mut v4[block]),
                Self::V6(_) | Self::Bytes6(_) => self.read6(first, &mut v6[block]),
            }
        }
        let (lengths, values) = (lengths.to_vec(), values.to_vec());
        let addresses = v4.into_iter().map(|bits| std::net::Ipv4Addr::from_bits(bits).into());
        let addresses =
            addresses.chain(v6.into_iter().map(|bits| std::net::Ipv6Addr::from_bits(bits).into()));
        (addresses.zip(lengths).zip(values).enumerate())
            .map(|(row, ((address, length), value))| {
                let prefix = Prefix::new(address, length)
                    .map_err(|error| InvalidPrefix::new_err(format!("row {row}: {error}")))?;
                if value == NO_VALUE {
                    return Err(InvalidValue::new_err(format!("row {row}: {}", no_value(value))));
                }
                Ok((prefix, value))
            })
            .collect()
    }
}

/// What is wrong with a value.
pub fn no_value(value: impl std::fmt::Display) -> String {
    format!("{value} is no value of a route: it has to be from 0 to {}", NO_VALUE - 1)
}
