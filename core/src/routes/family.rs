//! One address family of a table: all routes, and the trie that lookups read.

use std::sync::Arc;

use super::bits::{Bits, Entry, Key};
use super::fib::{Fib, Ref};
use super::fib_writer::FibWriter;
use super::rib::{Rib, RibWriter, Root};
use super::words::{Arena, Words};

/// A family as it is at one moment.
#[derive(Debug, Clone)]
pub(super) struct View {
    rib_words: Arc<Words>,
    fib_words: Arc<Words>,
    rib: Root,
    fib: Ref,
    len: usize,
}

impl View {
    #[inline]
    pub fn rib<B: Bits>(&self) -> Rib<'_, B> {
        Rib::new(&self.rib_words, self.rib)
    }

    #[inline]
    pub fn fib(&self) -> Fib<'_> {
        Fib { words: &self.fib_words, root: self.fib }
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn entries<B: Bits>(&self, any: B) -> Vec<Entry<B>> {
        let mut entries = Vec::with_capacity(self.len);
        self.rib().visit(Key::all(any), &mut |entry| {
            entries.push(entry);
            true
        });
        entries
    }

    /// Whether places in both are of the same words.
    pub fn shares_words(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.rib_words, &other.rib_words)
    }

    /// Whether both are the same, without a look at what they hold.
    pub fn is(&self, other: &Self) -> bool {
        self.shares_words(other) && self.rib == other.rib
    }
}

/// A family that is changed.
#[derive(Debug)]
pub(super) struct Family {
    rib_arena: Arena,
    fib_arena: Arena,
    rib: Root,
    fib: Ref,
    len: usize,
}

impl Family {
    pub fn new() -> Self {
        Self {
            rib_arena: Arena::new(0),
            fib_arena: Arena::new(0),
            rib: Root::EMPTY,
            fib: Ref::NONE,
            len: 0,
        }
    }

    /// A family of ascending entries.
    pub fn of<B: Bits>(entries: &[Entry<B>]) -> Self {
        let mut made = Self::new();
        made.rib_arena = Arena::new(RibWriter::<B>::words_for(entries.len()));
        let mut writer = RibWriter::new(&mut made.rib_arena, made.rib);
        writer.load(entries);
        made.rib = writer.root;
        made.len = entries.len();
        let rib = Rib::<B>::new(made.rib_arena.words(), made.rib);
        made.fib = FibWriter::new(&mut made.fib_arena, rib).load(entries);
        made.fib_arena.fit();
        made
    }

    pub fn view(&self) -> View {
        View {
            rib_words: self.rib_arena.words().clone(),
            fib_words: self.fib_arena.words().clone(),
            rib: self.rib,
            fib: self.fib,
            len: self.len,
        }
    }

    pub fn insert<B: Bits>(&mut self, entry: Entry<B>) -> Option<u32> {
        let mut writer = RibWriter::new(&mut self.rib_arena, self.rib);
        let before = writer.insert(entry);
        self.rib = writer.root;
        self.len += usize::from(before.is_none());
        if before != Some(entry.value) {
            self.follow(entry.key);
        }
        before
    }

    pub fn remove<B: Bits>(&mut self, key: Key<B>) -> Option<u32> {
        let mut writer = RibWriter::new(&mut self.rib_arena, self.rib);
        let before = writer.remove(key)?;
        self.rib = writer.root;
        self.len -= 1;
        self.follow(key);
        Some(before)
    }

    /// Lets the lookup trie follow a change of the routes of a prefix.
    fn follow<B: Bits>(&mut self, key: Key<B>) {
        let rib = Rib::<B>::new(self.rib_arena.words(), self.rib);
        self.fib = FibWriter::new(&mut self.fib_arena, rib).change(self.fib, key);
    }

    /// After publication, with the numbers of the version before and of the oldest one in use.
    pub fn published(&mut self, before: u64, oldest: u64) {
        for arena in [&mut self.rib_arena, &mut self.fib_arena] {
            arena.published(before);
            arena.reclaim(oldest);
        }
    }

    /// Bytes of the nodes that lookups read, and of everything.
    pub fn bytes(&self) -> (usize, usize) {
        (self.fib_arena.live_bytes(), self.rib_arena.bytes() + self.fib_arena.bytes())
    }
}

#[cfg(test)]
impl Family {
    pub fn live(&self) -> usize {
        self.rib_arena.live_bytes() + self.fib_arena.live_bytes()
    }
}
