//! Addresses and prefixes as Python has them.

#![allow(dead_code)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::sync::PyOnceLock;
use pyo3::types::{PyBytes, PyInt, PyString, PyTuple, PyType};

use super::errors::InvalidAddress;
use crate::address;
use crate::prefix::Prefix;

const KINDS: &str = "str, int with family, bytes (4 or 16), or an object of ipaddress";

/// The address of a `str`, of an `int` with its family (4 or 6), of 4 or 16 `bytes` in network
/// order, or of an `ipaddress` object.
pub fn address(value: &Bound<'_, PyAny>, family: Option<u8>) -> PyResult<IpAddr> {
    let found = if let Ok(text) = value.cast::<PyString>() {
        from_text(text.to_str()?)?
    } else if let Ok(number) = value.cast::<PyInt>() {
        return from_int(number, family);
    } else if let Ok(bytes) = value.cast::<PyBytes>() {
        from_packed(bytes.as_bytes())?
    } else if is_of_ipaddress(value, &V4, "IPv4Address")? {
        Ipv4Addr::from_bits(value.call_method0("__int__")?.extract()?).into()
    } else if is_of_ipaddress(value, &V6, "IPv6Address")? {
        from_object6(value)?
    } else {
        let kind = value.get_type().name()?;
        return Err(PyTypeError::new_err(format!("an address has to be {KINDS}, not {kind}")));
    };
    match family {
        None => Ok(found),
        Some(4) if found.is_ipv4() => Ok(found),
        Some(6) if found.is_ipv6() => Ok(found),
        Some(family @ (4 | 6)) => {
            Err(PyValueError::new_err(format!("{found} is no address of family {family}")))
        }
        Some(family) => Err(wrong_family(family)),
    }
}

/// The address of a text: IPv4 in four decimal parts, IPv6 as of RFC 4291 section 2.2.
pub fn from_text(text: &str) -> PyResult<IpAddr> {
    address::parse(text).ok_or_else(|| InvalidAddress::new_err(text.to_owned()))
}

/// The prefix of a `str`, of a tuple (address, length), or of an `ipaddress` network.
pub fn prefix(value: &Bound<'_, PyAny>) -> PyResult<Prefix> {
    if let Ok(text) = value.cast::<PyString>() {
        return Ok(text.to_str()?.parse()?);
    }
    if value.is_instance_of::<PyTuple>() {
        let (base, length): (Bound<'_, PyAny>, Bound<'_, PyAny>) = value.extract()?;
        return of_length(address(&base, None)?, &length);
    }
    if is_of_ipaddress(value, &NETWORK4, "IPv4Network")?
        || is_of_ipaddress(value, &NETWORK6, "IPv6Network")?
    {
        let base = address(&value.getattr("network_address")?, None)?;
        return of_length(base, &value.getattr("prefixlen")?);
    }
    let kind = value.get_type().name()?;
    Err(PyTypeError::new_err(format!(
        "a prefix has to be str, a tuple (address, length), or a network of ipaddress, not {kind}"
    )))
}

fn of_length(base: IpAddr, length: &Bound<'_, PyAny>) -> PyResult<Prefix> {
    // A number that no u8 holds is as wrong as 200: the same error for both.
    let length = length.cast::<PyInt>()?.extract().unwrap_or(u8::MAX);
    Ok(Prefix::new(base, length)?)
}

fn from_packed(bytes: &[u8]) -> PyResult<IpAddr> {
    if let Ok(four) = <[u8; 4]>::try_from(bytes) {
        return Ok(four.into());
    }
    let sixteen = <[u8; 16]>::try_from(bytes).map_err(|_| {
        PyValueError::new_err(format!("an address has 4 or 16 bytes, not {}", bytes.len()))
    })?;
    Ok(sixteen.into())
}

fn from_int(number: &Bound<'_, PyInt>, family: Option<u8>) -> PyResult<IpAddr> {
    let found = match family {
        Some(4) => number.extract().ok().map(|bits| Ipv4Addr::from_bits(bits).into()),
        Some(6) => number.extract().ok().map(|bits| Ipv6Addr::from_bits(bits).into()),
        Some(family) => return Err(wrong_family(family)),
        None => return Err(PyTypeError::new_err("an address that is an int needs its family")),
    };
    found.ok_or_else(|| InvalidAddress::new_err(number.to_string()))
}

fn from_object6(value: &Bound<'_, PyAny>) -> PyResult<IpAddr> {
    if !value.getattr("scope_id")?.is_none() {
        return Err(InvalidAddress::new_err(value.to_string()));
    }
    from_packed(value.getattr("packed")?.cast::<PyBytes>()?.as_bytes())
}

fn wrong_family(family: u8) -> PyErr {
    PyValueError::new_err(format!("family: {family} is neither 4 nor 6"))
}

static V4: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static V6: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static NETWORK4: PyOnceLock<Py<PyType>> = PyOnceLock::new();
static NETWORK6: PyOnceLock<Py<PyType>> = PyOnceLock::new();

fn is_of_ipaddress(
    value: &Bound<'_, PyAny>,
    class: &PyOnceLock<Py<PyType>>,
    name: &str,
) -> PyResult<bool> {
    value.is_instance(class.import(value.py(), "ipaddress", name)?)
}
