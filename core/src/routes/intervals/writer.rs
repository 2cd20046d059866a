//! How the intervals are made, and made anew where routes change.

use std::ops::Range;

use smallvec::SmallVec;

use super::super::NO_VALUE;
use super::super::bits::{Entry, Key};
use super::super::runs::{self, Walk, push, replaced};
use super::super::words::{Arena, Words};
use super::{
    CELLS, CHILDREN, Cell, ENTRIES, Form, INNER, LEAF, NARROW, Node, SLOT, Tree, cell_of,
    inner_words, key, leaf_words, lower, offset, search, upper,
};

/// Below so many entries, a node is joined with the one beside it, if both have no more than...
pub(super) const FEW: usize = 4;

/// ... so many.
const MANY: usize = 12;

/// A child is a deep tree, of one key.
type Target = runs::Target<Tree>;
type Interval = runs::Run<u64, Tree>;
type Intervals = runs::Runs<u64, Tree>;

/// A node and its first key.
#[derive(Clone, Copy, Debug)]
struct Child {
    first: u64,
    node: Node,
}

type Children = SmallVec<[Child; ENTRIES + 4]>;

/// Keys, both ends included.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub first: u64,
    pub last: u64,
}

impl Span {
    pub const ALL: Self = Self { first: 0, last: u64::MAX };

    /// What shares so many bits.
    fn of(key: u64, length: u8) -> Self {
        let mask = u64::MAX.checked_shr(length.into()).unwrap_or(0);
        Self { first: key, last: key | mask }
    }

    fn contains(self, key: u64) -> bool {
        self.first <= key && key <= self.last
    }

    /// What is behind the last key, as a number that may be no key.
    fn end(self) -> u128 {
        u128::from(self.last) + 1
    }
}

/// Other intervals in the place of a span's.
#[derive(Clone, Copy, Debug)]
struct Change<'a> {
    span: Span,
    new: &'a [Interval],
    /// Whether the deep trees that the span has had are not to be given up.
    keeps_deep: bool,
}

/// Changes the trees: nodes are made anew, from the changed ones up to the root.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    pub(super) arena: &'a mut Arena,
}

impl<'a> Writer<'a> {
    pub fn new(arena: &'a mut Arena) -> Self {
        Self { arena }
    }

    /// A tree of these ascending entries, which are all.
    pub fn load(&mut self, entries: &[Entry<u128>]) -> Tree {
        if entries.is_empty() {
            return Tree::EMPTY;
        }
        let intervals = self.upper_intervals(Span::ALL, NO_VALUE, entries);
        self.tree(&intervals)
    }

    /// Gives up everything.
    pub fn clear(&mut self, tree: Tree) {
        self.give_up(tree.root, tree.depth, 0);
    }

    /// The tree after the routes of this prefix have changed, see [`Lookup::change`].
    pub fn change(&mut self, tree: Tree, key: Key<u128>, own: u32, inside: &[Entry<u128>]) -> Tree {
        let above = upper(key.bits);
        let Some(length) = key.length.checked_sub(64).filter(|length| *length > 0) else {
            let span = Span::of(above, key.length);
            if inside.is_empty()
                && let Some(filled) = self.filled(tree, span, own)
            {
                return filled;
            }
            let new = self.upper_intervals(span, own, inside);
            return self.changed(tree, Change { span, new: &new, keeps_deep: false });
        };
        let cell = tree.cell(search::Portable, self.arena.words(), above);
        let deep = match target(self.arena.words(), cell) {
            Target::Child(deep) => deep,
            value @ Target::Value(_) => self.tree(&[Interval { start: 0, target: value }]),
        };
        let span = Span::of(lower(key.bits), length);
        let new = lower_intervals(span, own, inside);
        let deep = self.changed(deep, Change { span, new: &new, keeps_deep: false });
        let target = self.simplest(deep);
        let new = &[Interval { start: above, target }];
        self.changed(tree, Change { span: Span::of(above, 64), new, keeps_deep: true })
    }

    /// The intervals of a span, of the value around it and the prefixes inside.
    fn upper_intervals(&mut self, span: Span, own: u32, entries: &[Entry<u128>]) -> Intervals {
        let mut intervals = Intervals::new();
        let mut walk = Walk::new(span.first.into(), own);
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let key = upper(first.key.bits);
            go_to(&mut walk, key.into(), &mut intervals);
            if first.key.length <= 64 {
                walk.enter(Span::of(key, first.key.length).end(), first.value);
                rest = &rest[1..];
            } else {
                let same = |entry: &&Entry<u128>| upper(entry.key.bits) == key;
                let (within, after) = rest.split_at(rest.iter().take_while(same).count());
                let tree = self.tree(&lower_intervals(Span::ALL, walk.own, within));
                let target = self.simplest(tree);
                push(&mut intervals, key, target);
                walk.at = u128::from(key) + 1;
                rest = after;
            }
        }
        go_to(&mut walk, span.end(), &mut intervals);
        intervals
    }

    /// A deep tree, or the only value in it.
    fn simplest(&mut self, tree: Tree) -> Target {
        if tree.depth == 1 && count(self.arena.words(), tree.root, 1) == 1 {
            return self.open_leaf(tree.root, 0)[0].target;
        }
        Target::Child(tree)
    }

    /// A tree of the intervals of all keys.
    fn tree(&mut self, intervals: &[Interval]) -> Tree {
        let mut leaves = Children::new();
        self.leaves(&mut leaves, intervals);
        self.grown(leaves, 1)
    }

    /// A tree above nodes of a level.
    fn grown(&mut self, mut nodes: Children, mut depth: u32) -> Tree {
        while nodes.len() > 1 {
            let children = std::mem::take(&mut nodes);
            self.inners(&mut nodes, &children);
            depth += 1;
        }
        Tree { root: nodes[0].node, depth }
    }

    /// A tree, given up, after a change.
    fn changed(&mut self, tree: Tree, change: Change<'_>) -> Tree {
        if tree.depth == 0 {
            let all = Target::Value(NO_VALUE);
            let tree = self.tree(&[Interval { start: 0, target: all }]);
            return self.changed(tree, change);
        }
        let root = Child { first: 0, node: tree.root };
        let mut nodes = Children::new();
        self.below(&mut nodes, root, u64::MAX, tree.depth, change);
        let mut tree = self.grown(nodes, tree.depth);
        while tree.depth > 1 && count(self.arena.words(), tree.root, tree.depth) == 1 {
            tree = Tree { root: self.open_inner(tree.root)[0].node, depth: tree.depth - 1 };
        }
        tree
    }

    /// Adds what is in the place of a node, which is given up, after a change in it. Its last key is
    /// given.
    fn below(
        &mut self,
        result: &mut Children,
        node: Child,
        last: u64,
        depth: u32,
        change: Change<'_>,
    ) {
        let Change { span, new, keeps_deep } = change;
        if depth == 1 {
            let old = self.open_leaf(node.node, node.first);
            if !keeps_deep {
                for one in old.iter().filter(|one| span.contains(one.start)) {
                    self.give_up_deep(one.target);
                }
            }
            let end = (span.last < last).then(|| span.last + 1);
            return self.leaves(result, &replaced(&old, span.first, end, new));
        }
        let words = self.arena.words();
        let (keys, nodes) = (keys(words, node.node), nodes(words, node.node));
        let keys = &keys[..distinct(&keys)];
        let up_to = |key: u64| keys.partition_point(|first| *first <= key) - 1;
        let (low, high) = (up_to(span.first), up_to(span.last));
        let mut changed = Children::new();
        for place in low..=high {
            let child = Child { first: keys[place], node: nodes[place] };
            let last = keys.get(place + 1).map_or(last, |next| next - 1);
            if place > low && place < high {
                self.give_up(child.node, depth - 1, child.first);
                continue;
            }
            // All new intervals are for the first child.
            let (first, new) =
                if place == low { (span.first, new) } else { (child.first, &[][..]) };
            let span = Span { first, last: span.last.min(last) };
            self.below(&mut changed, child, last, depth - 1, Change { span, new, keeps_deep });
        }
        if let [only] = changed[..]
            && low == high
            && only.first == keys[low]
            && count(self.arena.words(), only.node, depth - 1) > FEW
        {
            let places = low..if low + 1 == keys.len() { ENTRIES } else { low + 1 };
            let new = self.exchanged(node.node, places, only.node);
            return result.push(Child { first: node.first, node: new });
        }
        let mut children = self.open_inner(node.node);
        changed.extend_from_slice(&children[high + 1..]);
        children.truncate(low);
        children.extend_from_slice(&changed);
        self.join(&mut children, low, depth - 1);
        self.inners(result, &children);
    }

    /// An inner node, given up, with another child in some entries.
    pub(super) fn exchanged(&mut self, node: Node, entries: Range<usize>, child: Node) -> Node {
        let places = CHILDREN + entries.start..CHILDREN + entries.end;
        let children = &[child.0; ENTRIES][entries];
        Node::inner(self.arena.splice(node.place(), INNER, places, children))
    }

    /// Joins a node of a level that has become small with the one beside it.
    fn join(&mut self, nodes: &mut Children, place: usize, depth: u32) {
        if nodes.len() < 2 {
            return;
        }
        let place = place.min(nodes.len() - 1);
        let size = |node: &Child| count(self.arena.words(), node.node, depth);
        let left = place.min(nodes.len() - 2);
        if size(&nodes[place]) > FEW || size(&nodes[left]) + size(&nodes[left + 1]) > MANY {
            return;
        }
        let (low, high) = (nodes[left], nodes[left + 1]);
        let mut joined = Children::new();
        if depth == 1 {
            let mut intervals = self.open_leaf(low.node, low.first);
            for one in self.open_leaf(high.node, high.first) {
                push(&mut intervals, one.start, one.target);
            }
            self.leaves(&mut joined, &intervals);
        } else {
            let mut children = self.open_inner(low.node);
            children.extend(self.open_inner(high.node));
            self.inners(&mut joined, &children);
        }
        nodes.drain(left..left + 2);
        nodes.insert_many(left, joined);
    }

    /// Adds leaves of these intervals: full ones of many, two of the same size of what is a little
    /// too much for one.
    fn leaves(&mut self, leaves: &mut Children, intervals: &[Interval]) {
        let mut rest = intervals;
        while !rest.is_empty() {
            let most = match rest.len() {
                few if few <= ENTRIES => few,
                some if some < 2 * ENTRIES => some.div_ceil(2),
                _ => ENTRIES,
            };
            let (count, shift) = fitting(&rest[..most]);
            leaves.push(self.leaf(&rest[..count], shift));
            rest = &rest[count..];
        }
    }

    fn leaf(&mut self, intervals: &[Interval], shift: u32) -> Child {
        let (first, count) = (intervals[0].start, intervals.len());
        let mut words = [0; LEAF];
        let (starts, cells) = words.split_at_mut(CELLS);
        for (entry, interval) in intervals.iter().enumerate() {
            starts[entry] = offset(first, interval.start, shift);
            cells[entry] = self.cell(interval.target).0;
        }
        let last = (starts[count - 1], cells[count - 1]);
        starts[count..].fill(last.0);
        cells[count..].fill(last.1);
        Child { first, node: self.leaf_of(words, shift) }
    }

    /// A leaf of starts and cells, each of which is a word yet.
    pub(super) fn leaf_of(&mut self, mut words: [u32; LEAF], shift: u32) -> Node {
        let cells = &mut words[CELLS..];
        let is_narrow = cells.iter().all(|cell| *cell <= 0xffff);
        if is_narrow {
            for pair in 0..ENTRIES / 2 {
                cells[pair] = cells[2 * pair + 1] << 16 | cells[2 * pair];
            }
        }
        let at = self.arena.add(if is_narrow { &words[..NARROW] } else { &words });
        Node::leaf(at, is_narrow, shift)
    }

    /// Adds nodes above these.
    fn inners(&mut self, inners: &mut Children, children: &[Child]) {
        inners.extend(parts(children).map(|part| self.inner(part)));
    }

    #[allow(clippy::cast_possible_truncation)] // halves of a key
    fn inner(&mut self, children: &[Child]) -> Child {
        let mut words = [0; INNER];
        for entry in 0..ENTRIES {
            let child = children[entry.min(children.len() - 1)];
            words[2 * entry] = child.first as u32;
            words[2 * entry + 1] = (child.first >> 32) as u32;
            words[CHILDREN + entry] = child.node.0;
        }
        Child { first: children[0].first, node: Node::inner(self.arena.add(&words)) }
    }

    fn cell(&mut self, target: Target) -> Cell {
        let mut words = [0; SLOT];
        match target {
            Target::Value(value) => Cell::value(value).unwrap_or_else(|| {
                words[0] = value;
                Cell::large(self.arena.add(&words))
            }),
            Target::Child(Tree { root, depth }) => {
                (words[0], words[1]) = (root.0, depth);
                Cell::deep(self.arena.add(&words))
            }
        }
    }

    /// The intervals of a leaf, which is given up without its deep trees.
    fn open_leaf(&mut self, leaf: Node, first: u64) -> Intervals {
        let words = self.arena.words().clone();
        self.arena.retire(leaf.place(), if leaf.is_narrow() { NARROW } else { LEAF });
        let intervals = (0..count(&words, leaf, 1)).map(|entry| {
            let cell = cell_of(&words, leaf, entry);
            if let Form::Large(node) | Form::Deep(node) = cell.form() {
                self.arena.retire(node.place(), SLOT);
            }
            let start = first + (u64::from(words.get(leaf.at() + entry)) << leaf.shift());
            Interval { start, target: target(&words, cell) }
        });
        intervals.collect()
    }

    /// The children of a node, which is given up without them.
    fn open_inner(&mut self, node: Node) -> Children {
        self.arena.retire(node.place(), INNER);
        let words = self.arena.words();
        let (keys, nodes) = (keys(words, node), nodes(words, node));
        let child = |entry| Child { first: keys[entry], node: nodes[entry] };
        (0..distinct(&keys)).map(child).collect()
    }

    fn give_up(&mut self, node: Node, depth: u32, first: u64) {
        match depth {
            0 => {}
            1 => {
                for one in self.open_leaf(node, first) {
                    self.give_up_deep(one.target);
                }
            }
            _ => {
                for child in self.open_inner(node) {
                    self.give_up(child.node, depth - 1, child.first);
                }
            }
        }
    }

    fn give_up_deep(&mut self, target: Target) {
        if let Target::Child(tree) = target {
            self.give_up(tree.root, tree.depth, 0);
        }
    }
}

fn target(words: &Words, cell: Cell) -> Target {
    match cell.form() {
        Form::Value(value) => Target::Value(value),
        Form::Large(node) => Target::Value(words.get(node.at())),
        Form::Deep(node) => Target::Child(Tree::read(words, node)),
    }
}

/// Entries of a node: all before the last one is repeated.
fn count(words: &Words, node: Node, depth: u32) -> usize {
    if depth == 1 {
        return distinct(leaf_words(words, node).first_chunk().expect("starts come first"));
    }
    distinct(&keys(words, node))
}

/// How many there are before the last one is repeated.
pub(super) fn distinct<T: PartialEq>(ascending: &[T; ENTRIES]) -> usize {
    1 + ascending.iter().filter(|one| **one != ascending[ENTRIES - 1]).count()
}

/// The keys of an inner node.
fn keys(words: &Words, node: Node) -> [u64; ENTRIES] {
    let keys = inner_words(words, node).first_chunk().expect("keys come first");
    std::array::from_fn(|entry| key(keys, entry))
}

/// The children of an inner node.
fn nodes(words: &Words, node: Node) -> [Node; ENTRIES] {
    let nodes = inner_words(words, node);
    std::array::from_fn(|entry| Node(nodes[CHILDREN + entry]))
}

/// As few parts as it takes, of about the same size.
fn parts<T>(all: &[T]) -> impl Iterator<Item = &[T]> {
    let parts = all.len().div_ceil(ENTRIES);
    let bound = move |part| all.len() * part / parts;
    (0..parts).map(move |part| &all[bound(part)..bound(part + 1)])
}

/// How many of the first intervals fit into one leaf, and how many bits are left out of their
/// starts.
fn fitting(intervals: &[Interval]) -> (usize, u32) {
    let first = intervals[0].start;
    let shift_of = |count: usize| {
        let bits = intervals[..count].iter().fold(0, |bits, one| bits | (one.start - first));
        bits.trailing_zeros().min(63)
    };
    (1..=intervals.len())
        .rev()
        .map(|count| (count, shift_of(count)))
        .find(|(count, shift)| (intervals[count - 1].start - first) >> shift <= u32::MAX.into())
        .expect("one interval fits")
}

/// The intervals of a deep tree, within a span.
fn lower_intervals(span: Span, own: u32, entries: &[Entry<u128>]) -> Intervals {
    let mut intervals = Intervals::new();
    let mut walk = Walk::new(span.first.into(), own);
    for entry in entries {
        let prefix = Span::of(lower(entry.key.bits), entry.key.length - 64);
        go_to(&mut walk, prefix.first.into(), &mut intervals);
        walk.enter(prefix.end(), entry.value);
    }
    go_to(&mut walk, span.end(), &mut intervals);
    intervals
}

/// Goes on to a key, or behind the last one.
#[allow(clippy::cast_possible_truncation)] // what begins before it is a key
fn go_to(walk: &mut Walk<u128>, key: u128, intervals: &mut Intervals) {
    walk.go_to(key, |start, value| push(intervals, start as u64, Target::Value(value)));
}
