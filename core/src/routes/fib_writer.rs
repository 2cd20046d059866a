//! How the lookup trie is made, and made anew where routes change.

use super::NO_VALUE;
use super::bits::{Bits, Entry, Key};
use super::fib::{DENSE_HEAD, Form, Ref, SMALL_HEAD, dense_place, line_place, small_place};
use super::rib::Rib;
use super::window::{Run, Runs, Target, Window, push, replaced};
use super::words::{Arena, Words};

/// Runs that a line has at most: the first has no key.
const LINE_RUNS: usize = 32;

/// Stands for the child of a slot while runs are only counted.
const COUNTED: Target = Target::Child(Ref::NONE);

/// Changes a trie: nodes are made anew, from the changed one up to the root.
#[derive(Debug)]
pub(super) struct FibWriter<'a, B> {
    arena: &'a mut Arena,
    rib: Rib<'a, B>,
}

impl<'a, B: Bits> FibWriter<'a, B> {
    /// For a table of these routes.
    pub fn new(arena: &'a mut Arena, rib: Rib<'a, B>) -> Self {
        Self { arena, rib }
    }

    /// A trie of these ascending entries, which are all.
    pub fn load(&mut self, entries: &[Entry<B>]) -> Ref {
        let (own, inside) = match entries {
            [first, inside @ ..] if first.key.length == 0 => (first.value, inside),
            _ => (NO_VALUE, entries),
        };
        let target = self.build(0, own, inside);
        self.reference(target)
    }

    /// The trie after the routes of this prefix have changed.
    pub fn change(&mut self, root: Ref, key: Key<B>) -> Ref {
        let own = self.own(key.bits, key.length);
        let mut inside = Vec::new();
        self.rib.inside(key, &mut inside);
        let node = self.taken(root);
        let changed = self.changed(0, node, key, own, &inside);
        self.reference(changed)
    }

    /// The value of an address by routes of at most so many bits.
    fn own(&self, bits: B, length: u8) -> u32 {
        self.rib.longest(bits, length).map_or(NO_VALUE, |entry| entry.value)
    }

    /// The node of this level after a change inside it; of a node that is given up.
    fn changed(
        &mut self,
        level: u8,
        node: Target,
        key: Key<B>,
        own: u32,
        inside: &[Entry<B>],
    ) -> Target {
        if key.length == level {
            self.give_up(level, node);
            return self.build(level, own, inside);
        }
        let width = width_of::<B>(level, node);
        let (slot, below) = (key.bits.window(level, width), level + width);
        if key.length > below {
            let child = self.child(level, node, slot);
            let child = self.changed(below, child, key, own, inside);
            return self.with(level, node, key.bits, child);
        }
        let slots = slot..slot + (1 << (below - key.length));
        let runs = self.open(level, node);
        for run in runs.iter().filter(|run| slots.contains(&run.start)) {
            self.give_up(below, run.target);
        }
        let mut new = Runs::new();
        let window = Window { level, width, slots: slots.clone(), own, entries: inside };
        window.walk(usize::MAX, &mut new, |own, entries| self.build(below, own, entries));
        self.fitting(level, width, key.bits, &replaced(&runs, slots, width, &new))
    }

    /// A node, given up, with another child for the slot of an address.
    fn with(&mut self, level: u8, node: Target, bits: B, child: Target) -> Target {
        let width = width_of::<B>(level, node);
        let slot = bits.window(level, width);
        if let (Target::Child(node), Target::Child(child)) = (node, child) {
            let place = place::<B>(self.arena.words(), level, node, slot);
            let before = Ref(self.arena.words().get(place));
            // Only what has a run of its own can be exchanged alone.
            if !before.is_large() && (is_full::<B>(level) || before.is_child()) {
                let mut words = read::<B>(self.arena.words(), level, node);
                words[place - node.at()] = child.0;
                self.arena.retire(node.place(), words.len());
                return Target::Child(node.moved(self.arena.add(&words)));
            }
        }
        let runs = self.open(level, node);
        let new = [Run { start: slot, target: child }];
        self.fitting(level, width, bits, &replaced(&runs, slot..slot + 1, width, &new))
    }

    /// A node of these runs, or of another width if they are too many.
    fn fitting(&mut self, level: u8, width: u8, bits: B, runs: &Runs) -> Target {
        if width != 16 || runs.len() <= LINE_RUNS {
            return self.node(level, width, runs);
        }
        for run in runs {
            self.give_up(level + width, run.target);
        }
        let mut inside = Vec::new();
        self.rib.inside(Key { bits: bits.clear(level), length: level }, &mut inside);
        let own = self.own(bits, level);
        self.build(level, own, &inside)
    }

    /// A node of these routes, all longer than the level.
    fn build(&mut self, level: u8, own: u32, entries: &[Entry<B>]) -> Target {
        if entries.is_empty() {
            return Target::Value(own);
        }
        let width = built_width(level, own, entries);
        let mut runs = Runs::new();
        window(level, width, own, entries)
            .walk(usize::MAX, &mut runs, |own, entries| self.build(level + width, own, entries));
        self.node(level, width, &runs)
    }

    /// What a slot of a node has.
    fn child(&self, level: u8, node: Target, slot: u32) -> Target {
        let Target::Child(node) = node else { return node };
        let words = self.arena.words();
        target(words, Ref(words.get(place::<B>(words, level, node, slot))))
    }

    /// A node of runs, or the one value that they have.
    fn node(&mut self, level: u8, width: u8, runs: &Runs) -> Target {
        if let [Run { target: Target::Value(value), .. }] = runs[..] {
            return Target::Value(value);
        }
        let refs: Vec<Ref> = runs.iter().map(|run| self.reference(run.target)).collect();
        Target::Child(if is_full::<B>(level) {
            Ref::dense(self.arena.add(&full(1 << width, runs, &refs)))
        } else {
            match width {
                6 => Ref::small(self.arena.add(&small(runs, &refs))),
                8 => Ref::dense(self.arena.add(&dense(runs, &refs))),
                _ => {
                    let keys = (runs.len() - 1).next_power_of_two().max(8);
                    Ref::line(self.arena.add(&line(runs, &refs, keys)), keys)
                }
            }
        })
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
    fn open(&mut self, level: u8, node: Target) -> Runs {
        let Target::Child(node) = node else { return vec![Run { start: 0, target: node }] };
        let words = read::<B>(self.arena.words(), level, node);
        let mut refs = if is_full::<B>(level) {
            (0..).zip(words.iter().map(|word| Ref(*word))).collect()
        } else if node.is_line() {
            of_line(&words, node.keys())
        } else if node.is_small() {
            of_bits(&words, SMALL_HEAD, 64)
        } else {
            of_bits(&words, DENSE_HEAD, 256)
        };
        // In a full node, all slots of a run have the same word.
        refs.dedup_by_key(|(_, reference)| *reference);
        self.arena.retire(node.place(), words.len());
        let mut runs = Runs::with_capacity(refs.len());
        for (start, reference) in refs {
            let target = self.taken(reference);
            push(&mut runs, start, target);
        }
        runs
    }

    /// Gives up a node and all below it.
    fn give_up(&mut self, level: u8, node: Target) {
        let Target::Child(_) = node else { return };
        let below = level + width_of::<B>(level, node);
        for run in self.open(level, node) {
            self.give_up(below, run.target);
        }
    }
}

/// Whether nodes of this level are full.
fn is_full<B: Bits>(level: u8) -> bool {
    level < 2 * B::FULL
}

/// Bits that a node takes, or one that is made in the place of a value.
fn width_of<B: Bits>(level: u8, node: Target) -> u8 {
    let line = match node {
        Target::Child(node) => !is_full::<B>(level) && node.is_line(),
        Target::Value(_) => may_be_line::<B>(level),
    };
    if line { 16 } else { narrow_width::<B>(level) }
}

/// Bits that all nodes of this level take that are no lines.
fn narrow_width<B: Bits>(level: u8) -> u8 {
    if is_full::<B>(level) { B::FULL } else { 8 - level % 8 }
}

fn may_be_line<B: Bits>(level: u8) -> bool {
    B::LINES && !is_full::<B>(level) && level % 16 == 0
}

/// Bits that a new node takes.
fn built_width<B: Bits>(level: u8, own: u32, entries: &[Entry<B>]) -> u8 {
    if may_be_line::<B>(level) {
        let mut runs = Runs::new();
        window(level, 16, own, entries).walk(LINE_RUNS, &mut runs, |_, _| COUNTED);
        if runs.len() <= LINE_RUNS {
            return 16;
        }
    }
    narrow_width::<B>(level)
}

/// A whole node.
fn window<B: Bits>(level: u8, width: u8, own: u32, entries: &[Entry<B>]) -> Window<'_, B> {
    Window { level, width, slots: 0..1 << width, own, entries }
}

fn target(words: &Words, reference: Ref) -> Target {
    match reference.form() {
        Form::Value(value) => Target::Value(value),
        Form::Large => Target::Value(words.get(reference.at())),
        Form::Dense | Form::Small | Form::Line => Target::Child(reference),
    }
}

/// The word of a slot.
fn place<B: Bits>(words: &Words, level: u8, node: Ref, slot: u32) -> usize {
    if is_full::<B>(level) {
        node.at() + slot as usize
    } else if node.is_line() {
        line_place(words, node, slot)
    } else if node.is_small() {
        small_place(words, node.at(), slot)
    } else {
        dense_place(words, node.at(), slot)
    }
}

/// All words of a node.
fn read<B: Bits>(words: &Words, level: u8, node: Ref) -> Vec<u32> {
    let last = (1 << width_of::<B>(level, Target::Child(node))) - 1;
    words.to_vec(node.at(), place::<B>(words, level, node, last) + 1 - node.at())
}

fn full(slots: usize, runs: &Runs, refs: &[Ref]) -> Vec<u32> {
    let mut words = Vec::with_capacity(slots);
    let ends = runs[1..].iter().map(|run| run.start as usize).chain([slots]);
    for (end, reference) in ends.zip(refs) {
        words.resize(end, reference.0);
    }
    words
}

fn small(runs: &Runs, refs: &[Ref]) -> Vec<u32> {
    let mut words = vec![0u32; SMALL_HEAD];
    set_begins(runs, &mut words);
    words.extend(refs.iter().map(|reference| reference.0));
    words
}

fn set_begins(runs: &Runs, words: &mut [u32]) {
    for run in runs {
        words[(run.start >> 5) as usize] |= 1 << (run.start & 31);
    }
}

fn dense(runs: &Runs, refs: &[Ref]) -> Vec<u32> {
    let mut words = vec![0u32; DENSE_HEAD];
    set_begins(runs, &mut words);
    let mut before: u32 = 0;
    for block in 0..8 {
        words[8 + block / 4] |= before << (8 * (block % 4));
        before += words[block].count_ones();
    }
    words.extend(refs.iter().map(|reference| reference.0));
    words
}

/// The runs behind bits of where they begin.
fn of_bits(words: &[u32], head: usize, slots: u32) -> Vec<(u32, Ref)> {
    let begins = (0..slots).filter(|slot| words[(slot >> 5) as usize] >> (slot & 31) & 1 == 1);
    begins.zip(words[head..].iter().map(|word| Ref(*word))).collect()
}

fn line(runs: &Runs, refs: &[Ref], keys: usize) -> Vec<u32> {
    let mut words = vec![u32::MAX; keys / 2];
    for (place, run) in runs[1..].iter().enumerate() {
        let shift = 16 * (place & 1);
        words[place / 2] &= !(0xffff << shift);
        words[place / 2] |= (run.start - 1) << shift;
    }
    words.extend(refs.iter().map(|reference| reference.0));
    words
}

fn of_line(words: &[u32], keys: usize) -> Vec<(u32, Ref)> {
    let (keys, refs) = words.split_at(keys / 2);
    let key = |place: usize| keys[place / 2] >> (16 * (place & 1)) & 0xffff;
    (0..refs.len())
        .map(|place| (if place == 0 { 0 } else { key(place - 1) + 1 }, Ref(refs[place])))
        .collect()
}
