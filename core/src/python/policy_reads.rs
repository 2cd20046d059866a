//! What is read of a policy engine, whether it changes or is a snapshot.

use std::sync::Arc;

use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyMemoryView};

use super::buffer::Output;
use super::number::Number;
use super::policy_bulk::Questions;
use super::policy_engine::PolicyEngine;
use super::policy_snapshot::PolicyEngineSnapshot;
use super::policy_tables::{PolicyChanges, PolicyTables};
use super::policy_values::PolicyReason;
use super::policy_verdict::{Question, Said, Verdict, aim};
use crate::policy::{self, Difference, Key, Reach, ReasonId};

/// An engine as it is now.
pub struct Engine(pub Arc<policy::PolicyEngine>);

impl<'a, 'py> FromPyObject<'a, 'py> for Engine {
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        if let Ok(engine) = given.cast::<PolicyEngine>() {
            return Ok(Self(engine.get().now()));
        }
        Ok(Self(given.cast::<PolicyEngineSnapshot>()?.get().engine.clone()))
    }
}

pub fn verdict(
    py: Python<'_>,
    engine: &policy::PolicyEngine,
    said: &Said,
    Question { src, dst, protocol, port }: Question<'_>,
) -> PyResult<Py<Verdict>> {
    said.say(py, engine, engine.verdict(src, dst, protocol, port)?)
}

pub fn verdicts<'py>(
    py: Python<'py>,
    engine: &policy::PolicyEngine,
    questions: &Questions,
    out: Option<&Bound<'py, PyAny>>,
) -> PyResult<Bound<'py, PyAny>> {
    let said = Output::new(py, "out", out, questions.rows())?;
    py.detach(|| questions.decide(engine, &said));
    Ok(said.finish(py))
}

pub type Identities<'py> = (Vec<Vec<String>>, Bound<'py, PyAny>);

pub fn reachable<'py>(
    py: Python<'py>,
    engine: &policy::PolicyEngine,
    protocol: Option<&Bound<'py, PyAny>>,
    port: Option<Number<u16>>,
) -> PyResult<Identities<'py>> {
    let (protocol, port) = aim(protocol, port)?;
    let Reach { identities, matrix } = py.detach(|| engine.reachable(protocol, port));
    let bytes: Vec<u8> = matrix.into_iter().map(u8::from).collect();
    let flat = PyMemoryView::from(&PyBytes::new(py, &bytes))?;
    let count = identities.len();
    // A memoryview has no shape with a zero in it.
    let shaped = match count {
        0 => flat.into_any(),
        _ => flat.call_method1("cast", ("B", (count, count)))?,
    };
    Ok((identities, shaped))
}

pub type Differences = Vec<(&'static str, Option<String>, String, &'static str)>;

pub fn diff(
    py: Python<'_>,
    engine: &policy::PolicyEngine,
    later: &policy::PolicyEngine,
) -> Differences {
    let different = py.detach(|| engine.diff(later)).into_iter();
    let shown = different.map(|(Key { kind, namespace, name }, what)| {
        let what = match what {
            Difference::Added => "added",
            Difference::Removed => "removed",
            Difference::Changed => "changed",
        };
        (kind.as_str(), namespace.map(|it| it.to_string()), name.to_string(), what)
    });
    shown.collect()
}

pub fn to_bytes<'py>(py: Python<'py>, engine: &policy::PolicyEngine) -> Bound<'py, PyBytes> {
    PyBytes::new(py, &py.detach(|| engine.to_bytes()))
}

pub fn tables(engine: &policy::PolicyEngine, node: Option<&str>) -> PolicyTables {
    PolicyTables(engine.tables(node.map(Arc::from).as_ref()))
}

pub fn changes_since(
    engine: &policy::PolicyEngine,
    version: Number<u64>,
    node: Option<&str>,
) -> PyResult<PolicyChanges> {
    Ok(PolicyChanges(engine.changes_since(version.0, node.map(Arc::from).as_ref())?))
}

pub fn reason(engine: &policy::PolicyEngine, reason: Number<u32>) -> PyResult<PolicyReason> {
    let id = ReasonId(reason.0);
    let found = engine.reason(id).cloned();
    found.map(|it| PolicyReason::new(id, it)).ok_or_else(|| PyKeyError::new_err(reason.0))
}

pub fn keys<'py>(
    py: Python<'py>,
    engine: &policy::PolicyEngine,
) -> PyResult<Bound<'py, PyIterator>> {
    let keys = engine.objects().into_iter().map(|object| {
        let Key { kind, namespace, name } = object.key();
        (kind.as_str(), namespace.map(|it| it.to_string()), name.to_string())
    });
    PyList::new(py, keys.collect::<Vec<_>>())?.try_iter()
}

pub fn equal(
    py: Python<'_>,
    one: &Arc<policy::PolicyEngine>,
    other: &Arc<policy::PolicyEngine>,
) -> bool {
    Arc::ptr_eq(one, other) || py.detach(|| one == other)
}

pub fn described(name: &str, engine: &policy::PolicyEngine) -> String {
    format!("<{name}: {} objects, version {}>", engine.len(), engine.version())
}
