//! Storage that the versions of a table share: words in one block, handed out as nodes.
//!
//! A node is written before the version that has it is published, and not again as long as a
//! version is alive that has it: readers need no lock, and see what was published with the version.

use std::collections::VecDeque;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::memory::Memory;
use super::published::step;

/// Words of a node's place and size come in pairs.
pub(super) const UNIT: usize = 2;

/// Units of a cache line.
const LINE: usize = 64 / 4 / UNIT;

/// The smallest block.
const FIRST: usize = 256 * UNIT;

/// The largest node, in units.
const LARGEST: usize = 256;

/// A block of words.
#[derive(Debug)]
pub(super) struct Words(Memory);

impl Words {
    fn new(length: usize) -> Self {
        Self(Memory::new(length))
    }

    #[inline(always)]
    pub fn get(&self, at: usize) -> u32 {
        step();
        self.0[at].load(Relaxed)
    }

    /// See [`prefetch`], of the cache line of a word.
    #[inline(always)]
    pub fn prefetch(&self, at: usize) {
        prefetch(self.0.as_ptr().wrapping_add(at));
    }

    /// The first word.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const u32 {
        step();
        self.0.as_ptr().cast()
    }

    /// The words of a node.
    ///
    /// # Safety
    /// A version that the caller has has a node there, of as many words or more. (To check the place
    /// costs a tenth of what a lookup takes.)
    #[inline(always)]
    #[allow(unsafe_code)]
    pub unsafe fn node<const N: usize>(&self, at: usize) -> &[u32; N] {
        step();
        debug_assert!(at + N <= self.0.len());
        // SAFETY: there are so many words, and nobody writes a node that a version has.
        unsafe { &*self.0.as_ptr().add(at).cast() }
    }

    /// So many words of a node.
    ///
    /// # Safety
    /// As of [`Self::node`].
    #[inline(always)]
    #[allow(unsafe_code)]
    pub unsafe fn run(&self, at: usize, length: usize) -> &[u32] {
        step();
        debug_assert!(at + length <= self.0.len());
        // SAFETY: there are so many words, and nobody writes a node that a version has.
        unsafe { std::slice::from_raw_parts(self.0.as_ptr().add(at).cast(), length) }
    }

    /// Writes a node that no version has yet.
    fn write(&self, at: usize, words: &[u32]) {
        step();
        let slots = &self.0[at..at + words.len()];
        // SAFETY: they are so many words, of which nobody else reads or writes one.
        #[allow(unsafe_code)]
        unsafe {
            std::ptr::copy_nonoverlapping(
                words.as_ptr(),
                slots.as_ptr().cast_mut().cast(),
                words.len(),
            );
        }
    }

    /// Copies words of a node to where no version has one yet.
    fn copy(&self, from: usize, to: usize, length: usize) {
        step();
        let (from, to) = (&self.0[from..from + length], &self.0[to..to + length]);
        // SAFETY: they are so many words, which nobody writes, and of which nobody else reads or
        // writes one; they have none in common, since they are of two nodes.
        #[allow(unsafe_code)]
        unsafe {
            let to = to.as_ptr().cast_mut();
            std::ptr::copy_nonoverlapping(from.as_ptr(), to, length);
        }
    }
}

/// Asks for a cache line, to be there when it is read.
#[inline(always)]
pub(super) fn prefetch<T>(place: *const T) {
    #[cfg(target_arch = "x86_64")]
    #[allow(unsafe_code)]
    // SAFETY: a prefetch changes nothing and fails nowhere, whatever the address.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(place.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = place;
}

/// The place of a node, in units.
pub(super) type At = u32;

/// A node that no version has from one on.
#[derive(Debug, Clone, Copy)]
struct Retired {
    at: At,
    units: u32,
    /// The number of the newest version that may have it.
    last: u64,
}

/// Sizes in units of which something is free.
#[derive(Debug, Default)]
struct Sizes([u64; LARGEST / 64 + 1]);

impl Sizes {
    fn add(&mut self, size: usize) {
        self.0[size / 64] |= 1 << (size % 64);
    }

    fn remove(&mut self, size: usize) {
        self.0[size / 64] &= !(1 << (size % 64));
    }

    /// The smallest one from this one on.
    fn from(&self, size: usize) -> Option<usize> {
        let first = self.0[size / 64] & (u64::MAX << (size % 64));
        let rest = self.0[size / 64 + 1..].iter().copied();
        let mut words = (size / 64..).zip(std::iter::once(first).chain(rest));
        let (place, word) = words.find(|(_, word)| *word != 0)?;
        Some(64 * place + word.trailing_zeros() as usize)
    }
}

/// Hands out nodes and takes them back, for the only writer.
#[derive(Debug)]
pub(super) struct Arena {
    words: Arc<Words>,
    /// Where nothing was handed out yet, in units.
    end: usize,
    /// The units of all nodes that the newest version has.
    live: usize,
    /// What is free below the end, by size in units.
    free: Vec<Vec<At>>,
    sizes: Sizes,
    /// What the version that is being made does not have any more, in this order.
    retired: VecDeque<Retired>,
    /// The number of the newest version.
    newest: u64,
}

impl Arena {
    /// With room for so many words without growing.
    pub fn new(words: usize) -> Self {
        Self {
            words: Arc::new(Words::new(words.next_multiple_of(UNIT).max(FIRST))),
            end: 0,
            live: 0,
            free: vec![Vec::new(); LARGEST + 1],
            sizes: Sizes::default(),
            retired: VecDeque::new(),
            newest: 0,
        }
    }

    /// Gives back what was never used, but for some room; only before anything is published.
    pub fn fit(&mut self) {
        let room = self.end / 32 + LARGEST;
        if (self.end + room) * UNIT < self.words.0.len() {
            self.move_to((self.end + room) * UNIT);
        }
    }

    pub fn words(&self) -> &Arc<Words> {
        &self.words
    }

    /// The bytes of all nodes of the newest version.
    pub fn live_bytes(&self) -> usize {
        self.live * UNIT * 4
    }

    /// The bytes of everything.
    pub fn bytes(&self) -> usize {
        let lists: usize = self.free.iter().map(Vec::capacity).sum();
        4 * (self.words.0.len() + lists) + self.retired.capacity() * size_of::<Retired>()
    }

    /// Makes a node.
    pub fn add(&mut self, words: &[u32]) -> At {
        let units = words.len().div_ceil(UNIT);
        debug_assert!((1..=LARGEST).contains(&units));
        let at = self.take(units);
        self.live += units;
        self.words.write(at as usize * UNIT, words);
        at
    }

    /// Makes a node as one of so many words, which is given up, is with others in the place of some.
    pub fn splice(&mut self, node: At, length: usize, places: Range<usize>, new: &[u32]) -> At {
        let units = (length - places.len() + new.len()).div_ceil(UNIT);
        let at = self.take(units);
        let (from, to) = (node as usize * UNIT, at as usize * UNIT);
        let behind = places.start + new.len();
        self.words.copy(from, to, places.start);
        self.words.write(to + places.start, new);
        self.words.copy(from + places.end, to + behind, length - places.end);
        self.live += units;
        self.retire(node, length);
        at
    }

    /// Writes words of a node that was just made.
    pub fn write(&mut self, node: At, place: usize, words: &[u32]) {
        self.words.write(node as usize * UNIT + place, words);
    }

    /// Says that the version in the making does not have this node of so many words.
    #[allow(clippy::cast_possible_truncation)] // nodes are small
    pub fn retire(&mut self, at: At, words: usize) {
        let units = words.div_ceil(UNIT);
        self.live -= units;
        self.retired.push_back(Retired { at, units: units as u32, last: self.newest });
    }

    /// Says that a version of this number is published, and which one is the oldest in use: frees what
    /// only versions before that had.
    pub fn published(&mut self, number: u64, oldest: u64) {
        self.newest = number;
        while let Some(node) = self.retired.front().copied().filter(|node| node.last < oldest) {
            self.retired.pop_front();
            self.keep(node.at, node.units as usize);
        }
    }

    fn keep(&mut self, at: At, units: usize) {
        self.free[units].push(at);
        self.sizes.add(units);
    }

    #[allow(clippy::cast_possible_truncation)] // what is below the end fits
    fn take(&mut self, units: usize) -> At {
        if let Some(at) = self.reused(units) {
            return at;
        }
        if (self.end + LINE + units) * UNIT > self.words.0.len() {
            self.grow();
            if let Some(at) = self.reused(units) {
                return at;
            }
        }
        // What fits into a cache line is in one, what takes whole ones begins one; what is left of the
        // line before is for others.
        let left = LINE - self.end % LINE;
        if units > left && (units <= LINE || units.is_multiple_of(LINE)) && left < LINE {
            self.keep(self.end as At, left);
            self.end += left;
        }
        let at = At::try_from(self.end).expect("fewer nodes than memory can hold");
        self.end += units;
        at
    }

    /// A free node of this size, or a part of a larger one.
    #[allow(clippy::cast_possible_truncation)] // nodes are small
    fn reused(&mut self, units: usize) -> Option<At> {
        let size = self.sizes.from(units)?;
        let at = self.free[size].pop().expect("the set says so");
        if self.free[size].is_empty() {
            self.sizes.remove(size);
        }
        if size > units {
            self.keep(at + units as u32, size - units);
        }
        Some(at)
    }

    /// Joins what is free side by side.
    fn join(&mut self) {
        let mut free: Vec<(usize, usize)> = Vec::new();
        for (units, places) in self.free.iter_mut().enumerate() {
            free.extend(places.drain(..).map(|at| (at as usize, units)));
        }
        self.sizes = Sizes::default();
        free.sort_unstable();
        let mut open: Option<(usize, usize)> = None;
        for (at, units) in free {
            open = match open {
                Some((start, length)) if start + length == at => Some((start, length + units)),
                other => {
                    self.keep_run(other);
                    Some((at, units))
                }
            };
        }
        self.keep_run(open);
    }

    #[allow(clippy::cast_possible_truncation)] // what is below the end fits
    fn keep_run(&mut self, run: Option<(usize, usize)>) {
        let Some((start, length)) = run else { return };
        for at in (start..start + length).step_by(LARGEST) {
            self.keep(at as At, LARGEST.min(start + length - at));
        }
    }

    /// Moves to another block, and leaves this one to the versions that are: whatever they alone
    /// have is free in the new one. Nodes keep their places.
    #[cold]
    fn grow(&mut self) {
        for node in std::mem::take(&mut self.retired) {
            self.keep(node.at, node.units as usize);
        }
        self.join();
        let capacity = self.words.0.len();
        // Where a quarter is free, now in one piece, there is room enough.
        let unused = self.end - self.live;
        let more = if unused * 4 < self.end { capacity / 8 } else { 0 } + LARGEST * UNIT;
        self.move_to((capacity + more).next_multiple_of(UNIT));
    }

    fn move_to(&mut self, capacity: usize) {
        let words = Words::new(capacity);
        for (to, from) in words.0.iter().zip(&self.words.0[..self.end * UNIT]) {
            to.store(from.load(Relaxed), Relaxed);
        }
        self.words = Arc::new(words);
    }
}
