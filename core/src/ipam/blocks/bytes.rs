//! A pool of blocks as bytes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_bytes::ByteBuf;

use super::super::bytes::{Packed, Wide, pack, unpack};
use super::block::Block;
use super::{BlockPool, BlockSnapshot, Kept};
use crate::codec::{self, CodecError};
use crate::prefix::Prefix;

const KIND: &str = "block-pool";
const VERSION: u32 = 1;

#[derive(Serialize, Deserialize)]
struct Body {
    cidr: (Packed, u8),
    length: u8,
    excluded: Vec<(Packed, Packed)>,
    borrow: bool,
    spread: bool,
    revision: u64,
    /// Number, revision and record of each, in order.
    blocks: Vec<(Wide, u64, ByteBuf)>,
}

impl BlockSnapshot {
    /// See [`BlockPool::to_bytes`].
    pub fn to_bytes(&self) -> Vec<u8> {
        let Self { grid, borrow, spread, blocks, revision } = self;
        let record = |(number, Kept { block, revision }): (&u128, &Kept)| {
            (Wide(*number), *revision, ByteBuf::from(block.to_bytes()))
        };
        let body = Body {
            cidr: (Packed(grid.cidr().address()), grid.cidr().length()),
            length: grid.length(),
            excluded: pack(grid.excluded()),
            borrow: *borrow,
            spread: *spread,
            revision: *revision,
            blocks: blocks.iter().map(record).collect(),
        };
        codec::to_bytes(KIND, VERSION, &body)
    }
}

impl BlockPool {
    /// The pool as bytes; equal pools have equal ones.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.snapshot().to_bytes()
    }

    /// The pool of these bytes.
    ///
    /// # Errors
    /// If the bytes are not what [`Self::to_bytes`] makes, or say what cannot be.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, CodecError> {
        let body: Body = codec::from_bytes(KIND, VERSION, bytes)?;
        let cidr = Prefix::new(body.cidr.0.0, body.cidr.1).map_err(CodecError::malformed)?;
        let excluded = unpack(&body.excluded);
        let mut pool = Self::new(cidr, body.length, &excluded, body.borrow, body.spread)
            .map_err(CodecError::malformed)?;
        for (Wide(number), revision, record) in &body.blocks {
            let ordered = pool.blocks.last_key_value().is_none_or(|(last, _)| last < number);
            let exists = *number < pool.grid.blocks();
            if !ordered || !exists || !(1..=body.revision).contains(revision) {
                return Err(CodecError::malformed(format!(
                    "block {number} of revision {revision}"
                )));
            }
            let block = Block::from_bytes(record, pool.grid.last_offset())?;
            pool.put(*number, Some(Arc::new(block)), *revision);
        }
        pool.revision = body.revision;
        Ok(pool)
    }
}

impl PartialEq for BlockPool {
    fn eq(&self, other: &Self) -> bool {
        let own = (&self.grid, self.borrow, self.spread, self.revision, &self.blocks);
        own == (&other.grid, other.borrow, other.spread, other.revision, &other.blocks)
    }
}

impl Eq for BlockPool {}
