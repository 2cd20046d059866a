//! What lookups of IPv6 addresses read: intervals of addresses that have the same value, in a
//! B+tree that processors compare with in one or two steps per node.
//!
//! The tree has the upper 64 bits of addresses, its *keys*. Of a key within which there are longer
//! prefixes than 64, the lower 64 bits are in a tree of their own, a *deep* one.
//!
//! A node has up to 16 entries; what is left repeats the last one.
//!
//! * *inner*: the first key of each child, in two words, the lower one first; then the children.
//! * *leaf*: where each interval starts, counted from the leaf's first key, without the bits that
//!   are 0 in all of them (32 are left, or the leaf has fewer intervals); then their [`Cell`]s, of a
//!   *narrow* leaf in halves of words.
//!
//! Interval search instead of a trie: Lampson, Srinivasan and Varghese 1998; nodes of vectors:
//! Kim et al. 2010 (FAST).

mod batch;
mod filled;
mod search;
mod writer;

use self::search::{Keys, Search};
use self::writer::Writer;
use super::bits::{Entry, Key};
use super::family::Lookup;
use super::words::{Arena, At, UNIT, Words};

/// Entries of a node.
const ENTRIES: usize = 16;

/// Words of an inner node, and where its children are.
const INNER: usize = 3 * ENTRIES;
const CHILDREN: usize = 2 * ENTRIES;

/// Words of a leaf, of a narrow one, and where their cells are.
const LEAF: usize = 2 * ENTRIES;
const NARROW: usize = ENTRIES + ENTRIES / 2;
const CELLS: usize = ENTRIES;

/// Words of what a cell has no room for. All nodes take a multiple of this.
const SLOT: usize = 8;

/// A node: its place in slots, and, of a leaf, whether it is narrow, and how many bits are left out
/// of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node(u32);

const NARROW_BIT: u32 = 1 << 25;
const PLACE: u32 = NARROW_BIT - 1;
const SHIFT: u32 = 26;

/// A place in slots.
#[allow(clippy::cast_possible_truncation)] // two numbers of one digit
fn slot(at: At) -> u32 {
    const UNITS: u32 = (SLOT / UNIT) as u32;
    debug_assert!(at.is_multiple_of(UNITS));
    assert!(at / UNITS <= PLACE, "1 GiB of lookup nodes is the most that there can be");
    at / UNITS
}

impl Node {
    fn inner(at: At) -> Self {
        Self(slot(at))
    }

    fn leaf(at: At, is_narrow: bool, shift: u32) -> Self {
        Self(shift << SHIFT | if is_narrow { NARROW_BIT } else { 0 } | slot(at))
    }

    /// Its place in units.
    #[allow(clippy::cast_possible_truncation)] // it was one when it was made
    fn place(self) -> At {
        (self.at() / UNIT) as At
    }

    /// Its first word.
    #[inline(always)]
    fn at(self) -> usize {
        (self.0 & PLACE) as usize * SLOT
    }

    #[inline(always)]
    fn is_narrow(self) -> bool {
        self.0 & NARROW_BIT != 0
    }

    /// How many bits of keys are left out.
    #[inline(always)]
    fn shift(self) -> u32 {
        self.0 >> SHIFT
    }
}

/// A key of a leaf of this first key, as a leaf has it that leaves so many bits out.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // it was just seen to fit
fn offset(first: u64, key: u64, shift: u32) -> u32 {
    ((key - first) >> shift).min(u32::MAX.into()) as u32
}

/// What an interval has: `0` for no value; up to `0x7fff_ffff` the value plus one; else a bit, and
/// the place in slots of a value that has no room here, or of a deep tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Cell(u32);

const ELSEWHERE: u32 = 1 << 31;
const DEEP: u32 = ELSEWHERE | 1 << 30;

/// What a cell says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Value(u32),
    Large(Node),
    Deep(Node),
}

impl Cell {
    fn value(value: u32) -> Option<Self> {
        let word = value.wrapping_add(1);
        (word & ELSEWHERE == 0).then_some(Self(word))
    }

    fn large(at: At) -> Self {
        Self(ELSEWHERE | slot(at))
    }

    fn deep(at: At) -> Self {
        Self(DEEP | slot(at))
    }

    #[inline(always)]
    fn is_elsewhere(self) -> bool {
        self.0 & ELSEWHERE != 0
    }

    #[inline(always)]
    fn form(self) -> Form {
        if !self.is_elsewhere() {
            return Form::Value(self.0.wrapping_sub(1));
        }
        let node = Node(self.0 & PLACE);
        if self.0 & DEEP == DEEP { Form::Deep(node) } else { Form::Large(node) }
    }
}

/// A tree: its root, and how many levels of nodes there are.
#[derive(Debug, Clone, Copy)]
struct Tree {
    root: Node,
    depth: u32,
}

impl Tree {
    /// No key has a value.
    const EMPTY: Self = Self { root: Node(0), depth: 0 };

    /// A deep tree.
    fn read(words: &Words, node: Node) -> Self {
        Self { root: Node(words.get(node.at())), depth: words.get(node.at() + 1) }
    }

    /// What a key has.
    #[inline(always)]
    fn cell(self, search: impl Search, words: &Words, key: u64) -> Cell {
        if self.depth == 0 {
            return Cell(0);
        }
        let (mut node, mut base) = (self.root, 0);
        for _ in 1..self.depth {
            (node, base) = child(search, words, node, key);
        }
        cell(search, words, node, offset(base, key, node.shift()))
    }
}

/// The child that has a key, and its first key.
#[inline(always)]
fn child(search: impl Search, words: &Words, node: Node, key: u64) -> (Node, u64) {
    let node = inner_words(words, node);
    let keys = node.first_chunk().expect("keys come first");
    let entry = search.inner(keys, key) % ENTRIES;
    (Node(node[CHILDREN + entry]), self::key(keys, entry))
}

#[inline(always)]
fn inner_words(words: &Words, node: Node) -> &[u32; INNER] {
    // SAFETY: trees are of nodes of their versions, and all inner ones have so many words.
    #[allow(unsafe_code)]
    unsafe {
        words.node(node.at())
    }
}

/// What a key has in its leaf.
#[inline(always)]
fn cell(search: impl Search, words: &Words, leaf: Node, offset: u32) -> Cell {
    let starts = leaf_words(words, leaf).first_chunk().expect("starts come first");
    cell_of(words, leaf, search.leaf(starts, offset))
}

/// What an entry of a leaf has.
#[inline(always)]
fn cell_of(words: &Words, leaf: Node, entry: usize) -> Cell {
    let entry = entry % ENTRIES;
    Cell(if leaf.is_narrow() {
        leaf_words(words, leaf)[CELLS + entry / 2] >> (entry % 2 * 16) & 0xffff
    } else {
        words.get(leaf.at() + CELLS + entry)
    })
}

/// The words that a narrow leaf has, and others have too.
#[inline(always)]
fn leaf_words(words: &Words, leaf: Node) -> &[u32; NARROW] {
    // SAFETY: trees are of nodes of their versions, and all leaves have as many words or more.
    #[allow(unsafe_code)]
    unsafe {
        words.node(leaf.at())
    }
}

/// A key of an inner node.
#[inline(always)]
fn key(keys: &Keys, entry: usize) -> u64 {
    u64::from(keys[2 * entry + 1]) << 32 | u64::from(keys[2 * entry])
}

#[inline(always)]
fn upper(bits: u128) -> u64 {
    (bits >> 64) as u64
}

#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // as it says
fn lower(bits: u128) -> u64 {
    bits as u64
}

/// The value of an address whose upper half has this cell.
#[inline(always)]
fn resolved(search: impl Search, words: &Words, cell: Cell, bits: u128) -> u32 {
    let mut form = cell.form();
    if let Form::Deep(node) = form {
        form = Tree::read(words, node).cell(search, words, lower(bits)).form();
    }
    match form {
        Form::Value(value) => value,
        Form::Large(node) | Form::Deep(node) => words.get(node.at()),
    }
}

/// The intervals of all addresses.
#[derive(Debug, Clone, Copy)]
pub(super) struct Intervals(Tree);

impl Lookup<u128> for Intervals {
    const EMPTY: Self = Self(Tree::EMPTY);

    fn load(arena: &mut Arena, entries: &[Entry<u128>]) -> Self {
        Self(Writer::new(arena).load(entries))
    }

    fn clear(self, arena: &mut Arena) -> Self {
        Writer::new(arena).clear(self.0);
        Self::EMPTY
    }

    fn change(self, arena: &mut Arena, key: Key<u128>, own: u32, inside: &[Entry<u128>]) -> Self {
        Self(Writer::new(arena).change(self.0, key, own, inside))
    }

    #[inline]
    fn value(self, words: &Words, bits: u128) -> u32 {
        let cell = self.0.cell(search::Portable, words, upper(bits));
        resolved(search::Portable, words, cell, bits)
    }

    #[inline]
    fn prefetch(self, words: &Words, bits: u128) {
        let Tree { mut root, depth } = self.0;
        for _ in 1..depth {
            (root, _) = child(search::Portable, words, root, upper(bits));
        }
        words.prefetch(root.at());
        words.prefetch(root.at() + CELLS);
    }

    fn values(self, words: &Words, addresses: &[u128], values: &mut [u32]) {
        batch::lookup(words, self.0, addresses, values);
    }
}

#[cfg(test)]
impl Intervals {
    pub fn values_by_each_way(self, words: &Words, addresses: &[u128]) -> Vec<Vec<u32>> {
        batch::by_each_way(words, self.0, addresses)
    }
}
