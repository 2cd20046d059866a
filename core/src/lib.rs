//! The tables of cnidaria as plain Rust; `python` holds nothing but their bindings.

pub mod address;
pub mod codec;
pub mod ipam;
pub mod policy;
pub mod prefix;
pub mod routes;

#[cfg(feature = "python")]
mod python;
