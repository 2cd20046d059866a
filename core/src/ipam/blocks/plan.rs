//! What nodes want, as changes of blocks. Nothing here changes anything.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::sync::Arc;

use super::super::error::Error;
use super::super::space::Interval;
use super::block::{Block, Holder};
use super::grid::spans;
use super::{BlockChange, BlockError, BlockPool, Result};

impl BlockPool {
    /// A new block for a node, which has no address of `avoid`; in that, other families do not count.
    ///
    /// # Errors
    /// If no block is free, if the node has no name, if an interval of `avoid` is wrong.
    pub fn claim(&self, node: &str, avoid: &[Interval]) -> Result<BlockChange> {
        check(node)?;
        let v6 = self.grid.cidr().address().is_ipv6();
        let avoid = avoid.iter().filter(|interval| interval.first.is_ipv6() == v6);
        let avoid = spans(avoid, v6)?;
        let number = self.next_block(node, |number| {
            self.grid.behind_avoided(number, &avoid).or_else(|| self.grid.behind_excluded(number))
        });
        let number = number.ok_or_else(|| self.exhausted())?;
        Ok(self.change(number, Block::of(node), None))
    }

    /// An address for an owner on a node: of one of the node's blocks; else of a new one, if the node
    /// has fewer than `most`; else of one that no node has; else, with borrowing, of another node's.
    ///
    /// # Errors
    /// If none of that is to be had, if the node has no name.
    pub fn allocate(&self, node: &str, owner: &str, most: usize) -> Result<BlockChange> {
        check(node)?;
        let own = self.nodes.get(node);
        let of = |name: &str| {
            let mut blocks = self.nodes.get(name).into_iter().flatten();
            blocks.find(|number| self.open.contains(number)).copied()
        };
        if let Some(number) = of(node) {
            return Ok(self.next_of(number, self.copy(number), node, owner));
        }
        if own.map_or(0, BTreeSet::len) < most {
            let free = self.next_block(node, |number| self.grid.behind_excluded(number));
            if let Some(number) = free {
                return Ok(self.next_of(number, Block::of(node), node, owner));
            }
            if let Some(number) = of("") {
                let mut block = self.copy(number);
                block.set_node(Some(node.into()));
                return Ok(self.next_of(number, block, node, owner));
            }
        }
        let number = self.borrowable(node).ok_or_else(|| self.exhausted())?;
        Ok(self.next_of(number, self.copy(number), node, owner))
    }

    /// This very address for an owner on a node. A block that is not there is claimed for the node.
    ///
    /// # Errors
    /// If somebody has the address, if it is not one of the pool's, if it is in another node's block
    /// and there is no borrowing, if the node has no name.
    pub fn allocate_address(
        &self,
        node: &str,
        owner: &str,
        address: IpAddr,
    ) -> Result<BlockChange> {
        check(node)?;
        let (number, offset) = self.grid.find(address)?;
        if self.grid.is_excluded(address) {
            return Err(Error::Reserved(address).into());
        }
        let mut block = match self.blocks.get(&number) {
            None => Block::of(node),
            Some(kept) => Block::clone(&kept.block),
        };
        if let Some(holder) = block.leases().get(&offset) {
            return Err(Error::Taken(address, (&*holder.owner).into()).into());
        }
        match block.node() {
            None => block.set_node(Some(node.into())),
            Some(other) if **other != *node && !self.borrow => {
                return Err(BlockError::OfOther(address, Arc::clone(other)));
            }
            Some(_) => {}
        }
        block.take(offset, Holder { node: node.into(), owner: owner.into() });
        Ok(self.change(number, block, Some(address)))
    }

    /// An address given back; `None` if nobody has it. A block that no node has goes with its last
    /// address.
    pub fn release(&self, address: IpAddr) -> Option<BlockChange> {
        let (number, offset) = self.grid.find(address).ok()?;
        let kept = self.blocks.get(&number)?;
        kept.block.leases().get(&offset)?;
        let mut block = Block::clone(&kept.block);
        block.give_back(offset);
        Some(self.change(number, block, Some(address)))
    }

    /// All addresses of an owner given back: a change for each block that they are in.
    pub fn release_owner(&self, owner: &str) -> Vec<BlockChange> {
        let mut blocks: BTreeMap<u128, Block> = BTreeMap::new();
        for (number, offset) in self.owners.get(owner).into_iter().flatten() {
            let block = blocks.entry(*number).or_insert_with(|| self.copy(*number));
            block.give_back(*offset);
        }
        blocks.into_iter().map(|(number, block)| self.change(number, block, None)).collect()
    }

    /// Blocks of a node given back in which no address is in use, but for the first `keep` of these.
    pub fn return_empty(&self, node: &str, keep: usize) -> Vec<BlockChange> {
        let own = self.nodes.get(node).filter(|_| !node.is_empty()).into_iter().flatten();
        let empty = own.filter(|number| self.blocks[number].block.leases().is_empty());
        empty.skip(keep).map(|number| self.change(*number, Block::default(), None)).collect()
    }

    /// Everything given back that a node has: its addresses, wherever they are, and its blocks. Those
    /// in which others have addresses are no node's then.
    pub fn leave(&self, node: &str) -> Vec<BlockChange> {
        let changed = self.blocks.iter().filter_map(|(number, kept)| {
            let block = left(&kept.block, node)?;
            Some(self.change(*number, block, None))
        });
        changed.collect()
    }

    /// A free block for a node, from where this node's search begins round to there; `behind` tells
    /// how to go on behind one that is out of question.
    fn next_block(&self, node: &str, behind: impl Fn(u128) -> Option<u128>) -> Option<u128> {
        let start = self.start(node);
        let search = |from: u128, end: u128| {
            let mut at = from;
            loop {
                let free = self.present.next_absent(at).filter(|free| *free < end)?;
                match behind(free) {
                    None => return Some(free),
                    Some(next) => at = next,
                }
            }
        };
        search(start, self.grid.blocks()).or_else(|| search(0, start))
    }

    /// A block with a free address, whosever it is.
    fn borrowable(&self, node: &str) -> Option<u128> {
        let start = self.start(node);
        let mut others = self.open.range(start..).chain(self.open.range(..start));
        others.next().filter(|_| self.borrow).copied()
    }

    /// Where a node's search begins, the same for all who see the pool.
    fn start(&self, node: &str) -> u128 {
        if !self.spread {
            return 0;
        }
        // The same for all pools of all versions, so that a node that comes back finds its blocks.
        let hash = u128::from(crc32fast::hash(node.as_bytes()));
        match self.grid.block_bits() {
            bits @ 0..32 => hash >> (u32::BITS - bits),
            bits => hash << (bits - u32::BITS),
        }
    }

    fn copy(&self, number: u128) -> Block {
        Block::clone(&self.blocks[&number].block)
    }

    /// The next address of a block that has one for an owner on a node.
    fn next_of(&self, number: u128, mut block: Block, node: &str, owner: &str) -> BlockChange {
        let offset = block.next_free(&self.grid, number).expect("the block has a free address");
        block.take_next(&self.grid, offset, Holder { node: node.into(), owner: owner.into() });
        self.change(number, block, Some(self.grid.address(number, offset)))
    }

    fn change(&self, number: u128, block: Block, address: Option<IpAddr>) -> BlockChange {
        BlockChange {
            prefix: self.grid.prefix(number),
            expected: self.blocks.get(&number).map_or(0, |kept| kept.revision),
            block: (!block.is_nothing()).then(|| Arc::new(block)),
            address,
        }
    }

    fn exhausted(&self) -> BlockError {
        BlockError::Exhausted { claimed: self.blocks.len() as u128, blocks: self.grid.blocks() }
    }
}

fn check(node: &str) -> Result<()> {
    if node.is_empty() { Err(BlockError::NoName) } else { Ok(()) }
}

/// A block after a node has left; `None` if nothing in it was the node's.
fn left(block: &Block, node: &str) -> Option<Block> {
    let own = block.node().is_some_and(|own| **own == *node);
    let leases = block.leases().iter().filter(|(_, holder)| *holder.node == *node);
    let leases: Vec<u128> = leases.map(|(offset, _)| *offset).collect();
    if !own && leases.is_empty() {
        return None;
    }
    let mut after = block.clone();
    leases.into_iter().for_each(|offset| after.give_back(offset));
    if own {
        after.set_node(None);
    }
    Some(after)
}
