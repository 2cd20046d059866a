//! A pool of addresses that hands out, takes back, and lets cool down.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use hashbrown::hash_map::EntryRef;
use smallvec::{SmallVec, smallvec};

use super::Index;
use super::error::{Error, Result};
use super::space::{Interval, Space};
use super::table::Table;

/// Released addresses that are remembered in their order. It bounds the memory of a pool that is
/// too large to be ever used up; there, the distance in the ring separates uses of an address.
const HISTORY: usize = 1 << 16;

/// When an address was released, in nanoseconds; the number orders those of the same time.
type Stamp = (u64, u64);

/// What an address is, unless it is simply free.
#[derive(Debug)]
enum State {
    Taken { owner: Arc<str>, reserved: bool },
    Reserved,
    Released(Stamp),
}

/// An address and who has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The address.
    pub address: IpAddr,
    /// Whose it is.
    pub owner: Arc<str>,
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
/// any clock that does not go back. Every operation takes a few steps, however full the pool is.
#[derive(Debug)]
pub struct AddressPool {
    space: Space,
    cooldown: u64,
    history: usize,
    states: Table<State>,
    owners: HashMap<Arc<str>, SmallVec<[Index; 1]>>,
    released: BTreeMap<Stamp, Index>,
    releases: u64,
    reserved: usize,
    taken: usize,
    /// Where the search for an unused address goes on.
    cursor: Index,
}

impl AddressPool {
    /// A pool of `ranges` in their order, less what is in `exclude` (which may lie outside too).
    pub fn new(ranges: &[Interval], exclude: &[Interval], cooldown: Duration) -> Result<Self> {
        Ok(Self {
            space: Space::new(ranges, exclude)?,
            cooldown: nanoseconds(cooldown),
            history: HISTORY,
            states: Table::default(),
            owners: HashMap::new(),
            released: BTreeMap::new(),
            releases: 0,
            reserved: 0,
            taken: 0,
            cursor: 0,
        })
    }

    #[cfg(test)]
    pub(super) fn with_history(mut self, history: usize) -> Self {
        self.history = history;
        self
    }

    #[cfg(test)]
    pub(super) fn words(&self) -> usize {
        self.states.words()
    }

    /// Takes the next free address.
    pub fn allocate(&mut self, owner: &str, now: Duration) -> Result<IpAddr> {
        let index = match self.next_unused() {
            Some(index) => {
                self.cursor = index + 1;
                index
            }
            None => self.next_cooled(nanoseconds(now)).ok_or_else(|| self.exhausted())?,
        };
        self.take(index, owner, false);
        Ok(self.space.address(index))
    }

    /// Takes this very address, also while it cools down. With `reserved` it may be a reserved one,
    /// which is reserved again once it is released.
    pub fn allocate_address(&mut self, owner: &str, address: IpAddr, reserved: bool) -> Result<()> {
        let index = self.space.index(address)?;
        let was_reserved = match self.states.get(index) {
            Some(State::Taken { owner, .. }) => return Err(Error::Taken(address, owner.clone())),
            Some(State::Reserved) if !reserved => return Err(Error::Reserved(address)),
            Some(State::Reserved) => true,
            Some(State::Released(_)) | None => false,
        };
        self.take(index, owner, was_reserved);
        Ok(())
    }

    /// Takes an address that was handed out in an earlier life of the pool. Restoring in the order in
    /// which they were handed out lets the round robin go on where it was.
    pub fn restore(&mut self, owner: &str, address: IpAddr) -> Result<()> {
        self.allocate_address(owner, address, true)?;
        self.cursor = self.space.index(address)? + 1;
        Ok(())
    }

    /// Marks a free address as released at that time; one that is taken or reserved stays so.
    pub fn restore_cooling(&mut self, address: IpAddr, released_at: Duration) -> Result<()> {
        let index = self.space.index(address)?;
        if matches!(self.states.get(index), None | Some(State::Released(_))) {
            self.cool(index, nanoseconds(released_at));
        }
        Ok(())
    }

    /// Gives an address back; tells whose it was, `None` if nobody's.
    pub fn release(&mut self, address: IpAddr, now: Duration) -> Option<Arc<str>> {
        let index = self.space.index(address).ok()?;
        let Some(State::Taken { owner, .. }) = self.states.get(index) else {
            return None;
        };
        let owner = owner.clone();
        if let EntryRef::Occupied(mut held) = self.owners.entry_ref(&*owner) {
            held.get_mut().retain(|other| *other != index);
            if held.get().is_empty() {
                held.remove();
            }
        }
        self.give_back(index, nanoseconds(now));
        Some(owner)
    }

    /// Gives back all addresses of an owner; tells which, in the order in which they were taken.
    pub fn release_owner(&mut self, owner: &str, now: Duration) -> Vec<IpAddr> {
        let held = self.owners.remove(owner).unwrap_or_default();
        for index in &held {
            self.give_back(*index, nanoseconds(now));
        }
        held.iter().map(|index| self.space.address(*index)).collect()
    }

    /// Keeps a free address from being handed out; tells whether it was not reserved before.
    pub fn reserve(&mut self, address: IpAddr) -> Result<bool> {
        let index = match self.space.index(address) {
            Err(Error::Reserved(_)) => return Ok(false),
            other => other?,
        };
        match self.states.get(index) {
            Some(State::Taken { owner, .. }) => return Err(Error::Taken(address, owner.clone())),
            Some(State::Reserved) => return Ok(false),
            Some(State::Released(_)) | None => {}
        }
        self.set(index, Some(State::Reserved));
        Ok(true)
    }

    /// Ends a reservation; tells whether there was one. An owner keeps the address.
    pub fn unreserve(&mut self, address: IpAddr) -> bool {
        let Ok(index) = self.space.index(address) else {
            return false;
        };
        match self.states.get_mut(index) {
            Some(State::Taken { reserved, .. }) => std::mem::take(reserved),
            Some(State::Reserved) => {
                self.set(index, None);
                true
            }
            Some(State::Released(_)) | None => false,
        }
    }

    /// Whose an address is.
    pub fn owner_of(&self, address: IpAddr) -> Option<&Arc<str>> {
        match self.states.get(self.space.index(address).ok()?) {
            Some(State::Taken { owner, .. }) => Some(owner),
            _ => None,
        }
    }

    /// The addresses of an owner, in the order in which they were taken.
    pub fn addresses_of(&self, owner: &str) -> Vec<IpAddr> {
        let held = self.owners.get(owner).map(SmallVec::as_slice).unwrap_or_default();
        held.iter().map(|index| self.space.address(*index)).collect()
    }

    /// Whether an address is one of the pool's, free or not.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.space.index(address).is_ok()
    }

    /// All that is taken, in the order of the pool.
    pub fn leases(&self) -> Vec<Lease> {
        let taken = self.states.iter().filter_map(|(index, state)| match state {
            State::Taken { owner, .. } => Some((index, owner)),
            _ => None,
        });
        let mut taken: Vec<_> = taken.collect();
        taken.sort_unstable_by_key(|(index, _)| *index);
        let lease = |(index, owner): (Index, &Arc<str>)| Lease {
            address: self.space.address(index),
            owner: owner.clone(),
        };
        taken.into_iter().map(lease).collect()
    }

    /// How many addresses are taken.
    pub fn len(&self) -> usize {
        self.taken
    }

    /// Whether nothing is taken.
    pub fn is_empty(&self) -> bool {
        self.taken == 0
    }

    /// The numbers of addresses, by what they are.
    pub fn stats(&self) -> Stats {
        Stats {
            capacity: self.space.capacity(),
            taken: self.taken as u128,
            reserved: self.reserved as u128,
            released: self.released.len() as u128,
        }
    }

    /// The next address with no past, from the cursor round to it.
    fn next_unused(&self) -> Option<Index> {
        let with_past = (self.taken + self.reserved + self.released.len()) as u128;
        if with_past == self.space.capacity() {
            return None;
        }
        let below_end = |index: &Index| *index < self.space.capacity();
        let ahead = self.states.next_vacant(self.cursor).filter(below_end);
        ahead.or_else(|| self.states.next_vacant(0).filter(below_end))
    }

    fn next_cooled(&self, now: u64) -> Option<Index> {
        let ((released_at, _), index) = self.released.first_key_value()?;
        // With no cool-down, times do not matter at all: a caller may leave them out.
        let cooled = self.cooldown == 0 || released_at.saturating_add(self.cooldown) <= now;
        cooled.then_some(*index)
    }

    fn exhausted(&self) -> Error {
        let Stats { capacity, taken, reserved, released } = self.stats();
        Error::Exhausted { taken, cooling: released, reserved, capacity }
    }

    fn take(&mut self, index: Index, owner: &str, reserved: bool) {
        let owner = match self.owners.entry_ref(owner) {
            EntryRef::Occupied(mut held) => {
                held.get_mut().push(index);
                held.key().clone()
            }
            EntryRef::Vacant(none) => none.insert_entry(smallvec![index]).key().clone(),
        };
        self.set(index, Some(State::Taken { owner, reserved }));
    }

    /// The address has lost its owner: what is it now?
    fn give_back(&mut self, index: Index, now: u64) {
        if let Some(State::Taken { reserved: true, .. }) = self.states.get(index) {
            self.set(index, Some(State::Reserved));
        } else {
            self.cool(index, now);
        }
    }

    fn cool(&mut self, index: Index, released_at: u64) {
        self.releases += 1;
        self.set(index, Some(State::Released((released_at, self.releases))));
        while self.released.len() > self.history {
            let Some(oldest) = self.next_cooled(released_at) else {
                return;
            };
            self.set(oldest, None);
        }
    }

    /// Changes what an address is. The only writer of these tables, so they stay in step.
    fn set(&mut self, index: Index, state: Option<State>) {
        match &state {
            Some(State::Taken { .. }) => self.taken += 1,
            Some(State::Reserved) => self.reserved += 1,
            Some(State::Released(stamp)) => {
                self.released.insert(*stamp, index);
            }
            None => {}
        }
        match self.states.replace(index, state) {
            Some(State::Taken { .. }) => self.taken -= 1,
            Some(State::Reserved) => self.reserved -= 1,
            Some(State::Released(stamp)) => {
                self.released.remove(&stamp);
            }
            None => {}
        }
    }
}

/// Enough for 584 years; later ones are all the same.
fn nanoseconds(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
