//! Any sequence of changes of a small pool, beside a map from address to owner.

#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cnidaria_core::ipam::{AddressPool, Interval};
use libfuzzer_sys::fuzz_target;

const fn address(last: u8) -> IpAddr {
    IpAddr::V4(Ipv4Addr::new(10, 0, 0, last))
}

fuzz_target!(|changes: Vec<(u8, u8, u8)>| {
    let ranges = [Interval { first: address(1), last: address(12) }];
    let excluded = [Interval { first: address(5), last: address(6) }];
    let mut pool = AddressPool::new(&ranges, &excluded, Duration::from_secs(5)).unwrap();
    let mut twin: BTreeMap<IpAddr, String> = BTreeMap::new();
    let mut now = Duration::ZERO;
    for (change, which, who) in changes {
        let (one, owner) = (address(which % 14), format!("pod{}", who % 5));
        match change % 6 {
            0 => {
                if let Ok(given) = pool.allocate(&owner, now) {
                    assert_eq!(twin.insert(given, owner), None, "{given} twice");
                }
            }
            1 => {
                if pool.allocate_address(&owner, one, false).is_ok() {
                    assert_eq!(twin.insert(one, owner), None, "{one} twice");
                }
            }
            2 => {
                let held = pool.release(one, now, who % 2 == 0).map(ToString::to_string);
                assert_eq!(held, twin.remove(&one));
            }
            3 => {
                let gone = pool.release_owner(&owner, now, true);
                assert!(gone.iter().all(|one| twin.remove(one).as_deref() == Some(&owner)));
                assert!(!twin.values().any(|other| *other == owner));
            }
            4 => drop((pool.reserve(one), which % 2 == 0 && pool.unreserve(one))),
            _ => now += Duration::from_secs(u64::from(who % 8)),
        }
        let held: BTreeMap<_, _> =
            pool.leases().map(|lease| (lease.address, lease.owner.to_string())).collect();
        assert_eq!(held, twin);
    }
    assert!(AddressPool::from_bytes(&pool.to_bytes()).unwrap() == pool);
});
