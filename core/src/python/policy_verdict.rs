//! Verdicts for Python, and what is asked for.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::PyString;

use super::address::from_text;
use super::number::Number;
use super::policy_values::PolicyReason;
use crate::policy::{self, End, Reason, ReasonId};

/// Verdicts as Python has them. There are few, asked for again and again.
#[derive(Default)]
pub struct Said(Mutex<Known>);

#[derive(Default)]
struct Known {
    version: u64,
    verdicts: HashMap<policy::Verdict, Py<Verdict>>,
}

/// More are not remembered.
const MOST_SAID: usize = 1 << 14;

impl Said {
    /// A verdict of the engine as an object, which is made once.
    pub fn say(
        &self,
        py: Python<'_>,
        engine: &policy::PolicyEngine,
        verdict: policy::Verdict,
    ) -> PyResult<Py<Verdict>> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
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
}

/// A connection.
pub struct Question<'a> {
    pub src: End<'a>,
    pub dst: End<'a>,
    pub protocol: u8,
    pub port: u16,
}

impl<'a> Question<'a> {
    /// The question that Python asks.
    pub fn new(
        src: &'a str,
        dst: &'a str,
        protocol: Option<&Bound<'_, PyAny>>,
        port: Option<Number<u16>>,
    ) -> PyResult<Self> {
        let (src, dst) = (end(src)?, end(dst)?);
        let (protocol, port) = aim(protocol, port)?;
        Ok(Self { src, dst, protocol, port })
    }
}

/// A pod's `namespace/name`, or an address.
fn end(text: &str) -> PyResult<End<'_>> {
    if text.contains('/') {
        return Ok(End::Pod(text));
    }
    Ok(End::Address(from_text(text)?))
}

/// The number of a protocol, and the destination port, which some have and others have not.
pub fn aim(protocol: Option<&Bound<'_, PyAny>>, port: Option<Number<u16>>) -> PyResult<(u8, u16)> {
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
