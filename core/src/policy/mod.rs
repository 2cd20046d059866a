//! Kubernetes network policies, compiled: [`PolicyEngine`].
//!
//! What each field of the API means here is in `docs/policy-semantics.md`, with sources.

mod block;
mod bytes;
mod compiled;
mod error;
mod filter;
mod model;
mod parse;
mod reason;
mod selector;
mod tables;
#[cfg(test)]
mod twin;
mod verdict;

pub use block::Block;
pub use compiled::{Difference, PolicyEngine, Reach};
pub use error::{Error, Invalid, Result};
pub use filter::{Decision, Filter, PortDecision};
pub use model::{Direction, Key, Kind, Object, Protocol, Tier};
pub use parse::object as parse_object;
pub use reason::{PolicyReason, Reason, ReasonId};
pub use tables::{AddressRange, Changes, Delta, RowKey, Tables, Way};
pub use verdict::{End, Verdict};
