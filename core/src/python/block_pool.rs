//! `BlockPool` for Python: prefixes and addresses come back as text.

use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyInt, PyIterator, PyList};

use super::address;
use super::address_pool::excluded;
use super::errors::of_blocks;
use super::number::Number;
use super::text::Text;
use crate::ipam::{self, BlockError, Interval};
use crate::prefix::Prefix;

#[doc = docs!(BlockPool)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct BlockPool {
    pool: Mutex<ipam::BlockPool>,
    family: u8,
}

#[doc = docs!(BlockChange)]
#[pyclass(frozen, eq, module = "cnidaria_core")]
#[derive(PartialEq)]
pub struct BlockChange {
    change: ipam::BlockChange,
}

#[doc = docs!(BlockPoolSnapshot)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct BlockPoolSnapshot {
    snapshot: Arc<ipam::BlockSnapshot>,
}

impl BlockPool {
    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, ipam::BlockPool> {
        // A panic in the pool is a bug that its caller has seen; the pool goes on for the others.
        self.pool.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn address(&self, value: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
        let family = value.is_instance_of::<PyInt>().then_some(self.family);
        address::address(value, family)
    }

    fn of(pool: ipam::BlockPool) -> Self {
        let family = if pool.cidr().address().is_ipv4() { 4 } else { 6 };
        Self { pool: Mutex::new(pool), family }
    }
}

/// A pool as it is now, or a snapshot.
struct Pool(Arc<ipam::BlockSnapshot>);

impl<'a, 'py> FromPyObject<'a, 'py> for Pool {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(pool) = given.cast::<BlockPool>() {
            return Ok(Self(Arc::new(pool.get().lock(given.py()).snapshot())));
        }
        Ok(Self(given.cast::<BlockPoolSnapshot>()?.get().snapshot.clone()))
    }
}

fn intervals(texts: &[String]) -> PyResult<Vec<Interval>> {
    texts.iter().map(|text| excluded(text)).collect()
}

fn change(change: Result<ipam::BlockChange, BlockError>) -> PyResult<BlockChange> {
    change.map(|change| BlockChange { change }).map_err(of_blocks)
}

fn changes(changes: Vec<ipam::BlockChange>) -> Vec<BlockChange> {
    changes.into_iter().map(|change| BlockChange { change }).collect()
}

type Routes = Vec<(String, String)>;

fn routes(routes: impl Iterator<Item = ipam::Route>) -> Routes {
    routes.map(|route| (route.prefix.to_string(), route.node.to_string())).collect()
}

type RouteChanges = Vec<(String, Option<String>, Option<String>)>;

fn route_changes(
    py: Python<'_>,
    before: &ipam::BlockSnapshot,
    after: &ipam::BlockSnapshot,
) -> RouteChanges {
    let name = |node: Option<Arc<str>>| node.map(|node| node.to_string());
    let changes = py.detach(|| before.diff(after)).into_iter();
    changes.map(|row| (row.prefix.to_string(), name(row.before), name(row.after))).collect()
}

#[pymethods]
impl BlockPool {
    #[new]
    #[pyo3(signature = (cidr, block_len, exclude = vec![], *, borrow = true, spread = true))]
    fn new(
        cidr: &Bound<'_, PyAny>,
        block_len: Number<u8>,
        exclude: Vec<String>,
        borrow: bool,
        spread: bool,
    ) -> PyResult<Self> {
        let (cidr, exclude) = (address::prefix(cidr)?, intervals(&exclude)?);
        let pool = ipam::BlockPool::new(cidr, block_len.0, &exclude, borrow, spread);
        pool.map(Self::of).map_err(of_blocks)
    }

    #[doc = docs!(BlockPool claim)]
    #[pyo3(signature = (node, *, avoid = vec![]))]
    fn claim(&self, py: Python<'_>, node: &str, avoid: Vec<String>) -> PyResult<BlockChange> {
        let avoid = intervals(&avoid)?;
        change(self.lock(py).claim(node, &avoid))
    }

    #[doc = docs!(BlockPool allocate)]
    #[pyo3(signature = (node, owner, address = None, *, most = None))]
    fn allocate(
        &self,
        py: Python<'_>,
        node: &str,
        owner: &str,
        address: Option<&Bound<'_, PyAny>>,
        most: Option<Number<usize>>,
    ) -> PyResult<BlockChange> {
        let Some(wished) = address else {
            let most = most.map_or(usize::MAX, |it| it.0);
            return change(self.lock(py).allocate(node, owner, most));
        };
        let wished = self.address(wished)?;
        change(self.lock(py).allocate_address(node, owner, wished))
    }

    #[doc = docs!(BlockPool release)]
    fn release(&self, py: Python<'_>, address: &Bound<'_, PyAny>) -> PyResult<Option<BlockChange>> {
        let address = self.address(address)?;
        Ok(self.lock(py).release(address).map(|change| BlockChange { change }))
    }

    #[doc = docs!(BlockPool release_owner)]
    fn release_owner(&self, py: Python<'_>, owner: &str) -> Vec<BlockChange> {
        changes(self.lock(py).release_owner(owner))
    }

    #[doc = docs!(BlockPool return_empty)]
    #[pyo3(
        signature = (node, keep = Number(0)),
        text_signature = "($self, node, keep=0)"
    )]
    fn return_empty(&self, py: Python<'_>, node: &str, keep: Number<usize>) -> Vec<BlockChange> {
        changes(self.lock(py).return_empty(node, keep.0))
    }

    #[doc = docs!(BlockPool leave)]
    fn leave(&self, py: Python<'_>, node: &str) -> Vec<BlockChange> {
        changes(self.lock(py).leave(node))
    }

    #[doc = docs!(BlockPool commit)]
    fn commit(&self, py: Python<'_>, change: &BlockChange) -> PyResult<u64> {
        self.lock(py).commit(&change.change).map_err(of_blocks)
    }

    #[doc = docs!(BlockPool observe)]
    #[pyo3(
        signature = (prefix, record = None, revision = Number(0)),
        text_signature = "($self, prefix, record=None, revision=0)"
    )]
    fn observe(
        &self,
        py: Python<'_>,
        prefix: &Bound<'_, PyAny>,
        record: Option<&[u8]>,
        revision: Number<u64>,
    ) -> PyResult<bool> {
        let prefix = address::prefix(prefix)?;
        let found = record.map(|record| (record, revision.0));
        self.lock(py).observe(prefix, found).map_err(of_blocks)
    }

    #[doc = docs!(BlockPool blocks_of)]
    fn blocks_of(&self, py: Python<'_>, node: &str) -> Vec<String> {
        self.lock(py).blocks_of(node).iter().map(Prefix::to_string).collect()
    }

    #[doc = docs!(BlockPool node_of)]
    fn node_of(&self, py: Python<'_>, prefix: &Bound<'_, PyAny>) -> PyResult<Option<String>> {
        let prefix = address::prefix(prefix)?;
        Ok(self.lock(py).node_of(prefix).map(ToString::to_string))
    }

    #[doc = docs!(BlockPool holder_of)]
    fn holder_of(
        &self,
        py: Python<'_>,
        address: &Bound<'_, PyAny>,
    ) -> PyResult<Option<(String, String)>> {
        let address = self.address(address)?;
        let pool = self.lock(py);
        Ok(pool.holder_of(address).map(|(node, owner)| (node.to_string(), owner.to_string())))
    }

    #[doc = docs!(BlockPool addresses_of)]
    fn addresses_of(&self, py: Python<'_>, owner: &str) -> Vec<Text> {
        self.lock(py).addresses_of(owner).into_iter().map(Text).collect()
    }

    #[doc = docs!(BlockPool blocks)]
    fn blocks(&self, py: Python<'_>) -> Vec<(String, Option<String>, usize)> {
        let pool = self.lock(py);
        let row = |(prefix, node, used): (Prefix, Option<&Arc<str>>, usize)| {
            (prefix.to_string(), node.map(ToString::to_string), used)
        };
        pool.blocks().map(row).collect()
    }

    #[doc = docs!(BlockPool routes)]
    fn routes(&self, py: Python<'_>) -> Routes {
        routes(self.lock(py).routes())
    }

    #[doc = docs!(BlockPool stats)]
    fn stats<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let stats = self.lock(py).stats();
        let dict = PyDict::new(py);
        dict.set_item("blocks", stats.blocks)?;
        dict.set_item("claimed", stats.claimed)?;
        dict.set_item("orphaned", stats.orphaned)?;
        dict.set_item("leased", stats.leased)?;
        dict.set_item("borrowed", stats.borrowed)?;
        Ok(dict)
    }

    #[getter]
    fn cidr(&self, py: Python<'_>) -> String {
        self.lock(py).cidr().to_string()
    }

    #[getter]
    fn block_len(&self, py: Python<'_>) -> u8 {
        self.lock(py).block_length()
    }

    #[doc = docs!(BlockPool snapshot)]
    fn snapshot(&self, py: Python<'_>) -> BlockPoolSnapshot {
        BlockPoolSnapshot { snapshot: Arc::new(self.lock(py).snapshot()) }
    }

    #[doc = docs!(BlockPool diff)]
    fn diff(&self, py: Python<'_>, later: Pool) -> RouteChanges {
        let before = self.lock(py).snapshot();
        route_changes(py, &before, &later.0)
    }

    #[doc = docs!(BlockPool to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let snapshot = self.lock(py).snapshot();
        PyBytes::new(py, &py.detach(|| snapshot.to_bytes()))
    }

    #[doc = docs!(BlockPool from_bytes)]
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Self::of(py.detach(|| ipam::BlockPool::from_bytes(data))?))
    }

    fn __len__(&self, py: Python<'_>) -> usize {
        self.lock(py).len()
    }

    fn __contains__(&self, py: Python<'_>, prefix: &Bound<'_, PyAny>) -> PyResult<bool> {
        let prefix = address::prefix(prefix)?;
        Ok(self.lock(py).contains(prefix))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let blocks: Vec<String> =
            self.lock(py).blocks().map(|(prefix, ..)| prefix.to_string()).collect();
        PyList::new(py, blocks)?.try_iter()
    }

    fn __eq__(&self, py: Python<'_>, other: Pool) -> bool {
        // The other's lock was given back: two threads may compare two pools both ways round.
        let own = self.lock(py).snapshot();
        py.detach(|| own == *other.0)
    }

    fn __repr__(&self, py: Python<'_>) -> String {
        let pool = self.lock(py);
        let (cidr, length, stats) = (pool.cidr(), pool.block_length(), pool.stats());
        format!("<BlockPool {cidr}: {} of {} /{length} claimed>", stats.claimed, stats.blocks)
    }
}

#[pymethods]
impl BlockChange {
    #[doc = docs!(BlockChange prefix)]
    #[getter]
    fn prefix(&self) -> String {
        self.change.prefix().to_string()
    }

    #[doc = docs!(BlockChange expected)]
    #[getter]
    fn expected(&self) -> u64 {
        self.change.expected()
    }

    #[doc = docs!(BlockChange record)]
    #[getter]
    fn record<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        self.change.record().map(|record| PyBytes::new(py, &record))
    }

    #[doc = docs!(BlockChange address)]
    #[getter]
    fn address(&self) -> Option<Text> {
        self.change.address().map(Text)
    }

    #[doc = docs!(BlockChange node)]
    #[getter]
    fn node(&self) -> Option<String> {
        self.change.node().map(ToString::to_string)
    }

    fn __repr__(&self) -> String {
        let address = self.change.address().map(|address| format!(", {address}"));
        format!(
            "<BlockChange {} of revision {}{}>",
            self.change.prefix(),
            self.change.expected(),
            address.unwrap_or_default()
        )
    }
}

#[pymethods]
impl BlockPoolSnapshot {
    #[doc = docs!(BlockPoolSnapshot routes)]
    fn routes(&self) -> Routes {
        routes(self.snapshot.routes())
    }

    #[doc = docs!(BlockPoolSnapshot diff)]
    fn diff(&self, py: Python<'_>, later: Pool) -> RouteChanges {
        route_changes(py, &self.snapshot, &later.0)
    }

    #[doc = docs!(BlockPoolSnapshot to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.snapshot.to_bytes()))
    }

    fn __len__(&self) -> usize {
        self.snapshot.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let blocks: Vec<String> = self.snapshot.blocks().map(|prefix| prefix.to_string()).collect();
        PyList::new(py, blocks)?.try_iter()
    }

    fn __contains__(&self, prefix: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.snapshot.contains(address::prefix(prefix)?))
    }

    fn __eq__(&self, py: Python<'_>, other: Pool) -> bool {
        py.detach(|| *self.snapshot == *other.0)
    }

    fn __repr__(&self) -> String {
        format!("<BlockPoolSnapshot: {} blocks>", self.snapshot.len())
    }
}
