//! Readers of a route table beside its writer.
//!
//! As threads of the system, which Miri watches (`make miri`), and, with the feature `shuttle`, in
//! turns that shuttle draws, down to the words of nodes.
//!
//! A snapshot stays what it was while the writer makes versions and uses nodes again; what a reader
//! sees is what the table was after one of the changes, and never before what it saw earlier.

use std::net::IpAddr;
use std::sync::Arc;
#[cfg(not(feature = "shuttle"))]
use std::thread;

#[cfg(feature = "shuttle")]
use shuttle::thread;

use super::tests::{Twin, numbers, values};
use super::{NO_VALUE, Reader, RouteTable, Snapshot, Value};
use crate::prefix::Prefix;

const RUNS: usize = if cfg!(miri) { 12 } else { 3_000 };
const CHANGES: u32 = 12;
const READERS: usize = 2;
const LOOKS: usize = 3;

const PREFIXES: &[&str] = &[
    "0.0.0.0/0",
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.0/24",
    "10.1.2.3/32",
    "10.1.3.0/24",
    "::/0",
    "2001:db8::/32",
    "2001:db8:1::/48",
    "2001:db8:1::/64",
    "2001:db8:1::7/128",
    "2001:db9::/32",
];

const ADDRESSES: [&str; 6] =
    ["10.1.2.3", "10.1.2.4", "10.1.3.9", "11.0.0.1", "2001:db8:1::7", "2001:db8:1::8"];

/// What the table is after each change, and the changes: a value, or none to remove.
fn history(seed: u64) -> (Vec<Twin>, Vec<(Prefix, Option<Value>)>) {
    let mut random = numbers(seed);
    let (mut states, mut changes) = (vec![Twin::new()], Vec::new());
    for value in 0..CHANGES {
        let mut state = states[states.len() - 1].clone();
        let place = usize::try_from(random(PREFIXES.len() as u64)).unwrap();
        let prefix: Prefix = PREFIXES[place].parse().unwrap();
        // Few are removed that are not there.
        let removes = state.contains_key(&prefix) && random(2) == 0;
        let change = (!removes).then_some(value);
        match change {
            Some(value) => drop(state.insert(prefix, value)),
            None => drop(state.remove(&prefix)),
        }
        changes.push((prefix, change));
        states.push(state);
    }
    (states, changes)
}

fn longest(twin: &Twin, address: IpAddr) -> Option<Value> {
    let covering = twin.iter().filter(|(prefix, _)| prefix.contains(address));
    covering.max_by_key(|(prefix, _)| prefix.length()).map(|(_, value)| *value)
}

/// The first state from one on that a snapshot is of.
fn state_of(snapshot: &Snapshot, states: &[Twin], from: usize) -> usize {
    let routes: Twin = snapshot.routes().collect();
    let found = states[from..].iter().position(|state| *state == routes);
    from + found.unwrap_or_else(|| panic!("no state from {from} on has {routes:?}"))
}

fn check(snapshot: &Snapshot, state: &Twin) {
    let addresses = ADDRESSES.map(|text| text.parse().unwrap());
    let expected = addresses.map(|address| longest(state, address));
    for (address, expected) in addresses.iter().zip(expected) {
        assert_eq!(snapshot.value(*address), expected, "{address}");
    }
    assert_eq!(values(snapshot, &addresses), expected.map(|value| value.unwrap_or(NO_VALUE)));
}

fn read(reader: &Reader, states: &[Twin]) {
    let mut last = 0;
    for _ in 0..LOOKS {
        let snapshot = reader.snapshot();
        last = state_of(&snapshot, states, last);
        check(&snapshot, &states[last]);
        // Not of a snapshot: of whatever version there is when it is asked.
        let address = ADDRESSES[last % ADDRESSES.len()].parse().unwrap();
        let value = reader.value(address);
        assert!(states[last..].iter().any(|state| longest(state, address) == value));
        check(&snapshot, &states[last]);
    }
}

fn readers_and_a_writer(seed: u64) {
    let (states, changes) = history(seed);
    let states = Arc::new(states);
    let mut table = RouteTable::new();
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let (reader, states) = (table.reader(), states.clone());
            thread::spawn(move || read(&reader, &states))
        })
        .collect();
    for (prefix, change) in changes {
        match change {
            Some(value) => drop(table.insert(prefix, value).unwrap()),
            None => drop(table.remove(prefix)),
        }
    }
    assert_eq!(table.snapshot().routes().collect::<Twin>(), states[states.len() - 1]);
    for reader in readers {
        reader.join().unwrap();
    }
}

#[cfg(not(feature = "shuttle"))]
#[test]
fn readers_see_versions_as_they_were() {
    (1..=RUNS as u64).for_each(readers_and_a_writer);
}

#[cfg(feature = "shuttle")]
#[test]
fn readers_see_versions_as_they_were() {
    use shuttle::rand::Rng;
    use shuttle::scheduler::RandomScheduler;
    use shuttle::{Config, MaxSteps, Runner};

    let mut config = Config::new();
    config.stack_size = 1 << 20;
    config.max_steps = MaxSteps::FailAfter(10_000_000);
    Runner::new(RandomScheduler::new(RUNS), config)
        .run(|| readers_and_a_writer(shuttle::rand::thread_rng().gen_range(1..u64::MAX)));
}
