//! What lookups read: a trie of 8 or 16 bits per node in which every address finds its value.
//!
//! A node splits its addresses into *slots*; neighbouring slots of the same value, or of the same
//! child, are one *run*. Four forms:
//!
//! * *full*: one word per slot. The first two levels, of 9 bits each for IPv4, of 8 for IPv6.
//! * *small*: 6 bits, only of IPv4 from bit 18 on; one bit per slot, set where a run begins, in 2
//!   words; then one word per run. Nearly always all of it is in one cache line.
//! * *dense*: 8 bits; the same with 8 words, followed by how many runs begin before each of them,
//!   in bytes. As Lulea tables and Poptrie count bits to find a run (Degermark et al. 1997; Asai
//!   and Ohara 2015).
//! * *line*: 16 bits of few runs, for IPv6; where each run but the first begins, less one, in
//!   halves of words, filled up with `0xffff`; then one word per run.
//!
//! A word, [`Ref`], is a value, or a child.

use super::bits::Bits;
use super::words::{At, UNIT, Words};

/// Words of a small node before its runs.
pub(super) const SMALL_HEAD: usize = 2;

/// Words of a dense node before its runs.
pub(super) const DENSE_HEAD: usize = 10;

/// A value, or a child: `0` for no value; up to `0x7fff_ffff` the value plus one; else a bit, the
/// form in two bits, for lines the size of the keys in two bits, and the place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ref(pub u32);

const CHILD: u32 = 1 << 31;
const DENSE: u32 = CHILD;
const LINE: u32 = CHILD | 1 << 29;
const LARGE: u32 = CHILD | 2 << 29;
const SMALL: u32 = CHILD | 3 << 29;
const TAG: u32 = 0b111 << 29;
const SIZE_SHIFT: u32 = 27;
const PLACE: u32 = (1 << SIZE_SHIFT) - 1;

/// What a reference is to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Value(u32),
    /// Full in the first levels.
    Dense,
    Small,
    Line,
    /// A value that a reference has no room for: it is in a word of its own.
    Large,
}

impl Ref {
    pub const NONE: Self = Self(0);

    /// A value, if there is room for it.
    pub fn value(value: u32) -> Option<Self> {
        let word = value.wrapping_add(1);
        (word & CHILD == 0).then_some(Self(word))
    }

    pub fn large(at: At) -> Self {
        Self::child(LARGE, at)
    }

    pub fn dense(at: At) -> Self {
        Self::child(DENSE, at)
    }

    pub fn small(at: At) -> Self {
        Self::child(SMALL, at)
    }

    /// A line with 8, 16 or 32 keys.
    pub fn line(at: At, keys: usize) -> Self {
        let size = match keys {
            8 => 0,
            16 => 1,
            _ => 2,
        };
        Self::child(LINE | size << SIZE_SHIFT, at)
    }

    fn child(tag: u32, at: At) -> Self {
        assert!(at <= PLACE, "1 GiB of lookup nodes are the most that there can be");
        Self(tag | at)
    }

    #[inline(always)]
    pub fn form(self) -> Form {
        match self.0 & TAG {
            DENSE => Form::Dense,
            SMALL => Form::Small,
            LINE => Form::Line,
            LARGE => Form::Large,
            _ => Form::Value(self.0.wrapping_sub(1)),
        }
    }

    #[inline(always)]
    pub fn is_child(self) -> bool {
        self.0 & CHILD != 0
    }

    #[inline(always)]
    pub fn is_dense(self) -> bool {
        self.0 & TAG == DENSE
    }

    #[inline(always)]
    pub fn is_small(self) -> bool {
        self.0 & TAG == SMALL
    }

    #[inline(always)]
    pub fn is_line(self) -> bool {
        self.0 & TAG == LINE
    }

    #[inline(always)]
    pub fn is_large(self) -> bool {
        self.0 & TAG == LARGE
    }

    /// Where the child is, in units.
    pub fn place(self) -> At {
        self.0 & PLACE
    }

    /// The first word of the child.
    #[inline(always)]
    pub fn at(self) -> usize {
        (self.0 & PLACE) as usize * UNIT
    }

    /// How many keys a line has, with those that fill it up.
    #[inline(always)]
    pub fn keys(self) -> usize {
        8 << (self.0 >> SIZE_SHIFT & 0b11)
    }

    /// The same form at another place.
    pub fn moved(self, at: At) -> Self {
        assert!(at <= PLACE, "1 GiB of lookup nodes are the most that there can be");
        Self(self.0 & !PLACE | at)
    }
}

/// A trie that is read.
#[derive(Debug)]
pub(super) struct Fib<'a> {
    pub words: &'a Words,
    pub root: Ref,
}

impl Fib<'_> {
    /// The value of an address, or [`NO_VALUE`].
    #[inline]
    pub fn lookup<B: Bits>(&self, bits: B) -> u32 {
        let (mut node, mut level) = (self.root, 0);
        while level < 2 * B::FULL && node.is_dense() {
            node = Ref(self.words.get(node.at() + bits.window(level, B::FULL) as usize));
            level += B::FULL;
        }
        loop {
            node = match node.form() {
                Form::Value(value) => return value,
                Form::Large => return self.words.get(node.at()),
                Form::Dense => {
                    let place = dense_place(self.words, node.at(), bits.window(level, 8));
                    level += 8;
                    Ref(self.words.get(place))
                }
                Form::Small => {
                    let place = small_place(self.words, node.at(), bits.window(level, 6));
                    level += 6;
                    Ref(self.words.get(place))
                }
                Form::Line => {
                    let place = line_place(self.words, node, bits.window(level, 16));
                    level += 16;
                    Ref(self.words.get(place))
                }
            };
        }
    }
}

/// The word of a slot's run.
#[inline(always)]
pub(super) fn small_place(words: &Words, at: usize, slot: u32) -> usize {
    let begins = u64::from(words.get(at + 1)) << 32 | u64::from(words.get(at));
    at + SMALL_HEAD - 1 + (begins & (u64::MAX >> (63 - slot))).count_ones() as usize
}

/// The word of a slot's run.
#[inline(always)]
pub(super) fn dense_place(words: &Words, at: usize, slot: u32) -> usize {
    let block = (slot >> 5) as usize;
    let begins = words.get(at + block) & (u32::MAX >> (31 - (slot & 31)));
    let before = words.get(at + 8 + (block >> 2)) >> ((block & 3) * 8) & 0xff;
    at + DENSE_HEAD - 1 + (before + begins.count_ones()) as usize
}

/// The word of a slot's run.
#[inline(always)]
pub(super) fn line_place(words: &Words, node: Ref, slot: u32) -> usize {
    let (at, keys) = (node.at(), node.keys());
    let key = |place: usize| words.get(at + place / 2) >> (16 * (place & 1)) & 0xffff;
    let (mut low, mut half) = (0, keys / 2);
    while half > 0 {
        low += if key(low + half - 1) < slot { half } else { 0 };
        half /= 2;
    }
    low += usize::from(key(low) < slot);
    at + keys / 2 + low
}
