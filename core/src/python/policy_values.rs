//! Decisions of policies for Python, and what they are made of.

use std::sync::Arc;

use pyo3::prelude::*;
use pyo3::types::PyTuple;

use super::number::Number;
use crate::policy::{self, Decision, Filter, Reason, ReasonId};

#[doc = docs!(PolicyReason)]
#[pyclass(frozen, eq, hash, module = "cnidaria_core")]
#[derive(PartialEq, Eq, Hash)]
pub struct PolicyReason {
    id: u32,
    reason: Arc<Reason>,
}

impl PolicyReason {
    pub fn new(id: ReasonId, reason: Arc<Reason>) -> Self {
        Self { id: id.0, reason }
    }

    fn policy(&self) -> Option<&policy::PolicyReason> {
        self.reason.policy()
    }
}

#[pymethods]
impl PolicyReason {
    #[getter]
    fn id(&self) -> u32 {
        self.id
    }

    #[doc = docs!(PolicyReason allow)]
    #[getter]
    fn allow(&self) -> bool {
        self.reason.allow()
    }

    #[getter]
    fn tier(&self) -> &'static str {
        match self.policy().map(|policy| policy.tier) {
            None => "Default",
            Some(policy::Tier::Admin) => "Admin",
            Some(policy::Tier::NetworkPolicy) => "NetworkPolicy",
            Some(policy::Tier::Baseline) => "Baseline",
        }
    }

    #[doc = docs!(PolicyReason kind)]
    #[getter]
    fn kind(&self) -> Option<&'static str> {
        self.policy().map(|policy| policy.policy.kind.as_str())
    }

    #[doc = docs!(PolicyReason namespace)]
    #[getter]
    fn namespace(&self) -> Option<&str> {
        self.policy().and_then(|policy| policy.policy.namespace.as_deref())
    }

    #[getter]
    fn name(&self) -> Option<&str> {
        self.policy().map(|policy| &*policy.policy.name)
    }

    #[doc = docs!(PolicyReason uid)]
    #[getter]
    fn uid(&self) -> Option<&str> {
        self.policy().and_then(|policy| policy.uid.as_deref())
    }

    #[getter]
    fn direction(&self) -> Option<&'static str> {
        self.policy().map(|policy| policy.direction.as_str())
    }

    #[doc = docs!(PolicyReason rule)]
    #[getter]
    fn rule(&self) -> Option<u32> {
        self.policy().and_then(|policy| policy.rule)
    }

    #[doc = docs!(PolicyReason rule_name)]
    #[getter]
    fn rule_name(&self) -> Option<&str> {
        self.policy().and_then(|policy| policy.rule_name.as_deref())
    }

    #[doc = docs!(PolicyReason audit)]
    #[getter]
    fn audit(&self) -> bool {
        self.policy().is_some_and(|policy| policy.audit)
    }

    fn __str__(&self) -> String {
        self.reason.to_string()
    }

    fn __repr__(&self) -> String {
        let allow = if self.allow() { "allow" } else { "deny" };
        format!("<PolicyReason {}: {allow}, {}>", self.id, self.reason)
    }
}

#[doc = docs!(PolicyDecision)]
#[pyclass(frozen, eq, hash, module = "cnidaria_core")]
#[derive(PartialEq, Eq, Hash)]
pub struct PolicyDecision(pub Decision);

#[pymethods]
impl PolicyDecision {
    #[getter]
    fn allow(&self) -> bool {
        self.0.allow
    }

    #[getter]
    fn reason(&self) -> u32 {
        self.0.reason.0
    }

    #[getter]
    fn audit(&self) -> Option<u32> {
        self.0.audit.map(|(_, reason)| reason.0)
    }

    #[doc = docs!(PolicyDecision audit_allow)]
    #[getter]
    fn audit_allow(&self) -> bool {
        self.0.audit.map_or(self.0.allow, |(allow, _)| allow)
    }

    fn __repr__(&self) -> String {
        let allow = |allow| if allow { "allow" } else { "deny" };
        let Decision { reason, audit, .. } = self.0;
        match audit {
            None => format!("<PolicyDecision {} by {}>", allow(self.0.allow), reason.0),
            Some((audited, by)) => format!(
                "<PolicyDecision {} by {}, audit: {} by {}>",
                allow(self.0.allow),
                reason.0,
                allow(audited),
                by.0
            ),
        }
    }
}

#[doc = docs!(PolicyFilter)]
#[pyclass(frozen, eq, hash, module = "cnidaria_core")]
#[derive(PartialEq, Eq, Hash)]
pub struct PolicyFilter(pub Filter);

#[pymethods]
impl PolicyFilter {
    #[doc = docs!(PolicyFilter ports)]
    #[getter]
    fn ports<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let ports = self.0.ports.iter();
        let ports = ports
            .map(|one| (one.protocol.number(), one.first, one.last, PolicyDecision(one.decision)));
        PyTuple::new(py, ports.collect::<Vec<_>>())
    }

    #[doc = docs!(PolicyFilter default)]
    #[getter]
    fn default(&self) -> PolicyDecision {
        PolicyDecision(self.0.default)
    }

    #[doc = docs!(PolicyFilter decide)]
    fn decide(&self, protocol: Number<u8>, port: Number<u16>) -> PolicyDecision {
        PolicyDecision(self.0.decide_number(protocol.0, port.0))
    }

    fn __repr__(&self) -> String {
        format!("<PolicyFilter: {} port ranges>", self.0.ports.len())
    }
}
