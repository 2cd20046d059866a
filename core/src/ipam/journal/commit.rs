//! Group commit: of those who wait for their records to be written, one writes them all.

use std::io;
use std::mem;
use std::sync::{Arc, OnceLock, PoisonError};
#[cfg(not(feature = "shuttle"))]
use std::sync::{Condvar, Mutex, MutexGuard};

#[cfg(feature = "shuttle")]
use shuttle::sync::{Condvar, Mutex, MutexGuard};

use super::super::error::Error;
use super::super::pool::AddressPool;
use super::change::Change;
use super::records::{self, Replayed};
use super::storage::Storage;
use super::{JournalError, Result};

/// A journal smaller than this is left as it is, bytes.
const SMALL: u64 = 64 << 10;
/// A journal becomes so many times as large as when it began before it begins anew.
const GROWTH: u64 = 4;

/// What came of records that are written together, once that is known.
type Outcome = OnceLock<Result<()>>;

/// A pool and its journal.
#[derive(Debug)]
pub(super) struct Committer<S> {
    sync: bool,
    state: Mutex<State>,
    /// Somebody has ceased to write.
    written: Condvar,
    /// Only for who writes.
    storage: Mutex<S>,
}

#[derive(Debug)]
struct State {
    /// With all changes, those among them that are not written yet.
    pool: AddressPool,
    /// Records to be written next, and what will come of them.
    pending: Vec<u8>,
    outcome: Arc<Outcome>,
    writing: bool,
    /// The bytes in storage that count.
    length: u64,
    /// The length from which on the journal is begun anew, and what came of that the last time.
    limit: u64,
    begun: Result<()>,
    damage: Option<Damage>,
}

/// What keeps storage from being written to.
#[derive(Debug, Clone, Copy)]
enum Damage {
    /// There is more in it than counts. When syncing failed, what the system shows need not be what
    /// the disk has: all of it has to be written anew.
    Content { anew: bool },
    /// It was begun anew, but a crash of the machine may bring back what was there before.
    Name,
}

impl<S: Storage> Committer<S> {
    /// Begins a journal with this pool.
    pub fn begin(
        pool: AddressPool,
        sync: bool,
        create: impl FnOnce(&[u8]) -> io::Result<S>,
    ) -> Result<Self> {
        let bytes = records::begin(&pool.to_bytes());
        let storage = create(&bytes)?;
        let length = bytes.len() as u64;
        Ok(Self::new(storage, pool, sync, length, length))
    }

    /// Goes on with a journal, which has to be of a pool made as this one.
    pub fn resume(mut storage: S, like: &AddressPool, sync: bool) -> Result<Self> {
        let data = storage.read()?;
        let Replayed { pool, first, sound } = records::replay(&data)?;
        if !pool.is_made_like(like) {
            return Err(JournalError::OtherPool);
        }
        if sound < data.len() {
            storage.truncate(sound as u64)?;
        }
        Ok(Self::new(storage, pool, sync, first as u64, sound as u64))
    }

    fn new(storage: S, pool: AddressPool, sync: bool, first: u64, length: u64) -> Self {
        let state = State {
            pool,
            pending: Vec::new(),
            outcome: Arc::default(),
            writing: false,
            length,
            limit: limit(first),
            begun: Ok(()),
            damage: None,
        };
        Self {
            sync,
            state: Mutex::new(state),
            written: Condvar::new(),
            storage: Mutex::new(storage),
        }
    }

    /// Changes the pool; returns when what changed is written.
    pub fn change<'a, T>(
        &self,
        change: impl FnOnce(&mut AddressPool, &mut Vec<Change<'a>>) -> Result<T, Error>,
    ) -> Result<T> {
        let mut state = self.sound()?;
        let mut changes = Vec::new();
        let result = change(&mut state.pool, &mut changes)?;
        if !changes.is_empty() {
            records::append(&mut state.pending, &changes);
            let outcome = Arc::clone(&state.outcome);
            self.commit(state, &outcome)?;
        }
        Ok(result)
    }

    /// Looks at the pool.
    pub fn read<T>(&self, look: impl FnOnce(&mut AddressPool) -> T) -> T {
        look(&mut self.lock().pool)
    }

    /// Begins the journal anew, with the pool as it is.
    pub fn compact(&self) -> Result<()> {
        let mut state = self.sound()?;
        state.limit = 0;
        let outcome = Arc::clone(&state.outcome);
        self.commit(state, &outcome)?;
        self.lock().begun.clone()
    }

    /// The bytes of the journal that are written.
    pub fn length(&self) -> u64 {
        self.lock().length
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic in the pool is a bug that its caller has seen; the pool goes on for the others.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn storage(&self) -> MutexGuard<'_, S> {
        self.storage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The state, whose storage is as it should be.
    fn sound(&self) -> Result<MutexGuard<'_, State>> {
        let mut state = self.lock();
        if state.damage.is_some() {
            self.mend(&mut state)?;
        }
        Ok(state)
    }

    /// Waits for the outcome, and writes if nobody else does.
    fn commit<'a>(&'a self, mut state: MutexGuard<'a, State>, outcome: &Outcome) -> Result<()> {
        loop {
            if let Some(result) = outcome.get() {
                return result.clone();
            }
            state = if state.writing {
                self.written.wait(state).unwrap_or_else(PoisonError::into_inner)
            } else {
                self.write(state)
            };
        }
    }

    /// Writes what is pending.
    fn write<'a>(&'a self, mut state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        state.writing = true;
        let pending = mem::take(&mut state.pending);
        let outcome = mem::take(&mut state.outcome);
        let length = state.length + pending.len() as u64;
        let full = (length > state.limit).then(|| state.pool.snapshot());
        drop(state);

        let appended = self.append(&pending);
        let begun = full.filter(|_| appended.is_ok()).map(|pool| self.begin_anew(&pool.to_bytes()));

        let mut state = self.lock();
        state.writing = false;
        let result = match appended {
            Ok(()) => {
                state.length = length;
                begun.into_iter().for_each(|begun| state.note(begun));
                Ok(())
            }
            Err((error, damage)) => {
                state.damage = Some(damage);
                // What was changed meanwhile builds on what is not there.
                let later = mem::take(&mut state.outcome);
                let _ = later.set(Err(Arc::clone(&error).into()));
                // If this fails, too, the next change tries again.
                let _ = self.mend(&mut state);
                Err(error.into())
            }
        };
        let _ = outcome.set(result);
        self.written.notify_all();
        state
    }

    /// Adds records to storage, and says what an error means for it.
    fn append(&self, bytes: &[u8]) -> Result<(), (Arc<io::Error>, Damage)> {
        let mut storage = self.storage();
        let failed = |anew| move |error| (Arc::new(error), Damage::Content { anew });
        if !bytes.is_empty() {
            storage.append(bytes).map_err(failed(false))?;
        }
        if self.sync && !bytes.is_empty() {
            storage.sync().map_err(failed(true))?;
        }
        Ok(())
    }

    /// Has storage begin with this pool. Tells the length then, and what its name's durability is.
    fn begin_anew(&self, pool: &[u8]) -> io::Result<(u64, io::Result<()>)> {
        let bytes = records::begin(pool);
        let mut storage = self.storage();
        storage.replace(&bytes, self.sync)?;
        let name = if self.sync { storage.sync_name() } else { Ok(()) };
        Ok((bytes.len() as u64, name))
    }

    /// Makes of storage and pool what they were when storage was written last.
    fn mend(&self, state: &mut State) -> Result<()> {
        match state.damage {
            None => {}
            Some(Damage::Name) => self.storage().sync_name()?,
            Some(Damage::Content { anew }) => {
                let data = {
                    let mut storage = self.storage();
                    storage.truncate(state.length)?;
                    storage.read()?
                };
                state.pool = records::replay(&data)?.pool;
                state.pending.clear();
                if anew {
                    let begun = self.begin_anew(&state.pool.to_bytes())?;
                    state.damage = None;
                    state.note(Ok(begun));
                    return state.begun.clone();
                }
            }
        }
        state.damage = None;
        Ok(())
    }
}

impl State {
    /// The journal was begun anew, or not.
    fn note(&mut self, begun: io::Result<(u64, io::Result<()>)>) {
        self.begun = match begun {
            Ok((length, name)) => {
                (self.length, self.limit) = (length, limit(length));
                self.damage = name.is_err().then_some(Damage::Name);
                name.map_err(JournalError::from)
            }
            Err(error) => {
                // As good as before, only larger. Later, perhaps.
                self.limit = GROWTH.saturating_mul(self.length);
                Err(error.into())
            }
        };
    }
}

fn limit(first: u64) -> u64 {
    SMALL.max(GROWTH.saturating_mul(first))
}
