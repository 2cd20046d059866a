//! What each address of a pool is: one word of 32 bits for each, in pages that exist where needed.
//!
//! ```text
//! full     hierarchical bitmap: the words of 64 addresses of which none is unused
//! members  ...0010_1101               64 addresses: which are anything but unused
//! cells    [c0, 0, c2, c3, 0, c5, ..] what they are
//! ```
//!
//! Inside, an address goes by its [`Id`]: the number of its page, and its place there. The first
//! pages, as many as 10.0.0.0/8 has, are numbered as they lie, so that there the id is the index.
//! Those farther off are found by a hash, and numbered as they come.

use hashbrown::HashMap;

use super::Index;
use super::bitmap::{Bitmap, FULL, WORD_SHIFT, split};
use super::paged;

/// What an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cell(u32);

const KIND_BITS: u32 = 2;
const RELEASED: u32 = 1;
const TAKEN: u32 = 2;
/// Numbers below this fit into a cell.
pub(super) const NUMBERS: u32 = 1 << (u32::BITS - KIND_BITS);

impl Cell {
    pub const UNUSED: Self = Self(0);
    pub const RESERVED: Self = Self(1 << KIND_BITS);

    /// Released, as noted at this place of the queue.
    #[inline]
    pub fn released(place: u32) -> Self {
        Self((place << KIND_BITS) | RELEASED)
    }

    /// Leased by this lease, and `reserved` again thereafter.
    #[inline]
    pub fn taken(lease: u32, reserved: bool) -> Self {
        Self((lease << KIND_BITS) | TAKEN | u32::from(reserved))
    }

    #[inline]
    pub fn is_released(self) -> bool {
        self.0 & 3 == RELEASED
    }

    /// Of an address that is leased, the lease.
    #[inline]
    pub fn lease(self) -> Option<u32> {
        (self.0 & TAKEN != 0).then_some(self.0 >> KIND_BITS)
    }

    /// Whether an address that is leased is reserved, too.
    #[inline]
    pub fn is_taken_and_reserved(self) -> bool {
        self.0 & 3 == TAKEN | 1
    }
}

/// A page and a place in it.
pub(super) type Id = u32;

const PAGE_SHIFT: u32 = 8;
const PAGE: usize = 1 << PAGE_SHIFT;
const WORDS: usize = PAGE >> WORD_SHIFT;
/// Indices below this are ids. Tests have pages that are far, too.
const NEAR: u32 = if cfg!(test) { 1 << PAGE_SHIFT } else { 1 << 24 };
const NEAR_PAGES: u32 = NEAR >> PAGE_SHIFT;
/// All pages that ids have room for.
const PAGES: u32 = 1 << (Id::BITS - PAGE_SHIFT);
const PLACE_MASK: Index = PAGE as Index - 1;

#[derive(Debug, Clone)]
struct Page {
    /// The index of its first address.
    first: Index,
    members: [u64; WORDS],
    cells: [Cell; PAGE],
}

/// A place for a page. A page without members is not kept.
type Slot = paged::Page<Page>;

#[derive(Debug, Default)]
pub(super) struct Cells {
    /// By page number, those near first.
    near: Vec<Slot>,
    far: Vec<Slot>,
    /// The numbers of far pages, by the index of their first address.
    numbers: HashMap<Index, u32>,
    /// Numbers of far pages that are not in use.
    vacant: Vec<u32>,
    full: Bitmap,
    members: u64,
}

/// The id of an address that is near.
#[inline]
fn near(index: Index) -> Option<Id> {
    u32::try_from(index).ok().filter(|id| *id < NEAR)
}

/// Of an address that is far off, the first one of its page, and its place there.
fn far(index: Index) -> (Index, u32) {
    (index & !PLACE_MASK, (index & PLACE_MASK) as u32)
}

/// The page of an id, and the place there.
#[inline]
fn locate(id: Id) -> (u32, usize) {
    (id >> PAGE_SHIFT, id as usize & (PAGE - 1))
}

impl Page {
    fn new(first: Index) -> Box<Self> {
        Box::new(Self { first, members: [0; WORDS], cells: [Cell::UNUSED; PAGE] })
    }

    /// An address became unused, or ceased to be: which of the 64 were not before, and are not now.
    #[inline(always)]
    fn turn_member(&mut self, at: usize) -> (u64, u64) {
        let word = &mut self.members[at >> WORD_SHIFT];
        let was = *word;
        *word ^= 1 << (at & (u64::BITS as usize - 1));
        (was, *word)
    }

    fn iter(&self) -> impl Iterator<Item = (Index, Cell)> {
        let cells = self.cells.iter().enumerate().filter(|(_, cell)| **cell != Cell::UNUSED);
        cells.map(|(at, cell)| (self.first | at as Index, *cell))
    }
}

impl Cells {
    /// How many addresses are anything but unused.
    #[inline]
    pub fn members(&self) -> u64 {
        self.members
    }

    #[inline]
    fn slot(&self, page: u32) -> Option<&Slot> {
        match page.checked_sub(NEAR_PAGES) {
            None => self.near.get(page as usize),
            Some(far) => self.far.get(far as usize),
        }
    }

    #[inline]
    fn slot_mut(&mut self, page: u32) -> Option<&mut Slot> {
        match page.checked_sub(NEAR_PAGES) {
            None => self.near.get_mut(page as usize),
            Some(far) => self.far.get_mut(far as usize),
        }
    }

    #[inline]
    fn page(&self, page: u32) -> Option<&Page> {
        self.slot(page)?.get()
    }

    #[inline]
    fn page_mut(&mut self, page: u32) -> Option<&mut Page> {
        self.slot_mut(page)?.get_mut()
    }

    /// The id of an address, if it has one: one that does not is unused.
    #[inline]
    pub fn id(&self, index: Index) -> Option<Id> {
        near(index).or_else(|| {
            let (first, at) = far(index);
            self.numbers.get(&first).map(|page| (page << PAGE_SHIFT) | at)
        })
    }

    /// The id of an address, which gets one if it has none.
    #[inline]
    pub fn id_or_new(&mut self, index: Index) -> Id {
        near(index).unwrap_or_else(|| self.far_id(index))
    }

    #[cold]
    #[inline(never)]
    fn far_id(&mut self, index: Index) -> Id {
        let (first, at) = far(index);
        let page = self.numbers.get(&first).copied().unwrap_or_else(|| self.add_far(first));
        (page << PAGE_SHIFT) | at
    }

    fn add_far(&mut self, first: Index) -> u32 {
        let number = self.vacant.pop().unwrap_or_else(|| {
            self.far.push(Slot::default());
            let pages = u32::try_from(self.far.len()).unwrap_or(PAGES);
            assert!(pages <= PAGES - NEAR_PAGES, "a pool has room for 2^24 pages, 17 GiB");
            NEAR_PAGES + pages - 1
        });
        self.far[(number - NEAR_PAGES) as usize] = Slot::Own(Page::new(first));
        self.numbers.insert(first, number);
        number
    }

    /// The address of an id.
    #[inline]
    pub fn index(&self, id: Id) -> Index {
        if id < NEAR {
            return id.into();
        }
        let (page, at) = locate(id);
        self.page(page).map_or(0, |page| page.first) | at as Index
    }

    #[inline]
    pub fn get(&self, id: Id) -> Cell {
        let (page, at) = locate(id);
        self.page(page).map_or(Cell::UNUSED, |page| page.cells[at])
    }

    /// What an address is, without giving it an id.
    pub fn at(&self, index: Index) -> Cell {
        self.id(index).map_or(Cell::UNUSED, |id| self.get(id))
    }

    /// Makes of an address what the function says that becomes of what it is; returns the latter.
    #[inline(always)]
    pub fn update(&mut self, id: Id, becomes: impl FnOnce(Cell) -> Cell) -> Cell {
        let (number, at) = locate(id);
        let Some(page) = self.page_mut(number) else {
            let after = becomes(Cell::UNUSED);
            if after != Cell::UNUSED {
                let page = self.add_near(number);
                page.cells[at] = after;
                page.turn_member(at);
                self.members += 1;
            }
            return Cell::UNUSED;
        };
        let before = page.cells[at];
        let after = becomes(before);
        page.cells[at] = after;
        if (before == Cell::UNUSED) != (after == Cell::UNUSED) {
            let (was, is) = page.turn_member(at);
            if after == Cell::UNUSED {
                self.members -= 1;
            } else {
                self.members += 1;
            }
            if was == FULL || is == FULL || is == 0 {
                self.turn_word(id, is);
            }
        }
        before
    }

    #[cold]
    #[inline(never)]
    fn add_near(&mut self, page: u32) -> &mut Page {
        let at = page as usize;
        if at >= self.near.len() {
            self.near.resize_with(at + 1, Slot::default);
        }
        self.near[at] = Slot::Own(Page::new((page << PAGE_SHIFT).into()));
        self.near[at].get_mut().expect("it was made above")
    }

    /// Of 64 addresses, of which this is one, all or none have become unused, or ceased to be.
    #[cold]
    #[inline(never)]
    fn turn_word(&mut self, id: Id, word: u64) {
        let (number, at) = locate(id);
        let page = self.page(number).expect("the address has a cell");
        let (index, empty) = (page.first | at as Index, page.members == [0; WORDS]);
        if word == FULL {
            self.full.insert(index >> WORD_SHIFT);
        } else {
            self.full.remove(index >> WORD_SHIFT);
        }
        if empty {
            self.drop_page(number);
        }
    }

    fn drop_page(&mut self, number: u32) {
        let slot = self.slot_mut(number).expect("the page is there");
        let page = std::mem::take(slot);
        if number >= NEAR_PAGES {
            self.numbers.remove(&page.get().expect("the page is there").first);
            self.vacant.push(number);
        }
    }

    /// Which of 64 addresses are anything but unused.
    fn word(&self, number: Index) -> u64 {
        let Some(id) = self.id(number << WORD_SHIFT) else {
            return 0;
        };
        let (page, at) = locate(id);
        self.page(page).map_or(0, |page| page.members[at >> WORD_SHIFT])
    }

    /// The first unused address from `from` on; `None` where numbers end.
    pub fn next_unused(&self, from: Index) -> Option<Index> {
        let (number, bit) = split(from);
        let unused = !self.word(number) & (FULL << bit);
        if unused != 0 {
            return Some((number << WORD_SHIFT) | Index::from(unused.trailing_zeros()));
        }
        let number = self.full.next_absent(number + 1)?;
        let first = number.checked_mul(Index::from(u64::BITS))?;
        Some(first | Index::from(self.word(number).trailing_ones()))
    }

    /// All addresses that are anything but unused, in their order.
    pub fn iter(&self) -> impl Iterator<Item = (Index, Cell)> {
        let mut far: Vec<_> = self.far.iter().filter_map(Slot::get).collect();
        far.sort_unstable_by_key(|page| page.first);
        self.near.iter().filter_map(Slot::get).chain(far).flat_map(Page::iter)
    }

    /// The same but for pages that both share, in no order.
    pub fn differing(&self, other: &Self) -> impl Iterator<Item = (Index, Cell)> {
        let pages = self.near.iter().chain(&self.far);
        let differ = pages.filter_map(|slot| Some((slot, slot.get()?))).filter(|(slot, page)| {
            let there = other.id(page.first).and_then(|id| other.slot(locate(id).0));
            there.is_none_or(|there| !slot.is(there))
        });
        differ.flat_map(|(_, page)| page.iter())
    }

    pub fn share(&mut self) -> Self {
        Self {
            near: self.near.iter_mut().map(Slot::share).collect(),
            far: self.far.iter_mut().map(Slot::share).collect(),
            numbers: self.numbers.clone(),
            vacant: self.vacant.clone(),
            full: self.full.clone(),
            members: self.members,
        }
    }

    #[cfg(test)]
    pub fn bytes(&self) -> usize {
        let slots = self.near.iter().chain(&self.far);
        slots.clone().filter(|slot| slot.get().is_some()).count() * size_of::<Page>()
            + slots.count() * size_of::<Slot>()
            + self.numbers.capacity() * 32
            + self.full.words() * 32
    }
}
