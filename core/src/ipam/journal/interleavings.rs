//! Callers of one journaled pool, whose locks, waits and calls of the system come in orders that
//! shuttle draws, and a disk that may fail once. Callers that wait for ever are found, too.

use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::RandomScheduler;
use shuttle::thread::{spawn, yield_now};
use shuttle::{Config, Runner};

use super::commit::Committer;
use super::tests::{Disk, fresh, name, replayed, same};
use super::{JournalError, JournaledPool, Storage};

const ORDERS: usize = 3_000;
const CALLERS: u8 = 4;
const CALLS: usize = 3;

/// A disk before and after whose calls others have their turns, and one of whose calls fails.
struct Slow {
    disk: Disk,
    /// The calls before the one that fails.
    left: usize,
    /// How many bytes that one may add.
    written: usize,
}

impl Slow {
    fn call<T>(&mut self, call: impl FnOnce(&mut Disk) -> io::Result<T>) -> io::Result<T> {
        yield_now();
        self.left = self.left.wrapping_sub(1);
        let fails = self.left == usize::MAX;
        let result = if fails { Err(ErrorKind::StorageFull.into()) } else { call(&mut self.disk) };
        yield_now();
        result
    }
}

impl Storage for Slow {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        self.call(Storage::read)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.left == 0 {
            self.disk.append(&bytes[..self.written.min(bytes.len())])?;
        }
        self.call(|disk| disk.append(bytes))
    }

    fn sync(&mut self) -> io::Result<()> {
        self.call(Storage::sync)
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.call(|disk| disk.truncate(length))
    }

    fn replace(&mut self, bytes: &[u8], sync: bool) -> io::Result<()> {
        self.call(|disk| disk.replace(bytes, sync))
    }

    fn sync_name(&mut self) -> io::Result<()> {
        self.call(Storage::sync_name)
    }
}

/// What an owner has, in the pool and, as far as that is sure, on the disk after a crash.
fn held(pool: &JournaledPool<Slow>, disk: &Disk, owner: &str) -> [Vec<IpAddr>; 2] {
    let durable = replayed(&disk.get().durable);
    [pool.read(|pool| pool.addresses_of(owner)), durable.addresses_of(owner)]
}

/// Takes and gives back, for an owner whom nobody else acts for: what was answered is on the disk,
/// and what failed has not happened.
fn caller(pool: &JournaledPool<Slow>, disk: &Disk, number: u8) {
    let (owner, mut own) = (name(number), Vec::new());
    for _ in 0..CALLS {
        let done = match own.last() {
            Some(&address) if thread_rng().gen_bool(0.5) => {
                pool.release(address, Duration::ZERO, true).map(|_| own.pop())
            }
            _ => pool.allocate(&owner, Duration::ZERO).map(|address| {
                own.push(address);
                None
            }),
        };
        assert!(matches!(done, Ok(_) | Err(JournalError::Io(_))), "{done:?}");
        assert_eq!(held(pool, disk, &owner), [own.clone(), own.clone()]);
        if number == 0 {
            let _ = pool.compact();
        }
    }
}

fn callers_and_a_disk() {
    let disk = Disk::default();
    let create = |bytes: &[u8]| {
        disk.begin(bytes);
        let (left, written) = (thread_rng().gen_range(0..40), thread_rng().gen_range(0..60));
        Ok(Slow { disk: disk.clone(), left, written })
    };
    let pool = JournaledPool { journal: Committer::begin(fresh(), true, create).unwrap() };
    let pool = Arc::new(pool);
    let callers: Vec<_> = (0..CALLERS)
        .map(|number| {
            let (pool, disk) = (pool.clone(), disk.clone());
            spawn(move || caller(&pool, &disk, number))
        })
        .collect();
    for caller in callers {
        caller.join().unwrap();
    }
    let machine = disk.get();
    assert!(same(&pool, &replayed(&machine.seen)) && same(&pool, &replayed(&machine.durable)));
}

#[test]
fn callers_hear_what_is_on_the_disk_in_any_order() {
    Runner::new(RandomScheduler::new(ORDERS), Config::new()).run(callers_and_a_disk);
}
