//! `PolicyEngineSnapshot` for Python.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator};

use super::number::Number;
use super::policy_bulk::Questions;
use super::policy_reads::{self as reads, Differences, Engine, Identities};
use super::policy_tables::{PolicyChanges, PolicyTables};
use super::policy_values::PolicyReason;
use super::policy_verdict::{Question, Said, Verdict};
use crate::policy;

#[doc = docs!(PolicyEngineSnapshot)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct PolicyEngineSnapshot {
    pub engine: Arc<policy::PolicyEngine>,
    said: Said,
}

impl PolicyEngineSnapshot {
    pub fn of(engine: Arc<policy::PolicyEngine>) -> Self {
        Self { engine, said: Said::default() }
    }
}

#[pymethods]
impl PolicyEngineSnapshot {
    #[doc = docs!(PolicyEngineSnapshot version)]
    #[getter]
    fn version(&self) -> u64 {
        self.engine.version()
    }

    #[doc = docs!(PolicyEngineSnapshot verdict)]
    #[pyo3(signature = (src, dst, protocol = None, port = None))]
    fn verdict(
        &self,
        py: Python<'_>,
        src: &str,
        dst: &str,
        protocol: Option<&Bound<'_, PyAny>>,
        port: Option<Number<u16>>,
    ) -> PyResult<Py<Verdict>> {
        let question = Question::new(src, dst, protocol, port)?;
        reads::verdict(py, &self.engine, &self.said, question)
    }

    #[doc = docs!(PolicyEngineSnapshot verdicts)]
    #[pyo3(signature = (src, dst, protocols, ports, *, out = None))]
    fn verdicts<'py>(
        &self,
        py: Python<'py>,
        src: &Bound<'py, PyAny>,
        dst: &Bound<'py, PyAny>,
        protocols: &Bound<'py, PyAny>,
        ports: &Bound<'py, PyAny>,
        out: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let questions = Questions::new(src, dst, protocols, ports)?;
        reads::verdicts(py, &self.engine, &questions, out)
    }

    #[doc = docs!(PolicyEngineSnapshot reachable)]
    #[pyo3(signature = (protocol = None, port = None))]
    fn reachable<'py>(
        &self,
        py: Python<'py>,
        protocol: Option<&Bound<'py, PyAny>>,
        port: Option<Number<u16>>,
    ) -> PyResult<Identities<'py>> {
        reads::reachable(py, &self.engine, protocol, port)
    }

    #[doc = docs!(PolicyEngineSnapshot diff)]
    fn diff(&self, py: Python<'_>, later: Engine) -> Differences {
        reads::diff(py, &self.engine, &later.0)
    }

    #[doc = docs!(PolicyEngineSnapshot to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        reads::to_bytes(py, &self.engine)
    }

    #[doc = docs!(PolicyEngineSnapshot tables)]
    #[pyo3(signature = (node = None))]
    fn tables(&self, node: Option<&str>) -> PolicyTables {
        reads::tables(&self.engine, node)
    }

    #[doc = docs!(PolicyEngineSnapshot changes_since)]
    #[pyo3(signature = (version, node = None))]
    fn changes_since(&self, version: Number<u64>, node: Option<&str>) -> PyResult<PolicyChanges> {
        reads::changes_since(&self.engine, version, node)
    }

    #[doc = docs!(PolicyEngineSnapshot reason)]
    fn reason(&self, reason: Number<u32>) -> PyResult<PolicyReason> {
        reads::reason(&self.engine, reason)
    }

    fn __len__(&self) -> usize {
        self.engine.len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        reads::keys(py, &self.engine)
    }

    fn __eq__(&self, py: Python<'_>, other: Engine) -> bool {
        reads::equal(py, &self.engine, &other.0)
    }

    fn __repr__(&self) -> String {
        reads::described("PolicyEngineSnapshot", &self.engine)
    }
}
