//! Questions and answers.

use std::fmt;
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

impl fmt::Display for End<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pod(key) => f.write_str(key),
            Self::Address(address) => address.fmt(f),
        }
    }
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
