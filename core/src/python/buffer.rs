//! Bulk data by the buffer protocol: strict about what it is, free of the GIL while it is used.

#![allow(dead_code)]

use std::ffi::CStr;
use std::fmt::Display;
use std::marker::PhantomData;
use std::sync::atomic::{AtomicU8, AtomicU16, AtomicU32, AtomicU64, Ordering::Relaxed};

use pyo3::buffer::PyUntypedBuffer;
use pyo3::exceptions::PyTypeError;
use pyo3::prelude::*;
use pyo3::types::{PyByteArray, PyMemoryView};

use super::errors::InvalidBuffer;

/// The byte order that the buffer has to declare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The machine's own: struct formats `I`, `=I`, and `<I` on a little-endian machine.
    Host,
    /// Big-endian: struct formats `>I` and `!I`. What is read is converted.
    Network,
}

/// An unsigned integer that buffers have.
pub trait Item: Copy + Default + Send + Sync + 'static {
    /// As a user would write it.
    const NAME: &'static str;
    /// The letters of module `struct` for it, by native and by standard size.
    const LETTERS: &'static [u8];

    /// Reads one item that other threads may write at the same time.
    ///
    /// # Safety
    /// `at` is aligned, and readable as long as the call lasts.
    unsafe fn load(at: *const Self) -> Self;

    /// Writes one item that other threads may read or write at the same time.
    ///
    /// # Safety
    /// `at` is aligned, and writable as long as the call lasts.
    unsafe fn store(at: *mut Self, value: Self);

    /// From big-endian.
    fn from_network(value: Self) -> Self;
}

macro_rules! item {
    ($type:ty, $atomic:ty, $letters:literal) => {
        impl Item for $type {
            const NAME: &'static str = stringify!($type);
            const LETTERS: &'static [u8] = $letters;

            unsafe fn load(at: *const Self) -> Self {
                // SAFETY: the caller's; atomic, because Python code may write the buffer meanwhile.
                unsafe { <$atomic>::from_ptr(at.cast_mut()) }.load(Relaxed)
            }

            unsafe fn store(at: *mut Self, value: Self) {
                // SAFETY: the caller's; atomic, because Python code may use the buffer meanwhile.
                unsafe { <$atomic>::from_ptr(at) }.store(value, Relaxed);
            }

            fn from_network(value: Self) -> Self {
                Self::from_be(value)
            }
        }
    };
}

item!(u8, AtomicU8, b"B");
item!(u16, AtomicU16, b"H");
item!(u32, AtomicU32, b"IL");
item!(u64, AtomicU64, b"QL");

/// A column of items, or rows of a fixed width, that is read.
pub struct Input<T> {
    held: PyUntypedBuffer,
    order: Order,
    rows: usize,
    width: usize,
    kind: PhantomData<T>,
}

impl<T: Item> Input<T> {
    /// A buffer of shape (n,) if `width` is 0, else of shape (n, width).
    ///
    /// `name` is the argument's, for the errors: `TypeError` if it is no buffer, else
    /// `InvalidBuffer`.
    pub fn new(name: &str, value: &Bound<'_, PyAny>, width: usize, order: Order) -> PyResult<Self> {
        let held = hold(name, value)?;
        check_items::<T>(name, &held, order)?;
        let rows = check_shape(name, &held, width)?;
        Ok(Self { held, order, rows, width: width.max(1), kind: PhantomData })
    }

    /// A column that has to be as long as another one.
    pub fn column(name: &str, value: &Bound<'_, PyAny>, rows: usize) -> PyResult<Self> {
        let found = Self::new(name, value, 0, Order::Host)?;
        check_rows(name, found.rows, rows)?;
        Ok(found)
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Copy rows from one on until `target` is full, in host order. `target` has whole rows.
    ///
    /// # Panics
    /// If there are not as many.
    pub fn read(&self, first: usize, target: &mut [T]) {
        let at = first * self.width;
        assert!(at + target.len() <= self.rows * self.width);
        let items = self.held.buf_ptr().cast::<T>();
        for (offset, slot) in target.iter_mut().enumerate() {
            // SAFETY: in bounds, as asserted; aligned, as checked when it was made; the exporter
            // keeps the memory as long as `held` lives.
            let item = unsafe { T::load(items.add(at + offset)) };
            *slot = if self.order == Order::Network { T::from_network(item) } else { item };
        }
    }

    /// All items in host order.
    pub fn to_vec(&self) -> Vec<T> {
        let mut items = vec![T::default(); self.rows * self.width];
        self.read(0, &mut items);
        items
    }
}

/// The size of a buffer's items, and its width: 0 for a column.
///
/// `TypeError` if it is no buffer; what is neither column nor rows is left to [`Input::new`].
pub fn layout(name: &str, value: &Bound<'_, PyAny>) -> PyResult<(usize, usize)> {
    let held = hold(name, value)?;
    let width = if let [_, width] = *held.shape() { width } else { 0 };
    Ok((held.item_size(), width))
}

/// A column of items in host order that is written.
pub struct Output<T> {
    value: Py<PyAny>,
    held: PyUntypedBuffer,
    rows: usize,
    kind: PhantomData<T>,
}

impl<T: Item> Output<T> {
    /// A given buffer of shape (rows,), or a new memoryview of that shape.
    pub fn new(
        py: Python<'_>,
        name: &str,
        given: Option<&Bound<'_, PyAny>>,
        rows: usize,
    ) -> PyResult<Self> {
        let value = match given {
            Some(value) => value.clone(),
            None => new_column::<T>(py, rows)?,
        };
        let held = hold(name, &value)?;
        check_items::<T>(name, &held, Order::Host)?;
        check_rows(name, check_shape(name, &held, 0)?, rows)?;
        if held.readonly() {
            return Err(invalid(name, "it is read-only"));
        }
        Ok(Self { value: value.unbind(), held, rows, kind: PhantomData })
    }

    /// Write items from one on.
    ///
    /// # Panics
    /// If they are more than the column has.
    pub fn write(&self, first: usize, items: &[T]) {
        assert!(first + items.len() <= self.rows);
        let target = self.held.buf_ptr().cast::<T>();
        for (offset, &item) in items.iter().enumerate() {
            // SAFETY: in bounds, as asserted; aligned and writable, as checked when it was made;
            // the exporter keeps the memory as long as `held` lives.
            unsafe { T::store(target.add(first + offset), item) };
        }
    }

    /// The buffer as Python gets it.
    pub fn finish(self, py: Python<'_>) -> Bound<'_, PyAny> {
        self.held.release(py);
        self.value.into_bound(py)
    }
}

fn new_column<T: Item>(py: Python<'_>, rows: usize) -> PyResult<Bound<'_, PyAny>> {
    let made = PyByteArray::new_with(py, rows * size_of::<T>(), |_| Ok(()))?;
    PyMemoryView::from(&made)?.call_method1("cast", (char::from(T::LETTERS[0]),))
}

fn hold(name: &str, value: &Bound<'_, PyAny>) -> PyResult<PyUntypedBuffer> {
    PyUntypedBuffer::get(value).map_err(|error| {
        let kind = value.get_type();
        let why = error.value(value.py());
        let wanted = "it has to have the buffer protocol, with strides";
        PyTypeError::new_err(format!("{name}: {wanted}, not be {kind}: {why}"))
    })
}

fn invalid(name: &str, why: impl Display) -> PyErr {
    InvalidBuffer::new_err(format!("{name}: {why}"))
}

/// The type of the items and their byte order.
fn check_items<T: Item>(name: &str, held: &PyUntypedBuffer, order: Order) -> PyResult<()> {
    let format = held.format();
    if held.item_size() != size_of::<T>() || !is_format::<T>(format, order) {
        let order = match order {
            Order::Host => "host",
            Order::Network => "network",
        };
        let what = if size_of::<T>() == 1 { String::new() } else { format!(" in {order} order") };
        let found = format.to_string_lossy();
        return Err(invalid(
            name,
            format!("its items have to be {}{what}, not {found:?}", T::NAME),
        ));
    }
    let aligned = held.buf_ptr().cast::<T>().is_aligned();
    if aligned || held.len_bytes() == 0 {
        return Ok(());
    }
    Err(invalid(name, format!("its items are not aligned to {} bytes", align_of::<T>())))
}

fn is_format<T: Item>(format: &CStr, order: Order) -> bool {
    let (mark, letter) = match *format.to_bytes() {
        [letter] => (b'@', letter),
        [mark, letter] => (mark, letter),
        _ => return false,
    };
    let host = if cfg!(target_endian = "little") { b'<' } else { b'>' };
    let ordered = match order {
        _ if size_of::<T>() == 1 => b"@=<>!".contains(&mark),
        Order::Host => mark == b'@' || mark == b'=' || mark == host,
        Order::Network => mark == b'>' || mark == b'!',
    };
    ordered && T::LETTERS.contains(&letter)
}

/// How many rows it has.
fn check_shape(name: &str, held: &PyUntypedBuffer, width: usize) -> PyResult<usize> {
    let shape = held.shape();
    let rows = match *shape {
        [rows] if width == 0 => rows,
        [rows, columns] if width == columns => rows,
        _ => {
            let expected = if width == 0 { "(n,)".to_owned() } else { format!("(n, {width})") };
            let why = format!("its shape has to be {expected}, not {}", tuple(shape));
            return Err(invalid(name, why));
        }
    };
    if held.is_c_contiguous() {
        return Ok(rows);
    }
    Err(invalid(name, "it is not C-contiguous"))
}

/// That a column is as long as another one.
pub fn check_rows(name: &str, found: usize, expected: usize) -> PyResult<()> {
    if found == expected {
        return Ok(());
    }
    Err(invalid(name, format!("its shape has to be ({expected},), not ({found},)")))
}

fn tuple(shape: &[usize]) -> String {
    match shape {
        [one] => format!("({one},)"),
        _ => format!("({})", shape.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")),
    }
}
