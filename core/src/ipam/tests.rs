//! The pool against its slow, obvious twin, and what the twin cannot tell.

use std::net::IpAddr;
use std::time::Duration;

use proptest::prelude::*;

use super::{AddressPool, Change, Error, Interval, Snapshot};

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn interval(first: &str, last: &str) -> Interval {
    Interval { first: ip(first), last: ip(last) }
}

fn pool(ranges: &[(&str, &str)], exclude: &[(&str, &str)]) -> super::Result<AddressPool> {
    let list = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(first, last)| interval(first, last)).collect::<Vec<_>>()
    };
    AddressPool::new(&list(ranges), &list(exclude), Duration::ZERO)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Address, owner, and whether it is reserved, in the order of taking.
type Taken = Vec<(IpAddr, String, bool)>;

/// Everything written down in lists and searched from end to end.
struct Twin {
    addresses: Vec<IpAddr>,
    taken: Taken,
    reserved: Vec<IpAddr>,
    released: Vec<(u64, IpAddr)>,
    cooldown: u64,
    history: usize,
    clock: u64,
    cursor: usize,
}

impl Twin {
    fn free(&self, address: IpAddr) -> bool {
        !self.taken.iter().any(|(a, _, _)| *a == address)
            && !self.reserved.contains(&address)
            && !self.released.iter().any(|(_, a)| *a == address)
    }

    fn cooled(&self, released_at: u64, now: u64) -> bool {
        self.cooldown == 0 || released_at + self.cooldown <= now
    }

    fn allocate(&mut self, owner: &str, now: u64) -> Option<IpAddr> {
        let n = self.addresses.len();
        let ring = (self.cursor..n).chain(0..self.cursor.min(n));
        let unused = ring.into_iter().find(|at| self.free(self.addresses[*at]));
        let address = match unused {
            Some(at) => {
                self.cursor = at + 1;
                self.addresses[at]
            }
            None => {
                let (at, oldest) = *self.released.first()?;
                self.cooled(at, now).then_some(oldest)?
            }
        };
        self.take(owner, address, false);
        Some(address)
    }

    fn take(&mut self, owner: &str, address: IpAddr, reserved: bool) {
        self.released.retain(|(_, a)| *a != address);
        self.reserved.retain(|a| *a != address);
        self.taken.push((address, owner.into(), reserved));
    }

    fn wish(&mut self, owner: &str, address: IpAddr, reserved: bool) -> Result<(), Error> {
        if let Some((_, other, _)) = self.taken.iter().find(|(a, _, _)| *a == address) {
            return Err(Error::Taken(address, other.as_str().into()));
        }
        let was_reserved = self.reserved.contains(&address);
        if was_reserved && !reserved {
            return Err(Error::Reserved(address));
        }
        self.take(owner, address, was_reserved);
        Ok(())
    }

    fn release(&mut self, address: IpAddr, now: u64, used: bool) -> Option<String> {
        let at = self.taken.iter().position(|(a, _, _)| *a == address)?;
        let (_, owner, reserved) = self.taken.remove(at);
        if reserved {
            self.reserved.push(address);
        } else if used {
            self.cool(address, now.max(self.clock));
            self.forget();
        }
        Some(owner)
    }

    fn cool(&mut self, address: IpAddr, released_at: u64) {
        self.released.retain(|(_, a)| *a != address);
        self.released.push((released_at, address));
        self.released.sort_by_key(|(at, _)| *at);
        self.clock = self.clock.max(released_at);
    }

    fn forget(&mut self) {
        while self.released.len() > self.history && self.cooled(self.released[0].0, self.clock) {
            self.released.remove(0);
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    Allocate(u8),
    Wish(u8, usize, bool),
    Restore(u8, usize),
    RestoreCooling(usize, u64),
    Release(usize, bool),
    ReleaseOwner(u8, bool),
    Reserve(usize),
    Unreserve(usize),
    Wait(u64),
    TurnBack(u64),
    Snapshot,
    ByBytes,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let (owner, at) = (0..6u8, 0..1000usize);
    let step = prop_oneof![
        6 => owner.clone().prop_map(Step::Allocate),
        1 => (owner.clone(), at.clone(), any::<bool>()).prop_map(|(o, a, r)| Step::Wish(o, a, r)),
        1 => (owner.clone(), at.clone()).prop_map(|(o, a)| Step::Restore(o, a)),
        1 => (at.clone(), 0..20u64).prop_map(|(a, ago)| Step::RestoreCooling(a, ago)),
        4 => (at.clone(), any::<bool>()).prop_map(|(a, used)| Step::Release(a, used)),
        1 => (owner, any::<bool>()).prop_map(|(o, used)| Step::ReleaseOwner(o, used)),
        1 => at.clone().prop_map(Step::Reserve),
        1 => at.prop_map(Step::Unreserve),
        2 => (0..10u64).prop_map(Step::Wait),
        1 => (0..3u64).prop_map(Step::TurnBack),
        1 => Just(Step::Snapshot),
        1 => Just(Step::ByBytes),
    ];
    proptest::collection::vec(step, 0..150)
}

struct Pair {
    pool: AddressPool,
    kept: Option<(Snapshot, Taken)>,
    twin: Twin,
    now: u64,
}

impl Pair {
    fn new(ranges: &[(u16, u16)], cooldown: u64, history: usize) -> Self {
        let address = |n: u16| IpAddr::from([10, 0, n.to_be_bytes()[0], n.to_be_bytes()[1]]);
        let intervals: Vec<_> = ranges
            .iter()
            .map(|(first, last)| Interval { first: address(*first), last: address(*last) })
            .collect();
        let pool = AddressPool::new(&intervals, &[], seconds(cooldown)).unwrap();
        let twin = Twin {
            addresses: ranges
                .iter()
                .flat_map(|(first, last)| (*first..=*last).map(address))
                .collect(),
            taken: vec![],
            reserved: vec![],
            released: vec![],
            cooldown,
            history,
            clock: 0,
            cursor: 0,
        };
        Self { pool: pool.with_history(history), kept: None, twin, now: 0 }
    }

    fn step(&mut self, step: &Step) {
        let Self { pool, twin, now, .. } = self;
        let at = |n: usize| twin.addresses[n % twin.addresses.len()];
        let name = |owner: u8| format!("owner{owner}");
        let time = seconds(*now);
        match *step {
            Step::Allocate(owner) => {
                let expected = twin.allocate(&name(owner), *now);
                assert_eq!(pool.allocate(&name(owner), time).ok(), expected);
            }
            Step::Wish(owner, n, reserved) => {
                let address = at(n);
                let expected = twin.wish(&name(owner), address, reserved);
                assert_eq!(pool.allocate_address(&name(owner), address, reserved), expected);
            }
            Step::Restore(owner, n) => {
                let address = at(n);
                let expected = twin.wish(&name(owner), address, true);
                if expected.is_ok() {
                    twin.cursor = n % twin.addresses.len() + 1;
                }
                assert_eq!(pool.restore(&name(owner), address), expected);
            }
            Step::RestoreCooling(n, ago) => {
                let (address, released_at) = (at(n), now.saturating_sub(ago));
                if twin.free(address) || twin.released.iter().any(|(_, a)| *a == address) {
                    twin.cool(address, released_at);
                }
                pool.restore_cooling(address, seconds(released_at)).unwrap();
            }
            Step::Release(n, used) => {
                let address = at(n);
                let expected = twin.release(address, *now, used);
                let got = pool.release(address, time, used).map(|owner| owner.to_string());
                assert_eq!(got, expected);
            }
            Step::ReleaseOwner(owner, used) => {
                let owner = name(owner);
                let held = twin.taken.iter().filter(|(_, o, _)| *o == owner).map(|(a, _, _)| *a);
                let held: Vec<_> = held.collect();
                for address in &held {
                    twin.release(*address, *now, used);
                }
                assert_eq!(pool.release_owner(&owner, time, used), held);
            }
            Step::Reserve(n) => {
                let address = at(n);
                let known = twin.reserved.contains(&address);
                let owner = twin.taken.iter().find(|(a, _, _)| *a == address);
                let expected = match owner {
                    Some((_, owner, _)) => Err(Error::Taken(address, owner.as_str().into())),
                    None => Ok(!known),
                };
                if expected == Ok(true) {
                    twin.released.retain(|(_, a)| *a != address);
                    twin.reserved.push(address);
                }
                assert_eq!(pool.reserve(address), expected);
            }
            Step::Unreserve(n) => {
                let address = at(n);
                let mut expected = twin.reserved.contains(&address);
                twin.reserved.retain(|a| *a != address);
                for (_, _, reserved) in twin.taken.iter_mut().filter(|(a, _, _)| *a == address) {
                    expected = std::mem::take(reserved);
                }
                assert_eq!(pool.unreserve(address), expected);
            }
            Step::Wait(n) => *now += n,
            Step::TurnBack(n) => *now = now.saturating_sub(n),
            Step::Snapshot => self.kept = Some((pool.snapshot(), twin.taken.clone())),
            Step::ByBytes => {
                let again = AddressPool::from_bytes(&pool.to_bytes()).unwrap();
                assert_eq!(again, *pool);
                *pool = again.with_history(twin.history);
            }
        }
    }

    fn compare(&self) {
        let Self { pool, twin, .. } = self;
        let stats = pool.stats();
        assert_eq!(pool.len(), twin.taken.len());
        assert_eq!(stats.reserved, twin.reserved.len() as u128);
        assert_eq!(stats.released, twin.released.len() as u128);
        assert_eq!(stats.capacity, twin.addresses.len() as u128);
    }

    fn compare_all(&self) {
        let Self { pool, twin, .. } = self;
        for address in &twin.addresses {
            let owner =
                twin.taken.iter().find(|(a, _, _)| a == address).map(|(_, o, _)| o.as_str());
            assert_eq!(pool.owner_of(*address).map(|owner| &**owner), owner);
        }
        for lease in pool.leases() {
            assert!(pool.addresses_of(&lease.owner).contains(&lease.address));
        }
    }

    /// The snapshot is what the twin was then, and tells what changed since.
    fn compare_kept(&mut self) {
        let Some((kept, taken)) = &self.kept else {
            return;
        };
        assert_eq!(kept.len(), taken.len());
        for (_, owner, _) in taken {
            let held = taken.iter().filter(|(_, o, _)| o == owner).map(|(a, _, _)| *a);
            assert_eq!(kept.addresses_of(owner), held.collect::<Vec<_>>());
        }
        let owner = |list: &[(IpAddr, String, bool)], address| {
            let found = list.iter().find(|(a, _, _)| *a == address);
            found.map(|(_, owner, _)| owner.as_str().into())
        };
        let mut addresses = self.twin.addresses.clone();
        addresses.sort_unstable();
        let changes = addresses.into_iter().map(|address| Change {
            address,
            before: owner(taken, address),
            after: owner(&self.twin.taken, address),
        });
        let changes: Vec<_> = changes.filter(|change| change.before != change.after).collect();
        assert_eq!(kept.diff(&self.pool.snapshot()), changes);
    }
}

proptest! {
    #[test]
    fn does_what_the_twin_does(
        steps in steps(),
        ranges in prop_oneof![Just([(100, 170), (3, 5)]), Just([(20, 20), (1000, 1280)])],
        full in 0..4usize,
        cooldown in 0..8u64,
        history in 0..40usize,
    ) {
        let mut pair = Pair::new(&ranges, cooldown, history);
        for n in 0..full * pair.twin.addresses.len() / 3 {
            pair.step(&Step::Allocate(u8::try_from(n % 6).unwrap()));
        }
        for step in &steps {
            pair.step(step);
            pair.compare();
        }
        pair.compare_all();
        pair.compare_kept();
    }
}

#[test]
fn wrong_ranges_are_refused_by_name() {
    let error = |ranges, exclude| pool(ranges, exclude).unwrap_err();
    assert_eq!(error(&[], &[]), Error::NoRange);
    let reversed = error(&[("10.0.0.9", "10.0.0.1")], &[]);
    assert_eq!(reversed.to_string(), "10.0.0.9-10.0.0.1: the end is before the start");
    let overlap = error(&[("10.0.0.5", "10.0.0.9"), ("10.0.0.1", "10.0.0.5")], &[]);
    assert_eq!(
        overlap,
        Error::Overlap(interval("10.0.0.1", "10.0.0.5"), interval("10.0.0.5", "10.0.0.9"))
    );
    let mixed = Error::MixedFamilies(interval("10.0.0.1", "fd00::1"));
    assert_eq!(error(&[("10.0.0.1", "fd00::1")], &[]), mixed);
    assert!(matches!(
        error(&[("10.0.0.1", "10.0.0.2")], &[("::1", "::1")]),
        Error::MixedFamilies(_)
    ));
    let end = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    assert_eq!(error(&[("::", end)], &[]), Error::TooLarge);
    assert_eq!(pool(&[("::1", end)], &[]).unwrap().stats().capacity, u128::MAX);
}

#[test]
fn excluded_addresses_are_no_part_of_the_pool() {
    let exclude = [("10.0.0.0", "10.0.0.2"), ("10.0.0.4", "10.0.0.4"), ("10.0.0.3", "10.0.0.3")];
    let mut pool =
        pool(&[("10.0.0.0", "10.0.0.7")], &[&exclude[..], &[("10.0.0.6", "10.0.0.6")]].concat())
            .unwrap();
    let got: Vec<_> = (0..2).map(|_| pool.allocate("x", Duration::ZERO).unwrap()).collect();
    assert_eq!(got, [ip("10.0.0.5"), ip("10.0.0.7")]);
    assert_eq!(pool.stats().capacity, 2);
    let excluded = ip("10.0.0.4");
    assert_eq!(pool.allocate_address("x", excluded, true), Err(Error::Reserved(excluded)));
    assert_eq!(pool.reserve(excluded), Ok(false));
    let outside = ip("10.0.0.8");
    assert_eq!(pool.allocate_address("x", outside, true), Err(Error::OutOfRange(outside)));
    assert_eq!(pool.release(outside, Duration::ZERO, true), None);
    let full = pool.allocate("x", Duration::ZERO).unwrap_err();
    assert_eq!(full, Error::Exhausted { taken: 2, cooling: 0, reserved: 0, capacity: 2 });
}

#[test]
fn a_pool_may_be_empty_of_addresses() {
    let mut pool = pool(&[("10.0.0.1", "10.0.0.1")], &[("10.0.0.0", "10.0.0.9")]).unwrap();
    assert!(matches!(
        pool.allocate("x", Duration::ZERO),
        Err(Error::Exhausted { capacity: 0, .. })
    ));
}

#[test]
fn the_largest_pool_works_at_both_ends() {
    let end = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let mut pool = pool(&[("::1", end)], &[]).unwrap();
    pool.restore("last", ip(end)).unwrap();
    assert_eq!(pool.allocate("x", Duration::ZERO), Ok(ip("::1")));
    for n in 0..64u128 {
        let address = IpAddr::V6((u128::MAX - n).into());
        let _ = pool.allocate_address("end", address, false);
    }
    pool.restore("again", IpAddr::V6((u128::MAX - 64).into())).unwrap();
    assert_eq!(pool.allocate("x", Duration::ZERO), Ok(ip("::2")));
}

#[test]
fn memory_goes_with_what_is_in_use() {
    let mut pool = pool(&[("fd00::", "fd00::ffff:ffff:ffff:ffff")], &[]).unwrap().with_history(100);
    for _ in 0..100_000 {
        let address = pool.allocate("pod", Duration::ZERO).unwrap();
        pool.release(address, Duration::ZERO, true);
    }
    assert_eq!(pool.allocate("pod", Duration::ZERO), Ok(ip("fd00::1:86a0")));
    assert!(pool.bytes() <= 32 << 10, "{}", pool.bytes());
}

#[test]
fn every_address_of_a_full_pool_is_found() {
    let mut pool = pool(&[("10.0.0.0", "10.0.255.255")], &[]).unwrap();
    let mut seen: Vec<_> =
        (0..65_536).map(|n| pool.allocate(&n.to_string(), Duration::ZERO).unwrap()).collect();
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen.len(), 65_536);
    assert!(pool.allocate("x", Duration::ZERO).is_err());
    let one = ip("10.0.200.77");
    assert!(pool.release(one, Duration::ZERO, true).is_some());
    assert_eq!(pool.allocate("x", Duration::ZERO), Ok(one));
}
