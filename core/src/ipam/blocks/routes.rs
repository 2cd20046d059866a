//! Where addresses are, as routes: what a network programs, and what changes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::block::Name;
use super::grid::Grid;
use super::{BlockPool, Kept};
use crate::prefix::Prefix;

/// A prefix and the node that has it: a block, or an address that is borrowed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The prefix.
    pub prefix: Prefix,
    /// The node.
    pub node: Arc<str>,
}

/// A prefix that leads to another node than before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteChange {
    /// The prefix.
    pub prefix: Prefix,
    /// Where it led to.
    pub before: Option<Arc<str>>,
    /// Where it leads to.
    pub after: Option<Arc<str>>,
}

/// A pool of blocks as it was when the snapshot was taken. It shares the blocks with the pool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockSnapshot {
    pub(super) grid: Grid,
    pub(super) borrow: bool,
    pub(super) spread: bool,
    pub(super) blocks: Arc<BTreeMap<u128, Kept>>,
    pub(super) revision: u64,
}

impl BlockPool {
    /// The pool as it is now, for good.
    pub fn snapshot(&self) -> BlockSnapshot {
        let Self { grid, borrow, spread, blocks, revision, .. } = self;
        BlockSnapshot {
            grid: grid.clone(),
            borrow: *borrow,
            spread: *spread,
            blocks: blocks.clone(),
            revision: *revision,
        }
    }

    /// The routes of all blocks, and those of borrowed addresses right behind their blocks'.
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.blocks.iter().flat_map(|(number, kept)| of_block(&self.grid, *number, kept))
    }
}

impl BlockSnapshot {
    /// See [`BlockPool::routes`].
    pub fn routes(&self) -> impl Iterator<Item = Route> {
        self.blocks.iter().flat_map(|(number, kept)| of_block(&self.grid, *number, kept))
    }

    /// The blocks that were claimed, or had addresses in use.
    pub fn blocks(&self) -> impl Iterator<Item = Prefix> {
        self.blocks.keys().map(|number| self.grid.prefix(*number))
    }

    /// Whether a prefix is a block that was claimed, or had addresses in use.
    pub fn contains(&self, prefix: Prefix) -> bool {
        self.grid.block(prefix).is_ok_and(|number| self.blocks.contains_key(&number))
    }

    /// How many blocks were claimed, or had addresses in use.
    pub fn len(&self) -> usize {
        self.blocks.len()
    }

    /// Whether nobody had anything.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The routes that are others in `later`, in their order. Blocks that did not change are only
    /// passed over.
    pub fn diff(&self, later: &Self) -> Vec<RouteChange> {
        let mut changes: BTreeMap<Prefix, (Option<Name>, Option<Name>)> = BTreeMap::new();
        for route in self.differing(later) {
            changes.entry(route.prefix).or_default().0 = Some(route.node);
        }
        for route in later.differing(self) {
            changes.entry(route.prefix).or_default().1 = Some(route.node);
        }
        let changes = changes.into_iter().filter(|(_, (before, after))| before != after);
        changes.map(|(prefix, (before, after))| RouteChange { prefix, before, after }).collect()
    }

    /// The routes of blocks that are not the same in the other one.
    fn differing(&self, other: &Self) -> impl Iterator<Item = Route> {
        let like = self.grid == other.grid;
        let changed = self.blocks.iter().filter(move |(number, kept)| {
            let there = other.blocks.get(number).filter(|_| like);
            there.is_none_or(|there| !Arc::ptr_eq(&there.block, &kept.block))
        });
        changed.flat_map(|(number, kept)| of_block(&self.grid, *number, kept))
    }
}

fn of_block<'a>(
    grid: &'a Grid,
    number: u128,
    kept: &'a Kept,
) -> impl Iterator<Item = Route> + use<'a> {
    let node = kept.block.node().cloned();
    let own = node.map(|node| Route { prefix: grid.prefix(number), node });
    let borrowed = kept.block.borrowed().map(move |(offset, holder)| Route {
        prefix: Prefix::host(grid.address(number, offset)),
        node: Arc::clone(&holder.node),
    });
    own.into_iter().chain(borrowed)
}
