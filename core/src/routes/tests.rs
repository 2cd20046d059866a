use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;
use crate::prefix;

/// Miri takes a thousand times as long as the processor.
const SHARE: u64 = if cfg!(miri) { 150 } else { 1 };

/// Routes by prefix, searched length by length.
pub(super) type Twin = BTreeMap<Prefix, Value>;

fn matches(twin: &Twin, address: IpAddr) -> Vec<Route> {
    let lengths = (0..=prefix::bits(address)).rev();
    let covering = lengths.map(|length| Prefix::covering(address, length).unwrap());
    covering.filter_map(|prefix| Some((prefix, *twin.get(&prefix)?))).collect()
}

/// Addresses that are near each other, so that prefixes cover each other.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = (0..3u32, 0..4u32, any::<u8>(), any::<u8>()).prop_map(|(a, b, c, d)| {
        let bits = (10 + a) << 24 | b << 16 | u32::from(c) << 8 | u32::from(d);
        Ipv4Addr::from_bits(bits).into()
    });
    let v6 = (0..2u128, 0..3u128, any::<u8>(), 0..3u128, any::<u16>(), any::<u8>()).prop_map(
        |(a, b, c, d, e, f)| {
            let high = (0x2001 + a) << 112 | b << 100 | u128::from(c) << 96 | d << 84;
            Ipv6Addr::from_bits(high | u128::from(e) << 68 | u128::from(f)).into()
        },
    );
    prop_oneof![v4, v6]
}

fn any_prefix() -> impl Strategy<Value = Prefix> {
    (address(), any::<u8>(), 0..4u8).prop_map(|(address, length, kind)| {
        let bits = prefix::bits(address);
        let length = match kind {
            0 => length % (bits + 1),
            1 => (16 + length % 16).min(bits),
            _ => bits / 4 + length % (bits / 4 * 3 + 1),
        };
        Prefix::covering(address, length).unwrap()
    })
}

fn value() -> impl Strategy<Value = Value> {
    prop_oneof![0..4u32, any::<u32>().prop_map(|value| value.min(NO_VALUE - 1))]
}

#[derive(Debug, Clone)]
enum Step {
    Insert(Prefix, Value),
    Remove(Prefix),
    RemoveNth(usize),
    Load(Vec<Route>),
    Keep,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (any_prefix(), value()).prop_map(|(prefix, value)| Step::Insert(prefix, value)),
        1 => any_prefix().prop_map(Step::Remove),
        4 => any::<usize>().prop_map(Step::RemoveNth),
        1 => prop::collection::vec((any_prefix(), value()), 0..80).prop_map(Step::Load),
        1 => Just(Step::Keep),
    ]
}

/// Takes the step in both; they answer the same.
fn take(step: Step, table: &mut RouteTable, twin: &mut Twin) {
    match step {
        Step::Insert(prefix, value) => {
            assert_eq!(table.insert(prefix, value), Ok(twin.insert(prefix, value)));
        }
        Step::Remove(prefix) => assert_eq!(table.remove(prefix), twin.remove(&prefix)),
        Step::RemoveNth(place) if !twin.is_empty() => {
            let prefix = *twin.keys().nth(place % twin.len()).unwrap();
            assert_eq!(table.remove(prefix), twin.remove(&prefix));
        }
        Step::Load(routes) => {
            twin.extend(routes.iter().copied());
            table.load(routes).unwrap();
        }
        Step::RemoveNth(_) | Step::Keep => {}
    }
}

/// Addresses at the edges of the prefix.
fn edges(prefix: Prefix) -> Vec<IpAddr> {
    let step = |address: IpAddr, down: bool| -> IpAddr {
        match address {
            IpAddr::V4(v4) if down => Ipv4Addr::from_bits(v4.to_bits().wrapping_sub(1)).into(),
            IpAddr::V4(v4) => Ipv4Addr::from_bits(v4.to_bits().wrapping_add(1)).into(),
            IpAddr::V6(v6) if down => Ipv6Addr::from_bits(v6.to_bits().wrapping_sub(1)).into(),
            IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits().wrapping_add(1)).into(),
        }
    };
    let (first, last) = (prefix.address(), prefix.last());
    vec![step(first, true), first, last, step(last, false)]
}

pub(super) fn values(snapshot: &Snapshot, addresses: &[IpAddr]) -> Vec<Value> {
    let (mut v4, mut v6) = (Vec::new(), Vec::new());
    for address in addresses {
        match address {
            IpAddr::V4(address) => v4.push(address.to_bits()),
            IpAddr::V6(address) => v6.push(address.to_bits()),
        }
    }
    let (mut values4, mut values6) = (vec![7; v4.len()], vec![7; v6.len()]);
    snapshot.values4(&v4, &mut values4);
    snapshot.values6(&v6, &mut values6);
    for found in snapshot.version().v4.values_by_each_way(&v4) {
        assert_eq!(found, values4);
    }
    for found in snapshot.version().v6.values_by_each_way(&v6) {
        assert_eq!(found, values6);
    }
    let (mut values4, mut values6) = (values4.into_iter(), values6.into_iter());
    let next = |address: &IpAddr| if address.is_ipv4() { values4.next() } else { values6.next() };
    addresses.iter().map(next).map(Option::unwrap).collect()
}

fn compare(snapshot: &Snapshot, twin: &Twin, addresses: &[IpAddr]) {
    assert_eq!(snapshot.len(), twin.len());
    let many = values(snapshot, addresses);
    for (address, many) in addresses.iter().zip(many) {
        let expected = matches(twin, *address);
        assert_eq!(snapshot.value(*address), expected.first().map(|route| route.1), "{address}");
        assert_eq!(many, expected.first().map_or(NO_VALUE, |route| route.1), "{address}");
        assert_eq!(snapshot.lookup(*address), expected.first().copied());
        assert_eq!(snapshot.matches(*address).collect::<Vec<_>>(), expected);
    }
}

fn compare_routes(snapshot: &Snapshot, twin: &Twin, prefixes: &[Prefix]) {
    assert!(snapshot.routes().eq(twin.iter().map(|(prefix, value)| (*prefix, *value))));
    for prefix in prefixes {
        assert_eq!(snapshot.get(*prefix), twin.get(prefix).copied());
        let covered = twin.iter().filter(|(other, _)| prefix.covers(other));
        let covered: Vec<_> = covered.map(|(prefix, value)| (*prefix, *value)).collect();
        assert_eq!(snapshot.covered_by(*prefix), covered);
    }
}

fn changes(before: &Twin, after: &Twin) -> Vec<Change> {
    let prefixes: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let change = |&prefix: &&Prefix| Change {
        prefix: *prefix,
        before: before.get(prefix).copied(),
        after: after.get(prefix).copied(),
    };
    prefixes.iter().map(change).filter(|change| change.before != change.after).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_table_is_like_its_twin(
        steps in prop::collection::vec(step(), 1..120),
        others in prop::collection::vec(address(), 20),
        prefixes in prop::collection::vec(any_prefix(), 10),
    ) {
        let (mut table, mut twin) = (RouteTable::new(), Twin::new());
        let mut kept: Vec<(Snapshot, Twin)> = Vec::new();
        let mut addresses = others;
        for (number, step) in steps.into_iter().enumerate() {
            if let Step::Insert(prefix, _) | Step::Remove(prefix) = &step {
                addresses.extend(edges(*prefix));
            }
            if matches!(step, Step::Keep) {
                kept.push((table.snapshot(), twin.clone()));
            }
            take(step, &mut table, &mut twin);
            if number % 10 == 0 {
                compare(&table.snapshot(), &twin, &addresses[addresses.len().saturating_sub(40)..]);
            }
        }
        kept.push((table.snapshot(), twin.clone()));
        for (snapshot, twin) in &kept {
            compare(snapshot, twin, &addresses);
            compare_routes(snapshot, twin, &prefixes);
        }
        for pair in kept.windows(2) {
            let expected = changes(&pair[0].1, &pair[1].1);
            prop_assert_eq!(pair[0].0.diff(&pair[1].0), expected.clone());
            prop_assert_eq!(pair[0].0 == pair[1].0, expected.is_empty());
        }
        let bytes = table.snapshot().to_bytes();
        let again = RouteTable::from_bytes(&bytes).unwrap();
        prop_assert!(again.snapshot() == table.snapshot());
        compare(&again.snapshot(), &twin, &addresses);
        prop_assert_eq!(again.snapshot().to_bytes(), bytes);
        while let Some((prefix, value)) = twin.pop_first() {
            prop_assert_eq!(table.remove(prefix), Some(value));
        }
        drop(kept);
        table.insert("10.0.0.0/8".parse().unwrap(), 1).unwrap();
        table.remove("10.0.0.0/8".parse().unwrap());
        prop_assert!(table.is_empty() && table.is_clean());
    }

    #[test]
    fn no_bytes_panic(bytes: Vec<u8>) {
        let _ = RouteTable::from_bytes(&bytes);
    }
}

/// Numbers that look random: xorshift64*, Vigna 2016.
pub(super) fn numbers(mut state: u64) -> impl FnMut(u64) -> u64 {
    move |below| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32) % below
    }
}

#[test]
fn a_large_table_after_many_changes_is_like_one_made_anew() {
    let mut number = numbers(7);
    let mut address = || {
        let (above, middle) = (0x2001_0db8 + number(3), number(1 << 10) << 20 | number(4) << 8);
        let below = [0, number(3), number(1 << 32) << 32][usize::try_from(number(3)).unwrap()];
        u128::from(above) << 96 | u128::from(middle) << 64 | u128::from(below)
    };
    let lengths = [128, 100, 66, 65, 64, 64, 60, 56, 56, 52, 50, 48, 48, 48, 46, 44, 40, 36, 33];
    let mut other = numbers(11);
    let mut prefix = |wide: bool| {
        let place = other(if wide { 1 << 12 } else { lengths.len() as u64 });
        let length = *lengths.get(usize::try_from(place).unwrap()).unwrap_or(&48);
        let length = if wide && place == 4000 { 20 } else { length };
        Prefix::covering(Ipv6Addr::from_bits(address()).into(), length).unwrap()
    };
    let mut value = numbers(13);
    let mut table = RouteTable::new();
    let mut given = |few: u64| {
        Value::try_from(if few > 0 { value(5) } else { u64::from(NO_VALUE) - 1 - value(5) })
            .unwrap()
    };
    table.load((0..6000 / SHARE).map(|_| (prefix(false), given(1))).collect::<Vec<_>>()).unwrap();
    for round in 0..if cfg!(miri) { 1 } else { 6 } {
        for step in 0..1500 / SHARE {
            let prefix = prefix(step % 2 == 0);
            if step % 3 == round % 3 {
                let inside = table.snapshot().covered_by(prefix);
                for (prefix, _) in inside.iter().take(3) {
                    table.remove(*prefix);
                }
            } else {
                table.insert(prefix, given(step % 50)).unwrap();
            }
        }
        let mut anew = RouteTable::new();
        anew.load(table.snapshot().routes()).unwrap();
        let edges: Vec<IpAddr> =
            table.snapshot().routes().flat_map(|(prefix, _)| edges(prefix)).collect();
        assert_eq!(values(&table.snapshot(), &edges), values(&anew.snapshot(), &edges));
        for address in edges {
            let longest = table.snapshot().lookup(address).map(|(_, value)| value);
            assert_eq!(table.snapshot().value(address), longest, "{address}");
        }
    }
    for (prefix, _) in table.snapshot().routes() {
        table.remove(prefix);
    }
    table.insert("::/0".parse().unwrap(), 1).unwrap();
    table.remove("::/0".parse().unwrap());
    assert!(table.is_clean());
}

/// So many in so little room that nodes of all forms come of it, and go again.
#[test]
fn crowded_routes_of_ipv4_are_like_the_twin() {
    let mut number = numbers(17);
    let mut route = || {
        let address = Ipv4Addr::from_bits(10 << 24 | u32::try_from(number(1 << 12)).unwrap());
        let length = u8::try_from(18 + number(15)).unwrap();
        (Prefix::covering(address.into(), length).unwrap(), Value::try_from(number(9)).unwrap())
    };
    let (mut table, mut twin) = (RouteTable::new(), Twin::new());
    take(Step::Load((0..6000 / SHARE).map(|_| route()).collect()), &mut table, &mut twin);
    for round in 0..3 {
        for _ in 0..1000 / SHARE {
            let (prefix, value) = route();
            take(Step::Insert(prefix, value), &mut table, &mut twin);
            take(Step::Remove(route().0), &mut table, &mut twin);
        }
        let prefixes = twin.keys().skip(round).step_by(3);
        let addresses: Vec<IpAddr> = prefixes.flat_map(|prefix| edges(*prefix)).collect();
        compare(&table.snapshot(), &twin, &addresses);
    }
    for prefix in twin.into_keys() {
        table.remove(prefix);
    }
    take(Step::Insert("0.0.0.0/0".parse().unwrap(), 1), &mut table, &mut Twin::new());
    table.remove("0.0.0.0/0".parse().unwrap());
    assert!(table.is_clean());
}
