//! `JournaledPool` for Python: without the GIL while others write.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyString};

use super::address_pool::{
    AddressPoolSnapshot, Changes, Leases, Pool, addresses, changes, float, leases, made, of_family,
    seconds, stats,
};
use super::errors::of_journal;
use super::text::Text;
use crate::ipam;

#[doc = docs!(JournaledPool)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct JournaledPool {
    /// `None` once it is closed.
    pool: Mutex<Option<Arc<ipam::JournaledPool>>>,
    path: PathBuf,
    family: u8,
}

impl JournaledPool {
    pub fn open(&self) -> PyResult<Arc<ipam::JournaledPool>> {
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner).clone();
        pool.ok_or_else(|| PyValueError::new_err(format!("{}: is closed", self.path.display())))
    }

    fn address(&self, value: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
        of_family(value, self.family)
    }

    /// Does something without the GIL.
    fn detached<T: Send>(
        &self,
        py: Python<'_>,
        act: impl FnOnce(&ipam::JournaledPool) -> Result<T, ipam::JournalError> + Send,
    ) -> PyResult<T> {
        let pool = self.open()?;
        py.detach(|| act(&pool)).map_err(|error| of_journal(error, &self.path))
    }
}

#[pymethods]
impl JournaledPool {
    #[new]
    #[pyo3(signature = (path, ranges, exclude = vec![], cooldown = 0.0, *, sync = false))]
    fn new(
        py: Python<'_>,
        path: PathBuf,
        ranges: Vec<(String, String)>,
        exclude: Vec<String>,
        #[pyo3(from_py_with = float)] cooldown: f64,
        sync: bool,
    ) -> PyResult<Self> {
        let pool = made(&ranges, &exclude, cooldown)?;
        let family = pool.family();
        let pool = py.detach(|| ipam::JournaledPool::open(&path, pool, sync));
        let pool = pool.map_err(|error| of_journal(error, &path))?;
        Ok(Self { pool: Mutex::new(Some(Arc::new(pool))), path, family })
    }

    #[doc = docs!(JournaledPool allocate)]
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
            return self.detached(py, |pool| pool.allocate(owner, now)).map(Text);
        };
        let wished = self.address(wished)?;
        self.detached(py, |pool| pool.allocate_address(owner, wished, reserved))?;
        Ok(Text(wished))
    }

    #[doc = docs!(JournaledPool release)]
    #[pyo3(signature = (address, now = 0.0, *, used = true))]
    fn release(
        &self,
        py: Python<'_>,
        address: &Bound<'_, PyAny>,
        #[pyo3(from_py_with = float)] now: f64,
        used: bool,
    ) -> PyResult<Option<String>> {
        let (address, now) = (self.address(address)?, seconds("now", now)?);
        let owner = self.detached(py, |pool| pool.release(address, now, used))?;
        Ok(owner.map(|owner| owner.to_string()))
    }

    #[doc = docs!(JournaledPool release_owner)]
    #[pyo3(signature = (owner, now = 0.0, *, used = true))]
    fn release_owner(
        &self,
        py: Python<'_>,
        owner: &str,
        #[pyo3(from_py_with = float)] now: f64,
        used: bool,
    ) -> PyResult<Vec<Text>> {
        let now = seconds("now", now)?;
        let released = self.detached(py, |pool| pool.release_owner(owner, now, used))?;
        Ok(released.into_iter().map(Text).collect())
    }

    #[doc = docs!(JournaledPool reserve)]
    fn reserve(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        self.detached(py, |pool| pool.reserve(address))
    }

    #[doc = docs!(JournaledPool unreserve)]
    fn unreserve(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        self.detached(py, |pool| pool.unreserve(address))
    }

    #[doc = docs!(JournaledPool owner_of)]
    fn owner_of<'py>(
        &self,
        py: Python<'py>,
        address: &Bound<'py, PyAny>,
    ) -> PyResult<Option<Bound<'py, PyString>>> {
        let (address, pool) = (self.address(address)?, self.open()?);
        let owner = py.detach(|| pool.read(|pool| pool.owner_of(address).cloned()));
        Ok(owner.map(|owner| PyString::new(py, &owner)))
    }

    #[doc = docs!(JournaledPool addresses_of)]
    fn addresses_of(&self, py: Python<'_>, owner: &str) -> PyResult<Vec<Text>> {
        let pool = self.open()?;
        let held = py.detach(|| pool.read(|pool| pool.addresses_of(owner)));
        Ok(held.into_iter().map(Text).collect())
    }

    #[doc = docs!(JournaledPool leases)]
    fn leases(&self) -> PyResult<Leases> {
        Ok(leases(self.open()?.snapshot().leases()))
    }

    #[doc = docs!(JournaledPool stats)]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        stats(py, self.open()?.read(ipam::AddressPool::stats))
    }

    #[doc = docs!(JournaledPool capacity)]
    #[getter]
    fn capacity(&self) -> PyResult<u128> {
        Ok(self.open()?.read(ipam::AddressPool::stats).capacity)
    }

    #[doc = docs!(JournaledPool covers)]
    fn covers(&self, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        Ok(self.open()?.read(|pool| pool.covers(address)))
    }

    #[doc = docs!(JournaledPool snapshot)]
    fn snapshot(&self) -> PyResult<AddressPoolSnapshot> {
        Ok(AddressPoolSnapshot { snapshot: Arc::new(self.open()?.snapshot()) })
    }

    #[doc = docs!(JournaledPool diff)]
    fn diff(&self, py: Python<'_>, later: Pool) -> PyResult<Changes> {
        let before = self.open()?.snapshot();
        Ok(changes(py, &before, &later.0))
    }

    #[doc = docs!(JournaledPool to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let snapshot = self.open()?.snapshot();
        Ok(PyBytes::new(py, &py.detach(|| snapshot.to_bytes())))
    }

    #[doc = docs!(JournaledPool compact)]
    fn compact(&self, py: Python<'_>) -> PyResult<()> {
        self.detached(py, ipam::JournaledPool::compact)
    }

    #[doc = docs!(JournaledPool journal_length)]
    #[getter]
    fn journal_length(&self) -> PyResult<u64> {
        Ok(self.open()?.journal_length())
    }

    #[doc = docs!(JournaledPool path)]
    #[getter]
    fn path(&self) -> PathBuf {
        self.path.clone()
    }

    #[doc = docs!(JournaledPool close)]
    fn close(&self) {
        drop(self.pool.lock().unwrap_or_else(PoisonError::into_inner).take());
    }

    fn __enter__(slf: Bound<'_, Self>) -> Bound<'_, Self> {
        slf
    }

    fn __exit__(
        &self,
        _kind: &Bound<'_, PyAny>,
        _error: &Bound<'_, PyAny>,
        _traceback: &Bound<'_, PyAny>,
    ) {
        self.close();
    }

    fn __len__(&self) -> PyResult<usize> {
        Ok(self.open()?.read(ipam::AddressPool::len))
    }

    fn __contains__(&self, address: &Bound<'_, PyAny>) -> PyResult<bool> {
        let address = self.address(address)?;
        Ok(self.open()?.read(|pool| pool.owner_of(address).is_some()))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        addresses(py, self.open()?.snapshot().leases())
    }

    // What is closed cannot be read: to Python it equals itself, and nothing else.
    fn __eq__(&self, py: Python<'_>, other: Pool) -> bool {
        self.open().is_ok_and(|own| other.equals(py, &own.snapshot()))
    }

    fn __repr__(&self) -> String {
        let path = self.path.display();
        let Ok(pool) = self.open() else {
            return format!("<JournaledPool {path}: closed>");
        };
        let stats = pool.read(ipam::AddressPool::stats);
        format!("<JournaledPool {path}: {} of {} taken>", stats.taken, stats.capacity)
    }
}
