//! Any sequence of changes of a route table, beside a map that is searched length by length.

#![no_main]

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cnidaria_core::prefix::Prefix;
use cnidaria_core::routes::{NO_VALUE, RouteTable, Snapshot, Value};
use libfuzzer_sys::fuzz_target;

type Twin = BTreeMap<Prefix, Value>;

/// Addresses near each other, of IPv4 or IPv6.
fn address(six: bool, high: u8, low: u8) -> IpAddr {
    if six {
        let bits = 0x2001 << 112 | u128::from(high) << 76 | u128::from(low);
        return Ipv6Addr::from_bits(bits).into();
    }
    Ipv4Addr::new(10, high % 4, high, low).into()
}

fn longest(twin: &Twin, address: IpAddr) -> Option<(Prefix, Value)> {
    let bits = if address.is_ipv4() { 32 } else { 128 };
    (0..=bits).rev().find_map(|length| {
        let prefix = Prefix::covering(address, length).unwrap();
        twin.get(&prefix).map(|value| (prefix, *value))
    })
}

fn check(snapshot: &Snapshot, twin: &Twin, asked: IpAddr) {
    let found = longest(twin, asked);
    let value = found.map(|(_, value)| value);
    assert_eq!(snapshot.lookup(asked), found);
    assert_eq!(snapshot.value(asked), value);
    let mut values = [0];
    match asked {
        IpAddr::V4(one) => snapshot.values4(&[one.to_bits()], &mut values),
        IpAddr::V6(one) => snapshot.values6(&[one.to_bits()], &mut values),
    }
    assert_eq!(values, [value.unwrap_or(NO_VALUE)]);
}

fuzz_target!(|changes: Vec<(u8, u8, u8, u8, u32)>| {
    let mut table = RouteTable::new();
    let mut twin = Twin::new();
    let mut kept = (table.snapshot(), twin.clone());
    for (change, high, low, length, value) in changes {
        let six = change & 1 == 1;
        let one = address(six, high, low);
        let prefix = Prefix::covering(one, length % if six { 129 } else { 33 }).unwrap();
        match change >> 1 & 3 {
            0 | 1 if value == NO_VALUE => assert!(table.insert(prefix, value).is_err()),
            0 | 1 => assert_eq!(table.insert(prefix, value), Ok(twin.insert(prefix, value))),
            2 => assert_eq!(table.remove(prefix), twin.remove(&prefix)),
            _ => kept = (table.snapshot(), twin.clone()),
        }
        let last = Prefix::host(prefix.last()).last();
        for asked in [one, last, address(six, low, high)] {
            check(&table.snapshot(), &twin, asked);
            check(&kept.0, &kept.1, asked);
        }
    }
    assert!(table.snapshot().routes().eq(twin.iter().map(|(prefix, value)| (*prefix, *value))));
    let again = RouteTable::from_bytes(&table.snapshot().to_bytes()).expect("what it wrote itself");
    assert!(again.snapshot() == table.snapshot());
});
