//! `AddressPool` for Python: addresses as text, times as seconds.

use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::PyDict;

use super::address::{self, text};
use super::errors::InvalidPool;
use crate::ipam::{self, Interval};
use crate::prefix::Prefix;

#[pyclass(frozen, module = "cnidaria_core")]
pub struct AddressPool {
    pool: Mutex<ipam::AddressPool>,
}

impl AddressPool {
    fn lock(&self) -> MutexGuard<'_, ipam::AddressPool> {
        // A panic in the pool is a bug that its caller has seen; the pool goes on for the others.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!("{name}: {value} is not a number of seconds from 0 on"))
    })
}

fn interval(first: &str, last: &str) -> PyResult<Interval> {
    Ok(Interval { first: address::from_text(first)?, last: address::from_text(last)? })
}

/// One address, `first-last`, or a prefix.
fn excluded(text: &str) -> PyResult<Interval> {
    if let Some((first, last)) = text.split_once('-') {
        return interval(first.trim(), last.trim());
    }
    if !text.contains('/') {
        return interval(text, text);
    }
    let prefix: Prefix =
        text.parse().map_err(|error| InvalidPool::new_err(format!("exclude: {error}")))?;
    Ok(Interval { first: prefix.address(), last: prefix.last() })
}

#[pymethods]
impl AddressPool {
    #[new]
    #[pyo3(signature = (ranges, exclude = vec![], cooldown = 0.0))]
    fn new(ranges: Vec<(String, String)>, exclude: Vec<String>, cooldown: f64) -> PyResult<Self> {
        let ranges = ranges.iter().map(|(first, last)| interval(first, last));
        let ranges = ranges.collect::<PyResult<Vec<_>>>()?;
        let exclude = exclude.iter().map(|text| excluded(text)).collect::<PyResult<Vec<_>>>()?;
        let pool = ipam::AddressPool::new(&ranges, &exclude, seconds("cooldown", cooldown)?)?;
        Ok(Self { pool: Mutex::new(pool) })
    }

    #[pyo3(signature = (owner, address = None, now = 0.0, *, reserved = false))]
    fn allocate(
        &self,
        owner: &str,
        address: Option<&str>,
        now: f64,
        reserved: bool,
    ) -> PyResult<String> {
        let now = seconds("now", now)?;
        let got = match address {
            None => self.lock().allocate(owner, now)?,
            Some(text) => {
                let wished = address::from_text(text)?;
                self.lock().allocate_address(owner, wished, reserved)?;
                wished
            }
        };
        Ok(text(got))
    }

    fn restore(&self, address: &str, owner: &str) -> PyResult<()> {
        Ok(self.lock().restore(owner, address::from_text(address)?)?)
    }

    fn restore_cooling(&self, address: &str, released_at: f64) -> PyResult<()> {
        let released_at = seconds("released_at", released_at)?;
        Ok(self.lock().restore_cooling(address::from_text(address)?, released_at)?)
    }

    #[pyo3(signature = (address, now = 0.0))]
    fn release(&self, address: &str, now: f64) -> PyResult<Option<String>> {
        let owner = self.lock().release(address::from_text(address)?, seconds("now", now)?);
        Ok(owner.map(|owner| owner.to_string()))
    }

    #[pyo3(signature = (owner, now = 0.0))]
    fn release_owner(&self, owner: &str, now: f64) -> PyResult<Vec<String>> {
        Ok(texts(self.lock().release_owner(owner, seconds("now", now)?)))
    }

    fn reserve(&self, address: &str) -> PyResult<bool> {
        Ok(self.lock().reserve(address::from_text(address)?)?)
    }

    fn unreserve(&self, address: &str) -> PyResult<bool> {
        Ok(self.lock().unreserve(address::from_text(address)?))
    }

    fn owner_of(&self, address: &str) -> PyResult<Option<String>> {
        let address = address::from_text(address)?;
        Ok(self.lock().owner_of(address).map(|owner| owner.to_string()))
    }

    fn addresses_of(&self, owner: &str) -> Vec<String> {
        texts(self.lock().addresses_of(owner))
    }

    fn leases(&self) -> Vec<(String, String)> {
        let leases = self.lock().leases();
        leases.iter().map(|lease| (text(lease.address), lease.owner.to_string())).collect()
    }

    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.lock().stats();
        let dict = PyDict::new(py);
        dict.set_item("capacity", stats.capacity)?;
        dict.set_item("taken", stats.taken)?;
        dict.set_item("reserved", stats.reserved)?;
        dict.set_item("released", stats.released)?;
        Ok(dict)
    }

    #[getter]
    fn capacity(&self) -> u128 {
        self.lock().stats().capacity
    }

    fn __len__(&self) -> usize {
        self.lock().len()
    }

    fn __contains__(&self, address: &str) -> PyResult<bool> {
        Ok(self.lock().contains(address::from_text(address)?))
    }

    fn __repr__(&self) -> String {
        let stats = self.lock().stats();
        format!("<AddressPool: {} of {} taken>", stats.taken, stats.capacity)
    }
}

fn texts(addresses: Vec<IpAddr>) -> Vec<String> {
    addresses.into_iter().map(text).collect()
}
