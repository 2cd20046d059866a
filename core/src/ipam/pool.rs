//! A pool of addresses that hands out, takes back, and lets cool down.

use std::net::IpAddr;
use std::time::Duration;

use super::Index;
use super::cells::{Cell, Cells, Id};
use super::error::{Error, Result};
use super::leases::Leases;
use super::name::Owner;
use super::queue::{Note, Queue};
use super::snapshot::Snapshot;
use super::space::{Interval, Space};

/// Released addresses that are remembered in their order. It bounds the memory of a pool that is
/// too large to be ever used up; there, the distance in the ring separates uses of an address.
const HISTORY: usize = 1 << 16;

/// Notes of the queue that may be out of date before it is cleaned up, besides as many as are not.
const STALE: usize = 1024;

/// An address and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub owner: Owner,
}

/// How a pool is used, in addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stats {
    /// All, without the excluded ones.
    pub capacity: u128,
    /// Those that have an owner.
    pub taken: u128,
    /// Those that are reserved and have no owner.
    pub reserved: u128,
    /// Those that were released and are remembered for that, cooled down or not.
    pub released: u128,
}

/// Unique addresses from ranges of one family.
///
/// Order: addresses not used yet, round robin from the one handed out last; when there are none, the
/// least recently released one whose cool-down is over. Time is what the caller passes as `now`:
/// any clock that does not go back; to a pool, one that does stands still. Every operation takes a
/// few steps, however full the pool is.
#[derive(Debug)]
pub struct AddressPool {
    pub(super) space: Space,
    /// The capacity, or what there never is room for.
    members_at_most: u64,
    pub(super) cooldown: u64,
    history: usize,
    /// What length of the queue is no reason to tidy it up.
    longest: usize,
    pub(super) cells: Cells,
    pub(super) leases: Leases,
    pub(super) queue: Queue,
    /// Whether the queue is in the order of time.
    sorted: bool,
    /// The latest release.
    pub(super) clock: u64,
    released: usize,
    reserved: usize,
    /// Where the search for an unused address goes on.
    pub(super) cursor: Index,
}

impl AddressPool {
    /// A pool of `ranges` in their order, less what is in `exclude` (which may lie outside too).
    pub fn new(ranges: &[Interval], exclude: &[Interval], cooldown: Duration) -> Result<Self> {
        let space = Space::new(ranges, exclude)?;
        Ok(Self {
            members_at_most: u64::try_from(space.capacity()).unwrap_or(u64::MAX),
            space,
            cooldown: nanoseconds(cooldown),
            history: HISTORY,
            longest: STALE,
            cells: Cells::default(),
            leases: Leases::default(),
            queue: Queue::default(),
            sorted: true,
            clock: 0,
            released: 0,
            reserved: 0,
            cursor: 0,
        })
    }

    #[cfg(test)]
    pub(super) fn with_history(mut self, history: usize) -> Self {
        self.history = history;
        self.longest = history.min(STALE);
        self
    }

    #[cfg(test)]
    pub(super) fn bytes(&self) -> usize {
        self.cells.bytes() + self.leases.bytes() + self.queue.bytes()
    }

    /// Takes the next free address.
    #[inline]
    pub fn allocate(&mut self, owner: &str, now: Duration) -> Result<IpAddr> {
        match self.take_next(owner, now) {
            Some(id) => Ok(self.space.address(self.cells.index(id))),
            None => Err(self.exhausted()),
        }
    }

    /// Takes this very address, also while it cools down. With `reserved` it may be a reserved one,
    /// which is reserved again once it is released.
    pub fn allocate_address(&mut self, owner: &str, address: IpAddr, reserved: bool) -> Result<()> {
        let index = self.space.index(address)?;
        let cell = self.cells.at(index);
        if let Some(lease) = cell.lease() {
            return Err(Error::Taken(address, self.leases.owner(lease).clone()));
        }
        if cell == Cell::RESERVED && !reserved {
            return Err(Error::Reserved(address));
        }
        let id = self.cells.id_or_new(index);
        self.take(id, owner);
        Ok(())
    }

    /// Takes an address that was handed out in an earlier life of the pool. Restoring in the order in
    /// which they were handed out lets the round robin go on where it was.
    pub fn restore(&mut self, owner: &str, address: IpAddr) -> Result<()> {
        self.allocate_address(owner, address, true)?;
        self.go_on_behind(address);
        Ok(())
    }

    /// Lets the search for unused addresses go on behind this one.
    pub(super) fn go_on_behind(&mut self, address: IpAddr) {
        if let Ok(index) = self.space.index(address) {
            self.cursor = index + 1;
        }
    }

    /// Marks a free address as released at that time; one that is taken or reserved stays so. Tells
    /// whether it was unused before.
    pub fn restore_cooling(&mut self, address: IpAddr, released_at: Duration) -> Result<bool> {
        let (index, time) = (self.space.index(address)?, nanoseconds(released_at));
        let cell = self.cells.at(index);
        if cell != Cell::UNUSED && !cell.is_released() {
            return Ok(false);
        }
        let id = self.cells.id_or_new(index);
        let place = self.queue.push(Note { time, id });
        self.cells.update(id, |_| Cell::released(place));
        self.released += usize::from(!cell.is_released());
        self.sorted &= time >= self.clock;
        self.clock = self.clock.max(time);
        if self.queue.len() > 2 * self.released + STALE {
            self.sort();
        }
        Ok(cell == Cell::UNUSED)
    }

    /// Gives an address back; tells whose it was, `None` if nobody's.
    ///
    /// With `used` it has to cool down; without, it is as if it had never been handed out.
    pub fn release(&mut self, address: IpAddr, now: Duration, used: bool) -> Option<&Owner> {
        let id = self.cells.id(self.space.index(address).ok()?)?;
        let before = self.cells.update(id, |cell| {
            if cell.lease().is_none() {
                cell
            } else if cell.is_taken_and_reserved() {
                Cell::RESERVED
            } else if used {
                self.clock = self.clock.max(nanoseconds(now));
                Cell::released(self.queue.push(Note { time: self.clock, id }))
            } else {
                Cell::UNUSED
            }
        });
        let lease = before.lease()?;
        if before.is_taken_and_reserved() {
            self.reserved += 1;
        } else if used {
            self.released += 1;
            if self.queue.len() > self.longest {
                self.tidy();
            }
        }
        self.leases.remove(lease);
        Some(self.leases.owner(lease))
    }

    /// Gives back all addresses of an owner; tells which, in the order in which they were taken.
    pub fn release_owner(&mut self, owner: &str, now: Duration, used: bool) -> Vec<IpAddr> {
        let held = self.addresses_of(owner);
        for address in &held {
            self.release(*address, now, used);
        }
        held
    }

    /// Keeps a free address from being handed out; tells whether it was not reserved before.
    pub fn reserve(&mut self, address: IpAddr) -> Result<bool> {
        let index = match self.space.index(address) {
            Err(Error::Reserved(_)) => return Ok(false),
            other => other?,
        };
        let cell = self.cells.at(index);
        if let Some(lease) = cell.lease() {
            return Err(Error::Taken(address, self.leases.owner(lease).clone()));
        }
        if cell == Cell::RESERVED {
            return Ok(false);
        }
        let id = self.cells.id_or_new(index);
        self.cells.update(id, |_| Cell::RESERVED);
        self.released -= usize::from(cell.is_released());
        self.reserved += 1;
        Ok(true)
    }

    /// Ends a reservation; tells whether there was one. An owner keeps the address.
    pub fn unreserve(&mut self, address: IpAddr) -> bool {
        let Some(id) = self.space.index(address).ok().and_then(|index| self.cells.id(index)) else {
            return false;
        };
        let before = self.cells.update(id, |cell| match cell.lease() {
            Some(lease) => Cell::taken(lease, false),
            None if cell == Cell::RESERVED => Cell::UNUSED,
            None => cell,
        });
        self.reserved -= usize::from(before == Cell::RESERVED);
        before == Cell::RESERVED || before.is_taken_and_reserved()
    }

    /// Whose an address is.
    pub fn owner_of(&self, address: IpAddr) -> Option<&Owner> {
        let lease = self.cells.at(self.space.index(address).ok()?).lease()?;
        Some(self.leases.owner(lease))
    }

    /// The addresses of an owner, in the order in which they were taken.
    pub fn addresses_of(&self, owner: &str) -> Vec<IpAddr> {
        self.leases.of(owner).map(|id| self.space.address(self.cells.index(id))).collect()
    }

    /// Whether both have the same ranges, exclusions and cool-down.
    pub fn is_made_like(&self, other: &Self) -> bool {
        self.space.is_like(&other.space) && self.cooldown == other.cooldown
    }

    /// The address family, 4 or 6.
    pub fn family(&self) -> u8 {
        self.space.family()
    }

    /// Whether an address is one of the pool's, free or not.
    pub fn covers(&self, address: IpAddr) -> bool {
        self.space.index(address).is_ok()
    }

    /// All that is taken, in the order of the pool.
    pub fn leases(&self) -> impl Iterator<Item = Lease> {
        self.cells.iter().filter_map(|(index, cell)| self.lease(index, cell))
    }

    pub(super) fn lease(&self, index: Index, cell: Cell) -> Option<Lease> {
        let owner = self.leases.owner(cell.lease()?).clone();
        Some(Lease { address: self.space.address(index), owner })
    }

    /// The pool as it is now, for good: a few microseconds, and a copy of each page of 4 KiB that
    /// the pool changes first thereafter.
    pub fn snapshot(&mut self) -> Snapshot {
        Snapshot::new(Self {
            space: self.space.clone(),
            cells: self.cells.share(),
            leases: self.leases.share(),
            queue: self.queue.share(),
            ..*self
        })
    }

    /// How many addresses are taken.
    pub fn len(&self) -> usize {
        self.leases.len()
    }

    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The numbers of addresses, by what they are.
    pub fn stats(&self) -> Stats {
        Stats {
            capacity: self.space.capacity(),
            taken: self.len() as u128,
            reserved: self.reserved as u128,
            released: self.released as u128,
        }
    }

    #[cold]
    fn exhausted(&self) -> Error {
        let Stats { capacity, taken, reserved, released } = self.stats();
        Error::Exhausted { taken, cooling: released, reserved, capacity }
    }

    /// Takes the next free address, if there is one.
    #[inline(never)]
    fn take_next(&mut self, owner: &str, now: Duration) -> Option<Id> {
        if self.cells.members() == self.members_at_most {
            self.take_cooled(owner, now)
        } else {
            Some(self.take_unused(owner))
        }
    }

    /// An address that has no owner gets one.
    #[inline(never)]
    fn take(&mut self, id: Id, owner: &str) {
        let lease = self.leases.add(id, owner);
        let before = self.cells.update(id, |cell| Cell::taken(lease, cell == Cell::RESERVED));
        self.released -= usize::from(before.is_released());
        self.reserved -= usize::from(before == Cell::RESERVED);
    }

    /// Takes the next unused address, from the cursor round to it. There is one.
    #[inline(never)]
    fn take_unused(&mut self, owner: &str) -> Id {
        let below_end = |index: &Index| *index < self.space.capacity();
        let ahead = self.cells.next_unused(self.cursor).filter(below_end);
        let index = ahead.or_else(|| self.cells.next_unused(0)).expect("not all are used");
        self.cursor = index + 1;
        let id = self.cells.id_or_new(index);
        self.take(id, owner);
        id
    }

    /// Takes the least recently released address, if its cool-down is over.
    #[inline(always)]
    fn take_cooled(&mut self, owner: &str, now: Duration) -> Option<Id> {
        self.reuse(|| nanoseconds(now), |leases, id| Cell::taken(leases.add(id, owner), false))
    }

    /// Makes something else of the least recently released address, if its cool-down is over.
    #[inline(always)]
    fn reuse(
        &mut self,
        now: impl Fn() -> u64,
        mut becomes: impl FnMut(&mut Leases, Id) -> Cell,
    ) -> Option<Id> {
        if !self.sorted {
            self.sort();
        }
        while let Some((place, Note { time, id })) = self.queue.first() {
            // With no cool-down, times do not matter at all: a caller may leave them out.
            if self.cooldown != 0 && time.saturating_add(self.cooldown) > now() {
                return None;
            }
            let noted = Cell::released(place);
            let before = self.cells.update(id, |cell| {
                if cell == noted { becomes(&mut self.leases, id) } else { cell }
            });
            self.queue.pop();
            if before == noted {
                self.released -= 1;
                return Some(id);
            }
        }
        None
    }

    /// Forgets the oldest of more than enough released addresses, and rids the queue of notes that
    /// are out of date when there are many.
    #[cold]
    #[inline(never)]
    fn tidy(&mut self) {
        let clock = self.clock;
        while self.released > self.history {
            if self.reuse(move || clock, |_, _| Cell::UNUSED).is_none() {
                break;
            }
        }
        if self.queue.len() > 2 * self.released + STALE {
            self.sort();
        }
        self.longest = self.history.min(2 * self.queue.len() + STALE);
    }

    /// The released addresses in the order of time.
    pub(super) fn released(&self) -> Vec<Note> {
        let notes = self.queue.iter();
        let live = notes.filter(|(at, note)| self.cells.get(note.id) == Cell::released(*at));
        let mut live: Vec<Note> = live.map(|(_, note)| note).collect();
        live.sort_by_key(|note| note.time);
        live
    }

    /// Brings the queue into the order of time, with no notes that are out of date.
    #[cold]
    #[inline(never)]
    fn sort(&mut self) {
        let live = self.released();
        self.queue.clear();
        for note in live {
            let place = self.queue.push(note);
            self.cells.update(note.id, |_| Cell::released(place));
        }
        self.sorted = true;
    }
}

/// Enough for 584 years; later ones are all the same.
pub(super) fn nanoseconds(time: Duration) -> u64 {
    time.as_secs().saturating_mul(1_000_000_000).saturating_add(time.subsec_nanos().into())
}
