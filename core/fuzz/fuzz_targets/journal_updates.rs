//! Any sequence of changes of a small journaled pool, and of damages to its file between two openings:
//! it does as a pool without a journal, and has again what was complete before the damage.

#![no_main]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cnidaria_core::ipam::{AddressPool, Interval, JournalError, JournaledPool};
use libfuzzer_sys::fuzz_target;

const fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fn new_pool() -> AddressPool {
    let ranges = [Interval { first: address(1), last: address(12) }];
    let excluded = [Interval { first: address(5), last: address(6) }];
    AddressPool::new(&ranges, &excluded, Duration::from_secs(5)).unwrap()
}

/// A pool with a journal, one without, and what the latter was at each length of the former's file.
struct Both {
    path: PathBuf,
    journaled: Option<JournaledPool>,
    twin: AddressPool,
    history: Vec<(u64, Vec<u8>)>,
}

impl Both {
    fn new(path: &Path) -> Self {
        let _ = fs::remove_file(path);
        let journaled = Some(JournaledPool::open(path, new_pool(), false).unwrap());
        let mut both =
            Self { path: path.to_owned(), journaled, twin: new_pool(), history: Vec::new() };
        both.note();
        both
    }

    fn journaled(&self) -> &JournaledPool {
        self.journaled.as_ref().unwrap()
    }

    /// Does the same to both, which have to say the same.
    fn change<T: PartialEq + std::fmt::Debug>(
        &mut self,
        one: impl FnOnce(&JournaledPool) -> Result<T, JournalError>,
        other: impl FnOnce(&mut AddressPool) -> Option<T>,
    ) {
        let said = match one(self.journaled()) {
            Ok(said) => Some(said),
            Err(JournalError::Pool(_)) => None,
            Err(error) => panic!("{error}"),
        };
        assert_eq!(said, other(&mut self.twin));
        self.note();
    }

    fn note(&mut self) {
        let (length, bytes) = (self.journaled().journal_length(), self.twin.to_bytes());
        assert_eq!(length, fs::metadata(&self.path).unwrap().len());
        assert!(self.journaled().read(AddressPool::to_bytes) == bytes);
        // Begun anew, or nothing was written.
        self.history.retain(|(before, _)| *before < length);
        self.history.push((length, bytes));
    }

    fn compact(&mut self) {
        self.history.clear();
        self.journaled().compact().unwrap();
        self.note();
    }

    /// Closes the file, which then is what `damage` makes of it, sound up to where it says, and opens
    /// it again.
    fn reopen(&mut self, damage: impl FnOnce(&mut Vec<u8>) -> usize) {
        self.journaled = None;
        let whole = fs::read(&self.path).unwrap();
        let mut data = whole.clone();
        let sound = damage(&mut data) as u64;
        fs::write(&self.path, &data).unwrap();
        let kept = self.history.iter().rposition(|(length, _)| *length <= sound);
        match JournaledPool::open(&self.path, new_pool(), false) {
            Ok(pool) => {
                let length = pool.journal_length();
                let kept = kept.expect("without its first record it is no journal");
                self.history.truncate(kept + 1);
                let (complete, bytes) = &self.history[kept];
                // Whoever can make a checksum can add a record.
                let added = length > *complete && data.len() > whole.len();
                let found = pool.read(AddressPool::to_bytes);
                assert!(added || (length, &found) == (*complete, bytes));
                self.twin = AddressPool::from_bytes(&found).unwrap();
                self.journaled = Some(pool);
                self.note();
            }
            Err(JournalError::Malformed(_)) => {
                assert!(kept.is_none() || data.len() > whole.len());
                fs::write(&self.path, &whole).unwrap();
                self.journaled = Some(JournaledPool::open(&self.path, new_pool(), false).unwrap());
                self.note();
            }
            Err(error) => panic!("{error}"),
        }
    }
}

fuzz_target!(|given: (Vec<(u8, u8, u8)>, Vec<u8>)| {
    let (steps, hostile) = given;
    let path = std::env::temp_dir().join(format!("cnidaria-fuzz-{}", std::process::id()));
    let (mut both, mut now) = (Both::new(&path), Duration::ZERO);
    for (step, which, who) in steps {
        let (one, owner) = (address(which % 14), format!("pod{}", who % 5));
        let used = who % 2 == 0;
        match step % 12 {
            0 | 1 => both.change(|it| it.allocate(&owner, now), |it| it.allocate(&owner, now).ok()),
            2 => both.change(
                |it| it.allocate_address(&owner, one, used),
                |it| it.allocate_address(&owner, one, used).ok(),
            ),
            3 => both.change(
                |it| Ok(it.release(one, now, used)?.map(|owner| owner.to_string())),
                |it| Some(it.release(one, now, used).map(ToString::to_string)),
            ),
            4 => both.change(
                |it| it.release_owner(&owner, now, used),
                |it| Some(it.release_owner(&owner, now, used)),
            ),
            5 => both.change(|it| it.reserve(one), |it| it.reserve(one).ok()),
            6 => both.change(|it| it.unreserve(one), |it| Some(it.unreserve(one))),
            7 => now += Duration::from_secs(u64::from(who % 8)),
            8 => both.compact(),
            9 => both.reopen(|data| {
                data.truncate(usize::from(u16::from_be_bytes([which, who])) % (data.len() + 1));
                data.len()
            }),
            10 => both.reopen(|data| {
                let at = usize::from(u16::from_be_bytes([which, who])) % data.len();
                data[at] ^= step | 1;
                at
            }),
            _ => both.reopen(|data| {
                let sound = data.len();
                data.extend(hostile.iter().skip(usize::from(which)));
                sound
            }),
        }
    }
    drop(both);
    let _ = fs::remove_file(&path);
});
