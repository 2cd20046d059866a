//! `RouteTable` for Python: prefixes come back as text, values are numbers.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use pyo3::exceptions::PyValueError;
use pyo3::prelude::*;
use pyo3::sync::MutexExt;
use pyo3::types::{PyBytes, PyDict, PyInt, PyTuple};

use super::address::{self, prefix};
use super::buffer::{Input, Output};
use super::errors::InvalidValue;
use super::number::Number;
use super::route_buffers::{Addresses, no_value, order};
use super::text::PrefixText;
use crate::prefix::Prefix;
use crate::routes::{self, Change, NO_VALUE, Reader, Route, Snapshot};

type Pair = (PrefixText, u32);
type Changed = (PrefixText, Option<u32>, Option<u32>);

#[doc = docs!(RouteTable)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct RouteTable {
    table: Mutex<routes::RouteTable>,
    reader: Reader,
}

impl RouteTable {
    fn of(table: routes::RouteTable) -> Self {
        Self { reader: table.reader(), table: Mutex::new(table) }
    }

    fn lock(&self, py: Python<'_>) -> MutexGuard<'_, routes::RouteTable> {
        // A panic in the table is a bug that its caller has seen; readers have whole versions.
        self.table.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner)
    }

    fn load_routes(&self, py: Python<'_>, routes: Vec<Route>) -> PyResult<()> {
        Ok(py.detach(|| self.table.lock().unwrap_or_else(PoisonError::into_inner).load(routes))?)
    }
}

#[doc = docs!(RouteTableSnapshot)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct RouteTableSnapshot {
    snapshot: Snapshot,
}

/// Goes through a snapshot's routes.
#[pyclass(frozen, module = "cnidaria_core")]
struct RouteIterator {
    snapshot: Snapshot,
    pairs: bool,
    state: Mutex<(VecDeque<Route>, Option<Prefix>)>,
}

impl RouteIterator {
    fn of(snapshot: Snapshot, pairs: bool) -> Self {
        let first = snapshot.after(None, Self::AT_ONCE);
        let last = first.last().map(|route| route.0);
        Self { snapshot, pairs, state: Mutex::new((first.into(), last)) }
    }

    const AT_ONCE: usize = 256;

    fn next(&self, py: Python<'_>) -> Option<Route> {
        let mut state = self.state.lock_py_attached(py).unwrap_or_else(PoisonError::into_inner);
        let (routes, last) = &mut *state;
        if routes.is_empty() {
            routes.extend(self.snapshot.after(Some((*last)?), Self::AT_ONCE));
            *last = routes.back().map(|route| route.0);
        }
        routes.pop_front()
    }
}

#[pymethods]
impl RouteIterator {
    fn __iter__(this: Py<Self>) -> Py<Self> {
        this
    }

    fn __next__<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        let Some(route) = self.next(py) else { return Ok(None) };
        Ok(Some(if self.pairs {
            pair(route).into_pyobject(py)?.into_any()
        } else {
            PrefixText(route.0).into_pyobject(py)?.into_any()
        }))
    }

    fn __repr__(&self) -> String {
        described("RouteIterator", &self.snapshot)
    }
}

fn pair((prefix, value): Route) -> Pair {
    (PrefixText(prefix), value)
}

fn number(value: &Bound<'_, PyAny>) -> PyResult<u32> {
    let value = value.cast::<PyInt>()?;
    let number = value.extract::<u32>().ok().filter(|number| *number != NO_VALUE);
    number.ok_or_else(|| InvalidValue::new_err(no_value(value)))
}

/// A table as it is now, or a snapshot.
struct Table(Snapshot);

impl<'a, 'py> FromPyObject<'a, 'py> for Table {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(table) = given.cast::<RouteTable>() {
            return Ok(Self(table.get().reader.snapshot()));
        }
        Ok(Self(given.cast::<RouteTableSnapshot>()?.get().snapshot.clone()))
    }
}

/// An address, with its family as Python gives it.
fn address(value: &Bound<'_, PyAny>, family: Option<Number<u8>>) -> PyResult<IpAddr> {
    address::address(value, family.map(|it| it.0))
}

fn routes(routes: &Bound<'_, PyAny>) -> PyResult<Vec<Route>> {
    let mut found = Vec::with_capacity(routes.len().unwrap_or(0));
    for item in routes.try_iter()? {
        let item = item?;
        let Some(pair) = item.cast::<PyTuple>().ok().filter(|pair| pair.len() == 2) else {
            let text = format!("routes: {item}: must be a prefix and a value");
            return Err(PyValueError::new_err(text));
        };
        let (key, value) = (pair.get_item(0)?, pair.get_item(1)?);
        found.push((prefix(&key)?, number(&value)?));
    }
    Ok(found)
}

fn look_up_many<'py>(
    py: Python<'py>,
    snapshot: &Snapshot,
    addresses: &Bound<'py, PyAny>,
    order_name: &str,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let addresses = Addresses::new(addresses, order(order_name)?)?;
    let values = Output::new(py, "out", out, addresses.rows())?;
    py.detach(|| addresses.look_up(snapshot, &values));
    Ok(values.finish(py))
}

fn changes(py: Python<'_>, before: &Snapshot, after: &Snapshot) -> Vec<Changed> {
    let row = |change: Change| (PrefixText(change.prefix), change.before, change.after);
    py.detach(|| before.diff(after)).into_iter().map(row).collect()
}

fn described(name: &str, snapshot: &Snapshot) -> String {
    let (v4, v6) = snapshot.lens();
    format!("<{name}: {v4} IPv4 and {v6} IPv6 routes>")
}

#[pymethods]
impl RouteTable {
    #[classattr]
    const NO_VALUE: u32 = NO_VALUE;

    #[new]
    #[pyo3(signature = (routes = None))]
    fn new(py: Python<'_>, routes: Option<&Bound<'_, PyAny>>) -> PyResult<Self> {
        let made = Self::of(routes::RouteTable::new());
        if let Some(routes) = routes {
            made.load(py, routes)?;
        }
        Ok(made)
    }

    #[doc = docs!(RouteTable insert)]
    fn insert(
        &self,
        py: Python<'_>,
        prefix: &Bound<'_, PyAny>,
        value: &Bound<'_, PyAny>,
    ) -> PyResult<Option<u32>> {
        let (key, value) = (self::prefix(prefix)?, number(value)?);
        Ok(self.lock(py).insert(key, value)?)
    }

    #[doc = docs!(RouteTable remove)]
    fn remove(&self, py: Python<'_>, prefix: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        let key = self::prefix(prefix)?;
        Ok(self.lock(py).remove(key))
    }

    #[doc = docs!(RouteTable load)]
    fn load(&self, py: Python<'_>, routes: &Bound<'_, PyAny>) -> PyResult<()> {
        self.load_routes(py, self::routes(routes)?)
    }

    #[doc = docs!(RouteTable load_buffers)]
    #[pyo3(signature = (addresses, lengths, values, *, order = "host"))]
    fn load_buffers(
        &self,
        py: Python<'_>,
        addresses: &Bound<'_, PyAny>,
        lengths: &Bound<'_, PyAny>,
        values: &Bound<'_, PyAny>,
        order: &str,
    ) -> PyResult<()> {
        let addresses = Addresses::new(addresses, self::order(order)?)?;
        let lengths = Input::column("lengths", lengths, addresses.rows())?;
        let values = Input::column("values", values, addresses.rows())?;
        let routes = py.detach(|| addresses.routes(&lengths, &values))?;
        self.load_routes(py, routes)
    }

    #[doc = docs!(RouteTable get)]
    fn get(&self, prefix: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        Ok(self.reader.snapshot().get(self::prefix(prefix)?))
    }

    #[doc = docs!(RouteTable lookup)]
    #[pyo3(signature = (address, family = None))]
    fn lookup(
        &self,
        address: &Bound<'_, PyAny>,
        family: Option<Number<u8>>,
    ) -> PyResult<Option<Pair>> {
        Ok(self.reader.lookup(self::address(address, family)?).map(pair))
    }

    #[doc = docs!(RouteTable lookup_value)]
    #[pyo3(signature = (address, family = None))]
    fn lookup_value(
        &self,
        address: &Bound<'_, PyAny>,
        family: Option<Number<u8>>,
    ) -> PyResult<Option<u32>> {
        Ok(self.reader.value(self::address(address, family)?))
    }

    #[doc = docs!(RouteTable lookup_many)]
    #[pyo3(signature = (addresses, *, order = "host", out = None))]
    fn lookup_many<'py>(
        &self,
        py: Python<'py>,
        addresses: &Bound<'py, PyAny>,
        order: &str,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        look_up_many(py, &self.reader.snapshot(), addresses, order, out)
    }

    #[doc = docs!(RouteTable matches)]
    #[pyo3(signature = (address, family = None))]
    fn matches(
        &self,
        address: &Bound<'_, PyAny>,
        family: Option<Number<u8>>,
    ) -> PyResult<Vec<Pair>> {
        let address = self::address(address, family)?;
        Ok(self.reader.snapshot().matches(address).map(pair).collect())
    }

    #[doc = docs!(RouteTable covered_by)]
    fn covered_by(&self, prefix: &Bound<'_, PyAny>) -> PyResult<Vec<Pair>> {
        let covered = self.reader.snapshot().covered_by(self::prefix(prefix)?);
        Ok(covered.into_iter().map(pair).collect())
    }

    #[doc = docs!(RouteTable items)]
    fn items(&self) -> RouteIterator {
        RouteIterator::of(self.reader.snapshot(), true)
    }

    #[doc = docs!(RouteTable memory)]
    fn memory<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let bytes = self.lock(py).bytes();
        let dict = PyDict::new(py);
        dict.set_item("lookup_v4", bytes.lookup_v4)?;
        dict.set_item("lookup_v6", bytes.lookup_v6)?;
        dict.set_item("total_v4", bytes.total_v4)?;
        dict.set_item("total_v6", bytes.total_v6)?;
        Ok(dict)
    }

    #[doc = docs!(RouteTable snapshot)]
    fn snapshot(&self) -> RouteTableSnapshot {
        RouteTableSnapshot { snapshot: self.reader.snapshot() }
    }

    #[doc = docs!(RouteTable diff)]
    fn diff(&self, py: Python<'_>, later: Table) -> Vec<Changed> {
        changes(py, &self.reader.snapshot(), &later.0)
    }

    #[doc = docs!(RouteTable to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let snapshot = self.reader.snapshot();
        PyBytes::new(py, &py.detach(|| snapshot.to_bytes()))
    }

    #[doc = docs!(RouteTable from_bytes)]
    #[staticmethod]
    fn from_bytes(py: Python<'_>, data: &[u8]) -> PyResult<Self> {
        Ok(Self::of(py.detach(|| routes::RouteTable::from_bytes(data))?))
    }

    fn __len__(&self) -> usize {
        self.reader.snapshot().len()
    }

    fn __iter__(&self) -> RouteIterator {
        RouteIterator::of(self.reader.snapshot(), false)
    }

    fn __contains__(&self, prefix: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.get(prefix)?.is_some())
    }

    fn __eq__(&self, py: Python<'_>, other: Table) -> bool {
        let own = self.reader.snapshot();
        py.detach(|| own == other.0)
    }

    fn __repr__(&self) -> String {
        described("RouteTable", &self.reader.snapshot())
    }
}

#[pymethods]
impl RouteTableSnapshot {
    #[doc = docs!(RouteTableSnapshot get)]
    fn get(&self, prefix: &Bound<'_, PyAny>) -> PyResult<Option<u32>> {
        Ok(self.snapshot.get(self::prefix(prefix)?))
    }

    #[doc = docs!(RouteTableSnapshot lookup)]
    #[pyo3(signature = (address, family = None))]
    fn lookup(
        &self,
        address: &Bound<'_, PyAny>,
        family: Option<Number<u8>>,
    ) -> PyResult<Option<Pair>> {
        Ok(self.snapshot.lookup(self::address(address, family)?).map(pair))
    }

    #[doc = docs!(RouteTableSnapshot lookup_value)]
    #[pyo3(signature = (address, family = None))]
    fn lookup_value(
        &self,
        address: &Bound<'_, PyAny>,
        family: Option<Number<u8>>,
    ) -> PyResult<Option<u32>> {
        Ok(self.snapshot.value(self::address(address, family)?))
    }

    #[doc = docs!(RouteTableSnapshot lookup_many)]
    #[pyo3(signature = (addresses, *, order = "host", out = None))]
    fn lookup_many<'py>(
        &self,
        py: Python<'py>,
        addresses: &Bound<'py, PyAny>,
        order: &str,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        look_up_many(py, &self.snapshot, addresses, order, out)
    }

    #[doc = docs!(RouteTableSnapshot matches)]
    #[pyo3(signature = (address, family = None))]
    fn matches(
        &self,
        address: &Bound<'_, PyAny>,
        family: Option<Number<u8>>,
    ) -> PyResult<Vec<Pair>> {
        let address = self::address(address, family)?;
        Ok(self.snapshot.matches(address).map(pair).collect())
    }

    #[doc = docs!(RouteTableSnapshot covered_by)]
    fn covered_by(&self, prefix: &Bound<'_, PyAny>) -> PyResult<Vec<Pair>> {
        let covered = self.snapshot.covered_by(self::prefix(prefix)?);
        Ok(covered.into_iter().map(pair).collect())
    }

    #[doc = docs!(RouteTableSnapshot items)]
    fn items(&self) -> RouteIterator {
        RouteIterator::of(self.snapshot.clone(), true)
    }

    #[doc = docs!(RouteTableSnapshot diff)]
    fn diff(&self, py: Python<'_>, later: Table) -> Vec<Changed> {
        changes(py, &self.snapshot, &later.0)
    }

    #[doc = docs!(RouteTableSnapshot to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &py.detach(|| self.snapshot.to_bytes()))
    }

    fn __len__(&self) -> usize {
        self.snapshot.len()
    }

    fn __iter__(&self) -> RouteIterator {
        RouteIterator::of(self.snapshot.clone(), false)
    }

    fn __contains__(&self, prefix: &Bound<'_, PyAny>) -> PyResult<bool> {
        Ok(self.get(prefix)?.is_some())
    }

    fn __eq__(&self, py: Python<'_>, other: Table) -> bool {
        py.detach(|| self.snapshot == other.0)
    }

    fn __repr__(&self) -> String {
        described("RouteTableSnapshot", &self.snapshot)
    }
}
