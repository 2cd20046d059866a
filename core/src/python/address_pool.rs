//! `AddressPool` for Python: addresses come back as text, times are seconds.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyInt, PyIterator, PyList, PyString};

use super::address;
use super::errors::InvalidPool;
use super::journaled_pool::JournaledPool;
use super::text::Text;
use crate::ipam::{self, Change, Interval, Lease, Snapshot, Stats};
use crate::prefix::Prefix;

#[doc = docs!(AddressPool)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct AddressPool {
    pool: Mutex<ipam::AddressPool>,
    /// What an address is of that is given as a number.
    family: u8,
}

impl AddressPool {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, ipam::AddressPool> {
        // A panic in the pool is a bug that its caller has seen; the pool goes on for the others.
        self.pool.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, value: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
        of_family(value, self.family)
    }
}

#[doc = docs!(AddressPoolSnapshot)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct AddressPoolSnapshot {
    pub snapshot: Arc<Snapshot>,
}

impl AddressPoolSnapshot {
    fn address(&self, value: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
        of_family(value, self.snapshot.family())
    }
}

/// An address, which is of this family if it is a mere number.
pub fn of_family(value: &Bound<'_, PyAny>, family: u8) -> PyResult<IpAddr> {
    let family = value.is_instance_of::<PyInt>().then_some(family);
    address::address(value, family)
}

/// A pool as it is now, or a snapshot.
pub struct Pool(pub Arc<Snapshot>);

impl<'a, 'py> FromPyObject<'a, 'py> for Pool {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(pool) = given.cast::<AddressPool>() {
            return Ok(Self(Arc::new(pool.get().lock(given.py()).snapshot())));
        }
        if let Ok(pool) = given.cast::<JournaledPool>() {
            return Ok(Self(Arc::new(pool.get().open()?.snapshot())));
        }
        Ok(Self(given.cast::<AddressPoolSnapshot>()?.get().snapshot.clone()))
    }
}

impl Pool {
    /// Whether both hold the same, and go on in the same way.
    pub fn equals(&self, py: Python<'_>, own: &Snapshot) -> bool {
        std::ptr::eq(own, &*self.0) || py.detach(|| *own == *self.0)
    }
}

pub type Leases = Vec<(Text, String)>;

pub fn leases(leases: impl Iterator<Item = Lease>) -> Leases {
    leases.map(|lease| (Text(lease.address), lease.owner.to_string())).collect()
}

/// The addresses of leases, one by one.
pub fn addresses<'py>(
    py: Python<'py>,
    leases: impl Iterator<Item = Lease>,
) -> PyResult<Bound<'py, PyIterator>> {
    let addresses: Vec<Text> = leases.map(|lease| Text(lease.address)).collect();
    PyList::new(py, addresses)?.try_iter()
}

pub fn stats(py: Python<'_>, stats: Stats) -> PyResult<Bound<'_, PyDict>> {
    let dict = PyDict::new(py);
    dict.set_item("capacity", stats.capacity)?;
    dict.set_item("taken", stats.taken)?;
    dict.set_item("reserved", stats.reserved)?;
    dict.set_item("released", stats.released)?;
    Ok(dict)
}

pub type Changes = Vec<(Text, Option<String>, Option<String>)>;

pub fn changes(py: Python<'_>, before: &Snapshot, after: &Snapshot) -> Changes {
    let name = |owner: Option<ipam::Owner>| owner.map(|owner| owner.to_string());
    let row = |change: Change| (Text(change.address), name(change.before), name(change.after));
    py.detach(|| before.diff(after)).into_iter().map(row).collect()
}

/// A number that Python gives; one too large is infinite, which [`seconds`] refuses by its name.
pub fn float(given: &Bound<'_, PyAny>) -> PyResult<f64> {
    match given.extract::<f64>() {
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => Ok(f64::INFINITY),
        other => other,
    }
}

pub fn seconds(name: &str, value: f64) -> PyResult<Duration> {
    Duration::try_from_secs_f64(value).map_err(|_| {
        PyValueError::new_err(format!("{name}: {value} is not a number of seconds from 0 on"))
    })
}

fn interval(first: &str, last: &str) -> PyResult<Interval> {
    Ok(Interval { first: address::from_text(first)?, last: address::from_text(last)? })
}

/// One address, `first-last`, or a prefix.
pub fn excluded(text: &str) -> PyResult<Interval> {
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

/// A pool of what Python says of it.
pub fn made(
    ranges: &[(String, String)],
    exclude: &[String],
    cooldown: f64,
) -> PyResult<ipam::AddressPool> {
    let ranges = ranges.iter().map(|(first, last)| interval(first, last));
    let ranges = ranges.collect::<PyResult<Vec<_>>>()?;
    let exclude = exclude.iter().map(|text| excluded(text)).collect::<PyResult<Vec<_>>>()?;
    Ok(ipam::AddressPool::new(&ranges, &exclude, seconds("cooldown", cooldown)?)?)
}

#[pymethods]
impl AddressPool {
    #[new]
    #[pyo3(signature = (ranges, exclude = vec![], cooldown = 0.0))]
    fn new(
        ranges: Vec<(String, String)>,
        exclude: Vec<String>,
        #[pyo3(from_py_with = float)] cooldown: f64,
    ) -> PyResult<Self> {
        let pool = made(&ranges, &exclude, cooldown)?;
        Ok(Self { family: pool.family(), pool: Mutex::new(pool) })
    }

    #[doc = docs!(AddressPool allocate)]
    #[pyo3(signature = (owner, address = None, now = 0.0, *, reserved = false))]
    fn allocate(
        &self,
        py: Python<'_>,
        owner: &str,
        address: Option<&Bound<'_, PyAny>>,
        #[pyo3(from_py_with = float)] now: f64,
        reserved: bool,
    ) -> PyResult<Text> {
        let now = seconds("now", now)?;
        let Some(wished) = address else {
            return Ok(Text(self.lock(py).allocate(owner, now)?));
        };
        let wished = self.address(wished)?;
        self.lock(py).allocate_address(owner, wished, reserved)?;
        Ok(Text(wished))
    }

    #[doc = docs!(AddressPool restore)]
    fn restore(&self, py: Python<'_>, address: &Bound<'_, PyAny>, owner: &str) -> PyResult<()> {
        let address = self.address(address)?;
        Ok(self.lock(py).restore(owner, address)?)
    }

    #[doc = docs!(AddressPool restore_cooling)]
    fn restore_cooling(
        &self,
        py: Python<'_>,
        address: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = float)] released_at: f64,
    ) -> PyResult<()> {
        let (address, released_at) = (self.address(address)?, seconds("released_at", released_at)?);
        self.lock(py).restore_cooling(address, released_at)?;
        Ok(())
    }

    #[doc = docs!(AddressPool release)]
    #[pyo3(signature = (address, now = 0.0, *, used = true))]
    fn release<'py>(
        &self,
        py: Python<'py>,
        address: &Bound<'py, PyAny>,
        #[pyo3(from_py_with = float)] now: f64,
        used: bool,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let (address, now) = (self.address(address)?, seconds("now", now)?);
        Ok(self.lock(py).release(address, now, used).map(|owner| PyString::new(py, owner)))
    }

    #[doc = docs!(AddressPool release_owner)]
    #[pyo3(signature = (owner, now = 0.0, *, used = true))]
    fn release_owner(
        &self,
        py: Python<'_>,
        owner: &str,
        #[pyo3(from_py_with = float)] now: f64,
        used: bool,
    ) -> PyResult<Vec<Text>> {
        let now = seconds("now", now)?;
        let released = self.lock(py).release_owner(owner, now, used);
        Ok(released.into_iter().map(Text).collect())
    }

    #[doc = docs!(AddressPool reserve)]
    fn reserve(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        Ok(self.lock(py).reserve(address)?)
    }

    #[doc = docs!(AddressPool unreserve)]
    fn unreserve(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        Ok(self.lock(py).unreserve(address))
    }

    #[doc = docs!(AddressPool owner_of)]
    fn owner_of<'py>(
        &self,
        py: Python<'py>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let address = self.address(address)?;
        Ok(self.lock(py).owner_of(address).map(|owner| PyString::new(py, owner)))
    }

    #[doc = docs!(AddressPool addresses_of)]
    fn addresses_of(&self, py: Python<'_>, owner: &str) -> Vec<Text> {
        self.lock(py).addresses_of(owner).into_iter().map(Text).collect()
    }

    #[doc = docs!(AddressPool leases)]
    fn leases(&self, py: Python<'_>) -> Leases {
        leases(self.lock(py).leases())
    }

    #[doc = docs!(AddressPool stats)]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let numbers = self.lock(py).stats();
        stats(py, numbers)
    }

    #[doc = docs!(AddressPool capacity)]
    #[getter]
    fn capacity(&self, py: Python<'_>) -> u128 {
        self.lock(py).stats().capacity
    }

    #[doc = docs!(AddressPool covers)]
    fn covers(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        Ok(self.lock(py).covers(address))
    }

    #[doc = docs!(AddressPool snapshot)]
    fn snapshot(&self, py: Python<'_>) -> AddressPoolSnapshot {
        AddressPoolSnapshot { snapshot: Arc::new(self.lock(py).snapshot()) }
    }

    #[doc = docs!(AddressPool diff)]
    fn diff(&self, py: Python<'_>, later: Pool) -> Changes {
        let before = self.lock(py).snapshot();
        changes(py, &before, &later.0)
    }

    #[doc = docs!(AddressPool to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let snapshot = self.lock(py).snapshot();
        PyBytes::new(py, &py.detach(|| snapshot.to_bytes()))
    }

    #[doc = docs!(AddressPool from_bytes)]
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        let pool = py.detach(|| ipam::AddressPool::from_bytes(data))?;
        Ok(Self { family: pool.family(), pool: Mutex::new(pool) })
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.lock(py).len()
    }

    fn __contains__(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        Ok(self.lock(py).owner_of(address).is_some())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let snapshot = self.lock(py).snapshot();
        addresses(py, snapshot.leases())
    }

    fn __eq__(&self, py: Python<'_>, other: Pool) -> bool {
        // The other's lock was given back: they may be the same, or be taken the other way round by
        // somebody else.
        let own = self.lock(py).snapshot();
        other.equals(py, &own)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let stats = self.lock(py).stats();
        format!("<AddressPool: {} of {} taken>", stats.taken, stats.capacity)
    }
}

#[pymethods]
impl AddressPoolSnapshot {
    #[doc = docs!(AddressPoolSnapshot owner_of)]
    fn owner_of<'py>(
        &self,
        py: Python<'py>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let address = self.address(address)?;
        Ok(self.snapshot.owner_of(address).map(|owner| PyString::new(py, owner)))
    }

    #[doc = docs!(AddressPoolSnapshot addresses_of)]
    fn addresses_of(&self, owner: &str) -> Vec<Text> {
        self.snapshot.addresses_of(owner).into_iter().map(Text).collect()
    }

    #[doc = docs!(AddressPoolSnapshot leases)]
    fn leases(&self) -> Leases {
        leases(self.snapshot.leases())
    }

    #[doc = docs!(AddressPoolSnapshot stats)]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, self.snapshot.stats())
    }

    #[doc = docs!(AddressPoolSnapshot capacity)]
    #[getter]
    fn capacity(&self) -> u128 {
        self.snapshot.stats().capacity
    }

    #[doc = docs!(AddressPoolSnapshot covers)]
    fn covers(&self, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.snapshot.covers(self.address(address)?))
    }

    #[doc = docs!(AddressPoolSnapshot diff)]
    fn diff(&self, py: Python<'_>, later: Pool) -> Changes {
        changes(py, &self.snapshot, &later.0)
    }

    #[doc = docs!(AddressPoolSnapshot to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.snapshot.to_bytes()))
    }

    fn __len__(&self) -> usize {
        self.snapshot.len()
    }

    fn __contains__(&self, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.snapshot.owner_of(self.address(address)?).is_some())
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        addresses(py, self.snapshot.leases())
    }

    fn __eq__(&self, py: Python<'_>, other: Pool) -> bool {
        other.equals(py, &self.snapshot)
    }

    fn __repr__(&self) -> String {
        let stats = self.snapshot.stats();
        format!("<AddressPoolSnapshot: {} of {} taken>", stats.taken, stats.capacity)
    }
}
