//! The most frequent change of a node: some slots have one value. Its words are copied around what
//! changes, where any other change makes them anew from all runs.

use std::ops::Range;

use smallvec::SmallVec;

use super::super::words::Words;
use super::writer::{BLOCKS, TrieWriter, count, slots_of};
use super::{DENSE_HEAD, FULL, Ref, SMALL_HEAD, Target};

impl TrieWriter<'_> {
    /// A node, given up, in which some slots have got one value: if it has runs, and what the slots
    /// have and had are values that references have room for.
    pub(super) fn filled(
        &mut self,
        level: usize,
        node: Target,
        slots: Range<u32>,
        value: u32,
    ) -> Option<Target> {
        let Target::Child(node) = node else { return None };
        let word = Ref::value(value).filter(|_| level >= FULL)?.0;
        let head = if node.is_small() { SMALL_HEAD } else { DENSE_HEAD };
        let words = self.arena.words();
        let mut begins = Begins::read(words, node);
        let length = head + begins.before(slots_of(level));
        // SAFETY: a trie is of nodes of its version, and this one has so many words.
        #[allow(unsafe_code)]
        let runs = &unsafe { words.run(node.at(), length) }[head..];
        let (first, behind) = (begins.before(slots.start), begins.before(slots.end));
        let around = first - usize::from(!begins.at(slots.start));
        if runs[around..behind].iter().any(|run| Ref(*run).is_child()) {
            return None;
        }
        let mut new = SmallVec::<[u32; 2]>::new();
        let is_joined = first > 0 && runs[first - 1] == word;
        if !is_joined {
            new.push(word);
        }
        let is_last = slots.end == slots_of(level);
        let next = runs.get(behind).filter(|_| !is_last && begins.at(slots.end));
        let goes_on = !is_last && next.is_none() && runs[behind - 1] != word;
        if goes_on {
            new.push(runs[behind - 1]);
        }
        let joins = next == Some(&word);
        let places = head + first..head + behind + usize::from(joins);
        if length - places.len() + new.len() == head + 1 {
            self.arena.retire(node.place(), length);
            return Some(Target::Value(value));
        }
        // No prefix is inside: all of the slots were in one run, so none begins within them.
        begins.set(slots.start, !is_joined);
        if !is_last {
            begins.set(slots.end, next.is_some() && !joins || goes_on);
        }
        let copy = self.arena.splice(node.place(), length, places, &new);
        self.arena.write(copy, 0, &begins.words()[..head]);
        Some(Target::Child(node.moved(copy)))
    }
}

/// Where runs of a node begin: a bit for each slot.
struct Begins {
    bits: [u32; BLOCKS],
    blocks: usize,
}

impl Begins {
    fn read(words: &Words, node: Ref) -> Self {
        let blocks = if node.is_small() { SMALL_HEAD } else { BLOCKS };
        let mut bits = [0; BLOCKS];
        for (block, bits) in bits[..blocks].iter_mut().enumerate() {
            *bits = words.get(node.at() + block);
        }
        Self { bits, blocks }
    }

    /// How many begin before a slot.
    fn before(&self, slot: u32) -> usize {
        let block = (slot / 32) as usize;
        let whole = self.bits[..block].iter().map(|bits| bits.count_ones()).sum::<u32>();
        let part = self.bits.get(block).map_or(0, |bits| bits & ((1 << (slot % 32)) - 1));
        (whole + part.count_ones()) as usize
    }

    fn at(&self, slot: u32) -> bool {
        self.bits[(slot / 32) as usize] >> (slot % 32) & 1 != 0
    }

    fn set(&mut self, slot: u32, is_set: bool) {
        let bits = &mut self.bits[(slot / 32) as usize];
        *bits = *bits & !(1 << (slot % 32)) | u32::from(is_set) << (slot % 32);
    }

    /// The first words of the node.
    fn words(&self) -> [u32; DENSE_HEAD] {
        let mut words = [0; DENSE_HEAD];
        words[..BLOCKS].copy_from_slice(&self.bits);
        if self.blocks == BLOCKS {
            count(&mut words);
        }
        words
    }
}
