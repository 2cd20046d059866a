//! All routes in their order: a B+tree of which every version shares what did not change.
//!
//! A node is a count and entries of a key (address, length) and a payload: the value in a leaf, the
//! place of a child in an inner node, which has the child's first key.

use std::collections::HashSet;
use std::marker::PhantomData;
use std::sync::atomic::Ordering::Relaxed;

use super::NO_VALUE;
use super::bits::{Bits, Entry, Key};
use super::words::{Arena, At, UNIT, Words};

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

    pub fn is_empty(&self) -> bool {
        self.root == Root::EMPTY
    }

    fn count(&self, node: At) -> usize {
        self.words.get(node as usize * UNIT) as usize
    }

    #[inline]
    fn entry(&self, node: At, place: usize) -> Entry<B> {
        let words =
            self.words.slice(node as usize * UNIT + 1 + place * stride::<B>(), stride::<B>());
        read(|at| words[at].load(Relaxed))
    }

    fn child(&self, node: At, place: usize) -> At {
        self.entry(node, place).value
    }

    /// How many entries of a node have a key up to this one.
    #[inline]
    fn up_to(&self, node: At, key: Key<B>) -> usize {
        let (mut low, mut length) = (0, self.count(node));
        while length > 0 {
            let half = length / 2;
            if self.entry(node, low + half).key <= key {
                low += half + 1;
                length -= half + 1;
            } else {
                length = half;
            }
        }
        low
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
        Some(self.entry(at, self.up_to(at, key).checked_sub(1)?))
    }

    pub fn get(&self, key: Key<B>) -> Option<u32> {
        self.floor(key).filter(|entry| entry.key == key).map(|entry| entry.value)
    }

    /// The longest prefix of at most so many bits that covers the address.
    #[inline]
    pub fn longest(&self, bits: B, length: u8) -> Option<Entry<B>> {
        let mut key = Key { bits: bits.clear(length), length };
        loop {
            // Whatever covers the address comes before it, and what comes in between is inside of
            // that. So if the last entry does not cover it, only one that covers both can.
            let entry = self.floor(key)?;
            if entry.key.covers(bits) {
                return Some(entry);
            }
            let length = entry.key.bits.common(bits);
            key = Key { bits: bits.clear(length), length };
        }
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

    /// The value around a prefix, itself included, or [`NO_VALUE`], and the entries inside of it.
    pub fn within(&self, key: Key<B>) -> (u32, Vec<Entry<B>>) {
        let own = self.longest(key.bits, key.length).map_or(NO_VALUE, |entry| entry.value);
        let mut inside = Vec::new();
        self.inside(key, &mut inside);
        (own, inside)
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

fn read<B: Bits>(word: impl Fn(usize) -> u32) -> Entry<B> {
    #[allow(clippy::cast_possible_truncation)] // it was a length when it was written
    let length = word(B::WORDS) as u8;
    Entry { key: Key { bits: B::of_words(&word), length }, value: word(B::WORDS + 1) }
}

/// A tree that is changed: nodes are made anew, from the changed one up to the root.
pub(super) struct RibWriter<'a, B> {
    arena: &'a mut Arena,
    pub root: Root,
    kind: PhantomData<B>,
}

/// A node as its parent has it.
type Child<B> = Entry<B>;

impl<'a, B: Bits> RibWriter<'a, B> {
    pub fn new(arena: &'a mut Arena, root: Root) -> Self {
        Self { arena, root, kind: PhantomData }
    }

    /// Words that so many entries take.
    pub fn words_for(entries: usize) -> usize {
        let leaves = entries.div_ceil(LOADED);
        let inner = leaves.div_ceil(LOADED) + leaves.div_ceil(LOADED * LOADED) + 4;
        (leaves + inner) * (1 + LOADED * stride::<B>()).next_multiple_of(UNIT)
    }

    /// Makes a tree of ascending entries, in an arena without one.
    pub fn load(&mut self, entries: &[Entry<B>]) {
        debug_assert!(self.root == Root::EMPTY);
        let mut nodes = self.level(entries);
        let mut depth = u8::from(!nodes.is_empty());
        while nodes.len() > 1 {
            nodes = self.level(&nodes);
            depth += 1;
        }
        self.root = nodes.first().map_or(Root::EMPTY, |node| Root { at: node.value, depth });
    }

    fn level(&mut self, entries: &[Entry<B>]) -> Vec<Child<B>> {
        let nodes = entries.len().div_ceil(LOADED);
        (0..nodes)
            .map(|number| {
                let bound = |number| entries.len() * number / nodes;
                self.add(&entries[bound(number)..bound(number + 1)])
            })
            .collect()
    }

    fn add(&mut self, entries: &[Entry<B>]) -> Child<B> {
        let mut words = [0; 1 + FULL * (4 + 2)];
        let used = write(entries, &mut words);
        Entry { key: entries[0].key, value: self.arena.add(&words[..used]) }
    }

    /// The entries of a node, which is given up.
    fn open(&mut self, node: At) -> Vec<Entry<B>> {
        let mut entries = Vec::with_capacity(FULL + 1);
        let rib = Rib::<B>::new(self.arena.words(), self.root);
        entries.extend(rib.entries_of(Leaf(node)));
        self.retire(node, entries.len());
        entries
    }

    fn retire(&mut self, node: At, count: usize) {
        self.arena.retire(node, 1 + count * stride::<B>());
    }

    fn rib(&self) -> Rib<'_, B> {
        Rib::new(self.arena.words(), self.root)
    }

    /// Adds or replaces; the value before.
    pub fn insert(&mut self, entry: Entry<B>) -> Option<u32> {
        let Root { at, depth } = self.root;
        if depth == 0 {
            self.root = Root { at: self.add(&[entry]).value, depth: 1 };
            return None;
        }
        let (before, first, second) = self.insert_below(at, depth, entry);
        self.root = match second {
            None => Root { at: first.value, depth },
            Some(second) => Root { at: self.add(&[first, second]).value, depth: depth + 1 },
        };
        before
    }

    fn insert_below(
        &mut self,
        node: At,
        depth: u8,
        entry: Entry<B>,
    ) -> (Option<u32>, Child<B>, Option<Child<B>>) {
        let place = self.rib().up_to(node, entry.key);
        let mut entries = self.open(node);
        let mut before = None;
        if depth > 1 {
            let place = place.saturating_sub(1);
            let (found, first, second) = self.insert_below(entries[place].value, depth - 1, entry);
            before = found;
            entries[place] = first;
            if let Some(second) = second {
                entries.insert(place + 1, second);
            }
        } else if place > 0 && entries[place - 1].key == entry.key {
            before = Some(std::mem::replace(&mut entries[place - 1], entry).value);
        } else {
            entries.insert(place, entry);
        }
        if entries.len() <= FULL {
            return (before, self.add(&entries), None);
        }
        // What comes in ascending order fills nodes up.
        let middle = if place == FULL { FULL } else { entries.len() / 2 };
        let (low, high) = entries.split_at(middle);
        (before, self.add(low), Some(self.add(high)))
    }

    /// Removes what is there; the value before.
    pub fn remove(&mut self, key: Key<B>) -> Option<u32> {
        let before = self.rib().get(key)?;
        let Root { at, depth } = self.root;
        self.root = match self.remove_below(at, depth, key) {
            None => Root::EMPTY,
            Some(child) => self.without_single(Root { at: child.value, depth }),
        };
        Some(before)
    }

    /// The root, or its only child.
    fn without_single(&mut self, mut root: Root) -> Root {
        while root.depth > 1 && self.rib().count(root.at) == 1 {
            let at = self.rib().child(root.at, 0);
            self.retire(root.at, 1);
            root = Root { at, depth: root.depth - 1 };
        }
        root
    }

    fn remove_below(&mut self, node: At, depth: u8, key: Key<B>) -> Option<Child<B>> {
        let place = self.rib().up_to(node, key) - 1;
        let mut entries = self.open(node);
        if depth == 1 {
            entries.remove(place);
        } else {
            match self.remove_below(entries[place].value, depth - 1, key) {
                None => drop(entries.remove(place)),
                Some(child) => {
                    entries[place] = child;
                    self.join(&mut entries, place);
                }
            }
        }
        if entries.is_empty() { None } else { Some(self.add(&entries)) }
    }

    /// Joins a child that has become small with the one beside it, if both fit well into one.
    fn join(&mut self, children: &mut Vec<Child<B>>, place: usize) {
        if children.len() < 2 || self.rib().count(children[place].value) > FULL / 4 {
            return;
        }
        let left = place.min(children.len() - 2);
        let (low, high) = (children[left].value, children[left + 1].value);
        if self.rib().count(low) + self.rib().count(high) > FULL * 3 / 4 {
            return;
        }
        let mut entries = self.open(low);
        entries.extend(self.open(high));
        children[left] = self.add(&entries);
        children.remove(left + 1);
    }
}

#[allow(clippy::cast_possible_truncation)] // a node has few
fn write<B: Bits>(entries: &[Entry<B>], words: &mut [u32]) -> usize {
    words[0] = entries.len() as u32;
    for (entry, target) in entries.iter().zip(words[1..].chunks_exact_mut(stride::<B>())) {
        for (place, word) in target[..B::WORDS].iter_mut().enumerate() {
            *word = entry.key.bits.word(place);
        }
        target[B::WORDS] = entry.key.length.into();
        target[B::WORDS + 1] = entry.value;
    }
    1 + entries.len() * stride::<B>()
}
