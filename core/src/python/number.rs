//! Numbers that Python gives: one that is too large or too small is a `ValueError`.

use pyo3::exceptions::{PyOverflowError, PyValueError};
use pyo3::prelude::*;

/// An argument of type `T`.
#[derive(Clone, Copy)]
pub struct Number<T>(pub T);

/// The kinds of numbers that arguments have.
pub trait Kind: Sized {
    /// The largest one; 0 is the smallest.
    const MOST: u64;
}

macro_rules! kinds {
    ($($kind:ty),*) => {
        $(impl Kind for $kind {
            const MOST: u64 = <$kind>::MAX as u64;
        })*
    };
}

kinds!(u8, u16, u32, u64, usize);

impl<'a, 'py, T> FromPyObject<'a, 'py> for Number<T>
where
    T: Kind + FromPyObject<'a, 'py, Error = PyErr>,
{
    type Error = PyErr;

    fn extract(given: Borrowed<'a, 'py, PyAny>) -> PyResult<Self> {
        T::extract(given).map(Self).map_err(|error| {
            if error.is_instance_of::<PyOverflowError>(given.py()) {
                let text = format!("{}: must be a number from 0 to {}", *given, T::MOST);
                return PyValueError::new_err(text);
            }
            error
        })
    }
}
