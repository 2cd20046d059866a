//! What can be wrong with blocks.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::error::Error;
use crate::codec::CodecError;
use crate::prefix::Prefix;

/// Why a pool of blocks does not do what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum BlockError {
    /// The pool cannot have blocks of this length.
    Length {
        /// The length.
        length: u8,
        /// The pool.
        cidr: Prefix,
        /// From and to which length it can.
        allowed: (u8, u8),
    },
    /// A prefix is no block of the pool.
    NoBlock {
        /// The prefix.
        prefix: Prefix,
        /// The length of the pool's blocks.
        length: u8,
        /// The pool.
        cidr: Prefix,
    },
    /// A node has to have a name.
    NoName,
    /// No block is free, and no address to borrow.
    Exhausted {
        /// Blocks that are claimed, or have addresses in use.
        claimed: u128,
        /// All blocks, excluded ones too.
        blocks: u128,
    },
    /// An address is in a block of another node, and borrowing is not allowed.
    OfOther(IpAddr, Arc<str>),
    /// The block is not what it was any more.
    Conflict {
        /// The block.
        prefix: Prefix,
        /// The revision that the change is of.
        expected: u64,
        /// The revision that there is; 0 if the block is not there.
        found: u64,
    },
    /// There is no revision after the last one that the store had.
    NoRevision,
    /// Something is wrong with an address or an interval.
    Address(Error),
    /// A record is none of a block.
    Malformed(CodecError),
}

impl fmt::Display for BlockError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { length, cidr, allowed: (least, most) } => {
                write!(f, "block length {length}: must be between {least} and {most} for {cidr}")
            }
            Self::NoBlock { prefix, length, cidr } => {
                write!(f, "{prefix} is no block: blocks are of length {length} in {cidr}")
            }
            Self::NoName => write!(f, "node: a name is needed"),
            Self::Exhausted { claimed, blocks } => {
                write!(f, "no block is free: {claimed} of {blocks} are claimed")
            }
            Self::OfOther(address, node) => write!(f, "{address} is in a block of node {node}"),
            Self::Conflict { prefix, expected, found } => {
                write!(f, "{prefix} has revision {found}, not {expected}: it was changed meanwhile")
            }
            Self::NoRevision => write!(f, "revision {}: there is none after it", u64::MAX),
            Self::Address(error) => write!(f, "{error}"),
            Self::Malformed(error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for BlockError {}

impl From<CodecError> for BlockError {
    fn from(error: CodecError) -> Self {
        Self::Malformed(error)
    }
}

impl From<Error> for BlockError {
    fn from(error: Error) -> Self {
        Self::Address(error)
    }
}
