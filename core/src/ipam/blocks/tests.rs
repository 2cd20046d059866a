//! Blocks beside a slow, obvious twin; and many pools of one store, none of which knows the latest.

use std::collections::BTreeMap;
use std::net::IpAddr;

use proptest::prelude::*;

use super::super::error::Error;
use super::super::space::Interval;
use super::{BlockChange, BlockError, BlockPool, BlockStats, RouteChange};
use crate::prefix::Prefix;

fn prefix(text: &str) -> Prefix {
    text.parse().unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn one(text: &str) -> Interval {
    Interval { first: ip(text), last: ip(text) }
}

/// Eight blocks of four addresses, in which a whole block, and an address, are left out.
fn fresh(borrow: bool) -> BlockPool {
    let exclude = [Interval { first: ip("10.0.0.7"), last: ip("10.0.0.13") }];
    BlockPool::new(prefix("10.0.0.0/27"), 30, &exclude, borrow, true).unwrap()
}

fn node(n: u8) -> String {
    format!("node{n}")
}

fn owner(n: u8) -> String {
    format!("owner{n}")
}

#[derive(Debug, Clone)]
enum Step {
    Claim(u8, u8),
    Allocate(u8, u8, usize),
    Wish(u8, u8, u8),
    Release(u8),
    ReleaseOwner(u8),
    ReturnEmpty(u8, usize),
    Leave(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let (node, owner, host) = (0..4u8, 0..6u8, 0..34u8);
    prop_oneof![
        1 => (node.clone(), host.clone()).prop_map(|(n, h)| Step::Claim(n, h)),
        6 => (node.clone(), owner.clone(), 0..4usize).prop_map(|(n, o, m)| Step::Allocate(n, o, m)),
        1 => (node.clone(), owner.clone(), host.clone()).prop_map(|(n, o, h)| Step::Wish(n, o, h)),
        3 => host.prop_map(Step::Release),
        1 => owner.prop_map(Step::ReleaseOwner),
        1 => (node.clone(), 0..2usize).prop_map(|(n, k)| Step::ReturnEmpty(n, k)),
        1 => node.prop_map(Step::Leave),
    ]
}

fn address(host: u8) -> IpAddr {
    [10, 0, 0, host].into()
}

/// The changes that a pool proposes for a step.
fn planned(pool: &BlockPool, step: &Step) -> Result<Vec<BlockChange>, BlockError> {
    match *step {
        Step::Claim(n, host) => {
            let avoid = Interval { first: address(host), last: address(host) };
            pool.claim(&node(n), &[avoid]).map(|change| vec![change])
        }
        Step::Allocate(n, o, most) => {
            pool.allocate(&node(n), &owner(o), most).map(|change| vec![change])
        }
        Step::Wish(n, o, host) => {
            let change = pool.allocate_address(&node(n), &owner(o), address(host));
            change.map(|change| vec![change])
        }
        Step::Release(host) => Ok(pool.release(address(host)).into_iter().collect()),
        Step::ReleaseOwner(o) => Ok(pool.release_owner(&owner(o))),
        Step::ReturnEmpty(n, keep) => Ok(pool.return_empty(&node(n), keep)),
        Step::Leave(n) => Ok(pool.leave(&node(n))),
    }
}

/// Everything written down and looked at from end to end.
#[derive(Debug, Clone, Default)]
struct Twin {
    borrow: bool,
    /// Whose each block is, by number; of those that somebody has, or that have addresses in use.
    nodes: BTreeMap<u8, Option<String>>,
    /// Node and owner by the last octet.
    leases: BTreeMap<u8, (String, String)>,
    /// Behind the address handed out last in a block, if it was not one asked for.
    cursors: BTreeMap<u8, u8>,
}

impl Twin {
    const BLOCKS: u8 = 8;

    fn excluded(host: u8) -> bool {
        (7..=13).contains(&host)
    }

    fn start(n: u8) -> u8 {
        u8::try_from((u64::from(crc32fast::hash(node(n).as_bytes())) * 8) >> 32).unwrap()
    }

    fn round(start: u8) -> impl Iterator<Item = u8> {
        (start..Self::BLOCKS).chain(0..start)
    }

    /// The address that would be handed out of a block.
    fn next(&self, block: u8) -> Option<u8> {
        let cursor = self.cursors.get(&block).copied().unwrap_or(0);
        let places = (cursor..4).chain(0..cursor).map(|place| block * 4 + place);
        places.into_iter().find(|host| !Self::excluded(*host) && !self.leases.contains_key(host))
    }

    fn free(&self, n: u8, avoid: Option<u8>) -> Option<u8> {
        Self::round(Self::start(n)).find(|block| {
            let hosts = || block * 4..block * 4 + 4;
            !self.nodes.contains_key(block)
                && !hosts().all(Self::excluded)
                && !avoid.is_some_and(|host| hosts().contains(&host))
        })
    }

    fn of(&self, name: Option<&str>) -> impl Iterator<Item = u8> {
        self.nodes.iter().filter(move |(_, node)| node.as_deref() == name).map(|(block, _)| *block)
    }

    fn choose(&self, n: u8, most: usize) -> Option<u8> {
        let name = node(n);
        let own: Vec<u8> = self.of(Some(&name)).collect();
        let open = |block: &u8| self.next(*block).is_some();
        own.iter().copied().find(open).or_else(|| {
            let more = own.len() < most;
            let free = self.free(n, None).filter(|_| more);
            free.or_else(|| self.of(None).find(open).filter(|_| more)).or_else(|| {
                let mut round = Self::round(Self::start(n)).filter(|b| self.nodes.contains_key(b));
                round.find(open).filter(|_| self.borrow)
            })
        })
    }

    fn take(&mut self, n: u8, o: u8, host: u8) {
        let block = self.nodes.entry(host / 4).or_default();
        block.get_or_insert_with(|| node(n));
        self.leases.insert(host, (node(n), owner(o)));
    }

    fn give_back(&mut self, gone: impl Fn(u8, &(String, String)) -> bool) {
        self.leases.retain(|host, holder| !gone(*host, holder));
        self.drop_blocks();
    }

    fn drop_blocks(&mut self) {
        let leases = &self.leases;
        self.nodes
            .retain(|block, node| node.is_some() || leases.keys().any(|host| host / 4 == *block));
        let nodes = &self.nodes;
        self.cursors.retain(|block, _| nodes.contains_key(block));
    }

    /// Does the step; returns whether it can be done, and the address that it is about.
    fn step(&mut self, step: &Step) -> Result<Option<u8>, ()> {
        match *step {
            Step::Claim(n, host) => {
                let block = self.free(n, Some(host)).ok_or(())?;
                self.nodes.insert(block, Some(node(n)));
            }
            Step::Allocate(n, o, most) => {
                let block = self.choose(n, most).ok_or(())?;
                let adopted = self.nodes.get(&block) == Some(&None);
                if adopted && self.of(Some(&node(n))).count() >= most {
                    // Borrowed of a block that no node has: it stays so.
                    let host = self.next(block).unwrap();
                    self.leases.insert(host, (node(n), owner(o)));
                    self.cursors.insert(block, (host + 1) % 4);
                    return Ok(Some(host));
                }
                let host = self.next(block).unwrap();
                self.take(n, o, host);
                self.cursors.insert(block, (host + 1) % 4);
                return Ok(Some(host));
            }
            Step::Wish(n, o, host) => {
                let other = self.nodes.get(&(host / 4)).cloned().flatten();
                let foreign = other.is_some_and(|other| other != node(n)) && !self.borrow;
                if host >= 32 || Self::excluded(host) || self.leases.contains_key(&host) || foreign
                {
                    return Err(());
                }
                self.take(n, o, host);
                return Ok(Some(host));
            }
            Step::Release(host) => self.give_back(|other, _| other == host),
            Step::ReleaseOwner(o) => self.give_back(|_, (_, other)| *other == owner(o)),
            Step::ReturnEmpty(n, keep) => {
                let used = |block: &u8| self.leases.keys().any(|host| host / 4 == *block);
                let name = node(n);
                let empty: Vec<u8> = self.of(Some(&name)).filter(|block| !used(block)).collect();
                for block in empty.iter().skip(keep) {
                    self.nodes.remove(block);
                }
                self.drop_blocks();
            }
            Step::Leave(n) => {
                for own in self.nodes.values_mut().filter(|own| **own == Some(node(n))) {
                    *own = None;
                }
                self.give_back(|_, (other, _)| *other == node(n));
            }
        }
        Ok(None)
    }

    fn routes(&self) -> Vec<(Prefix, String)> {
        let mut routes = vec![];
        for (block, own) in &self.nodes {
            if let Some(own) = own {
                routes.push((Prefix::new(address(block * 4), 30).unwrap(), own.clone()));
            }
            for (host, (node, _)) in self.leases.range(block * 4..block * 4 + 4) {
                if Some(node) != own.as_ref() {
                    routes.push((Prefix::host(address(*host)), node.clone()));
                }
            }
        }
        routes
    }
}

fn routes(pool: &BlockPool) -> Vec<(Prefix, String)> {
    pool.routes().map(|route| (route.prefix, route.node.to_string())).collect()
}

fn compare(pool: &BlockPool, twin: &Twin) {
    assert_eq!(routes(pool), twin.routes());
    let blocks =
        pool.blocks().map(|(prefix, node, used)| (prefix, node.map(ToString::to_string), used));
    let expected = twin.nodes.iter().map(|(block, node)| {
        let used = twin.leases.keys().filter(|host| *host / 4 == *block).count();
        (Prefix::new(address(block * 4), 30).unwrap(), node.clone(), used)
    });
    assert_eq!(blocks.collect::<Vec<_>>(), expected.collect::<Vec<_>>());
    for host in 0..33 {
        let holder = pool.holder_of(address(host));
        let holder = holder.map(|(node, owner)| (node.to_string(), owner.to_string()));
        assert_eq!(holder.as_ref(), twin.leases.get(&host));
    }
    for o in 0..6 {
        let held = twin.leases.iter().filter(|(_, (_, other))| *other == owner(o));
        let held: Vec<_> = held.map(|(host, _)| address(*host)).collect();
        assert_eq!(pool.addresses_of(&owner(o)), held);
    }
    for n in 0..4 {
        let name = node(n);
        let own = twin.of(Some(&name)).map(|block| Prefix::new(address(block * 4), 30).unwrap());
        assert_eq!(pool.blocks_of(&name), own.collect::<Vec<_>>());
    }
    let claimed = twin.nodes.values().flatten().count();
    let expected = BlockStats {
        blocks: 8,
        claimed,
        orphaned: twin.nodes.len() - claimed,
        leased: twin.leases.len(),
        borrowed: twin.routes().iter().filter(|(prefix, _)| prefix.length() == 32).count(),
    };
    assert_eq!((pool.stats(), pool.len()), (expected, twin.nodes.len()));
}

/// A store that compares and swaps, and knows of a change only what it stores.
#[derive(Debug, Default)]
struct Store {
    records: BTreeMap<Prefix, (Vec<u8>, u64)>,
    revision: u64,
}

impl Store {
    fn swap(&mut self, change: &BlockChange) -> bool {
        let found = self.records.get(&change.prefix()).map_or(0, |(_, revision)| *revision);
        if found != change.expected() {
            return false;
        }
        self.revision += 1;
        match change.record() {
            None => self.records.remove(&change.prefix()),
            Some(record) => self.records.insert(change.prefix(), (record, self.revision)),
        };
        true
    }

    fn show(&self, prefix: Prefix, pool: &mut BlockPool) {
        let found = self.records.get(&prefix);
        let found = found.map(|(record, revision)| (record.as_slice(), *revision));
        pool.observe(prefix, found).unwrap();
    }

    fn show_all(&self, pool: &mut BlockPool) {
        for number in 0..8 {
            self.show(Prefix::new(address(number * 4), 30).unwrap(), pool);
        }
    }
}

proptest! {
    #[test]
    fn does_what_the_twin_does(
        steps in proptest::collection::vec(step(), 0..60), borrow: bool, kept_at in 0..60usize,
    ) {
        let (mut pool, mut twin) = (fresh(borrow), Twin { borrow, ..Twin::default() });
        let mut kept = (pool.snapshot(), twin.routes());
        for (at, step) in steps.iter().enumerate() {
            match (planned(&pool, step), twin.step(step)) {
                (Ok(changes), Ok(host)) => {
                    let got = changes.first().and_then(BlockChange::address);
                    assert!(host.is_none() || got == host.map(address), "{step:?} {got:?}");
                    for change in &changes {
                        pool.commit(change).unwrap();
                    }
                }
                (Err(_), Err(())) => {}
                (got, expected) => panic!("{step:?}: {got:?}, not {expected:?}"),
            }
            compare(&pool, &twin);
            if at == kept_at {
                kept = (pool.snapshot(), twin.routes());
            }
        }
        let again = BlockPool::from_bytes(&pool.to_bytes()).unwrap();
        assert_eq!(again, pool);
        compare(&again, &twin);
        let (before, after) = (BTreeMap::from_iter(kept.1), BTreeMap::from_iter(twin.routes()));
        let prefixes: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
        let changes = prefixes.into_iter().map(|prefix| RouteChange {
            prefix: *prefix,
            before: before.get(prefix).map(|node| node.as_str().into()),
            after: after.get(prefix).map(|node| node.as_str().into()),
        });
        let changes: Vec<_> = changes.filter(|change| change.before != change.after).collect();
        assert_eq!(kept.0.diff(&pool.snapshot()), changes);
    }

    /// Nodes with pools of their own, which learn of others' changes late or never, all want blocks
    /// and addresses of one store: none gets what another one has.
    #[test]
    fn no_double_claims(
        steps in proptest::collection::vec((0..4usize, step(), 0..9u8), 0..80), borrow: bool,
    ) {
        let mut store = Store::default();
        let mut pools: Vec<BlockPool> = (0..4).map(|_| fresh(borrow)).collect();
        let mut truth: BTreeMap<IpAddr, (String, String)> = BTreeMap::new();
        for (who, step, seen) in &steps {
            let pool = &mut pools[*who];
            if *seen < 8 {
                store.show(Prefix::new(address(seen * 4), 30).unwrap(), pool);
            }
            for change in planned(pool, step).unwrap_or_default() {
                if !store.swap(&change) {
                    store.show(change.prefix(), pool);
                    continue;
                }
                let before = held(pool, change.prefix());
                store.show(change.prefix(), pool);
                let after = held(pool, change.prefix());
                // What the pool took for the last state was the last state.
                let known: Vec<_> = truth.range(change.prefix().address()..=change.prefix().last())
                    .map(|(address, holder)| (*address, holder.clone()))
                    .collect();
                assert_eq!(known, before);
                truth.retain(|address, _| !change.prefix().contains(*address));
                truth.extend(after);
            }
        }
        let mut late = fresh(borrow);
        store.show_all(&mut late);
        for pool in &mut pools {
            store.show_all(pool);
            assert_eq!(routes(pool), routes(&late));
        }
        for host in 0..32 {
            let holder = late.holder_of(address(host));
            let holder = holder.map(|(node, owner)| (node.to_string(), owner.to_string()));
            assert_eq!(holder.as_ref(), truth.get(&address(host)));
        }
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>, at in 0..300usize, bits: u8) {
        let _ = BlockPool::from_bytes(&bytes);
        let mut pool = fresh(true);
        for n in 0..3 {
            pool.commit(&pool.allocate(&node(n), &owner(n), 1).unwrap()).unwrap();
        }
        let mut data = pool.to_bytes();
        let at = at % data.len();
        data[at] ^= bits;
        if let Ok(pool) = BlockPool::from_bytes(&data) {
            assert_eq!(BlockPool::from_bytes(&pool.to_bytes()).unwrap(), pool);
        }
    }
}

/// The leases of a block in a pool.
fn held(pool: &BlockPool, prefix: Prefix) -> Vec<(IpAddr, (String, String))> {
    let hosts = (0..32).map(address).filter(|address| prefix.contains(*address));
    let holder = |address| {
        let (node, owner) = pool.holder_of(address)?;
        Some((address, (node.to_string(), owner.to_string())))
    };
    hosts.filter_map(holder).collect()
}

#[test]
fn lengths_that_cannot_be_are_named() {
    for (cidr, length, allowed) in [
        ("10.0.0.0/16", 15, (16, 32)),
        ("10.0.0.0/16", 33, (16, 32)),
        ("fd00::/8", 7, (8, 128)),
        ("fd00::/96", 129, (96, 128)),
        ("::/0", 128, (0, 127)),
    ] {
        let error = BlockPool::new(prefix(cidr), length, &[], true, true).unwrap_err();
        assert_eq!(error, BlockError::Length { length, cidr: prefix(cidr), allowed });
    }
    assert!(BlockPool::new(prefix("10.0.0.0/8"), 26, &[one("fd00::1")], true, true).is_err());
}

#[test]
fn the_largest_pools_work_at_both_ends() {
    let mut pool = BlockPool::new(prefix("::/0"), 64, &[], true, true).unwrap();
    let end = ip("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff");
    pool.commit(&pool.allocate_address("n", "x", end).unwrap()).unwrap();
    assert_eq!(pool.holder_of(end).map(|(node, owner)| (&**node, &**owner)), Some(("n", "x")));
    let next = pool.allocate("n", "y", 1).unwrap();
    assert_eq!(next.address(), Some(ip("ffff:ffff:ffff:ffff::")));
    pool.commit(&next).unwrap();
    pool.commit(&pool.release(end).unwrap()).unwrap();
    assert_eq!(BlockPool::from_bytes(&pool.to_bytes()).unwrap(), pool);
    let mut hosts = BlockPool::new(prefix("fd00::/8"), 128, &[], true, false).unwrap();
    for n in 0..100u128 {
        let change = hosts.allocate("n", "x", usize::MAX).unwrap();
        assert_eq!(change.address(), Some(IpAddr::V6((0xfd00 << 112 | n).into())));
        hosts.commit(&change).unwrap();
    }
    for (length, first) in [(0, "::"), (1, "8000::"), (127, "::")] {
        let mut wide = BlockPool::new(prefix("::/0"), length, &[], true, length == 1).unwrap();
        let change = wide.claim("node0", &[]).unwrap();
        assert_eq!(change.prefix().address(), ip(first));
        wide.commit(&change).unwrap();
        wide.commit(&wide.allocate_address("n", "x", end).unwrap()).unwrap();
        assert_eq!(wide.allocate("node0", "x", 1).unwrap().address(), Some(ip(first)));
        assert_eq!(BlockPool::from_bytes(&wide.to_bytes()).unwrap(), wide);
    }
    let all = Interval { first: ip("::"), last: end };
    let none = BlockPool::new(prefix("::/0"), 64, &[all], true, true).unwrap();
    assert!(matches!(none.claim("n", &[]), Err(BlockError::Exhausted { claimed: 0, .. })));
    assert!(matches!(none.allocate("n", "x", 9), Err(BlockError::Exhausted { .. })));
}

#[test]
fn what_cannot_be_is_named() {
    let mut pool = fresh(false);
    assert_eq!(pool.claim("", &[]), Err(BlockError::NoName));
    assert_eq!(pool.allocate("", "x", 1), Err(BlockError::NoName));
    pool.commit(&pool.allocate_address("a", "x", ip("10.0.0.1")).unwrap()).unwrap();
    let error = |text: &str| pool.allocate_address("b", "y", ip(text)).unwrap_err();
    assert_eq!(error("10.0.0.1"), Error::Taken(ip("10.0.0.1"), "x".into()).into());
    assert_eq!(error("10.0.0.2"), BlockError::OfOther(ip("10.0.0.2"), "a".into()));
    assert_eq!(error("10.0.0.9"), Error::Reserved(ip("10.0.0.9")).into());
    assert_eq!(error("10.0.1.1"), Error::OutOfRange(ip("10.0.1.1")).into());
    assert!(pool.observe(prefix("10.0.0.0/29"), None).is_err());
    assert!(pool.observe(prefix("10.0.0.0/30"), Some((b"x", 9))).is_err());
    let stale = pool.claim("b", &[]).unwrap();
    pool.commit(&stale).unwrap();
    let conflict =
        BlockError::Conflict { prefix: stale.prefix(), expected: 0, found: pool.revision };
    assert_eq!(pool.commit(&stale), Err(conflict));
}

#[test]
fn what_was_excluded_later_can_be_given_back() {
    let mut before = BlockPool::new(prefix("10.0.0.0/27"), 30, &[], true, true).unwrap();
    let change = before.allocate_address("a", "x", ip("10.0.0.9")).unwrap();
    let mut pool = fresh(true);
    pool.observe(change.prefix(), change.record().as_deref().map(|record| (record, 5))).unwrap();
    before.commit(&change).unwrap();
    assert_eq!(routes(&pool), routes(&before));
    assert!(pool.release(ip("10.0.0.9")).is_some());
    assert_eq!(pool.release_owner("x").len(), 1);
}
