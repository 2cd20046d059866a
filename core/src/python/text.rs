//! Addresses as text for Python.

use std::convert::Infallible;
use std::io::Write;
use std::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::PyString;

use crate::prefix::Prefix;

/// An address that Python gets as its canonical text (RFC 5952 for IPv6).
#[derive(Clone, Copy)]
pub struct Text(pub IpAddr);

/// A prefix that Python gets as `address/length`.
#[derive(Clone, Copy)]
pub struct PrefixText(pub Prefix);

const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128".len();

impl<'py> IntoPyObject<'py> for PrefixText {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Infallible> {
        let mut buffer = [0; LONGEST];
        let mut end = written(self.0.address(), &mut buffer).len();
        buffer[end] = b'/';
        end += 1;
        end += decimal(self.0.length(), &mut buffer[end..]);
        Ok(PyString::new(py, std::str::from_utf8(&buffer[..end]).expect("as the address is")))
    }
}

impl<'py> IntoPyObject<'py> for Text {
    type Target = PyString;
    type Output = Bound<'py, PyString>;
    type Error = Infallible;

    fn into_pyobject(self, py: Python<'py>) -> Result<Self::Output, Infallible> {
        Ok(PyString::new(py, written(self.0, &mut [0; LONGEST])))
    }
}

/// Canonical text.
pub fn text(address: IpAddr) -> String {
    written(address, &mut [0; LONGEST]).to_owned()
}

fn written(address: IpAddr, buffer: &mut [u8; LONGEST]) -> &str {
    let length = match address {
        // By hand: the general formatter takes as long as an allocation does.
        IpAddr::V4(v4) => dotted(v4.octets(), buffer),
        IpAddr::V6(v6) => {
            let mut rest = &mut buffer[..];
            write!(rest, "{v6}").expect("the longest address fits");
            LONGEST - rest.len()
        }
    };
    std::str::from_utf8(&buffer[..length]).expect("digits and signs are ASCII")
}

/// Writes four octets in decimal with dots; returns how long that is.
fn dotted(octets: [u8; 4], buffer: &mut [u8; LONGEST]) -> usize {
    let mut at = 0;
    for (place, octet) in octets.into_iter().enumerate() {
        if place > 0 {
            buffer[at] = b'.';
            at += 1;
        }
        at += decimal(octet, &mut buffer[at..]);
    }
    at
}

/// Writes a number; returns how long that is.
fn decimal(number: u8, buffer: &mut [u8]) -> usize {
    let mut at = 0;
    let mut put = |digit| {
        buffer[at] = b'0' + digit;
        at += 1;
    };
    if number >= 100 {
        put(number / 100);
    }
    if number >= 10 {
        put(number / 10 % 10);
    }
    put(number % 10);
    at
}
