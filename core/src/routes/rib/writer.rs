//! How routes are added and removed: nodes are made anew, from the changed one up to the root.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::bits::{Bits, Entry, Key};
use super::super::words::{Arena, At, UNIT};
use super::{FULL, LOADED, Leaf, Rib, Root, stride, write};

/// Words of the longest node.
const LONGEST: usize = 1 + FULL * (4 + 2);

/// A tree that is changed.
pub(in super::super) struct RibWriter<'a, B> {
    arena: &'a mut Arena,
    pub root: Root,
    kind: PhantomData<B>,
}

/// Words of a cache line.
const LINE: usize = 64 / 4;

/// Where to find what covers a prefix, without itself.
#[derive(Debug, Clone, Copy)]
pub(in super::super) enum Around<B> {
    /// It is in the same node, and has this value.
    Value(u32),
    /// If there is any, it is also the longest that covers this address.
    Beside(B),
    /// It has at most so many bits, if there is any.
    UpTo(u8),
    /// There is none.
    Nothing,
}

/// What was found where a route was added or removed.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Found<B> {
    /// The value of the route before.
    pub value: Option<u32>,
    /// Where what covers a route that was removed is found.
    pub around: Around<B>,
    /// The route behind it, if it is in the same node.
    pub next: Option<Entry<B>>,
}

impl<B> Found<B> {
    const NOTHING: Self = Self { value: None, around: Around::Nothing, next: None };
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

    fn rib(&self) -> Rib<'_, B> {
        Rib::new(self.arena.words(), self.root)
    }

    #[allow(clippy::cast_possible_truncation)] // a node has few
    fn add(&mut self, entries: &[Entry<B>]) -> Child<B> {
        let mut words = [0; LONGEST];
        words[0] = entries.len() as u32;
        write(entries, &mut words[1..]);
        let words = &words[..1 + entries.len() * stride::<B>()];
        Entry { key: entries[0].key, value: self.arena.add(words) }
    }

    /// The entries of a node, which is given up.
    fn open(&mut self, node: At) -> Vec<Entry<B>> {
        let mut entries = Vec::with_capacity(FULL + 2);
        entries.extend(self.rib().entries_of(Leaf(node)));
        self.retire(node, entries.len());
        entries
    }

    fn retire(&mut self, node: At, count: usize) {
        self.arena.retire(node, 1 + count * stride::<B>());
    }

    /// A node, given up, with others in the place of some entries: none, one, or two if they are too
    /// many for one.
    #[allow(clippy::cast_possible_truncation)] // a node has few
    fn replaced(
        &mut self,
        node: At,
        places: Range<usize>,
        new: &[Entry<B>],
    ) -> (Option<Child<B>>, Option<Child<B>>) {
        let before = self.rib().count(node);
        let count = before - places.len() + new.len();
        if count == 0 {
            self.retire(node, before);
            return (None, None);
        }
        if count > FULL {
            // What comes in ascending order fills nodes up.
            let middle = if places.start == FULL { FULL } else { count / 2 };
            let mut entries = self.open(node);
            entries.splice(places, new.iter().copied());
            let (low, high) = entries.split_at(middle);
            return (Some(self.add(low)), Some(self.add(high)));
        }
        let mut words = [0; 2 * (4 + 2)];
        write(new, &mut words);
        let at = |place| 1 + place * stride::<B>();
        let place = self.arena.splice(
            node,
            at(before),
            at(places.start)..at(places.end),
            &words[..new.len() * stride::<B>()],
        );
        self.arena.write(place, 0, &[count as u32]);
        (Some(Entry { key: self.rib().entry(place, 0).key, value: place }), None)
    }

    /// Adds or replaces.
    pub fn insert(&mut self, entry: Entry<B>) -> Found<B> {
        let Root { at, depth } = self.root;
        if depth == 0 {
            self.root = Root { at: self.add(&[entry]).value, depth: 1 };
            return Found::NOTHING;
        }
        let mut found = Found::NOTHING;
        let (first, second) = self.insert_below(at, depth, entry, &mut found);
        self.root = match second {
            None => Root { at: first.value, depth },
            Some(second) => Root { at: self.add(&[first, second]).value, depth: depth + 1 },
        };
        found
    }

    fn insert_below(
        &mut self,
        node: At,
        depth: u8,
        entry: Entry<B>,
        found: &mut Found<B>,
    ) -> (Child<B>, Option<Child<B>>) {
        let rib = self.rib();
        rib.prefetch(node);
        let place = rib.up_to(node, entry.key);
        let (first, second) = if depth > 1 {
            let place = place.saturating_sub(1);
            let child = rib.child(node, place);
            let (first, second) = self.insert_below(child, depth - 1, entry, found);
            let new = [first, second.unwrap_or(first)];
            let new = &new[..1 + usize::from(second.is_some())];
            self.replaced(node, place..place + 1, new)
        } else {
            *found = rib.found(node, place, entry.key);
            let start = place - usize::from(found.value.is_some());
            self.replaced(node, start..place, &[entry])
        };
        (first.expect("it has the entry"), second)
    }

    /// Removes what is there.
    pub fn remove(&mut self, key: Key<B>) -> Option<Found<B>> {
        let Root { at, depth } = self.root;
        if depth == 0 {
            return None;
        }
        let mut found = Found::NOTHING;
        let child = self.remove_below(at, depth, key, &mut found)?;
        self.root = match child {
            None => Root::EMPTY,
            Some(child) => self.without_single(Root { at: child.value, depth }),
        };
        Some(found)
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

    fn remove_below(
        &mut self,
        node: At,
        depth: u8,
        key: Key<B>,
        found: &mut Found<B>,
    ) -> Option<Option<Child<B>>> {
        let rib = self.rib();
        rib.prefetch(node);
        let behind = rib.up_to(node, key);
        let place = behind.checked_sub(1)?;
        if depth == 1 {
            *found = rib.found(node, behind, key);
            found.value?;
            found.around = rib.around(node, place, key);
            return Some(self.replaced(node, place..behind, &[]).0);
        }
        let child = rib.child(node, place);
        let child = self.remove_below(child, depth - 1, key, found)?;
        let (places, child) = match child {
            Some(child) => self.joined(node, place, child),
            None => (place..behind, None),
        };
        Some(self.replaced(node, places, child.as_slice()).0)
    }

    /// A new child of a node and the places that it is for: its own, or, if it is small and both fit
    /// well into one, the one beside it too.
    fn joined(
        &mut self,
        node: At,
        place: usize,
        child: Child<B>,
    ) -> (Range<usize>, Option<Child<B>>) {
        let rib = self.rib();
        let (size, siblings) = (rib.count(child.value), rib.count(node));
        if siblings < 2 || size > FULL / 4 {
            return (place..place + 1, Some(child));
        }
        let left = place.min(siblings - 2);
        let is_left = left == place;
        let other = rib.child(node, if is_left { place + 1 } else { left });
        if size + rib.count(other) > FULL * 3 / 4 {
            return (place..place + 1, Some(child));
        }
        let (low, high) = if is_left { (child.value, other) } else { (other, child.value) };
        let mut entries = self.open(low);
        entries.extend(self.open(high));
        (left..left + 2, Some(self.add(&entries)))
    }
}

impl<B: Bits> Rib<'_, B> {
    /// Asks for all of a node at once: it will be copied.
    fn prefetch(&self, node: At) {
        for at in (0..LOADED * stride::<B>()).step_by(LINE) {
            self.words.prefetch(node as usize * UNIT + at);
        }
    }

    /// What covers the prefix that is in this place of a leaf.
    fn around(&self, leaf: At, place: usize, key: Key<B>) -> Around<B> {
        let mut before = (0..place).rev().map(|place| self.entry(leaf, place));
        if let Some(entry) = before.find(|entry| entry.key.covers(key.bits)) {
            return Around::Value(entry.value);
        }
        let Some(mut length) = key.length.checked_sub(1) else { return Around::Nothing };
        if place > 0 {
            length = length.min(self.entry(leaf, 0).key.bits.common(key.bits));
        }
        // Of the addresses behind it, the first that is in no prefix which begins behind it: what
        // covers that address covers this prefix too, and the other way round if it is near enough.
        let mut last = key.last();
        for place in place + 1..self.count(leaf) {
            let Some(free) = last.next() else { break };
            let entry = self.entry(leaf, place).key;
            if entry.bits > free {
                if free.common(key.bits) >= length {
                    return Around::Beside(free);
                }
                break;
            }
            last = last.max(entry.last());
        }
        Around::UpTo(length)
    }

    /// What is found in a leaf that has so many entries up to a key.
    fn found(&self, leaf: At, up_to: usize, key: Key<B>) -> Found<B> {
        let own = up_to.checked_sub(1).map(|place| self.entry(leaf, place));
        let next = (up_to < self.count(leaf)).then(|| self.entry(leaf, up_to));
        let value = own.filter(|own| own.key == key).map(|own| own.value);
        Found { value, around: Around::Nothing, next }
    }
}
