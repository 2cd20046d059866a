//! The extension module `cnidaria_core._core`: conversions and a lock, no logic.

// PyO3's macros expand to unsafe code.
#![allow(unsafe_code)]

// The docstrings of the stub.
include!(concat!(env!("OUT_DIR"), "/docs.rs"));

mod address;
mod address_pool;
mod block_pool;
mod buffer;
mod errors;
mod journaled_pool;
mod number;
mod policy_bulk;
mod policy_engine;
mod policy_objects;
mod policy_reads;
mod policy_snapshot;
mod policy_tables;
mod policy_values;
mod policy_verdict;
mod route_buffers;
mod route_table;
mod text;

use pyo3::prelude::*;

// The classes are frozen and lock for themselves: no GIL is needed.
#[pymodule(gil_used = false)]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add_class::<address_pool::AddressPool>()?;
    module.add_class::<address_pool::AddressPoolSnapshot>()?;
    module.add_class::<journaled_pool::JournaledPool>()?;
    module.add_class::<block_pool::BlockPool>()?;
    module.add_class::<block_pool::BlockChange>()?;
    module.add_class::<block_pool::BlockPoolSnapshot>()?;
    module.add_class::<policy_engine::PolicyEngine>()?;
    module.add_class::<policy_snapshot::PolicyEngineSnapshot>()?;
    module.add_class::<policy_verdict::Verdict>()?;
    module.add_class::<policy_tables::PolicyChanges>()?;
    module.add_class::<policy_tables::PolicyTables>()?;
    module.add_class::<policy_values::PolicyDecision>()?;
    module.add_class::<policy_values::PolicyFilter>()?;
    module.add_class::<policy_values::PolicyReason>()?;
    module.add_class::<route_table::RouteTable>()?;
    module.add_class::<route_table::RouteTableSnapshot>()?;
    // PyO3 made it; what is public is said by the package.
    module.delattr("__all__")
}
