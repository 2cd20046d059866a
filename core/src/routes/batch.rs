//! Many lookups at once: level by level through the trie, so that the memory answers many of them
//! at a time, and without branches that depend on what it answers.

use super::bits::Bits;
use super::fib::{Fib, Ref, dense_place, line_place, small_place};
use super::words::Words;

/// Addresses that go through the levels together.
const BLOCK: usize = 128;

/// Looks up each address.
///
/// # Panics
/// If both are not of the same length.
pub(super) fn lookup<B: Bits>(fib: &Fib<'_>, addresses: &[B], values: &mut [u32]) {
    assert_eq!(addresses.len(), values.len(), "a value for each address");
    if !fib.root.is_dense() {
        values.fill(fib.lookup(B::of_words(|_| 0)));
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if is_x86_64_v3() {
        // SAFETY: the processor has what the function was compiled for, as was just asked.
        #[allow(unsafe_code)]
        unsafe {
            x86_64_v3(fib, addresses, values);
        }
        return;
    }
    portable(fib, addresses, values);
}

#[cfg(target_arch = "x86_64")]
fn is_x86_64_v3() -> bool {
    is_x86_feature_detected!("popcnt")
        && is_x86_feature_detected!("bmi1")
        && is_x86_feature_detected!("bmi2")
        && is_x86_feature_detected!("avx2")
}

/// The same, compiled for processors that count bits.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "popcnt,bmi1,bmi2,avx2")]
fn x86_64_v3<B: Bits>(fib: &Fib<'_>, addresses: &[B], values: &mut [u32]) {
    portable(fib, addresses, values);
}

#[inline(always)]
pub(super) fn portable<B: Bits>(fib: &Fib<'_>, addresses: &[B], values: &mut [u32]) {
    for (addresses, values) in addresses.chunks(BLOCK).zip(values.chunks_mut(BLOCK)) {
        let mut large = false;
        block(fib, addresses, values);
        for value in values.iter_mut() {
            let found = Ref(*value);
            large |= found.is_large();
            *value = if found.is_large() { found.0 } else { found.0.wrapping_sub(1) };
        }
        if large {
            resolve(fib.words, values);
        }
    }
}

/// Values that references have no room for.
#[cold]
fn resolve(words: &Words, values: &mut [u32]) {
    for value in values {
        if Ref(*value).is_large() {
            *value = words.get(Ref(*value).at());
        }
    }
}

/// Places of addresses in their block.
struct List {
    places: [u8; BLOCK],
    count: usize,
}

impl List {
    const fn new() -> Self {
        Self { places: [0; BLOCK], count: 0 }
    }

    /// Adds a place if it is wished, in the same time if it is not.
    #[inline(always)]
    fn push(&mut self, place: u8, wished: bool) {
        self.places[self.count & (BLOCK - 1)] = place;
        self.count += usize::from(wished);
    }

    #[inline(always)]
    fn places(&self) -> &[u8] {
        &self.places[..self.count]
    }
}

/// The addresses whose nodes at one level are of a form.
struct Level {
    small: List,
    dense: List,
    line: List,
}

impl Level {
    const fn new() -> Self {
        Self { small: List::new(), dense: List::new(), line: List::new() }
    }

    #[inline(always)]
    fn push<B: Bits>(&mut self, place: u8, node: Ref) {
        if B::LINES {
            self.line.push(place, node.is_line());
        } else {
            self.small.push(place, node.is_small());
        }
        self.dense.push(place, node.is_dense());
    }

    fn clear(&mut self) {
        self.small.count = 0;
        self.dense.count = 0;
        self.line.count = 0;
    }

    fn is_empty(&self) -> bool {
        self.small.count + self.dense.count + self.line.count == 0
    }
}

/// Leaves references to values.
#[inline(always)]
#[allow(clippy::cast_possible_truncation)] // a block has few places
fn block<B: Bits>(fib: &Fib<'_>, addresses: &[B], values: &mut [u32]) {
    let words = fib.words;
    let mut first = List::new();
    for (place, (address, value)) in addresses.iter().zip(values.iter_mut()).enumerate() {
        let node = Ref(words.get(fib.root.at() + address.window(0, B::FULL) as usize));
        words.prefetch(node.at() + address.window(B::FULL, B::FULL) as usize);
        *value = node.0;
        first.push(place as u8, node.is_dense());
    }
    // Each level's addresses, this level's at its number modulo 3.
    let mut levels = [const { Level::new() }; 3];
    for &place in first.places() {
        let slot = addresses[place as usize].window(B::FULL, B::FULL);
        let value = &mut values[place as usize];
        let node = Ref(words.get(Ref(*value).at() + slot as usize));
        words.prefetch(node.at());
        *value = node.0;
        levels[0].push::<B>(place, node);
    }
    let mut level = 2 * B::FULL;
    while level < B::WIDTH {
        let [here, next, after] = &mut levels;
        let width = 8 - level % 8;
        if here.is_empty() && next.is_empty() {
            break;
        }
        if !B::LINES && level % 8 != 0 {
            step(words, addresses, values, here.small.places(), next, |address, node| {
                small_place(words, node.at(), address.window(level, width))
            });
        }
        step(words, addresses, values, here.dense.places(), next, |address, node| {
            dense_place(words, node.at(), address.window(level, width))
        });
        if B::LINES {
            step(words, addresses, values, here.line.places(), after, |address, node| {
                line_place(words, node, address.window(level, 16))
            });
        }
        here.clear();
        levels.rotate_left(1);
        level += width;
    }
}

/// One step of some addresses, to where `found` says.
#[inline(always)]
fn step<B: Bits>(
    words: &Words,
    addresses: &[B],
    values: &mut [u32],
    places: &[u8],
    next: &mut Level,
    found: impl Fn(B, Ref) -> usize,
) {
    let mut at = [0; BLOCK];
    for (&place, at) in places.iter().zip(&mut at) {
        let place = place as usize;
        *at = found(addresses[place], Ref(values[place]));
        words.prefetch(*at);
    }
    for (&place, at) in places.iter().zip(at) {
        let node = Ref(words.get(at));
        words.prefetch(node.at());
        values[place as usize] = node.0;
        next.push::<B>(place, node);
    }
}
