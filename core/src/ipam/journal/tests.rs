//! Journals whose disk fails, whose machine crashes, and whose writers crowd.

use std::collections::HashSet;
use std::fmt::Debug;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;

use super::super::pool::AddressPool;
use super::super::space::Interval;
use super::commit::Committer;
use super::{JournalError, JournaledPool, Storage, records};

/// What the machine does to storage.
#[derive(Debug, Default)]
pub(super) struct Machine {
    /// What a reader sees now.
    pub seen: Vec<u8>,
    /// What there is for sure after a crash.
    pub durable: Vec<u8>,
    /// What was replaced, and may come back until the name is synced.
    replaced: Option<Vec<u8>>,
    /// The calls since the beginning, and how many of them were to add bytes, and to sync.
    calls: usize,
    appends: usize,
    syncs: usize,
    /// The call that fails, and whether all later ones do.
    fails: Option<(usize, bool)>,
    /// How much of its bytes the failing call writes, in percent.
    written: usize,
}

impl Machine {
    /// Whether this call works.
    fn call(&mut self) -> bool {
        self.calls += 1;
        !self.fails.is_some_and(|(at, dead)| self.calls == at || dead && self.calls > at)
    }

    /// What a crash now may leave: with none, some, or all of what was not synced, or zeros for it.
    fn after_crash(&self) -> Vec<Vec<u8>> {
        let mut left = vec![self.durable.clone(), self.seen.clone()];
        left.extend(self.replaced.clone());
        if self.seen.starts_with(&self.durable) {
            let unsynced = self.seen.len() - self.durable.len();
            left.extend((0..unsynced).map(|n| self.seen[..self.durable.len() + n].to_vec()));
            let zeros = vec![0; unsynced];
            left.push([self.durable.as_slice(), &zeros].concat());
        }
        left
    }
}

#[derive(Debug, Clone, Default)]
pub(super) struct Disk(Arc<Mutex<Machine>>);

impl Disk {
    pub fn begin(&self, bytes: &[u8]) {
        *self.get() =
            Machine { seen: bytes.to_vec(), durable: bytes.to_vec(), ..Machine::default() };
    }

    pub fn get(&self) -> std::sync::MutexGuard<'_, Machine> {
        self.0.lock().unwrap()
    }

    fn call(&self) -> io::Result<std::sync::MutexGuard<'_, Machine>> {
        let mut machine = self.get();
        if machine.call() { Ok(machine) } else { Err(ErrorKind::StorageFull.into()) }
    }
}

impl Storage for Disk {
    fn read(&mut self) -> io::Result<Vec<u8>> {
        Ok(self.call()?.seen.clone())
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut machine = self.get();
        machine.appends += 1;
        let works = machine.call();
        let written = if works { bytes.len() } else { bytes.len() * machine.written / 100 };
        machine.seen.extend(&bytes[..written]);
        if works { Ok(()) } else { Err(ErrorKind::StorageFull.into()) }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut machine = self.get();
        machine.syncs += 1;
        if machine.call() {
            machine.durable = machine.seen.clone();
            return Ok(());
        }
        if machine.fails.is_some_and(|(_, dead)| !dead) {
            // The page that could not be written had sound bytes before.
            machine.durable.pop();
        }
        Err(ErrorKind::StorageFull.into())
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.call()?.seen.truncate(usize::try_from(length).unwrap());
        Ok(())
    }

    fn replace(&mut self, bytes: &[u8], _sync: bool) -> io::Result<()> {
        let mut machine = self.call()?;
        let durable = std::mem::replace(&mut machine.durable, bytes.to_vec());
        machine.replaced.get_or_insert(durable);
        machine.seen = bytes.to_vec();
        Ok(())
    }

    fn sync_name(&mut self) -> io::Result<()> {
        self.call()?.replaced = None;
        Ok(())
    }
}

pub(super) fn fresh() -> AddressPool {
    let interval = Interval { first: [10, 0, 0, 1].into(), last: IpAddr::from([10, 0, 0, 12]) };
    AddressPool::new(&[interval], &[], Duration::from_secs(1)).unwrap()
}

fn begun(disk: &Disk, sync: bool) -> JournaledPool<Disk> {
    let create = |bytes: &[u8]| {
        disk.begin(bytes);
        Ok(disk.clone())
    };
    JournaledPool { journal: Committer::begin(fresh(), sync, create).unwrap() }
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(u8, u64),
    Wish(u8, u8),
    Release(u8, u64, bool),
    ReleaseOwner(u8, u64),
    Reserve(u8),
    Unreserve(u8),
    Compact,
}

fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let (owner, host, time) = (0..4u8, 1..13u8, 0..5u64);
    let step = prop_oneof![
        6 => (owner.clone(), time.clone()).prop_map(|(o, t)| Step::Allocate(o, t)),
        1 => (owner.clone(), host.clone()).prop_map(|(o, h)| Step::Wish(o, h)),
        4 => (host.clone(), time.clone(), any::<bool>()).prop_map(|(h, t, u)| Step::Release(h, t, u)),
        1 => (owner, time).prop_map(|(o, t)| Step::ReleaseOwner(o, t)),
        1 => host.clone().prop_map(Step::Reserve),
        1 => host.prop_map(Step::Unreserve),
        1 => Just(Step::Compact),
    ];
    proptest::collection::vec(step, 0..most)
}

fn address(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

pub(super) fn name(owner: u8) -> String {
    format!("owner{owner}")
}

/// What comes of a step, as text.
fn plain(pool: &mut AddressPool, step: &Step) -> String {
    let time = Duration::from_secs;
    match *step {
        Step::Allocate(owner, now) => format!("{:?}", pool.allocate(&name(owner), time(now))),
        Step::Wish(owner, host) => {
            format!("{:?}", pool.allocate_address(&name(owner), address(host), false))
        }
        Step::Release(host, now, used) => {
            format!("{:?}", pool.release(address(host), time(now), used))
        }
        Step::ReleaseOwner(owner, now) => {
            format!("{:?}", pool.release_owner(&name(owner), time(now), true))
        }
        Step::Reserve(host) => format!("{:?}", pool.reserve(address(host))),
        Step::Unreserve(host) => format!("{:?}", pool.unreserve(address(host))),
        Step::Compact => "()".into(),
    }
}

/// The same of a journaled pool; an error of the journal's is one.
fn journaled<S: Storage>(pool: &JournaledPool<S>, step: &Step) -> Result<String, JournalError> {
    let time = Duration::from_secs;
    match *step {
        Step::Allocate(owner, now) => text(true, pool.allocate(&name(owner), time(now))),
        Step::Wish(owner, host) => {
            text(true, pool.allocate_address(&name(owner), address(host), false))
        }
        Step::Release(host, now, used) => text(false, pool.release(address(host), time(now), used)),
        Step::ReleaseOwner(owner, now) => {
            text(false, pool.release_owner(&name(owner), time(now), true))
        }
        Step::Reserve(host) => text(true, pool.reserve(address(host))),
        Step::Unreserve(host) => text(false, pool.unreserve(address(host))),
        Step::Compact => text(false, pool.compact()),
    }
}

fn text<T: Debug>(fallible: bool, result: Result<T, JournalError>) -> Result<String, JournalError> {
    match result {
        Ok(value) if fallible => Ok(format!("{:?}", Ok::<T, ()>(value))),
        Ok(value) => Ok(format!("{value:?}")),
        Err(JournalError::Pool(error)) => Ok(format!("{:?}", Err::<(), _>(error))),
        Err(error) => Err(error),
    }
}

fn copy(pool: &AddressPool) -> AddressPool {
    AddressPool::from_bytes(&pool.to_bytes()).unwrap()
}

pub(super) fn replayed(data: &[u8]) -> AddressPool {
    records::replay(data).unwrap().pool
}

pub(super) fn same<S: Storage>(journaled: &JournaledPool<S>, pool: &AddressPool) -> bool {
    journaled.read(|own| own == pool)
}

/// Each case is hundreds of journals.
fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.div_ceil(10), ..default }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn goes_on_after_any_process(steps in steps(80), again in 1..20usize) {
        let disk = Disk::default();
        let (mut pool, mut twin) = (begun(&disk, false), fresh());
        for (n, step) in steps.iter().enumerate() {
            assert_eq!(journaled(&pool, step).unwrap(), plain(&mut twin, step));
            assert_eq!(replayed(&disk.get().seen), twin);
            if n % again == 0 {
                let journal = Committer::resume(disk.clone(), &fresh(), false).unwrap();
                pool = JournaledPool { journal };
            }
            assert!(same(&pool, &twin));
        }
    }

    /// Every length that the file ever had, and every one in between, is a state that once was: the
    /// one after the last record that is complete.
    #[test]
    fn cut_off_at_each_byte(steps in steps(40)) {
        let disk = Disk::default();
        let (pool, mut twin) = (begun(&disk, false), fresh());
        let mut states = vec![(disk.get().seen.len(), copy(&twin))];
        for step in steps.iter().filter(|step| !matches!(step, Step::Compact)) {
            assert_eq!(journaled(&pool, step).unwrap(), plain(&mut twin, step));
            states.push((disk.get().seen.len(), copy(&twin)));
        }
        let data = disk.get().seen.clone();
        for cut in 0..=data.len() {
            match states.iter().rev().find(|(length, _)| *length <= cut) {
                None => assert!(records::replay(&data[..cut]).is_err()),
                Some((length, state)) => {
                    let replayed = records::replay(&data[..cut]).unwrap();
                    assert_eq!((replayed.sound, &replayed.pool), (*length, state));
                }
            }
        }
    }

    /// The machine crashes at each call of the system, and leaves what it likes of what was not
    /// synced: what was answered is there, and what was going on is there as a whole or not at all.
    #[test]
    fn crashes_at_each_call(steps in steps(25), written in 0..=100usize) {
        for crash in 1.. {
            let disk = Disk::default();
            let (pool, mut twin) = (begun(&disk, true), fresh());
            (disk.get().fails, disk.get().written) = (Some((crash, true)), written);
            let mut next = None;
            for step in &steps {
                let mut then = copy(&twin);
                let expected = plain(&mut then, step);
                match journaled(&pool, step) {
                    Ok(got) => assert_eq!(got, expected),
                    Err(_) => {
                        next = Some(then);
                        break;
                    }
                }
                twin = then;
            }
            for left in disk.get().after_crash() {
                let found = replayed(&left);
                assert!(found == twin || next.as_ref() == Some(&found), "{found:?}");
            }
            if next.is_none() {
                break;
            }
        }
    }

    /// One call fails, as on a full disk. What it was for did not happen, and all else goes on.
    #[test]
    fn survives_each_failing_call(steps in steps(25), sync: bool, written in 0..=100usize) {
        for failing in 1.. {
            let disk = Disk::default();
            let (pool, mut twin) = (begun(&disk, sync), fresh());
            (disk.get().fails, disk.get().written) = (Some((failing, false)), written);
            for step in &steps {
                match journaled(&pool, step) {
                    Ok(got) => assert_eq!(got, plain(&mut twin, step)),
                    Err(error) => assert!(matches!(error, JournalError::Io(_)), "{error}"),
                }
                assert!(same(&pool, &twin));
            }
            assert_eq!(replayed(&disk.get().seen), twin);
            for left in disk.get().after_crash() {
                assert!(!sync || replayed(&left) == twin);
            }
            if disk.get().calls < failing {
                break;
            }
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, at in 0..200usize, bits: u8) {
        let _ = records::replay(&bytes);
        let disk = Disk::default();
        let pool = begun(&disk, false);
        for owner in 0..5 {
            let _ = pool.allocate(&name(owner), Duration::ZERO);
        }
        let mut data = disk.get().seen.clone();
        data.extend(&bytes);
        let at = at % data.len();
        data[at] ^= bits;
        let _ = records::replay(&data);
    }
}

#[test]
fn one_caller_pays_one_write_and_one_sync() {
    for sync in [false, true] {
        let disk = Disk::default();
        let pool = begun(&disk, sync);
        for n in 0..10u8 {
            pool.allocate(&name(n), Duration::ZERO).unwrap();
        }
        let machine = disk.get();
        let expected = if sync { (20, 10, 10) } else { (10, 10, 0) };
        assert_eq!((machine.calls, machine.appends, machine.syncs), expected);
    }
}

#[test]
fn what_changes_nothing_is_not_written() {
    let disk = Disk::default();
    let pool = begun(&disk, true);
    assert_eq!(pool.release(address(1), Duration::ZERO, true).unwrap(), None);
    assert!(pool.release_owner("nobody", Duration::ZERO, true).unwrap().is_empty());
    assert!(!pool.unreserve(address(1)).unwrap());
    assert!(pool.allocate_address("x", address(200), false).is_err());
    assert_eq!(disk.get().calls, 0);
}

#[test]
fn begins_anew_when_it_has_grown() {
    let disk = Disk::default();
    let pool = begun(&disk, true);
    let mut longest = 0;
    for _ in 0..5000 {
        let got = pool.allocate("x", Duration::from_secs(9)).unwrap();
        pool.release(got, Duration::ZERO, true).unwrap();
        longest = longest.max(disk.get().seen.len());
        assert_eq!(pool.journal_length(), disk.get().seen.len() as u64);
    }
    assert!((60_000..70_000).contains(&longest), "{longest}");
    assert!(same(&pool, &replayed(&disk.get().durable)));
}

#[test]
fn what_another_process_has_open_is_left_alone() {
    let folder = Folder::new("locked");
    let path = folder.0.join("pool");
    let pool = JournaledPool::open(&path, fresh(), true).unwrap();
    let locked = |result: Result<JournaledPool, JournalError>| match result {
        Err(JournalError::Io(error)) => error.kind() == ErrorKind::WouldBlock,
        _ => false,
    };
    assert!(locked(JournaledPool::open(&path, fresh(), true)));
    pool.allocate("x", Duration::ZERO).unwrap();
    pool.compact().unwrap();
    assert!(locked(JournaledPool::open(&path, fresh(), true)));
    pool.allocate("y", Duration::ZERO).unwrap();
    drop(pool);
    let pool = JournaledPool::open(&path, fresh(), false).unwrap();
    assert_eq!(pool.read(AddressPool::len), 2);
    drop(pool);
    let data = fs::read(&path).unwrap();
    fs::write(&path, &data[..data.len() - 1]).unwrap();
    let pool = JournaledPool::open(&path, fresh(), false).unwrap();
    assert_eq!(pool.read(AddressPool::len), 1);
    assert_eq!(pool.journal_length(), fs::metadata(&path).unwrap().len());
    assert!(!path.with_extension("new").exists());
}

#[test]
fn a_journal_of_something_else_is_refused() {
    let folder = Folder::new("refused");
    let path = folder.0.join("pool");
    drop(JournaledPool::open(&path, fresh(), false).unwrap());
    let interval = Interval { first: address(1), last: address(13) };
    let other = AddressPool::new(&[interval], &[], Duration::from_secs(1)).unwrap();
    let error = JournaledPool::open(&path, other, false).unwrap_err();
    assert!(matches!(error, JournalError::OtherPool));
    for bytes in [&b""[..], b"something else"] {
        fs::write(&path, bytes).unwrap();
        let error = JournaledPool::open(&path, fresh(), false).unwrap_err();
        assert!(matches!(error, JournalError::Malformed(_)));
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
    let error = JournaledPool::open(&folder.0.join("no/pool"), fresh(), false).unwrap_err();
    assert!(matches!(error, JournalError::Io(_)));
}

#[test]
fn many_callers_share_writes() {
    let folder = Folder::new("crowd");
    let path = folder.0.join("pool");
    let interval = Interval { first: address(0), last: [10, 0, 255, 255].into() };
    let fresh = || AddressPool::new(&[interval], &[], Duration::ZERO).unwrap();
    let pool = JournaledPool::open(&path, fresh(), true).unwrap();
    let got: Vec<IpAddr> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..16u8)
            .map(|n| {
                let pool = &pool;
                let take = move |_| pool.allocate(&name(n), Duration::ZERO).unwrap();
                scope.spawn(move || (0..50).map(take).collect::<Vec<_>>())
            })
            .collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(got.iter().collect::<HashSet<_>>().len(), 800);
    let before = pool.snapshot();
    drop(pool);
    let again = JournaledPool::open(&path, fresh(), true).unwrap();
    assert_eq!(again.snapshot(), before);
}

/// A folder for a test.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let folder = format!("cnidaria-journal-{name}-{}", std::process::id());
        let folder = std::env::temp_dir().join(folder);
        fs::create_dir(&folder).unwrap();
        Self(folder)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
