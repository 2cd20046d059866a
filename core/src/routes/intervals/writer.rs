//! How the intervals are made, and made anew where routes change.

use smallvec::{SmallVec, smallvec};

use super::super::NO_VALUE;
use super::super::bits::{Entry, Key};
use super::super::rib::Rib;
use super::super::words::{Arena, Words};
use super::{
    CELLS, CHILDREN, Cell, ENTRIES, Form, INNER, LEAF, NARROW, Node, SLOT, Tree, key, lower,
    offset, search, upper,
};

/// Below so many entries, a node is joined with the one beside it, if both have no more than...
const FEW: usize = 4;

/// ... so many.
const MANY: usize = 12;

/// What an interval has.
#[derive(Clone, Copy, Debug)]
enum Target {
    Value(u32),
    /// A deep tree, of one key.
    Deep(Tree),
}

/// The keys from one on, up to the next interval.
#[derive(Clone, Copy, Debug)]
struct Interval {
    start: u64,
    target: Target,
}

/// Ascending; neighbours of the same value are joined.
type Intervals = SmallVec<[Interval; ENTRIES + 4]>;

fn push(intervals: &mut Intervals, start: u64, target: Target) {
    if let (Some(last), Target::Value(value)) = (intervals.last(), target)
        && matches!(last.target, Target::Value(before) if before == value)
    {
        return;
    }
    intervals.push(Interval { start, target });
}

/// A node and its first key.
#[derive(Clone, Copy, Debug)]
struct Child {
    first: u64,
    node: Node,
}

type Children = SmallVec<[Child; ENTRIES + 4]>;

/// Keys, both ends included.
#[derive(Clone, Copy, Debug)]
struct Span {
    first: u64,
    last: u64,
}

impl Span {
    const ALL: Self = Self { first: 0, last: u64::MAX };

    /// What shares so many bits.
    fn of(key: u64, length: u8) -> Self {
        let mask = u64::MAX.checked_shr(length.into()).unwrap_or(0);
        Self { first: key, last: key | mask }
    }
}

/// New intervals in the place of those of a span.
#[derive(Debug)]
struct Change {
    span: Span,
    new: Intervals,
    /// Deep trees of the span are still in use.
    keeps_deep: bool,
}

/// Changes the trees: nodes are made anew, from the changed ones up to the root.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    arena: &'a mut Arena,
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

    /// The tree after the routes of this prefix have changed to what the table has.
    pub fn change(&mut self, tree: Tree, rib: Rib<'_, u128>, key: Key<u128>) -> Tree {
        if rib.is_empty() {
            self.give_up(tree.root, tree.depth, 0);
            return Tree::EMPTY;
        }
        let own = rib.longest(key.bits, key.length).map_or(NO_VALUE, |entry| entry.value);
        let mut inside = Vec::new();
        rib.inside(key, &mut inside);
        let above = upper(key.bits);
        let Some(length) = key.length.checked_sub(64).filter(|length| *length > 0) else {
            let span = Span::of(above, key.length);
            let new = self.upper_intervals(span, own, &inside);
            return self.changed(tree, &Change { span, new, keeps_deep: false });
        };
        let cell = tree.cell(search::Portable, self.arena.words(), above);
        let deep = match target(self.arena.words(), cell) {
            Target::Deep(deep) => deep,
            Target::Value(value) => {
                self.tree(&[Interval { start: 0, target: Target::Value(value) }])
            }
        };
        let span = Span::of(lower(key.bits), length);
        let new = lower_intervals(span, own, &inside);
        let deep = self.changed(deep, &Change { span, new, keeps_deep: false });
        let target = self.simplest(deep);
        let new = smallvec![Interval { start: above, target }];
        self.changed(tree, &Change { span: Span::of(above, 64), new, keeps_deep: true })
    }

    /// The intervals of a span, of the value around it and the prefixes inside.
    fn upper_intervals(&mut self, span: Span, own: u32, entries: &[Entry<u128>]) -> Intervals {
        let mut walk = Walk::new(span, own);
        let mut rest = entries;
        while let Some(first) = rest.first() {
            let key = upper(first.key.bits);
            if first.key.length <= 64 {
                walk.enter(Span::of(key, first.key.length), first.value);
                rest = &rest[1..];
            } else {
                let same = |entry: &&Entry<u128>| upper(entry.key.bits) == key;
                let (within, after) = rest.split_at(rest.iter().take_while(same).count());
                walk.go_to(key.into());
                let tree = self.tree(&lower_intervals(Span::ALL, walk.own, within));
                let target = self.simplest(tree);
                walk.set(key, target);
                rest = after;
            }
        }
        walk.finish()
    }

    /// A deep tree, or the only value in it.
    fn simplest(&mut self, tree: Tree) -> Target {
        if tree.depth == 1 && count(self.arena.words(), tree.root, 1) == 1 {
            return self.open_leaf(tree.root, 0)[0].target;
        }
        Target::Deep(tree)
    }

    /// A tree of the intervals of all keys.
    fn tree(&mut self, intervals: &[Interval]) -> Tree {
        let leaves = self.leaves(intervals);
        self.grown(leaves, 1)
    }

    /// A tree above nodes of a level.
    fn grown(&mut self, mut nodes: Children, mut depth: u32) -> Tree {
        while nodes.len() > 1 {
            nodes = self.inners(&nodes);
            depth += 1;
        }
        Tree { root: nodes[0].node, depth }
    }

    /// A tree, given up, with a change.
    fn changed(&mut self, tree: Tree, change: &Change) -> Tree {
        if tree.depth == 0 {
            let all = Target::Value(NO_VALUE);
            let tree = self.tree(&[Interval { start: 0, target: all }]);
            return self.changed(tree, change);
        }
        let root = Child { first: 0, node: tree.root };
        let nodes = self.below(root, u64::MAX, tree.depth, change.span, change, true);
        let mut tree = self.grown(nodes, tree.depth);
        while tree.depth > 1 && count(self.arena.words(), tree.root, tree.depth) == 1 {
            tree = Tree { root: self.open_inner(tree.root)[0].node, depth: tree.depth - 1 };
        }
        tree
    }

    /// What is in the place of a node, which is given up, whose last key is given: without what it
    /// has of a span, and with the new intervals if they are for it.
    fn below(
        &mut self,
        node: Child,
        last: u64,
        depth: u32,
        span: Span,
        change: &Change,
        is_first: bool,
    ) -> Children {
        if depth == 1 {
            let new: &[Interval] = if is_first { &change.new } else { &[] };
            let intervals = self.leaf_changed(node, last, span, new, change.keeps_deep);
            return self.leaves(&intervals);
        }
        let children = self.open_inner(node.node);
        let up_to = |key: u64| children.partition_point(|child| child.first <= key) - 1;
        let (low, high) = (up_to(span.first), up_to(span.last));
        let last_of = |place: usize| children.get(place + 1).map_or(last, |next| next.first - 1);
        let mut result = Children::from_slice(&children[..low]);
        for place in low..=high {
            let (child, last) = (children[place], last_of(place));
            if place > low && place < high {
                self.give_up(child.node, depth - 1, child.first);
                continue;
            }
            let first = if place == low { span.first } else { child.first };
            let part = Span { first, last: span.last.min(last) };
            result.extend(self.below(
                child,
                last,
                depth - 1,
                part,
                change,
                is_first && place == low,
            ));
        }
        result.extend_from_slice(&children[high + 1..]);
        self.join(&mut result, low, depth - 1);
        self.inners(&result)
    }

    /// The intervals of a leaf, which is given up, with others in the place of a span's.
    fn leaf_changed(
        &mut self,
        leaf: Child,
        last: u64,
        span: Span,
        new: &[Interval],
        keeps_deep: bool,
    ) -> Intervals {
        let old = self.open_leaf(leaf.node, leaf.first);
        let (before, rest) = old.split_at(old.partition_point(|one| one.start < span.first));
        let (covered, after) = rest.split_at(rest.partition_point(|one| one.start <= span.last));
        if !keeps_deep {
            for one in covered {
                self.give_up_deep(one.target);
            }
        }
        let mut result = Intervals::from_slice(before);
        for one in new {
            push(&mut result, one.start, one.target);
        }
        // The interval that has the span's last key may go on behind it.
        if span.last < last
            && after.first().is_none_or(|next| next.start > span.last + 1)
            && let Some(goes_on) = covered.last().or(before.last())
        {
            push(&mut result, span.last + 1, goes_on.target);
        }
        for one in after {
            push(&mut result, one.start, one.target);
        }
        result
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
        let joined = if depth == 1 {
            let mut intervals = self.open_leaf(low.node, low.first);
            for one in self.open_leaf(high.node, high.first) {
                push(&mut intervals, one.start, one.target);
            }
            self.leaves(&intervals)
        } else {
            let mut children = self.open_inner(low.node);
            children.extend(self.open_inner(high.node));
            self.inners(&children)
        };
        nodes.drain(left..left + 2);
        nodes.insert_many(left, joined);
    }

    /// Leaves of these intervals: full ones of many, two of the same size of what is a little too much
    /// for one.
    fn leaves(&mut self, intervals: &[Interval]) -> Children {
        let mut leaves = Children::new();
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
        leaves
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
        let is_narrow = cells.iter().all(|cell| *cell <= 0xffff);
        if is_narrow {
            for pair in 0..ENTRIES / 2 {
                cells[pair] = cells[2 * pair + 1] << 16 | cells[2 * pair];
            }
        }
        let at = self.arena.add(if is_narrow { &words[..NARROW] } else { &words });
        Child { first, node: Node::leaf(at, is_narrow, shift) }
    }

    /// Nodes above these.
    fn inners(&mut self, children: &[Child]) -> Children {
        parts(children).map(|part| self.inner(part)).collect()
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
            Target::Deep(Tree { root, depth }) => {
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
            let at = leaf.at() + CELLS;
            let cell = Cell(if leaf.is_narrow() {
                words.get(at + entry / 2) >> (entry % 2 * 16) & 0xffff
            } else {
                words.get(at + entry)
            });
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
        let words = self.arena.words().clone();
        self.arena.retire(node.place(), INNER);
        let count = count(&words, node, 2);
        let words = words.to_vec(node.at(), INNER);
        let keys = words.first_chunk().expect("keys come first");
        let child = |entry| Child { first: key(keys, entry), node: Node(words[CHILDREN + entry]) };
        (0..count).map(child).collect()
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
        if let Target::Deep(tree) = target {
            self.give_up(tree.root, tree.depth, 0);
        }
    }
}

fn target(words: &Words, cell: Cell) -> Target {
    match cell.form() {
        Form::Value(value) => Target::Value(value),
        Form::Large(node) => Target::Value(words.get(node.at())),
        Form::Deep(node) => Target::Deep(Tree::read(words, node)),
    }
}

/// Entries of a node: all before the last one is repeated.
fn count(words: &Words, node: Node, depth: u32) -> usize {
    let stride = if depth == 1 { 1 } else { 2 };
    let same = |entry: usize| {
        let word = |entry, place| words.get(node.at() + stride * entry + place);
        (0..stride).all(|place| word(entry, place) == word(ENTRIES - 1, place))
    };
    (0..ENTRIES).find(|entry| same(*entry)).map_or(ENTRIES, |entry| entry + 1)
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
    let mut walk = Walk::new(span, own);
    for entry in entries {
        walk.enter(Span::of(lower(entry.key.bits), entry.key.length - 64), entry.value);
    }
    walk.finish()
}

/// A walk through the keys of a span.
struct Walk {
    span: Span,
    intervals: Intervals,
    /// Keys before this one are done.
    at: u128,
    /// The value of the innermost prefix around it.
    own: u32,
    /// Behind which key that one ends and the value around it, the innermost last.
    outer: Vec<(u128, u32)>,
}

impl Walk {
    fn new(span: Span, own: u32) -> Self {
        let at = span.first.into();
        Self { span, intervals: Intervals::new(), at, own, outer: Vec::new() }
    }

    /// Goes into a prefix.
    fn enter(&mut self, prefix: Span, value: u32) {
        self.go_to(prefix.first.into());
        self.outer.push((u128::from(prefix.last) + 1, self.own));
        self.own = value;
    }

    /// Gives one key, which is the next, something else.
    fn set(&mut self, key: u64, target: Target) {
        push(&mut self.intervals, key, target);
        self.at = u128::from(key) + 1;
    }

    fn go_to(&mut self, key: u128) {
        while let Some(&(end, value)) = self.outer.last() {
            if end > key {
                break;
            }
            self.fill(end);
            self.own = value;
            self.outer.pop();
        }
        self.fill(key);
    }

    #[allow(clippy::cast_possible_truncation)] // there is a key behind it, so it is one
    fn fill(&mut self, end: u128) {
        if self.at < end {
            push(&mut self.intervals, self.at as u64, Target::Value(self.own));
            self.at = end;
        }
    }

    fn finish(mut self) -> Intervals {
        self.go_to(u128::from(self.span.last) + 1);
        self.intervals
    }
}
