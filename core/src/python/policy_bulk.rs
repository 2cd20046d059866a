//! Verdicts in bulk.

use std::net::{IpAddr, Ipv4Addr};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::prelude::*;

use super::buffer::{Input, Order, Output};
use crate::policy::PolicyEngine;

/// So many verdicts between two looks at the buffers: they stay in the cache.
const CHUNK: usize = 256;

/// A column of addresses.
enum Addresses {
    /// IPv4 as numbers in host order.
    Numbers(Input<u32>),
    /// IPv4 as bytes in network order.
    Four(Input<u8>),
    /// IPv6, or IPv4 mapped into it, as bytes in network order.
    Sixteen(Input<u8>),
}

impl Addresses {
    fn new(name: &str, value: &Bound<'_, PyAny>) -> PyResult<Self> {
        let shape = PyUntypedBuffer::get(value).map(|held| held.shape().to_vec());
        match shape.as_deref() {
            Ok([_, 16]) => Input::new(name, value, 16, Order::Host).map(Self::Sixteen),
            Ok([_, _]) => Input::new(name, value, 4, Order::Host).map(Self::Four),
            _ => Input::new(name, value, 0, Order::Host).map(Self::Numbers),
        }
    }

    fn rows(&self) -> usize {
        match self {
            Self::Numbers(column) => column.rows(),
            Self::Four(column) | Self::Sixteen(column) => column.rows(),
        }
    }

    /// Read addresses from a row on.
    fn read(&self, first: usize, target: &mut [IpAddr]) {
        match self {
            Self::Numbers(column) => {
                let mut numbers = [0; CHUNK];
                column.read(first, &mut numbers[..target.len()]);
                for (slot, bits) in target.iter_mut().zip(numbers) {
                    *slot = Ipv4Addr::from_bits(bits).into();
                }
            }
            Self::Four(column) => {
                let mut bytes = [0; 4 * CHUNK];
                column.read(first, &mut bytes[..4 * target.len()]);
                for (slot, octets) in target.iter_mut().zip(bytes.chunks_exact(4)) {
                    *slot = <[u8; 4]>::try_from(octets).unwrap_or_default().into();
                }
            }
            Self::Sixteen(column) => {
                let mut bytes = [0; 16 * CHUNK];
                column.read(first, &mut bytes[..16 * target.len()]);
                for (slot, octets) in target.iter_mut().zip(bytes.chunks_exact(16)) {
                    *slot = <[u8; 16]>::try_from(octets).unwrap_or_default().into();
                }
            }
        }
    }
}

/// Columns of the same length: connections.
pub struct Questions {
    src: Addresses,
    dst: Addresses,
    protocols: Input<u8>,
    ports: Input<u16>,
}

impl Questions {
    /// The buffers of sources, destinations, protocols and destination ports.
    pub fn new(
        src: &Bound<'_, PyAny>,
        dst: &Bound<'_, PyAny>,
        protocols: &Bound<'_, PyAny>,
        ports: &Bound<'_, PyAny>,
    ) -> PyResult<Self> {
        let (src, dst) = (Addresses::new("src", src)?, Addresses::new("dst", dst)?);
        let rows = src.rows();
        super::buffer::check_rows("dst", dst.rows(), rows)?;
        let protocols = Input::column("protocols", protocols, rows)?;
        let ports = Input::column("ports", ports, rows)?;
        Ok(Self { src, dst, protocols, ports })
    }

    /// How many there are.
    pub fn rows(&self) -> usize {
        self.src.rows()
    }

    /// Decide all of them: 1 allows, 0 denies.
    pub fn decide(&self, engine: &PolicyEngine, out: &Output<u8>) {
        let unset = IpAddr::V4(Ipv4Addr::UNSPECIFIED);
        let (mut src, mut dst) = ([unset; CHUNK], [unset; CHUNK]);
        let (mut protocols, mut ports, mut said) = ([0; CHUNK], [0; CHUNK], [0; CHUNK]);
        for first in (0..self.rows()).step_by(CHUNK) {
            let count = CHUNK.min(self.rows() - first);
            self.src.read(first, &mut src[..count]);
            self.dst.read(first, &mut dst[..count]);
            self.protocols.read(first, &mut protocols[..count]);
            self.ports.read(first, &mut ports[..count]);
            for at in 0..count {
                said[at] = engine.allows(src[at], dst[at], protocols[at], ports[at]).into();
            }
            out.write(first, &said[..count]);
        }
    }
}
