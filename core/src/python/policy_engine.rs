//! `PolicyEngine` for Python.

use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator};

use super::number::Number;
use super::policy_bulk::Questions;
use super::policy_objects::object;
use super::policy_reads::{self as reads, Differences, Engine, Identities};
use super::policy_snapshot::PolicyEngineSnapshot;
use super::policy_tables::{PolicyChanges, PolicyTables};
use super::policy_values::PolicyReason;
use super::policy_verdict::{Question, Said, Verdict};
use crate::policy::{self, Key, Kind};

#[doc = docs!(PolicyEngine)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct PolicyEngine {
    /// Shared with snapshots; who changes it while there are any gets a copy.
    engine: RwLock<Arc<policy::PolicyEngine>>,
    said: Said,
}

impl PolicyEngine {
    fn of(engine: policy::PolicyEngine) -> Self {
        Self { engine: RwLock::new(engine.into()), said: Said::default() }
    }

    // A panic in the engine is a bug that its caller has seen; it goes on for the others.
    fn read(&self) -> RwLockReadGuard<'_, Arc<policy::PolicyEngine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// What it is now, without the lock: for what takes long, or needs another engine's lock, too.
    pub fn now(&self) -> Arc<policy::PolicyEngine> {
        self.read().clone()
    }

    fn change<T>(&self, change: impl FnOnce(&mut policy::PolicyEngine) -> T) -> T {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut engine))
    }
}

/// How many elements a history has.
fn length(given: &Bound<'_, PyAny>) -> PyResult<usize> {
    let wrong =
        || PyValueError::new_err(format!("history: {given} is not a number of elements from 1 on"));
    match given.extract::<usize>() {
        Ok(0) => Err(wrong()),
        Err(error) if error.is_instance_of::<PyOverflowError>(given.py()) => Err(wrong()),
        other => other,
    }
}

#[pymethods]
impl PolicyEngine {
    #[new]
    #[pyo3(signature = (*, history = 16384))]
    fn new(#[pyo3(from_py_with = length)] history: usize) -> Self {
        Self::of(policy::PolicyEngine::new(history))
    }

    #[doc = docs!(PolicyEngine apply)]
    #[pyo3(signature = (obj, *, strict = true))]
    fn apply(&self, obj: &Bound<'_, PyAny>, strict: bool) -> PyResult<bool> {
        let object = object(obj, strict)?;
        Ok(self.change(|engine| engine.apply(object)))
    }

    #[doc = docs!(PolicyEngine delete)]
    #[pyo3(signature = (kind, name, namespace = None))]
    fn delete(&self, kind: &str, name: &str, namespace: Option<&str>) -> PyResult<bool> {
        let Some(kind) = Kind::parse(kind) else {
            let kinds = Kind::ALL.map(Kind::as_str).join(", ");
            return Err(PyValueError::new_err(format!("kind: {kind:?} is none of {kinds}")));
        };
        if kind.is_namespaced() != namespace.is_some() {
            let kind = kind.as_str();
            return Err(PyValueError::new_err(match namespace {
                None => format!("namespace: a {kind} has one"),
                Some(namespace) => format!("namespace: {namespace:?}: a {kind} has none"),
            }));
        }
        let key = Key { kind, namespace: namespace.map(Into::into), name: name.into() };
        Ok(self.change(|engine| engine.delete(&key)))
    }

    #[doc = docs!(PolicyEngine load)]
    #[pyo3(signature = (objects, *, strict = true))]
    fn load(&self, objects: &Bound<'_, PyAny>, strict: bool) -> PyResult<usize> {
        let objects = objects.try_iter()?.map(|one| object(&one?, strict));
        let objects = objects.collect::<PyResult<Vec<_>>>()?;
        Ok(self.change(|engine| engine.load(objects)))
    }

    #[doc = docs!(PolicyEngine version)]
    #[getter]
    fn version(&self) -> u64 {
        self.read().version()
    }

    #[doc = docs!(PolicyEngine verdict)]
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
        reads::verdict(py, &self.read(), &self.said, question)
    }

    #[doc = docs!(PolicyEngine verdicts)]
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
        reads::verdicts(py, &self.now(), &questions, out)
    }

    #[doc = docs!(PolicyEngine reachable)]
    #[pyo3(signature = (protocol = None, port = None))]
    fn reachable<'py>(
        &self,
        py: Python<'py>,
        protocol: Option<&Bound<'py, PyAny>>,
        port: Option<Number<u16>>,
    ) -> PyResult<Identities<'py>> {
        reads::reachable(py, &self.now(), protocol, port)
    }

    #[doc = docs!(PolicyEngine diff)]
    fn diff(&self, py: Python<'_>, later: Engine) -> Differences {
        reads::diff(py, &self.now(), &later.0)
    }

    #[doc = docs!(PolicyEngine to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        reads::to_bytes(py, &self.now())
    }

    #[doc = docs!(PolicyEngine from_bytes)]
    #[staticmethod]
    #[pyo3(signature = (data, *, history = 16384))]
    fn from_bytes(
        py: Python<'_>,
        data: &[u8],
        #[pyo3(from_py_with = length)] history: usize,
    ) -> PyResult<Self> {
        Ok(Self::of(py.detach(|| policy::PolicyEngine::from_bytes(data, history))?))
    }

    #[doc = docs!(PolicyEngine tables)]
    #[pyo3(signature = (node = None))]
    fn tables(&self, node: Option<&str>) -> PolicyTables {
        reads::tables(&self.read(), node)
    }

    #[doc = docs!(PolicyEngine changes_since)]
    #[pyo3(signature = (version, node = None))]
    fn changes_since(&self, version: Number<u64>, node: Option<&str>) -> PyResult<PolicyChanges> {
        reads::changes_since(&self.read(), version, node)
    }

    #[doc = docs!(PolicyEngine reason)]
    fn reason(&self, reason: Number<u32>) -> PyResult<PolicyReason> {
        reads::reason(&self.read(), reason)
    }

    #[doc = docs!(PolicyEngine snapshot)]
    fn snapshot(&self) -> PolicyEngineSnapshot {
        PolicyEngineSnapshot::of(self.now())
    }

    fn __len__(&self) -> usize {
        self.read().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        reads::keys(py, &self.now())
    }

    fn __eq__(&self, py: Python<'_>, other: Engine) -> bool {
        reads::equal(py, &self.now(), &other.0)
    }

    fn __repr__(&self) -> String {
        reads::described("PolicyEngine", &self.read())
    }
}
