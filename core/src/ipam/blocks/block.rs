//! One block: whose it is, and who has its addresses.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::bitmap::Bitmap;
use super::super::bytes::Wide;
use super::grid::Grid;
use crate::codec::{self, CodecError};

const KIND: &str = "address-block";
const VERSION: u32 = 1;

/// A name that many things share.
pub(super) type Name = Arc<str>;

/// Who has an address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    pub node: Name,
    pub owner: Name,
}

/// A block that is claimed, or has addresses in use.
#[derive(Debug, Clone, Default)]
pub(super) struct Block {
    /// Whose it is; nobody's when its node has left and addresses are still in use.
    node: Option<Name>,
    /// By their places in the block.
    leases: BTreeMap<u128, Holder>,
    taken: Bitmap,
    /// Where the search for a free address goes on.
    cursor: u128,
}

/// A block as a store keeps it: its node or nothing, where the search for a free address goes on,
/// and place, node and owner of each address in use.
#[derive(Serialize, Deserialize)]
struct Record<S>(S, Wide, Vec<(Wide, S, S)>);

impl Block {
    pub fn of(node: &str) -> Self {
        Self { node: Some(node.into()), ..Self::default() }
    }

    pub fn node(&self) -> Option<&Name> {
        self.node.as_ref()
    }

    pub fn set_node(&mut self, node: Option<Name>) {
        self.node = node;
    }

    pub fn leases(&self) -> &BTreeMap<u128, Holder> {
        &self.leases
    }

    /// Addresses in use by others than the block's node.
    pub fn borrowed(&self) -> impl Iterator<Item = (u128, &Holder)> {
        let leases = self.leases.iter().map(|(offset, holder)| (*offset, holder));
        leases.filter(|(_, holder)| Some(&holder.node) != self.node.as_ref())
    }

    /// The next free place from the cursor round to it.
    pub fn next_free(&self, grid: &Grid, own: u128) -> Option<u128> {
        self.free_from(grid, own, self.cursor).or_else(|| self.free_from(grid, own, 0))
    }

    fn free_from(&self, grid: &Grid, own: u128, from: u128) -> Option<u128> {
        let mut at = from;
        loop {
            let free = self.taken.next_absent(at)?;
            if free > grid.last_offset() {
                return None;
            }
            match grid.next_allowed(own, free)? {
                allowed if allowed == free => return Some(free),
                behind => at = behind,
            }
        }
    }

    pub fn take(&mut self, offset: u128, holder: Holder) {
        self.taken.insert(offset);
        self.leases.insert(offset, holder);
    }

    /// The same, and the search goes on behind it.
    pub fn take_next(&mut self, grid: &Grid, offset: u128, holder: Holder) {
        self.take(offset, holder);
        self.cursor = if offset == grid.last_offset() { 0 } else { offset + 1 };
    }

    pub fn give_back(&mut self, offset: u128) {
        self.taken.remove(offset);
        self.leases.remove(&offset);
    }

    /// The block as a store keeps it.
    pub fn to_bytes(&self) -> Vec<u8> {
        let leases = self.leases.iter();
        let leases =
            leases.map(|(offset, Holder { node, owner })| (Wide(*offset), &**node, &**owner));
        let node = self.node.as_deref().unwrap_or_default();
        codec::to_bytes(KIND, VERSION, &Record(node, Wide(self.cursor), leases.collect()))
    }

    /// The block of these bytes, of which [`Self::to_bytes`] makes the same again.
    ///
    /// # Errors
    /// If they are not what [`Self::to_bytes`] makes, or say what cannot be.
    pub fn from_bytes(bytes: &[u8], last: u128) -> Result<Self, CodecError> {
        let Record::<String>(node, Wide(cursor), leases) = codec::from_bytes(KIND, VERSION, bytes)?;
        let mut block = Self { cursor, ..Self::default() };
        block.node = (!node.is_empty()).then(|| node.into());
        if !leases.is_sorted_by_key(|(Wide(offset), ..)| *offset) {
            return Err(CodecError::malformed("addresses out of order"));
        }
        for (Wide(offset), node, owner) in leases {
            if offset > last || node.is_empty() || block.leases.contains_key(&offset) {
                return Err(CodecError::malformed(format!("address {offset} of the block")));
            }
            block.take(offset, Holder { node: node.into(), owner: owner.into() });
        }
        if cursor > last || block.is_nothing() {
            return Err(CodecError::malformed("a block that nobody has, or has no such address"));
        }
        Ok(block)
    }

    /// Whether nobody has it or anything in it: then it need not be there.
    pub fn is_nothing(&self) -> bool {
        self.node.is_none() && self.leases.is_empty()
    }
}

impl PartialEq for Block {
    fn eq(&self, other: &Self) -> bool {
        (&self.node, &self.leases, self.cursor) == (&other.node, &other.leases, other.cursor)
    }
}

impl Eq for Block {}
