//! One address family of a table: all routes, and what lookups read.

use std::fmt::Debug;
use std::sync::Arc;

use super::NO_VALUE;
use super::bits::{Bits, Entry, Key};
use super::rib::{Around, Rib, RibWriter, Root};
use super::words::{Arena, Words};

/// What lookups read, in words that versions share: which value each address has.
pub(super) trait Lookup<B: Bits>: Copy + Debug + Send + Sync {
    /// No address has a value.
    const EMPTY: Self;

    /// Of these ascending entries, which are all.
    fn load(arena: &mut Arena, entries: &[Entry<B>]) -> Self;

    /// After the last route is gone.
    fn clear(self, arena: &mut Arena) -> Self;

    /// After the routes of this prefix have changed: to the value that it now has itself, or from what
    /// covers it, and to these entries inside of it.
    fn change(self, arena: &mut Arena, key: Key<B>, own: u32, inside: &[Entry<B>]) -> Self;

    /// The value of an address, or [`super::NO_VALUE`].
    fn value(self, words: &Words, bits: B) -> u32;

    /// Asks for the nodes on the way to an address, which will be read.
    fn prefetch(self, words: &Words, bits: B);

    /// The value of each address, of which there are as many.
    fn values(self, words: &Words, addresses: &[B], values: &mut [u32]);
}

/// A family as it is at one moment.
#[derive(Debug, Clone)]
pub(super) struct View<B: Bits> {
    rib_words: Arc<Words>,
    lookup_words: Arc<Words>,
    rib: Root,
    lookup: B::Lookup,
    len: usize,
}

impl<B: Bits> View<B> {
    #[inline]
    pub fn rib(&self) -> Rib<'_, B> {
        Rib::new(&self.rib_words, self.rib)
    }

    /// The value of an address, or [`super::NO_VALUE`].
    #[inline]
    pub fn value(&self, bits: B) -> u32 {
        self.lookup.value(&self.lookup_words, bits)
    }

    /// The value of each address.
    ///
    /// # Panics
    /// If both are not of the same length.
    pub fn values(&self, addresses: &[B], values: &mut [u32]) {
        assert_eq!(addresses.len(), values.len(), "a value for each address");
        self.lookup.values(&self.lookup_words, addresses, values);
    }

    pub fn len(&self) -> usize {
        self.len
    }

    pub fn entries(&self) -> Vec<Entry<B>> {
        let mut entries = Vec::with_capacity(self.len);
        self.rib().visit(Key::ALL, &mut |entry| {
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
pub(super) struct Family<B: Bits> {
    rib_arena: Arena,
    lookup_arena: Arena,
    rib: Root,
    lookup: B::Lookup,
    len: usize,
}

impl<B: Bits> Family<B> {
    pub fn new() -> Self {
        Self {
            rib_arena: Arena::new(0),
            lookup_arena: Arena::new(0),
            rib: Root::EMPTY,
            lookup: B::Lookup::EMPTY,
            len: 0,
        }
    }

    /// A family of ascending entries.
    pub fn of(entries: &[Entry<B>]) -> Self {
        let mut made = Self::new();
        made.rib_arena = Arena::new(RibWriter::<B>::words_for(entries.len()));
        let mut writer = RibWriter::new(&mut made.rib_arena, made.rib);
        writer.load(entries);
        made.rib = writer.root;
        made.len = entries.len();
        made.lookup = B::Lookup::load(&mut made.lookup_arena, entries);
        made.lookup_arena.fit();
        made
    }

    pub fn view(&self) -> View<B> {
        View {
            rib_words: self.rib_arena.words().clone(),
            lookup_words: self.lookup_arena.words().clone(),
            rib: self.rib,
            lookup: self.lookup,
            len: self.len,
        }
    }

    pub fn insert(&mut self, entry: Entry<B>) -> Option<u32> {
        self.lookup.prefetch(self.lookup_arena.words(), entry.key.bits);
        let mut writer = RibWriter::new(&mut self.rib_arena, self.rib);
        let found = writer.insert(entry);
        self.rib = writer.root;
        self.len += usize::from(found.value.is_none());
        if found.value != Some(entry.value) {
            self.follow(entry.key, entry.value, found.next);
        }
        found.value
    }

    pub fn remove(&mut self, key: Key<B>) -> Option<u32> {
        self.lookup.prefetch(self.lookup_arena.words(), key.bits);
        let mut writer = RibWriter::new(&mut self.rib_arena, self.rib);
        let found = writer.remove(key)?;
        self.rib = writer.root;
        self.len -= 1;
        if self.len == 0 {
            self.lookup = self.lookup.clear(&mut self.lookup_arena);
            return found.value;
        }
        let around = match found.around {
            Around::Value(value) => value,
            Around::Beside(address) => self.lookup.value(self.lookup_arena.words(), address),
            Around::UpTo(length) => {
                let around = self.rib().longest(key.bits, length);
                around.map_or(NO_VALUE, |entry| entry.value)
            }
            Around::Nothing => NO_VALUE,
        };
        self.follow(key, around, found.next);
        found.value
    }

    fn rib(&self) -> Rib<'_, B> {
        Rib::new(self.rib_arena.words(), self.rib)
    }

    /// Lets lookups follow a change of a prefix, to this value, before this route if that is known.
    fn follow(&mut self, key: Key<B>, own: u32, next: Option<Entry<B>>) {
        let mut inside = Vec::new();
        if next.is_none_or(|next| key.covers(next.key.bits)) {
            self.rib().inside(key, &mut inside);
        }
        self.lookup = self.lookup.change(&mut self.lookup_arena, key, own, &inside);
    }

    /// After publication, with the numbers of the newest version and of the oldest one in use.
    pub fn published(&mut self, number: u64, oldest: u64) {
        self.rib_arena.published(number, oldest);
        self.lookup_arena.published(number, oldest);
    }

    /// Bytes of the nodes that lookups read, and of everything.
    pub fn bytes(&self) -> (usize, usize) {
        (self.lookup_arena.live_bytes(), self.rib_arena.bytes() + self.lookup_arena.bytes())
    }
}

#[cfg(test)]
impl<B: Bits> Family<B> {
    pub fn live(&self) -> usize {
        self.rib_arena.live_bytes() + self.lookup_arena.live_bytes()
    }
}

#[cfg(test)]
impl View<u32> {
    pub fn values_by_each_way(&self, addresses: &[u32]) -> Vec<Vec<u32>> {
        self.lookup.values_by_each_way(&self.lookup_words, addresses)
    }
}

#[cfg(test)]
impl View<u128> {
    pub fn values_by_each_way(&self, addresses: &[u128]) -> Vec<Vec<u32>> {
        self.lookup.values_by_each_way(&self.lookup_words, addresses)
    }
}
