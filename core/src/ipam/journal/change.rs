//! What happens to a pool, in a form that makes it happen again.

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::super::bytes::Packed;
use super::super::pool::AddressPool;
use crate::codec::CodecError;

/// One change of a pool: what came of an operation, not how it came about.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Row<'_>", try_from = "Row<'_>")]
pub(super) enum Change<'a> {
    /// An address got an owner; with `next` as the next unused one, behind which the search for
    /// others goes on.
    Taken { address: IpAddr, owner: Cow<'a, str>, next: bool },
    /// An address lost its owner, at a time in nanoseconds.
    Released { address: IpAddr, at: u64, used: bool },
    /// A free address was reserved.
    Reserved(IpAddr),
    /// A reservation ended.
    Unreserved(IpAddr),
}

/// A change as it is written: kind, address, owner or nothing, time or 0.
#[derive(Serialize, Deserialize)]
struct Row<'a>(u8, Packed, Cow<'a, str>, u64);

const TAKEN: u8 = 0;
const TAKEN_NEXT: u8 = 1;
const RELEASED: u8 = 2;
const RELEASED_UNUSED: u8 = 3;
const RESERVED: u8 = 4;
const UNRESERVED: u8 = 5;

impl<'a> From<Change<'a>> for Row<'a> {
    fn from(change: Change<'a>) -> Self {
        let nobody = Cow::Borrowed("");
        match change {
            Change::Taken { address, owner, next } => {
                Row(if next { TAKEN_NEXT } else { TAKEN }, Packed(address), owner, 0)
            }
            Change::Released { address, at, used } => {
                Row(if used { RELEASED } else { RELEASED_UNUSED }, Packed(address), nobody, at)
            }
            Change::Reserved(address) => Row(RESERVED, Packed(address), nobody, 0),
            Change::Unreserved(address) => Row(UNRESERVED, Packed(address), nobody, 0),
        }
    }
}

impl<'a> TryFrom<Row<'a>> for Change<'a> {
    type Error = String;

    fn try_from(Row(kind, Packed(address), owner, at): Row<'a>) -> Result<Self, String> {
        match kind {
            TAKEN | TAKEN_NEXT => Ok(Self::Taken { address, owner, next: kind == TAKEN_NEXT }),
            RELEASED | RELEASED_UNUSED => {
                Ok(Self::Released { address, at, used: kind == RELEASED })
            }
            RESERVED => Ok(Self::Reserved(address)),
            UNRESERVED => Ok(Self::Unreserved(address)),
            _ => Err(format!("{kind} is no kind of change")),
        }
    }
}

impl Change<'_> {
    /// Makes it happen to a pool that is as the one was to which it happened.
    ///
    /// # Errors
    /// If it cannot happen to this pool.
    pub fn apply(&self, pool: &mut AddressPool) -> Result<(), CodecError> {
        match self {
            Self::Taken { address, owner, next } => {
                pool.allocate_address(owner, *address, true).map_err(CodecError::malformed)?;
                if *next {
                    pool.go_on_behind(*address);
                }
            }
            Self::Released { address, at, used } => {
                let before = pool.release(*address, Duration::from_nanos(*at), *used);
                before.ok_or_else(|| CodecError::malformed(format!("{address} has no owner")))?;
            }
            Self::Reserved(address) => {
                if !pool.reserve(*address).map_err(CodecError::malformed)? {
                    return Err(CodecError::malformed(format!("{address} is reserved already")));
                }
            }
            Self::Unreserved(address) => {
                if !pool.unreserve(*address) {
                    return Err(CodecError::malformed(format!("{address} is not reserved")));
                }
            }
        }
        Ok(())
    }
}
