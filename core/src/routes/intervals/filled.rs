//! The most frequent change: a span has one value, all of it is in one leaf, and the nodes stay as
//! many as they are. Nodes are copied around what changes, on one way down and up again.

use std::ops::Range;

use smallvec::SmallVec;

use super::super::words::Words;
use super::search::{Portable, Search};
use super::writer::{FEW, Span, Writer, distinct};
use super::{
    CELLS, CHILDREN, Cell, ENTRIES, LEAF, NARROW, Node, Tree, cell_of, inner_words, key, leaf_words,
};

/// Where the intervals of a leaf start, and their cells; there may be two too many.
#[derive(Debug)]
struct Cells {
    starts: [u32; ENTRIES + 2],
    cells: [Cell; ENTRIES + 2],
    count: usize,
}

impl Cells {
    /// Of a leaf.
    fn read(words: &Words, leaf: Node) -> Self {
        let starts: &[u32; ENTRIES] =
            leaf_words(words, leaf).first_chunk().expect("starts come first");
        let mut read = Self { count: distinct(starts), ..Self::NONE };
        read.starts[..ENTRIES].copy_from_slice(starts);
        for (entry, cell) in read.cells[..ENTRIES].iter_mut().enumerate() {
            *cell = cell_of(words, leaf, entry);
        }
        read
    }

    const NONE: Self = Self { starts: [0; ENTRIES + 2], cells: [Cell(0); ENTRIES + 2], count: 0 };

    /// How many start before this.
    fn before(&self, start: u32) -> usize {
        let starts = &self.starts[..ENTRIES];
        starts.iter().filter(|one| **one < start).count().min(self.count)
    }

    fn has(&self, entry: usize, start: u32) -> bool {
        entry < self.count && self.starts[entry] == start
    }

    /// Adds some of another leaf's, which do not begin with what is last here.
    fn extend(&mut self, other: &Self, entries: Range<usize>) {
        let to = self.count..self.count + entries.len();
        self.starts[to.clone()].copy_from_slice(&other.starts[entries.clone()]);
        self.cells[to.clone()].copy_from_slice(&other.cells[entries]);
        self.count = to.end;
    }

    /// Adds one, unless it is what is last here.
    fn push(&mut self, start: u32, cell: Cell) {
        if !self.ends_with(cell) {
            (self.starts[self.count], self.cells[self.count]) = (start, cell);
            self.count += 1;
        }
    }

    fn ends_with(&self, cell: Cell) -> bool {
        self.count > 0 && self.cells[self.count - 1] == cell
    }
}

/// Inner nodes, from the root down, and which of their entries are changed.
type Path = SmallVec<[(Node, Range<usize>); 16]>;

/// A leaf, and the keys that are in it.
struct Leaf {
    node: Node,
    span: Span,
}

impl Writer<'_> {
    /// The tree, given up, after a span has got one value; if all of it is in one leaf, which keeps
    /// its form and has cells of values only there.
    pub(super) fn filled(&mut self, tree: Tree, span: Span, value: u32) -> Option<Tree> {
        let cell = Cell::value(value)?;
        let words = self.arena.words();
        let (path, leaf) = way(words, tree, span)?;
        let cells = leaf.filled(words, span, cell)?;
        let mut node = self.leaf_like(&leaf, &cells);
        for (parent, entries) in path.into_iter().rev() {
            node = self.exchanged(parent, entries, node);
        }
        Some(Tree { root: node, depth: tree.depth })
    }

    /// A leaf in the place of another one, which is given up, of the same first key and shift.
    fn leaf_like(&mut self, leaf: &Leaf, cells: &Cells) -> Node {
        let before = if leaf.node.is_narrow() { NARROW } else { LEAF };
        self.arena.retire(leaf.node.place(), before);
        let mut words = [0; LEAF];
        for entry in 0..ENTRIES {
            let from = entry.min(cells.count - 1);
            (words[entry], words[CELLS + entry]) = (cells.starts[from], cells.cells[from].0);
        }
        self.leaf_of(words, leaf.node.shift())
    }
}

/// The leaf that has all of a span, and the way there: a child is in more than one entry of a node
/// that is not full.
fn way(words: &Words, tree: Tree, span: Span) -> Option<(Path, Leaf)> {
    let mut path = Path::new();
    let mut leaf = Leaf { node: tree.root, span: Span::ALL };
    for _ in 1..tree.depth {
        let node = inner_words(words, leaf.node);
        let keys = node.first_chunk().expect("keys come first");
        let entry = Portable.inner(keys, span.first);
        if Portable.inner(keys, span.last) != entry {
            return None;
        }
        let first = key(keys, entry);
        let same = (0..entry).rev().take_while(|before| key(keys, *before) == first).count();
        path.push((leaf.node, entry - same..entry + 1));
        let last = if entry + 1 < ENTRIES { key(keys, entry + 1) - 1 } else { leaf.span.last };
        leaf = Leaf { node: Node(node[CHILDREN + entry]), span: Span { first, last } };
    }
    (tree.depth > 0).then_some((path, leaf))
}

impl Leaf {
    /// A key as this leaf has it, if it can.
    fn offset(&self, key: u64) -> Option<u32> {
        let (offset, shift) = (key - self.span.first, self.node.shift());
        u32::try_from(offset >> shift).ok().filter(|short| u64::from(*short) << shift == offset)
    }

    /// The cells after a span has got this one, if they fit well into a leaf.
    fn filled(&self, words: &Words, span: Span, cell: Cell) -> Option<Cells> {
        let old = Cells::read(words, self.node);
        let start = self.offset(span.first)?;
        let end = if span.last < self.span.last { Some(self.offset(span.last + 1)?) } else { None };
        let first = old.before(start);
        let mut behind = end.map_or(old.count, |end| old.before(end));
        let around = first - usize::from(!old.has(first, start));
        if old.cells[around..behind].iter().any(|cell| cell.is_elsewhere()) {
            return None;
        }
        let mut new = Cells::NONE;
        new.extend(&old, 0..first);
        new.push(start, cell);
        if let Some(end) = end
            && !old.has(behind, end)
        {
            new.push(end, old.cells[behind - 1]);
        }
        behind += usize::from(behind < old.count && new.ends_with(old.cells[behind]));
        new.extend(&old, behind..old.count);
        (FEW < new.count && new.count <= ENTRIES).then_some(new)
    }
}
