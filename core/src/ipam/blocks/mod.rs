//! Blocks of addresses for nodes: [`BlockPool`].

mod block;
mod bytes;
mod error;
mod grid;
mod plan;
mod routes;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;

use self::block::{Block, Name};
pub use self::error::BlockError;
use self::grid::Grid;
pub use self::routes::{BlockSnapshot, Route, RouteChange};
use super::bitmap::Bitmap;
use super::space::Interval;
use crate::codec::CodecError;
use crate::prefix::Prefix;

type Result<T, E = BlockError> = std::result::Result<T, E>;

/// A block with the revision that its store gave it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Kept {
    block: Arc<Block>,
    revision: u64,
}

/// Blocks of a prefix, one length for all: which node has which, and who has their addresses.
///
/// A block is one record of a store that compares and swaps (etcd, the Kubernetes API, SQLite). A
/// pool is a view of that store: [`Self::observe`] tells it what the store has. Operations change
/// nothing; they return a [`BlockChange`] of one block, which the store makes if the block still has
/// the revision that the change is of. So whoever comes second learns of it, by however many pools
/// the store is seen, and of claims of one block only one is made. A pool can be a store itself:
/// [`Self::commit`].
///
/// A node takes addresses of its own blocks, then of a new one, which it claims in the same change.
/// When there is none, it takes over a block whose node has left, and at last borrows an address of
/// another node's block. This is as Calico's IPAM does it, but for one thing: that a node has a block
/// is part of the block's record, so that there are not two records which may contradict each other.
#[derive(Debug)]
pub struct BlockPool {
    grid: Grid,
    borrow: bool,
    spread: bool,
    /// Shared with snapshots; the first change while there are any makes a copy.
    blocks: Arc<BTreeMap<u128, Kept>>,
    /// The numbers of all blocks that are there.
    present: Bitmap,
    /// Blocks with a free address.
    open: BTreeSet<u128>,
    /// By node; those of none by the empty name.
    nodes: HashMap<Name, BTreeSet<u128>>,
    /// Where an owner's addresses are: block and place.
    owners: HashMap<Name, BTreeSet<(u128, u128)>>,
    /// The latest revision that there was.
    revision: u64,
}

/// What becomes of one block, if the store still has the revision of it that it had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockChange {
    prefix: Prefix,
    expected: u64,
    block: Option<Arc<Block>>,
    address: Option<IpAddr>,
}

impl BlockChange {
    /// The block.
    pub fn prefix(&self) -> Prefix {
        self.prefix
    }

    /// The revision that the store has to have of it; 0: it must not be there.
    pub fn expected(&self) -> u64 {
        self.expected
    }

    /// What the store is to keep for it then; `None`: nothing any more.
    pub fn record(&self) -> Option<Vec<u8>> {
        self.block.as_ref().map(|block| block.to_bytes())
    }

    /// Whose the block is then.
    pub fn node(&self) -> Option<&Arc<str>> {
        self.block.as_ref()?.node()
    }

    /// The address that it is about, if it is about one.
    pub fn address(&self) -> Option<IpAddr> {
        self.address
    }
}

/// How a pool of blocks is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlockStats {
    /// All blocks, excluded ones too.
    pub blocks: u128,
    /// Blocks that nodes have.
    pub claimed: usize,
    /// Blocks with addresses in use whose nodes have left.
    pub orphaned: usize,
    /// Addresses in use.
    pub leased: usize,
    /// Addresses in use by other nodes than their blocks'.
    pub borrowed: usize,
}

impl BlockPool {
    /// A pool of the blocks of this length, without the addresses of `exclude`.
    ///
    /// With `borrow`, a node may have addresses of others' blocks. With `spread`, nodes that claim at
    /// the same time look for a free block at different places, so that they seldom want the same
    /// one; without, each takes the lowest.
    ///
    /// # Errors
    /// If blocks of that length would not be in the prefix, or be more than 2^127; if an interval is
    /// reversed or of another family.
    pub fn new(
        cidr: Prefix,
        length: u8,
        exclude: &[Interval],
        borrow: bool,
        spread: bool,
    ) -> Result<Self> {
        Ok(Self {
            grid: Grid::new(cidr, length, exclude)?,
            borrow,
            spread,
            blocks: Arc::default(),
            present: Bitmap::default(),
            open: BTreeSet::new(),
            nodes: HashMap::new(),
            owners: HashMap::new(),
            revision: 0,
        })
    }

    /// Makes a change in this pool, as in a store; returns the block's revision, which is greater
    /// than all before.
    ///
    /// # Errors
    /// If the block is not of the revision that the change expects, or a store's revision was the
    /// last that there is.
    pub fn commit(&mut self, change: &BlockChange) -> Result<u64> {
        let number = self.grid.block(change.prefix)?;
        let found = self.blocks.get(&number).map_or(0, |kept| kept.revision);
        if found != change.expected {
            let (prefix, expected) = (change.prefix, change.expected);
            return Err(BlockError::Conflict { prefix, expected, found });
        }
        let revision = self.revision.checked_add(1).ok_or(BlockError::NoRevision)?;
        self.put(number, change.block.clone(), revision);
        Ok(revision)
    }

    /// Learns what the store has for a block: a record and its revision, or nothing. Tells whether it
    /// is news; a revision older than what is known is none.
    ///
    /// # Errors
    /// If the prefix is no block, or the record none of a block.
    pub fn observe(&mut self, prefix: Prefix, found: Option<(&[u8], u64)>) -> Result<bool> {
        let number = self.grid.block(prefix)?;
        let known = self.blocks.get(&number).map(|kept| kept.revision);
        let Some((record, revision)) = found else {
            self.put(number, None, 0);
            return Ok(known.is_some());
        };
        if revision == 0 {
            return Err(CodecError::malformed("revision 0 is of what is not there").into());
        }
        let block = Block::from_bytes(record, self.grid.last_offset())?;
        let news = known.is_none_or(|known| known < revision);
        if news {
            self.put(number, Some(Arc::new(block)), revision);
        }
        Ok(news)
    }

    /// The blocks of a node, the lowest first.
    pub fn blocks_of(&self, node: &str) -> Vec<Prefix> {
        let own = self.nodes.get(node).filter(|_| !node.is_empty());
        own.into_iter().flatten().map(|number| self.grid.prefix(*number)).collect()
    }

    /// Whose a block is.
    pub fn node_of(&self, prefix: Prefix) -> Option<&Arc<str>> {
        self.blocks.get(&self.grid.block(prefix).ok()?)?.block.node()
    }

    /// Who has an address: node and owner.
    pub fn holder_of(&self, address: IpAddr) -> Option<(&Arc<str>, &Arc<str>)> {
        let (number, offset) = self.grid.find(address).ok()?;
        let holder = self.blocks.get(&number)?.block.leases().get(&offset)?;
        Some((&holder.node, &holder.owner))
    }

    /// The addresses of an owner, the lowest first.
    pub fn addresses_of(&self, owner: &str) -> Vec<IpAddr> {
        let held = self.owners.get(owner).into_iter().flatten();
        held.map(|(number, offset)| self.grid.address(*number, *offset)).collect()
    }

    /// The blocks that are claimed, or have addresses in use, and how many these are.
    pub fn blocks(&self) -> impl Iterator<Item = (Prefix, Option<&Arc<str>>, usize)> {
        self.blocks.iter().map(|(number, Kept { block, .. })| {
            (self.grid.prefix(*number), block.node(), block.leases().len())
        })
    }

    /// Whether a prefix is a block that is claimed, or has addresses in use.
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.grid.block(prefix).is_ok_and(|number| self.blocks.contains_key(&number))
    }

    /// How many blocks are claimed, or have addresses in use.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether nobody has anything.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The prefix that the blocks are of.
    pub fn cidr(&self) -> Prefix {
        self.grid.cidr()
    }

    /// The length of the blocks.
    pub fn block_length(&self) -> u8 {
        self.grid.length()
    }

    /// The numbers of blocks and addresses, by what they are.
    pub fn stats(&self) -> BlockStats {
        let blocks = || self.blocks.values().map(|kept| &kept.block);
        let claimed = blocks().filter(|block| block.node().is_some()).count();
        BlockStats {
            blocks: self.grid.blocks(),
            claimed,
            orphaned: self.blocks.len() - claimed,
            leased: blocks().map(|block| block.leases().len()).sum(),
            borrowed: blocks().map(|block| block.borrowed().count()).sum(),
        }
    }

    /// Has a block be this one. The only writer of these tables, so they stay in step.
    fn put(&mut self, number: u128, block: Option<Arc<Block>>, revision: u64) {
        let blocks = Arc::make_mut(&mut self.blocks);
        if let Some(Kept { block, .. }) = blocks.remove(&number) {
            forget(&mut self.nodes, block.node(), &number);
            for (offset, holder) in block.leases() {
                forget(&mut self.owners, Some(&holder.owner), &(number, *offset));
            }
            self.present.remove(number);
            self.open.remove(&number);
        }
        self.revision = self.revision.max(revision);
        let Some(block) = block else {
            return;
        };
        let node = block.node().cloned().unwrap_or_default();
        self.nodes.entry(node).or_default().insert(number);
        for (offset, holder) in block.leases() {
            self.owners.entry(Arc::clone(&holder.owner)).or_default().insert((number, *offset));
        }
        self.present.insert(number);
        if block.next_free(&self.grid, number).is_some() {
            self.open.insert(number);
        }
        blocks.insert(number, Kept { block, revision });
    }
}

/// Takes an item out of the set of a name, and the set out of the index if it is empty then.
fn forget<T: Ord>(index: &mut HashMap<Name, BTreeSet<T>>, name: Option<&Name>, item: &T) {
    if let EntryRef::Occupied(mut entry) = index.entry_ref(name.map_or("", |name| name)) {
        entry.get_mut().remove(item);
        if entry.get().is_empty() {
            entry.remove();
        }
    }
}
