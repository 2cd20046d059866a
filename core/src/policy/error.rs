//! Everything that can be wrong with an object or a question.

use std::fmt;

use super::model::Key;

/// Result of the operations of an engine.
pub type Result<T> = std::result::Result<T, Error>;

/// Why an object is refused, or a question has no answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// The API server would refuse the object.
    Invalid(Box<Invalid>),
    /// No pod of this `namespace/name` is known, or it has no address.
    UnknownPod(String),
    /// One end has IPv4 addresses alone, the other one IPv6.
    NoCommonFamily(String, String),
    /// The history does not reach back to this version.
    HistoryLost {
        /// The version that was asked for.
        since: u64,
        /// The oldest that can be answered.
        oldest: u64,
        /// The present one.
        version: u64,
    },
}

/// One field of an object that has to be something else.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Invalid {
    /// Kind of the object, empty if it has none.
    pub kind: String,
    /// Namespace of the object, empty if it has none.
    pub namespace: String,
    /// Name of the object, empty if it has none.
    pub name: String,
    /// Where, as `spec.ingress[0].ports[1].endPort`; empty for the object itself.
    pub path: String,
    /// The value as JSON, abridged.
    pub value: String,
    /// What is allowed there.
    pub allowed: String,
}

impl Invalid {
    /// Name the object that has the field.
    #[must_use]
    pub fn of(mut self: Box<Self>, key: &Key) -> Box<Self> {
        key.kind.as_str().clone_into(&mut self.kind);
        self.namespace = key.namespace.as_deref().unwrap_or_default().to_owned();
        self.name = key.name.to_string();
        self
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.kind.is_empty() {
            write!(f, "{} ", self.kind)?;
        }
        if !self.namespace.is_empty() {
            write!(f, "{}/", self.namespace)?;
        }
        if !self.name.is_empty() {
            write!(f, "{}: ", self.name)?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        write!(f, "{}: {}", self.value, self.allowed)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(invalid) => invalid.fmt(f),
            Self::UnknownPod(key) => write!(f, "no pod {key} with an address is known"),
            Self::NoCommonFamily(src, dst) => {
                write!(f, "{src} and {dst} have no address family in common")
            }
            Self::HistoryLost { since, oldest, version } => write!(
                f,
                "version {since} is not in the history, which has {oldest} to {version}: \
                 take tables() instead"
            ),
        }
    }
}

impl std::error::Error for Error {}

impl From<Box<Invalid>> for Error {
    fn from(invalid: Box<Invalid>) -> Self {
        Self::Invalid(invalid)
    }
}
