//! Any bytes as a pool's journal: an error, or a pool that is the same when it is opened again.

#![no_main]

use std::fs;
use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use cnidaria_core::ipam::{AddressPool, Interval, JournaledPool};
use libfuzzer_sys::fuzz_target;

fn like() -> AddressPool {
    let [first, last] = [1, 20].map(|last| IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)));
    AddressPool::new(&[Interval { first, last }], &[], Duration::ZERO).unwrap()
}

fuzz_target!(|given: (bool, Vec<u8>)| {
    let path = std::env::temp_dir().join(format!("cnidaria-fuzz-{}", std::process::id()));
    let _ = fs::remove_file(&path);
    let mut data = Vec::new();
    if given.0 {
        // A sound beginning, so that what comes behind is read.
        let pool = JournaledPool::open(&path, like(), false).unwrap();
        pool.allocate("pod", Duration::ZERO).unwrap();
        drop(pool);
        data = fs::read(&path).unwrap();
    }
    data.extend(given.1);
    fs::write(&path, &data).unwrap();
    if let Ok(pool) = JournaledPool::open(&path, like(), false) {
        let before = pool.read(AddressPool::to_bytes);
        pool.compact().unwrap();
        drop(pool);
        let again = JournaledPool::open(&path, like(), false).unwrap();
        assert_eq!(again.read(AddressPool::to_bytes), before);
    }
    let _ = fs::remove_file(&path);
});
