//! Two nodes' pools and a store that compares and swaps, in any order: no address twice in the
//! store; and records that the store has from anybody.

#![no_main]

use std::collections::{BTreeMap, BTreeSet};

use cnidaria_core::ipam::{BlockChange, BlockPool};
use cnidaria_core::prefix::Prefix;
use libfuzzer_sys::fuzz_target;

type Store = BTreeMap<Prefix, (Option<Vec<u8>>, u64)>;

/// Writes what the change says if the store has what it expects; both pools learn what is there.
fn swap(store: &mut Store, pool: &mut BlockPool, change: &BlockChange) -> bool {
    let (record, revision) = store.entry(change.prefix()).or_default();
    let known = if record.is_some() { *revision } else { 0 };
    let agrees = known == change.expected();
    if agrees {
        *record = change.record();
        *revision += 1;
    }
    let found = record.as_deref().map(|record| (record, *revision));
    pool.observe(change.prefix(), found).unwrap();
    agrees
}

/// The addresses that are in use, by the store's own word.
fn taken(store: &Store) -> usize {
    let mut reader = BlockPool::new("10.0.0.0/28".parse().unwrap(), 30, &[], true, true).unwrap();
    for (prefix, (record, revision)) in store {
        if let Some(record) = record {
            reader.observe(*prefix, Some((record, *revision))).unwrap();
        }
    }
    reader.blocks().map(|(_, _, used)| used).sum()
}

fuzz_target!(|input: (Vec<(u8, u8, u8)>, Vec<(u8, Vec<u8>, u64)>)| {
    let (steps, records) = input;
    let new = || BlockPool::new("10.0.0.0/28".parse().unwrap(), 30, &[], true, false).unwrap();
    let (mut pools, mut store) = ([new(), new()], Store::new());
    let mut held: BTreeSet<std::net::IpAddr> = BTreeSet::new();
    for (step, who, which) in steps {
        let node = usize::from(who % 2);
        let (name, owner) = (format!("node{node}"), format!("pod{}", which % 8));
        let pool = &mut pools[node];
        match step % 5 {
            0 | 1 => {
                if let Ok(change) = pool.allocate(&name, &owner, usize::MAX)
                    && swap(&mut store, pool, &change)
                {
                    let address = change.address().unwrap();
                    assert!(held.insert(address), "{address} twice");
                }
            }
            2 => {
                let address = std::net::Ipv4Addr::new(10, 0, 0, which % 16).into();
                if let Some(change) = pool.release(address)
                    && swap(&mut store, pool, &change)
                {
                    assert!(held.remove(&address), "{address} was nobody's");
                }
            }
            3 => {
                for change in pool.return_empty(&name, usize::from(which % 3)) {
                    swap(&mut store, pool, &change);
                }
            }
            _ => {
                for (prefix, (record, revision)) in &store {
                    let found = record.as_deref().map(|record| (record, *revision));
                    pool.observe(*prefix, found).unwrap();
                }
            }
        }
        assert_eq!(taken(&store), held.len());
    }
    let [mut pool, _] = pools;
    for (block, record, revision) in records {
        let prefix = format!("10.0.0.{}/30", block % 4 * 4).parse().unwrap();
        let _ = pool.observe(prefix, Some((&record, revision)));
        if let Ok(change) = pool.allocate("node0", "pod", usize::MAX) {
            let _ = pool.commit(&change);
        }
        assert!(BlockPool::from_bytes(&pool.to_bytes()).is_ok());
    }
});
