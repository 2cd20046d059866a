//! Questions and answers.

use std::net::IpAddr;

use super::filter::Decision;

/// One end of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End<'a> {
    /// A pod by `namespace/name`.
    Pod(&'a str),
    /// Whatever has this address.
    Address(IpAddr),
}

/// The decisions of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Verdict {
    pub egress: Decision,
    pub ingress: Decision,
}

impl Verdict {
    /// Whether both sides allow.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.egress.allow && self.ingress.allow
    }
}
