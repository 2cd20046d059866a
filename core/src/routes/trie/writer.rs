//! How the trie is made, and made anew where routes change.

use std::ops::Range;

use smallvec::{SmallVec, smallvec};

use super::super::NO_VALUE;
use super::super::bits::{Entry, Key};
use super::super::runs::{push, replaced};
use super::super::words::{Arena, Words};
use super::window::Window;
use super::{
    DENSE_HEAD, FULL, Form, LEVELS, Ref, Run, Runs, SMALL_HEAD, Target, place, slot, start,
};

/// Words of bits of a dense node.
pub(super) const BLOCKS: usize = 8;

/// The words of a node; those of a small one have room.
type NodeWords = SmallVec<[u32; 96]>;

/// Changes a trie: nodes are made anew, from the changed one up to the root.
#[derive(Debug)]
pub(super) struct TrieWriter<'a> {
    pub(super) arena: &'a mut Arena,
}

impl<'a> TrieWriter<'a> {
    pub fn new(arena: &'a mut Arena) -> Self {
        Self { arena }
    }

    /// A trie of these ascending entries, which are all.
    pub fn load(&mut self, entries: &[Entry<u32>]) -> Ref {
        let (own, inside) = match entries {
            [first, inside @ ..] if first.key.length == 0 => (first.value, inside),
            _ => (NO_VALUE, entries),
        };
        let target = self.build(0, own, inside);
        self.reference(target)
    }

    /// Gives up everything.
    pub fn clear(&mut self, root: Ref) {
        let root = self.taken(root);
        self.give_up(0, root);
    }

    /// The trie after the routes of this prefix have changed, see [`Lookup::change`].
    pub fn change(&mut self, root: Ref, key: Key<u32>, own: u32, inside: &[Entry<u32>]) -> Ref {
        let node = self.taken(root);
        let changed = self.changed(0, node, key, own, inside);
        self.reference(changed)
    }

    /// The node of this level after a change inside it; of a node that is given up.
    fn changed(
        &mut self,
        level: usize,
        node: Target,
        key: Key<u32>,
        own: u32,
        inside: &[Entry<u32>],
    ) -> Target {
        if key.length == start(level) {
            self.give_up(level, node);
            return self.build(level, own, inside);
        }
        let first = slot(level, key.bits);
        if key.length > LEVELS[level] {
            let child = self.child(level, node, key.bits);
            let child = self.changed(level + 1, child, key, own, inside);
            return self.with(level, node, key.bits, child);
        }
        let slots = first..first + (1 << (LEVELS[level] - key.length));
        if inside.is_empty()
            && let Some(filled) = self.filled(level, node, slots.clone(), own)
        {
            return filled;
        }
        let runs = self.open(level, node);
        for run in runs.iter().filter(|run| slots.contains(&run.start)) {
            self.give_up(level + 1, run.target);
        }
        let mut new = Runs::new();
        let window = Window { level, slots: slots.clone(), own, entries: inside };
        window.walk(&mut new, |own, entries| self.build(level + 1, own, entries));
        self.replaced(level, &runs, &slots, &new)
    }

    /// A node, given up, with another child for the slot of an address.
    fn with(&mut self, level: usize, node: Target, bits: u32, child: Target) -> Target {
        if let (Target::Child(node), Target::Child(child)) = (node, child) {
            let place = place(self.arena.words(), level, node, bits);
            let before = Ref(self.arena.words().get(place));
            // Only what has a run of its own can be exchanged alone.
            if !before.is_large() && (level < FULL || before.is_child()) {
                let length = length(self.arena.words(), level, node);
                let place = place - node.at();
                let copy = self.arena.splice(node.place(), length, place..place + 1, &[child.0]);
                return Target::Child(node.moved(copy));
            }
        }
        let slot = slot(level, bits);
        let runs = self.open(level, node);
        let new = [Run { start: slot, target: child }];
        self.replaced(level, &runs, &(slot..slot + 1), &new)
    }

    /// A node of runs, with others in the place of some slots.
    fn replaced(&mut self, level: usize, runs: &Runs, slots: &Range<u32>, new: &[Run]) -> Target {
        let end = (slots.end < slots_of(level)).then_some(slots.end);
        self.node(level, &replaced(runs, slots.start, end, new))
    }

    /// A node of these routes, all longer than what is before the level.
    fn build(&mut self, level: usize, own: u32, entries: &[Entry<u32>]) -> Target {
        if entries.is_empty() {
            return Target::Value(own);
        }
        let mut runs = Runs::new();
        Window { level, slots: 0..slots_of(level), own, entries }
            .walk(&mut runs, |own, entries| self.build(level + 1, own, entries));
        self.node(level, &runs)
    }

    /// What the slot of an address has.
    fn child(&self, level: usize, node: Target, bits: u32) -> Target {
        let Target::Child(node) = node else { return node };
        let words = self.arena.words();
        target(words, Ref(words.get(place(words, level, node, bits))))
    }

    /// A node of runs, or the one value that they have.
    fn node(&mut self, level: usize, runs: &Runs) -> Target {
        if let [Run { target: Target::Value(value), .. }] = runs[..] {
            return Target::Value(value);
        }
        let slots = slots_of(level);
        let mut words = NodeWords::new();
        if level < FULL {
            let ends = runs[1..].iter().map(|run| run.start).chain([slots]);
            for (end, run) in ends.zip(runs) {
                words.resize(end as usize, self.reference(run.target).0);
            }
            return Target::Child(Ref::dense(self.arena.add(&words)));
        }
        let is_small = slots == 64;
        words.resize(if is_small { SMALL_HEAD } else { DENSE_HEAD }, 0);
        for run in runs {
            words[(run.start >> 5) as usize] |= 1 << (run.start & 31);
            words.push(self.reference(run.target).0);
        }
        if is_small {
            return Target::Child(Ref::small(self.arena.add(&words)));
        }
        count(&mut words);
        Target::Child(Ref::dense(self.arena.add(&words)))
    }

    fn reference(&mut self, target: Target) -> Ref {
        match target {
            Target::Child(child) => child,
            Target::Value(value) => {
                Ref::value(value).unwrap_or_else(|| Ref::large(self.arena.add(&[value])))
            }
        }
    }

    /// What a reference is to, which is given up.
    fn taken(&mut self, reference: Ref) -> Target {
        let target = target(self.arena.words(), reference);
        if reference.is_large() {
            self.arena.retire(reference.place(), 1);
        }
        target
    }

    /// The runs of a node, which is given up without its children.
    fn open(&mut self, level: usize, node: Target) -> Runs {
        let Target::Child(node) = node else { return smallvec![Run { start: 0, target: node }] };
        let words = self.arena.words();
        let length = length(words, level, node);
        // SAFETY: a trie is of nodes of its version, and this one has so many words.
        #[allow(unsafe_code)]
        let words = NodeWords::from_slice(unsafe { words.run(node.at(), length) });
        self.arena.retire(node.place(), length);
        let mut runs = Runs::new();
        let mut open = |start, word| push(&mut runs, start, self.taken(Ref(word)));
        if level < FULL {
            // All slots of a run have the same word.
            let mut before = None;
            for (slot, &word) in (0..).zip(&words) {
                if before.replace(word) != Some(word) {
                    open(slot, word);
                }
            }
            return runs;
        }
        let (blocks, head) = if node.is_small() { (2, SMALL_HEAD) } else { (BLOCKS, DENSE_HEAD) };
        let mut cells = words[head..].iter();
        for (block, &begins) in (0..).zip(&words[..blocks]) {
            let mut begins = begins;
            while begins != 0 {
                let cell = cells.next().expect("a word for each bit");
                open(32 * block + begins.trailing_zeros(), *cell);
                begins &= begins - 1;
            }
        }
        runs
    }

    /// Gives up a node and all below it.
    fn give_up(&mut self, level: usize, node: Target) {
        let Target::Child(_) = node else { return };
        for run in self.open(level, node) {
            self.give_up(level + 1, run.target);
        }
    }
}

/// Adds how many runs begin before each block of a dense node.
pub(super) fn count(words: &mut [u32]) {
    let mut before: u32 = 0;
    for block in 0..BLOCKS {
        words[BLOCKS + block / 4] |= before << (8 * (block % 4));
        before += words[block].count_ones();
    }
}

/// How many slots the nodes of a level have.
pub(super) fn slots_of(level: usize) -> u32 {
    1 << (LEVELS[level] - start(level))
}

fn target(words: &Words, reference: Ref) -> Target {
    match reference.form() {
        Form::Value(value) => Target::Value(value),
        Form::Large => Target::Value(words.get(reference.at())),
        Form::Dense | Form::Small => Target::Child(reference),
    }
}

/// How many words a node has.
fn length(words: &Words, level: usize, node: Ref) -> usize {
    place(words, level, node, u32::MAX) + 1 - node.at()
}
