//! What lookups of IPv4 addresses read: a trie of 9, 9, 6 and 8 bits in which every address finds
//! its value.
//!
//! A node splits its addresses into *slots*; neighbouring slots of the same value, or of the same
//! child, are one *run*. Three forms:
//!
//! * *full*: one word per slot. The first two levels.
//! * *small*: 6 bits; one bit per slot, set where a run begins, in 2 words; then one word per run.
//!   Nearly always all of it is in one cache line.
//! * *dense*: 8 bits; the same with 8 words, followed by how many runs begin before each of them,
//!   in bytes. As Lulea tables and Poptrie count bits to find a run (Degermark et al. 1997; Asai
//!   and Ohara 2015).
//!
//! A word, [`Ref`], is a value, or a child.

#[cfg(target_arch = "x86_64")]
mod avx512;
mod batch;
mod filled;
mod window;
mod writer;

use self::writer::TrieWriter;
use super::bits::{Entry, Key};
use super::family::Lookup;
use super::runs;
use super::words::{Arena, At, UNIT, Words};

/// Where each level ends, in bits.
const LEVELS: [u8; 4] = [9, 18, 24, 32];

/// Levels of full nodes.
const FULL: usize = 2;

/// Words of a small node before its runs.
const SMALL_HEAD: usize = 2;

/// Words of a dense node before its runs.
const DENSE_HEAD: usize = 10;

/// A value, or a child: `0` for no value; up to `0x7fff_ffff` the value plus one; else a bit, the
/// form in two bits, and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Ref(u32);

const CHILD: u32 = 1 << 31;
const DENSE: u32 = CHILD;
const LARGE: u32 = CHILD | 1 << 29;
const SMALL: u32 = CHILD | 2 << 29;
const TAG: u32 = 0b111 << 29;
const PLACE: u32 = !TAG;

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Value(u32),
    /// Full in the first levels.
    Dense,
    Small,
    /// A value that a reference has no room for: it is in a word of its own.
    Large,
}

impl Ref {
    const NONE: Self = Self(0);

    /// A value, if there is room for it.
    fn value(value: u32) -> Option<Self> {
        let word = value.wrapping_add(1);
        (word & CHILD == 0).then_some(Self(word))
    }

    fn large(at: At) -> Self {
        Self::child(LARGE, at)
    }

    fn dense(at: At) -> Self {
        Self::child(DENSE, at)
    }

    fn small(at: At) -> Self {
        Self::child(SMALL, at)
    }

    fn child(tag: u32, at: At) -> Self {
        assert!(at <= PLACE, "4 GiB of lookup nodes are the most that there can be");
        Self(tag | at)
    }

    #[inline(always)]
    fn form(self) -> Form {
        match self.0 & TAG {
            DENSE => Form::Dense,
            SMALL => Form::Small,
            LARGE => Form::Large,
            _ => Form::Value(self.0.wrapping_sub(1)),
        }
    }

    #[inline(always)]
    fn is_child(self) -> bool {
        self.0 & CHILD != 0
    }

    #[inline(always)]
    fn is_dense(self) -> bool {
        self.0 & TAG == DENSE
    }

    #[inline(always)]
    fn is_small(self) -> bool {
        self.0 & TAG == SMALL
    }

    #[inline(always)]
    fn is_large(self) -> bool {
        self.0 & TAG == LARGE
    }

    /// Where the child is, in units.
    fn place(self) -> At {
        self.0 & PLACE
    }

    /// The first word of the child.
    #[inline(always)]
    fn at(self) -> usize {
        (self.0 & PLACE) as usize * UNIT
    }

    /// The same form at another place.
    fn moved(self, at: At) -> Self {
        Self::child(self.0 & TAG, at)
    }
}

/// A trie: its root.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trie(Ref);

impl Lookup<u32> for Trie {
    const EMPTY: Self = Self(Ref::NONE);

    fn load(arena: &mut Arena, entries: &[Entry<u32>]) -> Self {
        Self(TrieWriter::new(arena).load(entries))
    }

    fn clear(self, arena: &mut Arena) -> Self {
        TrieWriter::new(arena).clear(self.0);
        Self::EMPTY
    }

    fn change(self, arena: &mut Arena, key: Key<u32>, own: u32, inside: &[Entry<u32>]) -> Self {
        Self(TrieWriter::new(arena).change(self.0, key, own, inside))
    }

    #[inline]
    fn value(self, words: &Words, bits: u32) -> u32 {
        let mut node = self.0;
        for level in 0..LEVELS.len() {
            node = match node.form() {
                Form::Value(value) => return value,
                Form::Large => return words.get(node.at()),
                Form::Dense | Form::Small => Ref(words.get(place(words, level, node, bits))),
            };
        }
        match node.form() {
            Form::Large => words.get(node.at()),
            _ => node.0.wrapping_sub(1),
        }
    }

    #[inline]
    fn prefetch(self, words: &Words, bits: u32) {
        let mut node = self.0;
        for level in 0..FULL {
            if !node.is_dense() {
                break;
            }
            node = Ref(words.get(place(words, level, node, bits)));
        }
        words.prefetch(node.at());
    }

    #[inline]
    fn values(self, words: &Words, addresses: &[u32], values: &mut [u32]) {
        if self.0.is_dense() {
            batch::lookup(words, self.0, addresses, values);
        } else {
            values.fill(self.value(words, 0));
        }
    }
}

#[cfg(test)]
impl Trie {
    pub fn values_by_each_way(self, words: &Words, addresses: &[u32]) -> Vec<Vec<u32>> {
        if !self.0.is_dense() {
            return Vec::new();
        }
        batch::by_each_way(words, self.0, addresses)
    }
}

type Target = runs::Target<Ref>;
type Run = runs::Run<u32, Ref>;
type Runs = runs::Runs<u32, Ref>;

/// Where a level starts, in bits.
#[inline(always)]
fn start(level: usize) -> u8 {
    if level == 0 { 0 } else { LEVELS[level - 1] }
}

/// The slot of an address at a level.
#[inline(always)]
fn slot(level: usize, bits: u32) -> u32 {
    bits << start(level) >> (32 - LEVELS[level] + start(level))
}

/// The word of an address in a node of a level.
#[inline(always)]
fn place(words: &Words, level: usize, node: Ref, bits: u32) -> usize {
    let (at, slot) = (node.at(), slot(level, bits));
    if level < FULL {
        at + slot as usize
    } else if node.is_small() {
        small_place(words, at, slot)
    } else {
        dense_place(words, at, slot)
    }
}

/// The word of a slot's run.
#[inline(always)]
fn small_place(words: &Words, at: usize, slot: u32) -> usize {
    let begins = u64::from(words.get(at + 1)) << 32 | u64::from(words.get(at));
    at + SMALL_HEAD - 1 + (begins & (u64::MAX >> (63 - slot))).count_ones() as usize
}

/// The word of a slot's run.
#[inline(always)]
fn dense_place(words: &Words, at: usize, slot: u32) -> usize {
    let block = (slot >> 5) as usize;
    let begins = words.get(at + block) & (u32::MAX >> (31 - (slot & 31)));
    let before = words.get(at + 8 + (block >> 2)) >> ((block & 3) * 8) & 0xff;
    at + DENSE_HEAD - 1 + (before + begins.count_ones()) as usize
}
