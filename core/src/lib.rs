//! The tables of cnidaria as plain Rust; `python` holds nothing but their bindings.

pub mod ipam;

#[cfg(feature = "python")]
mod python;
