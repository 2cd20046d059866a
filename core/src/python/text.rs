//! Addresses as text for Python.

use std::convert::Infallible;
use std::io::Write;
use std::net::IpAddr;

use pyo3::prelude::*;
use pyo3::types::PyString;

/// An address that Python gets as its canonical text (RFC 5952 for IPv6).
#[derive(Clone, Copy)]
pub struct Text(pub IpAddr);

const LONGEST: usize = "ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255".len();

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
    let mut put = |byte| {
        buffer[at] = byte;
        at += 1;
    };
    for (place, octet) in octets.into_iter().enumerate() {
        if place > 0 {
            put(b'.');
        }
        if octet >= 100 {
            put(b'0' + octet / 100);
        }
        if octet >= 10 {
            put(b'0' + octet / 10 % 10);
        }
        put(b'0' + octet % 10);
    }
    at
}
