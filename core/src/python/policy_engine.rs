//! `PolicyEngine` for Python.

use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use hashbrown::HashMap;
use pyo3::exceptions::{PyKeyError, PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyIterator, PyList, PyMemoryView, PyString};

use super::address::from_text;
use super::buffer::Output;
use super::number::Number;
use super::policy_bulk::Questions;
use super::policy_objects::object;
use super::policy_tables::{PolicyChanges, PolicyTables};
use super::policy_values::PolicyReason;
use crate::policy::{self, Difference, End, Key, Kind, Reach, Reason, ReasonId};

#[doc = docs!(PolicyEngine)]
#[pyclass(frozen, module = "cnidaria_core")]
pub struct PolicyEngine {
    /// Shared with snapshots; whoever changes it first gets a copy.
    engine: RwLock<Arc<policy::PolicyEngine>>,
    said: Mutex<Said>,
}

/// Verdicts as Python has them. There are few, asked for again and again.
#[derive(Default)]
struct Said {
    version: u64,
    verdicts: HashMap<policy::Verdict, Py<Verdict>>,
}

/// More are not remembered.
const MOST_SAID: usize = 1 << 14;

impl PolicyEngine {
    fn of(engine: impl Into<Arc<policy::PolicyEngine>>) -> Self {
        Self { engine: RwLock::new(engine.into()), said: Mutex::default() }
    }

    /// A verdict of the engine as an object, which is made once.
    fn say(
        &self,
        py: Python<'_>,
        engine: &policy::PolicyEngine,
        verdict: policy::Verdict,
    ) -> PyResult<Py<Verdict>> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = said.verdicts.get(&verdict)
            && said.version == engine.version()
        {
            return Ok(known.clone_ref(py));
        }
        if said.version != engine.version() || said.verdicts.len() >= MOST_SAID {
            said.verdicts.clear();
            said.version = engine.version();
        }
        let made = Py::new(py, Verdict::new(engine, verdict))?;
        said.verdicts.insert(verdict, made.clone_ref(py));
        Ok(made)
    }

    // A panic in the engine is a bug that its caller has seen; it goes on for the others.
    fn read(&self) -> RwLockReadGuard<'_, Arc<policy::PolicyEngine>> {
        self.engine.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn change<T>(&self, change: impl FnOnce(&mut policy::PolicyEngine) -> T) -> T {
        let mut engine = self.engine.write().unwrap_or_else(PoisonError::into_inner);
        change(Arc::make_mut(&mut engine))
    }
}

#[pymethods]
impl PolicyEngine {
    #[new]
    #[pyo3(signature = (*, history = 16384))]
    fn new(history: usize) -> PyResult<Self> {
        reach_of(history)?;
        Ok(Self::of(policy::PolicyEngine::new(history)))
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
        let (src, dst) = (end(src)?, end(dst)?);
        let (protocol, port) = aim(protocol, port)?;
        let engine = self.read();
        let verdict = engine.verdict(src, dst, protocol, port)?;
        self.say(py, &engine, verdict)
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
        let said = Output::new(py, "out", out, questions.rows())?;
        // Not the lock: who changes something meanwhile gets a copy instead of waiting.
        let engine = self.read().clone();
        py.detach(|| questions.decide(&engine, &said));
        Ok(said.finish(py))
    }

    #[doc = docs!(PolicyEngine reachable)]
    #[pyo3(signature = (protocol = None, port = None))]
    fn reachable<'py>(
        &self,
        py: Python<'py>,
        protocol: Option<&Bound<'py, PyAny>>,
        port: Option<Number<u16>>,
    ) -> PyResult<(Vec<Vec<String>>, Bound<'py, PyAny>)> {
        let (protocol, port) = aim(protocol, port)?;
        let engine = self.read().clone();
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

    #[doc = docs!(PolicyEngine diff)]
    fn diff(&self, later: &Self) -> Vec<(&'static str, Option<String>, String, &'static str)> {
        // Not both locks at once: somebody could take them the other way round.
        let one = self.read().clone();
        let later = later.read().clone();
        let different = one.diff(&later).into_iter();
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

    #[doc = docs!(PolicyEngine to_bytes)]
    fn to_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        let engine = self.read().clone();
        PyBytes::new(py, &py.detach(|| engine.to_bytes()))
    }

    #[doc = docs!(PolicyEngine from_bytes)]
    #[staticmethod]
    #[pyo3(signature = (data, *, history = 16384))]
    fn from_bytes(py: Python<'_>, data: &[u8], history: usize) -> PyResult<Self> {
        reach_of(history)?;
        Ok(Self::of(py.detach(|| policy::PolicyEngine::from_bytes(data, history))?))
    }

    #[doc = docs!(PolicyEngine tables)]
    #[pyo3(signature = (node = None))]
    fn tables(&self, node: Option<&str>) -> PolicyTables {
        PolicyTables(self.read().tables(node.map(Arc::from).as_ref()))
    }

    #[doc = docs!(PolicyEngine changes_since)]
    #[pyo3(signature = (version, node = None))]
    fn changes_since(&self, version: Number<u64>, node: Option<&str>) -> PyResult<PolicyChanges> {
        let changes = self.read().changes_since(version.0, node.map(Arc::from).as_ref())?;
        Ok(PolicyChanges(changes))
    }

    #[doc = docs!(PolicyEngine snapshot)]
    fn snapshot(&self) -> Self {
        Self::of(self.read().clone())
    }

    #[doc = docs!(PolicyEngine reason)]
    fn reason(&self, reason: Number<u32>) -> PyResult<PolicyReason> {
        let id = ReasonId(reason.0);
        let found = self.read().reason(id).cloned();
        found.map(|it| PolicyReason::new(id, it)).ok_or_else(|| PyKeyError::new_err(reason.0))
    }

    fn __len__(&self) -> usize {
        self.read().len()
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let objects = self.read().objects();
        let keys = objects.iter().map(|object| {
            let Key { kind, namespace, name } = object.key();
            (kind.as_str(), namespace.map(|it| it.to_string()), name.to_string())
        });
        PyList::new(py, keys.collect::<Vec<_>>())?.try_iter()
    }

    fn __eq__(&self, other: &Self) -> bool {
        // Not both locks at once: somebody could take them the other way round.
        let one = self.read().clone();
        let other = other.read().clone();
        Arc::ptr_eq(&one, &other) || one == other
    }

    fn __repr__(&self) -> String {
        let engine = self.read();
        format!("<PolicyEngine: {} objects, version {}>", engine.len(), engine.version())
    }
}

/// A pod's `namespace/name`, or an address.
fn end(text: &str) -> PyResult<End<'_>> {
    if text.contains('/') {
        return Ok(End::Pod(text));
    }
    Ok(End::Address(from_text(text)?))
}

fn reach_of(history: usize) -> PyResult<()> {
    match history {
        0 => Err(PyValueError::new_err("history: 0 is not a number of elements from 1 on")),
        _ => Ok(()),
    }
}

/// The number of a protocol, and the destination port, which some have and others have not.
fn aim(protocol: Option<&Bound<'_, PyAny>>, port: Option<Number<u16>>) -> PyResult<(u8, u16)> {
    let protocol = protocol.map_or(Ok(6), self::protocol)?;
    match (policy::Protocol::from_number(protocol), port.map(|it| it.0)) {
        (Some(_), Some(port)) => Ok((protocol, port)),
        (None, None) => Ok((protocol, 0)),
        (Some(_), None) => Err(PyValueError::new_err("port: TCP, UDP and SCTP need one")),
        (None, Some(port)) => {
            let text = format!("port: {port}: only TCP, UDP and SCTP have ports");
            Err(PyValueError::new_err(text))
        }
    }
}

fn protocol(given: &Bound<'_, PyAny>) -> PyResult<u8> {
    const NAMES: [(&str, u8); 5] =
        [("TCP", 6), ("UDP", 17), ("SCTP", 132), ("ICMP", 1), ("ICMPv6", 58)];
    let allowed = "must be TCP, UDP, SCTP, ICMP, ICMPv6, or a number from 0 to 255";
    if let Ok(name) = given.cast::<PyString>() {
        let name = name.to_str()?;
        let known = NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        return known
            .map(|(_, number)| *number)
            .ok_or_else(|| PyValueError::new_err(format!("protocol: {name:?}: {allowed}")));
    }
    if given.is_instance_of::<pyo3::types::PyInt>() {
        return given
            .extract()
            .map_err(|_| PyValueError::new_err(format!("protocol: {given}: {allowed}")));
    }
    Err(PyTypeError::new_err(format!("protocol: {given}: {allowed}")))
}

type Named = (ReasonId, Arc<Reason>);

#[doc = docs!(Verdict)]
#[pyclass(frozen, eq, hash, module = "cnidaria_core")]
#[derive(PartialEq, Eq, Hash)]
pub struct Verdict {
    allowed: bool,
    /// Of egress and ingress.
    reasons: [Named; 2],
    audits: [Option<Named>; 2],
}

impl Verdict {
    fn new(engine: &policy::PolicyEngine, verdict: policy::Verdict) -> Self {
        let reason = |id: ReasonId| (id, engine.reason(id).cloned().unwrap_or_default());
        let audit = |decision: policy::Decision| decision.audit.map(|(_, id)| reason(id));
        Self {
            allowed: verdict.allowed(),
            reasons: [reason(verdict.egress.reason), reason(verdict.ingress.reason)],
            audits: [audit(verdict.egress), audit(verdict.ingress)],
        }
    }
}

#[pymethods]
impl Verdict {
    #[doc = docs!(Verdict allowed)]
    #[getter]
    fn allowed(&self) -> bool {
        self.allowed
    }

    #[doc = docs!(Verdict egress)]
    #[getter]
    fn egress(&self) -> PolicyReason {
        shown(&self.reasons[0])
    }

    #[doc = docs!(Verdict ingress)]
    #[getter]
    fn ingress(&self) -> PolicyReason {
        shown(&self.reasons[1])
    }

    #[doc = docs!(Verdict egress_audit)]
    #[getter]
    fn egress_audit(&self) -> Option<PolicyReason> {
        self.audits[0].as_ref().map(shown)
    }

    #[doc = docs!(Verdict ingress_audit)]
    #[getter]
    fn ingress_audit(&self) -> Option<PolicyReason> {
        self.audits[1].as_ref().map(shown)
    }

    fn __bool__(&self) -> bool {
        self.allowed
    }

    fn __repr__(&self) -> String {
        let allowed = if self.allowed { "allowed" } else { "denied" };
        let [egress, ingress] = &self.reasons;
        format!("<Verdict {allowed}: egress {}; ingress {}>", egress.1, ingress.1)
    }
}

fn shown((id, reason): &Named) -> PolicyReason {
    PolicyReason::new(*id, reason.clone())
}
