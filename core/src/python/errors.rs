//! Errors of the core as the exceptions of `cnidaria_core.errors`.

use std::io::ErrorKind;
use std::path::Path;

use nix::errno::Errno;
use pyo3::exceptions::PyValueError;
use pyo3::import_exception;
use pyo3::prelude::*;

use crate::codec::CodecError;
use crate::ipam::{self, BlockError, Error};
use crate::policy;
use crate::prefix::PrefixError;
use crate::routes;

import_exception!(cnidaria_core.errors, AddressOfOtherNode);
import_exception!(cnidaria_core.errors, AddressOutOfRange);
import_exception!(cnidaria_core.errors, AddressReserved);
import_exception!(cnidaria_core.errors, AddressTaken);
import_exception!(cnidaria_core.errors, HistoryLost);
import_exception!(cnidaria_core.errors, BlockConflict);
import_exception!(cnidaria_core.errors, BlocksExhausted);
import_exception!(cnidaria_core.errors, InvalidAddress);
import_exception!(cnidaria_core.errors, InvalidBuffer);
import_exception!(cnidaria_core.errors, InvalidObject);
import_exception!(cnidaria_core.errors, InvalidPool);
import_exception!(cnidaria_core.errors, InvalidPrefix);
import_exception!(cnidaria_core.errors, InvalidValue);
import_exception!(cnidaria_core.errors, JournalError);
import_exception!(cnidaria_core.errors, MalformedBytes);
import_exception!(cnidaria_core.errors, NoCommonFamily);
import_exception!(cnidaria_core.errors, PoolExhausted);
import_exception!(cnidaria_core.errors, UnknownPod);

impl From<PrefixError> for PyErr {
    fn from(error: PrefixError) -> Self {
        InvalidPrefix::new_err(error.to_string())
    }
}

impl From<CodecError> for PyErr {
    fn from(error: CodecError) -> Self {
        MalformedBytes::new_err(error.to_string())
    }
}

impl From<Error> for PyErr {
    fn from(error: Error) -> Self {
        match error {
            Error::NoRange
            | Error::Reversed(_)
            | Error::MixedFamilies(_)
            | Error::Overlap(..)
            | Error::TooLarge => InvalidPool::new_err(error.to_string()),
            Error::Exhausted { taken, cooling, reserved, capacity } => {
                PoolExhausted::new_err((taken, cooling, reserved, capacity))
            }
            Error::Taken(address, owner) => {
                AddressTaken::new_err((address.to_string(), owner.to_string()))
            }
            Error::OutOfRange(address) => AddressOutOfRange::new_err(address.to_string()),
            Error::Reserved(address) => AddressReserved::new_err(address.to_string()),
        }
    }
}

impl From<routes::Error> for PyErr {
    fn from(error: routes::Error) -> Self {
        match error {
            routes::Error::Value => InvalidValue::new_err(error.to_string()),
        }
    }
}

impl From<policy::Error> for PyErr {
    fn from(error: policy::Error) -> Self {
        match error {
            policy::Error::Invalid(invalid) => invalid_object(*invalid),
            policy::Error::UnknownPod(key) => UnknownPod::new_err(key),
            policy::Error::NoCommonFamily(src, dst) => NoCommonFamily::new_err((src, dst)),
            policy::Error::HistoryLost { since, oldest, version } => {
                HistoryLost::new_err((since, oldest, version))
            }
        }
    }
}

/// The field that has to be something else.
pub fn invalid_object(invalid: policy::Invalid) -> PyErr {
    let policy::Invalid { kind, namespace, name, path, value, allowed } = invalid;
    InvalidObject::new_err(((kind, namespace, name), path, value, allowed))
}

/// An error of the journal in this file.
pub fn of_journal(error: ipam::JournalError, path: &Path) -> PyErr {
    match error {
        ipam::JournalError::Pool(error) => error.into(),
        ipam::JournalError::Malformed(error) => {
            MalformedBytes::new_err(format!("{}: {error}", path.display()))
        }
        ipam::JournalError::OtherPool => {
            InvalidPool::new_err(format!("{}: {error}", path.display()))
        }
        ipam::JournalError::Io(error) => {
            let errno = match error.kind() {
                ErrorKind::AlreadyExists => Errno::EEXIST,
                ErrorKind::InvalidInput => Errno::EINVAL,
                _ => error.raw_os_error().map_or(Errno::EIO, Errno::from_raw),
            };
            JournalError::new_err((errno as i32, errno.desc(), path.to_owned()))
        }
    }
}

/// An error of a pool of blocks.
pub fn of_blocks(error: BlockError) -> PyErr {
    match error {
        BlockError::Length { .. } => InvalidPool::new_err(error.to_string()),
        BlockError::NoBlock { .. } => InvalidPrefix::new_err(error.to_string()),
        BlockError::NoName | BlockError::NoRevision => PyValueError::new_err(error.to_string()),
        BlockError::Exhausted { claimed, blocks } => BlocksExhausted::new_err((claimed, blocks)),
        BlockError::OfOther(address, node) => {
            AddressOfOtherNode::new_err((address.to_string(), node.to_string()))
        }
        BlockError::Conflict { prefix, expected, found } => {
            BlockConflict::new_err((prefix.to_string(), expected, found))
        }
        BlockError::Address(error) => error.into(),
        BlockError::Malformed(error) => error.into(),
    }
}
