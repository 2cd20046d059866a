//! Many lookups at once.

use super::bits::Bits;
use super::fib::Fib;

/// Looks up each address.
///
/// # Panics
/// If both are not of the same length.
pub(super) fn lookup<B: Bits>(fib: &Fib<'_>, addresses: &[B], values: &mut [u32]) {
    assert_eq!(addresses.len(), values.len(), "a value for each address");
    for (address, value) in addresses.iter().zip(values) {
        *value = fib.lookup(*address);
    }
}
