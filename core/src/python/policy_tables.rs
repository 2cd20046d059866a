//! Compiled policy tables for Python: dictionaries of numbers and text.

use std::net::IpAddr;
use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyDict, PyIterator, PyList};

use super::policy_values::{PolicyFilter, PolicyReason};
use super::text::text;
use crate::policy::{AddressRange, Changes, Filter, Reason, ReasonId, RowKey, Tables};

#[doc = docs!(PolicyTables)]
#[pyclass(frozen, eq, module = "cnidaria_core")]
#[derive(PartialEq, Eq)]
pub struct PolicyTables(pub Tables);

#[pymethods]
impl PolicyTables {
    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    #[doc = docs!(PolicyTables node)]
    #[getter]
    fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    #[doc = docs!(PolicyTables endpoints)]
    #[getter]
    fn endpoints<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        addresses(py, here(self.0.endpoints.iter()))
    }

    #[doc = docs!(PolicyTables blocks)]
    #[getter]
    fn blocks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        blocks(py, here(self.0.blocks.iter()))
    }

    #[doc = docs!(PolicyTables subjects)]
    #[getter]
    fn subjects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        addresses(py, here(self.0.subjects.iter()))
    }

    #[doc = docs!(PolicyTables rows)]
    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        rows(py, here(self.0.rows.iter()))
    }

    #[getter]
    fn filters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        filters(py, here(self.0.filters.iter()))
    }

    #[doc = docs!(PolicyTables reasons)]
    #[getter]
    fn reasons<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        reasons(py, here(self.0.reasons.iter()))
    }

    #[doc = docs!(PolicyTables diff)]
    fn diff(&self, py: Python<'_>, later: &Self) -> PolicyChanges {
        PolicyChanges(py.detach(|| later.0.since(&self.0)))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        elements(
            py,
            [
                ("endpoints", self.endpoints(py)?),
                ("blocks", self.blocks(py)?),
                ("subjects", self.subjects(py)?),
                ("rows", self.rows(py)?),
                ("filters", self.filters(py)?),
                ("reasons", self.reasons(py)?),
            ],
        )
    }

    fn __repr__(&self) -> String {
        let Tables { version, endpoints, rows, .. } = &self.0;
        let (endpoints, rows) = (endpoints.len(), rows.len());
        format!("<PolicyTables version {version}: {endpoints} endpoints, {rows} rows>")
    }
}

#[doc = docs!(PolicyChanges)]
#[pyclass(frozen, eq, module = "cnidaria_core")]
#[derive(PartialEq, Eq)]
pub struct PolicyChanges(pub Changes);

#[pymethods]
impl PolicyChanges {
    #[getter]
    fn since(&self) -> u64 {
        self.0.since
    }

    #[getter]
    fn version(&self) -> u64 {
        self.0.version
    }

    #[getter]
    fn node(&self) -> Option<&str> {
        self.0.node.as_deref()
    }

    #[getter]
    fn endpoints<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        addresses(py, changed(self.0.endpoints.iter()))
    }

    #[getter]
    fn blocks<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        blocks(py, changed(self.0.blocks.iter()))
    }

    #[getter]
    fn subjects<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        addresses(py, changed(self.0.subjects.iter()))
    }

    #[getter]
    fn rows<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        rows(py, changed(self.0.rows.iter()))
    }

    #[getter]
    fn filters<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        filters(py, changed(self.0.filters.iter()))
    }

    #[getter]
    fn reasons<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        reasons(py, changed(self.0.reasons.iter()))
    }

    fn __len__(&self) -> usize {
        self.0.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        elements(
            py,
            [
                ("endpoints", self.endpoints(py)?),
                ("blocks", self.blocks(py)?),
                ("subjects", self.subjects(py)?),
                ("rows", self.rows(py)?),
                ("filters", self.filters(py)?),
                ("reasons", self.reasons(py)?),
            ],
        )
    }

    fn __repr__(&self) -> String {
        let Changes { since, version, .. } = self.0;
        format!("<PolicyChanges from {since} to {version}: {} elements>", self.0.len())
    }
}

/// All elements of the parts as (part, key, value).
fn elements<'py>(
    py: Python<'py>,
    parts: [(&str, Bound<'py, PyDict>); 6],
) -> PyResult<Bound<'py, PyIterator>> {
    let list = PyList::empty(py);
    for (part, dict) in parts {
        for (key, value) in dict {
            list.append((part, key, value))?;
        }
    }
    list.try_iter()
}

fn here<'a, K: 'a, V: 'a>(
    entries: impl Iterator<Item = (&'a K, &'a V)>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>)> {
    entries.map(|(key, value)| (key, Some(value)))
}

fn changed<'a, K: 'a, V: 'a>(
    entries: impl Iterator<Item = (&'a K, &'a Option<V>)>,
) -> impl Iterator<Item = (&'a K, Option<&'a V>)> {
    entries.map(|(key, value)| (key, value.as_ref()))
}

fn addresses<'a, 'py>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a IpAddr, Option<&'a u32>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (address, class) in entries {
        dict.set_item(text(*address), class)?;
    }
    Ok(dict)
}

fn blocks<'a, 'py>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a AddressRange, Option<&'a u32>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for ((first, last), class) in entries {
        dict.set_item((text(*first), text(*last)), class)?;
    }
    Ok(dict)
}

fn rows<'a, 'py>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a RowKey, Option<&'a u32>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for ((subject, way, peer), filter) in entries {
        dict.set_item((subject, way.as_str(), peer), filter)?;
    }
    Ok(dict)
}

fn filters<'a, 'py>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a u32, Option<&'a Filter>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (id, filter) in entries {
        dict.set_item(id, filter.cloned().map(PolicyFilter))?;
    }
    Ok(dict)
}

fn reasons<'a, 'py>(
    py: Python<'py>,
    entries: impl Iterator<Item = (&'a ReasonId, Option<&'a Arc<Reason>>)>,
) -> PyResult<Bound<'py, PyDict>> {
    let dict = PyDict::new(py);
    for (id, reason) in entries {
        dict.set_item(id.0, reason.cloned().map(|reason| PolicyReason::new(*id, reason)))?;
    }
    Ok(dict)
}
