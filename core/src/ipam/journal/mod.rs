//! A pool that survives its process: a change is in a file before its caller hears that it is made.

mod change;
mod commit;
#[cfg(all(test, feature = "shuttle"))]
mod interleavings;
mod records;
mod storage;
#[cfg(test)]
mod tests;

use std::fmt;
use std::io;
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use self::change::Change;
use self::commit::Committer;
pub use self::storage::{JournalFile, Storage};
use super::error::Error;
use super::name::Owner;
use super::pool::{AddressPool, nanoseconds};
use super::snapshot::Snapshot;
use crate::codec::CodecError;

/// Why a journaled pool does not do what it is asked for.
#[derive(Debug, Clone)]
pub enum JournalError {
    /// The pool cannot.
    Pool(Error),
    /// The file cannot be read or written. What was asked for is not done, and not in the file.
    Io(Arc<io::Error>),
    /// The file is no journal, or a damaged one.
    Malformed(CodecError),
    /// The journal is of a pool with other ranges, exclusions or cool-down.
    OtherPool,
}

impl fmt::Display for JournalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pool(error) => write!(f, "{error}"),
            Self::Io(error) => write!(f, "{error}"),
            Self::Malformed(error) => write!(f, "{error}"),
            Self::OtherPool => {
                write!(f, "the journal is of a pool with other ranges, exclusions or cool-down")
            }
        }
    }
}

impl std::error::Error for JournalError {}

impl From<Error> for JournalError {
    fn from(error: Error) -> Self {
        Self::Pool(error)
    }
}

impl From<io::Error> for JournalError {
    fn from(error: io::Error) -> Self {
        Self::Io(Arc::new(error))
    }
}

impl From<Arc<io::Error>> for JournalError {
    fn from(error: Arc<io::Error>) -> Self {
        Self::Io(error)
    }
}

impl From<CodecError> for JournalError {
    fn from(error: CodecError) -> Self {
        Self::Malformed(error)
    }
}

type Result<T, E = JournalError> = std::result::Result<T, E>;

/// An [`AddressPool`] for many threads, with a write-ahead journal.
///
/// An operation returns when the record of what it did is written, and synced if that is asked for.
/// Records of operations that go on at the same time are written, and synced, together. One that
/// cannot be written has not happened: the pool is again what its file says. Whoever reads sees what
/// others are about to have written.
#[derive(Debug)]
pub struct JournaledPool<S: Storage = JournalFile> {
    journal: Committer<S>,
}

impl JournaledPool {
    /// Opens the journal, or makes it for this pool, as which it then begins.
    ///
    /// # Errors
    /// If the file cannot be had (`WouldBlock`: another one has it open), is no sound journal, or is
    /// of a pool with other ranges, exclusions or cool-down than this one.
    pub fn open(path: &Path, pool: AddressPool, sync: bool) -> Result<Self> {
        let journal = match JournalFile::open(path)? {
            None => Committer::begin(pool, sync, |bytes| JournalFile::create(path, bytes, sync))?,
            Some(file) => Committer::resume(file, &pool, sync)?,
        };
        Ok(Self { journal })
    }
}

impl<S: Storage> JournaledPool<S> {
    /// See [`AddressPool::allocate`].
    ///
    /// # Errors
    /// As there, or if the journal cannot be written.
    pub fn allocate(&self, owner: &str, now: Duration) -> Result<IpAddr> {
        self.journal.change(|pool, changes| {
            let cursor = pool.cursor;
            let address = pool.allocate(owner, now)?;
            let next = pool.cursor != cursor;
            changes.push(Change::Taken { address, owner: owner.into(), next });
            Ok(address)
        })
    }

    /// See [`AddressPool::allocate_address`].
    ///
    /// # Errors
    /// As there, or if the journal cannot be written.
    pub fn allocate_address(&self, owner: &str, address: IpAddr, reserved: bool) -> Result<()> {
        self.journal.change(|pool, changes| {
            pool.allocate_address(owner, address, reserved)?;
            changes.push(Change::Taken { address, owner: owner.into(), next: false });
            Ok(())
        })
    }

    /// See [`AddressPool::release`].
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn release(&self, address: IpAddr, now: Duration, used: bool) -> Result<Option<Owner>> {
        self.journal.change(|pool, changes| {
            let owner = pool.release(address, now, used).cloned();
            if owner.is_some() {
                changes.push(Change::Released { address, at: nanoseconds(now), used });
            }
            Ok(owner)
        })
    }

    /// See [`AddressPool::release_owner`]. All addresses are given back, or none.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn release_owner(&self, owner: &str, now: Duration, used: bool) -> Result<Vec<IpAddr>> {
        self.journal.change(|pool, changes| {
            let held = pool.release_owner(owner, now, used);
            let at = nanoseconds(now);
            changes.extend(held.iter().map(|&address| Change::Released { address, at, used }));
            Ok(held)
        })
    }

    /// See [`AddressPool::reserve`].
    ///
    /// # Errors
    /// As there, or if the journal cannot be written.
    pub fn reserve(&self, address: IpAddr) -> Result<bool> {
        self.journal.change(|pool, changes| {
            let new = pool.reserve(address)?;
            changes.extend(new.then_some(Change::Reserved(address)));
            Ok(new)
        })
    }

    /// See [`AddressPool::unreserve`].
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn unreserve(&self, address: IpAddr) -> Result<bool> {
        self.journal.change(|pool, changes| {
            let was = pool.unreserve(address);
            changes.extend(was.then_some(Change::Unreserved(address)));
            Ok(was)
        })
    }

    /// Looks at the pool, which nobody changes meanwhile; for more than a look, there are snapshots.
    pub fn read<T>(&self, look: impl FnOnce(&AddressPool) -> T) -> T {
        self.journal.read(|pool| look(pool))
    }

    /// See [`AddressPool::snapshot`].
    pub fn snapshot(&self) -> Snapshot {
        self.journal.read(AddressPool::snapshot)
    }

    /// Begins the journal anew, with the pool as it is. It happens by itself when the journal has
    /// grown to four times the bytes that it began with, and more than 64 KiB.
    ///
    /// # Errors
    /// If the journal cannot be written.
    pub fn compact(&self) -> Result<()> {
        self.journal.compact()
    }

    /// The length of the journal in bytes.
    pub fn journal_length(&self) -> u64 {
        self.journal.length()
    }
}
