//! How routes are added and removed: nodes are made anew, from the changed one up to the root.

use std::marker::PhantomData;
use std::ops::Range;

use super::super::bits::{Bits, Entry, Key};
use super::super::words::{Arena, At, UNIT};
use super::{FULL, LOADED, Leaf, Rib, Root, covering, stride, write};

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

/// What was found where a route was added or removed.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Found<B> {
    /// The value of the route before.
    pub value: Option<u32>,
    /// What covers a route that was removed, if it is in the same node.
    pub around: Option<Entry<B>>,
    /// The route behind it, if it is in the same node.
    pub next: Option<Entry<B>>,
}

impl<B> Found<B> {
    const NOTHING: Self = Self { value: None, around: None, next: None };
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
        self.arena.set(place, 0, count as u32);
        (Some(Entry { key: self.rib().entry(place, 0).key, value: place }), None)
    }

    /// Adds or replaces.
    pub fn insert(&mut self, entry: Entry<B>) -> Found<B> {
        let Root { at, depth } = self.root;
        if depth == 0 {
            self.root = Root { at: self.add(&[entry]).value, depth: 1 };
            return Found::NOTHING;
        }
        let (found, first, second) = self.insert_below(at, depth, entry);
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
    ) -> (Found<B>, Child<B>, Option<Child<B>>) {
        let rib = self.rib();
        rib.prefetch(node);
        let place = rib.up_to(node, entry.key);
        let (found, (first, second)) = if depth > 1 {
            let place = place.saturating_sub(1);
            let child = rib.child(node, place);
            let (found, first, second) = self.insert_below(child, depth - 1, entry);
            let new = [first, second.unwrap_or(first)];
            let new = &new[..1 + usize::from(second.is_some())];
            (found, self.replaced(node, place..place + 1, new))
        } else {
            let found = rib.found(node, place, entry.key);
            let start = place - usize::from(found.value.is_some());
            (found, self.replaced(node, start..place, &[entry]))
        };
        (found, first.expect("it has the entry"), second)
    }

    /// Removes what is there.
    pub fn remove(&mut self, key: Key<B>) -> Option<Found<B>> {
        let Root { at, depth } = self.root;
        if depth == 0 {
            return None;
        }
        let (found, child) = self.remove_below(at, depth, key)?;
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
    ) -> Option<(Found<B>, Option<Child<B>>)> {
        let rib = self.rib();
        rib.prefetch(node);
        let behind = rib.up_to(node, key);
        let place = behind.checked_sub(1)?;
        if depth == 1 {
            let mut found = rib.found(node, behind, key);
            found.value?;
            found.around = key
                .length
                .checked_sub(1)
                .and_then(|length| covering(key.bits, length, |key| rib.floor_in(node, key)));
            return Some((found, self.replaced(node, place..behind, &[]).0));
        }
        let child = rib.child(node, place);
        let (found, child) = self.remove_below(child, depth - 1, key)?;
        let (places, child) = match child {
            Some(child) => self.joined(node, place, child),
            None => (place..behind, None),
        };
        Some((found, self.replaced(node, places, child.as_slice()).0))
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

    /// What is found in a leaf that has so many entries up to a key.
    fn found(&self, leaf: At, up_to: usize, key: Key<B>) -> Found<B> {
        let own = up_to.checked_sub(1).map(|place| self.entry(leaf, place));
        let next = (up_to < self.count(leaf)).then(|| self.entry(leaf, up_to));
        let value = own.filter(|own| own.key == key).map(|own| own.value);
        Found { value, around: None, next }
    }
}
