//! All routes in their order: a B+tree of which every version shares what did not change.
//!
//! A node is a count and entries of a key (address, length) and a payload: the value in a leaf, the
//! place of a child in an inner node, which has the child's first key.

mod writer;

use std::collections::HashSet;
use std::hint::select_unpredictable;
use std::marker::PhantomData;

pub(super) use self::writer::{Around, RibWriter};
use super::bits::{Bits, Entry, Key};
use super::words::{At, UNIT, Words};

/// Entries that a node has at most.
const FULL: usize = 48;

/// Entries of a node that was loaded in bulk: a few more find room.
const LOADED: usize = FULL - 2;

/// Where a tree is in its words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Root {
    at: At,
    /// Levels of nodes; none if it is empty.
    depth: u8,
}

impl Root {
    pub const EMPTY: Self = Self { at: 0, depth: 0 };
}

/// A tree that is read.
#[derive(Debug)]
pub(super) struct Rib<'a, B> {
    words: &'a Words,
    root: Root,
    kind: PhantomData<B>,
}

impl<B> Clone for Rib<'_, B> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<B> Copy for Rib<'_, B> {}

/// Words of an entry.
const fn stride<B: Bits>() -> usize {
    B::WORDS + 2
}

impl<'a, B: Bits> Rib<'a, B> {
    pub fn new(words: &'a Words, root: Root) -> Self {
        Self { words, root, kind: PhantomData }
    }

    fn count(&self, node: At) -> usize {
        self.words.get(node as usize * UNIT) as usize
    }

    #[inline]
    fn entry(&self, node: At, place: usize) -> Entry<B> {
        let at = node as usize * UNIT + 1 + place * stride::<B>();
        // SAFETY: trees are of nodes of their versions, whose entries are as many as they count.
        #[allow(unsafe_code)]
        read(unsafe { self.words.run(at, stride::<B>()) })
    }

    fn child(&self, node: At, place: usize) -> At {
        self.entry(node, place).value
    }

    /// How many entries of a node have a key up to this one.
    #[inline]
    fn up_to(&self, node: At, key: Key<B>) -> usize {
        let (mut low, mut length) = (0, self.count(node));
        while length > 1 {
            let half = length / 2;
            let is_below = self.entry(node, low + half).key <= key;
            low = select_unpredictable(is_below, low + half, low);
            length -= half;
        }
        low + usize::from(length > 0 && self.entry(node, low).key <= key)
    }

    /// The last entry with a key up to this one.
    #[inline]
    pub fn floor(&self, key: Key<B>) -> Option<Entry<B>> {
        let Root { mut at, depth } = self.root;
        for _ in 1..depth {
            at = self.child(at, self.up_to(at, key).checked_sub(1)?);
        }
        if depth == 0 {
            return None;
        }
        self.floor_in(at, key)
    }

    pub fn get(&self, key: Key<B>) -> Option<u32> {
        self.floor(key).filter(|entry| entry.key == key).map(|entry| entry.value)
    }

    /// The last entry of a node with a key up to this one.
    #[inline]
    fn floor_in(&self, node: At, key: Key<B>) -> Option<Entry<B>> {
        Some(self.entry(node, self.up_to(node, key).checked_sub(1)?))
    }

    /// The longest prefix of at most so many bits that covers the address.
    #[inline]
    pub fn longest(&self, bits: B, length: u8) -> Option<Entry<B>> {
        covering(bits, length, |key| self.floor(key))
    }

    /// Visits entries from a key on, in their order, as long as it is wished.
    pub fn visit(&self, from: Key<B>, visitor: &mut impl FnMut(Entry<B>) -> bool) {
        if self.root.depth > 0 {
            self.visit_node(self.root, from, visitor);
        }
    }

    fn visit_node(
        &self,
        node: Root,
        from: Key<B>,
        visitor: &mut impl FnMut(Entry<B>) -> bool,
    ) -> bool {
        let before = self.up_to(node.at, from);
        let leaf = node.depth == 1;
        // The entry of the key itself, or the child that may have it.
        let is_in = |place: usize| !leaf || self.entry(node.at, place).key == from;
        let start = before - usize::from(before > 0 && is_in(before - 1));
        (start..self.count(node.at)).all(|place| {
            let entry = self.entry(node.at, place);
            if leaf {
                return visitor(entry);
            }
            self.visit_node(Root { at: entry.value, depth: node.depth - 1 }, from, visitor)
        })
    }

    /// The entries inside a prefix, without itself.
    pub fn inside(&self, key: Key<B>, target: &mut Vec<Entry<B>>) {
        self.visit(key, &mut |entry| {
            let inside = key.covers(entry.key.bits);
            if inside && entry.key != key {
                target.push(entry);
            }
            inside
        });
    }

    /// Nodes of the lowest level that the other tree, in the same words, does not have.
    pub fn leaves_not_in(&self, other: &Self) -> Vec<Leaf> {
        let (mut own, mut others) = (vec![self.root], vec![other.root]);
        while own.iter().chain(&others).any(|node| node.depth > 1) {
            let deepest = own.iter().chain(&others).map(|node| node.depth).max().unwrap_or(0);
            drop_common(&mut own, &mut others);
            own = self.opened(&own, deepest);
            others = self.opened(&others, deepest);
        }
        drop_common(&mut own, &mut others);
        own.iter().filter(|node| node.depth == 1).map(|node| Leaf(node.at)).collect()
    }

    /// Nodes of this depth replaced by their children.
    fn opened(&self, nodes: &[Root], depth: u8) -> Vec<Root> {
        let mut opened = Vec::with_capacity(nodes.len());
        for &node in nodes {
            if node.depth < depth {
                opened.push(node);
                continue;
            }
            let children = 0..self.count(node.at);
            opened.extend(
                children.map(|place| Root { at: self.child(node.at, place), depth: depth - 1 }),
            );
        }
        opened
    }

    pub fn entries_of(&self, leaf: Leaf) -> impl Iterator<Item = Entry<B>> {
        (0..self.count(leaf.0)).map(move |place| self.entry(leaf.0, place))
    }
}

/// A node of the lowest level.
#[derive(Debug, Clone, Copy)]
pub(super) struct Leaf(At);

/// Drops what both have.
fn drop_common(own: &mut Vec<Root>, others: &mut Vec<Root>) {
    let set = |nodes: &[Root]| nodes.iter().copied().collect::<HashSet<Root>>();
    let (mine, theirs) = (set(own), set(others));
    own.retain(|node| !theirs.contains(node));
    others.retain(|node| !mine.contains(node));
}

/// The longest prefix of at most so many bits that covers the address, of those of which the last
/// one up to a key can be found.
#[inline]
fn covering<B: Bits>(
    bits: B,
    mut length: u8,
    floor: impl Fn(Key<B>) -> Option<Entry<B>>,
) -> Option<Entry<B>> {
    loop {
        // Whatever covers the address comes before it, and what comes in between is inside of
        // that. So if the last entry does not cover it, only one that covers both can.
        let entry = floor(Key { bits: bits.clear(length), length })?;
        if entry.key.covers(bits) {
            return Some(entry);
        }
        length = entry.key.bits.common(bits);
    }
}

/// An entry: the words of its address, the least significant one first, its length and its payload.
#[inline]
fn read<B: Bits>(words: &[u32]) -> Entry<B> {
    #[allow(clippy::cast_possible_truncation)] // it was a length when it was written
    let length = words[B::WORDS] as u8;
    let bits = B::of_words(|place| words[B::WORDS - 1 - place]);
    Entry { key: Key { bits, length }, value: words[B::WORDS + 1] }
}

/// As [`read`] reads them.
fn write<B: Bits>(entries: &[Entry<B>], words: &mut [u32]) {
    for (entry, target) in entries.iter().zip(words.chunks_exact_mut(stride::<B>())) {
        for (place, word) in target[..B::WORDS].iter_mut().enumerate() {
            *word = entry.key.bits.word(B::WORDS - 1 - place);
        }
        target[B::WORDS] = entry.key.length.into();
        target[B::WORDS + 1] = entry.value;
    }
}
