//! The contestants behind one face.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use cnidaria_core::prefix::Prefix;
use cnidaria_core::routes::{NO_VALUE, RouteTable};
use ip_network::{Ipv4Network, Ipv6Network};
use ip_network_table::IpNetworkTable;
use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::PrefixMap;
use treebitmap::IpLookupTable;

#[derive(Clone, Copy)]
pub struct Route {
    pub bits: u128,
    pub length: u8,
    pub value: u32,
}

pub enum Addresses {
    V4(Vec<u32>),
    V6(Vec<u128>),
}

pub trait Table {
    /// Sums the values up, `NO_VALUE` of those without.
    fn bulk(&self, addresses: &Addresses) -> u64 {
        self.calls(addresses)
    }
    fn calls(&self, addresses: &Addresses) -> u64;
    fn insert(&mut self, route: Route);
    fn remove(&mut self, route: Route);
    /// What lookups read, and everything, where it is known.
    fn bytes(&self) -> Option<(usize, usize)> {
        None
    }
}

pub fn named(name: &str, family: u8, routes: &[Route]) -> Box<dyn Table> {
    match (name, family) {
        ("cnidaria", _) => Box::new(Ours::new(family, routes)),
        ("prefix-trie", 4) => filled(Trie4(PrefixMap::new()), routes),
        ("prefix-trie", _) => filled(Trie6(PrefixMap::new()), routes),
        ("treebitmap", 4) => filled(Bitmap4(IpLookupTable::new()), routes),
        ("treebitmap", _) => filled(Bitmap6(IpLookupTable::new()), routes),
        ("ip_network_table", 4) => filled(Network4(IpNetworkTable::new()), routes),
        ("ip_network_table", _) => filled(Network6(IpNetworkTable::new()), routes),
        _ => panic!("no table {name}"),
    }
}

fn filled<T: Table + 'static>(mut table: T, routes: &[Route]) -> Box<dyn Table> {
    for route in routes {
        table.insert(*route);
    }
    Box::new(table)
}

fn v4(bits: u128) -> Ipv4Addr {
    Ipv4Addr::from_bits(bits as u32)
}

fn v6(bits: u128) -> Ipv6Addr {
    Ipv6Addr::from_bits(bits)
}

fn sum(values: impl Iterator<Item = Option<u32>>) -> u64 {
    values.map(|value| u64::from(value.unwrap_or(NO_VALUE))).sum()
}

/// One by one.
fn each(
    addresses: &Addresses,
    four: impl Fn(Ipv4Addr) -> Option<u32>,
    six: impl Fn(Ipv6Addr) -> Option<u32>,
) -> u64 {
    match addresses {
        Addresses::V4(all) => {
            sum(all.iter().map(|bits| four(black_box(Ipv4Addr::from_bits(*bits)))))
        }
        Addresses::V6(all) => {
            sum(all.iter().map(|bits| six(black_box(Ipv6Addr::from_bits(*bits)))))
        }
    }
}

fn blocks<B>(addresses: &[B], look_up: impl Fn(&[B], &mut [u32])) -> u64 {
    let mut values = [0; BLOCK];
    let sums = addresses.chunks(BLOCK).map(|block| {
        let values = &mut values[..block.len()];
        look_up(block, values);
        values.iter().map(|value| u64::from(*value)).sum::<u64>()
    });
    sums.sum()
}

struct Ours {
    family: u8,
    table: RouteTable,
}

/// Addresses at once: as many as fit well into a cache.
const BLOCK: usize = 1024;

impl Ours {
    fn new(family: u8, routes: &[Route]) -> Self {
        let mut table = RouteTable::new();
        let prefix = |route: &Route| Self::prefix(family, *route);
        table.load(routes.iter().map(|route| (prefix(route), route.value))).expect("good values");
        Self { family, table }
    }

    fn address(family: u8, bits: u128) -> IpAddr {
        if family == 4 { v4(bits).into() } else { v6(bits).into() }
    }

    fn prefix(family: u8, route: Route) -> Prefix {
        Prefix::new(Self::address(family, route.bits), route.length).expect("a prefix")
    }
}

impl Table for Ours {
    fn bulk(&self, addresses: &Addresses) -> u64 {
        let snapshot = self.table.snapshot();
        match addresses {
            Addresses::V4(all) => blocks(all, |block, values| snapshot.values4(block, values)),
            Addresses::V6(all) => blocks(all, |block, values| snapshot.values6(block, values)),
        }
    }

    fn calls(&self, addresses: &Addresses) -> u64 {
        let reader = self.table.reader();
        each(
            addresses,
            |address| reader.value(address.into()),
            |address| reader.value(address.into()),
        )
    }

    fn insert(&mut self, route: Route) {
        let prefix = Self::prefix(self.family, route);
        self.table.insert(prefix, route.value).expect("a good value");
    }

    fn remove(&mut self, route: Route) {
        self.table.remove(Self::prefix(self.family, route));
    }

    fn bytes(&self) -> Option<(usize, usize)> {
        let bytes = self.table.bytes();
        Some(if self.family == 4 {
            (bytes.lookup_v4, bytes.total_v4)
        } else {
            (bytes.lookup_v6, bytes.total_v6)
        })
    }
}

fn net4(route: Route) -> Ipv4Net {
    Ipv4Net::new(v4(route.bits), route.length).expect("a prefix")
}

fn net6(route: Route) -> Ipv6Net {
    Ipv6Net::new(v6(route.bits), route.length).expect("a prefix")
}

fn network4(route: Route) -> Ipv4Network {
    Ipv4Network::new(v4(route.bits), route.length).expect("a prefix")
}

fn network6(route: Route) -> Ipv6Network {
    Ipv6Network::new(v6(route.bits), route.length).expect("a prefix")
}

/// A table of one family: its type, and what is called.
macro_rules! peer {
    ($name:ident, $inner:ty, $each:ident, |$table:ident, $address:ident| $get:expr,
     |$route:ident| $insert:expr, $remove:expr) => {
        struct $name($inner);

        impl Table for $name {
            fn calls(&self, addresses: &Addresses) -> u64 {
                let $table = &self.0;
                $each(addresses, |$address| $get)
            }

            fn insert(&mut self, $route: Route) {
                let $table = &mut self.0;
                $insert;
            }

            fn remove(&mut self, $route: Route) {
                let $table = &mut self.0;
                $remove;
            }
        }
    };
}

fn each4(addresses: &Addresses, look_up: impl Fn(Ipv4Addr) -> Option<u32>) -> u64 {
    each(addresses, look_up, |_| None)
}

fn each6(addresses: &Addresses, look_up: impl Fn(Ipv6Addr) -> Option<u32>) -> u64 {
    each(addresses, |_| None, look_up)
}

peer!(Trie4, PrefixMap<Ipv4Net, u32>, each4,
    |table, address| table.get_lpm(&Ipv4Net::from(address)).map(|found| *found.1),
    |route| table.insert(net4(route), route.value), table.remove(&net4(route)));
peer!(Trie6, PrefixMap<Ipv6Net, u32>, each6,
    |table, address| table.get_lpm(&Ipv6Net::from(address)).map(|found| *found.1),
    |route| table.insert(net6(route), route.value), table.remove(&net6(route)));
peer!(Bitmap4, IpLookupTable<Ipv4Addr, u32>, each4,
    |table, address| table.longest_match(address).map(|found| *found.2),
    |route| table.insert(v4(route.bits), route.length.into(), route.value),
    table.remove(v4(route.bits), route.length.into()));
peer!(Bitmap6, IpLookupTable<Ipv6Addr, u32>, each6,
    |table, address| table.longest_match(address).map(|found| *found.2),
    |route| table.insert(v6(route.bits), route.length.into(), route.value),
    table.remove(v6(route.bits), route.length.into()));
peer!(
    Network4,
    IpNetworkTable<u32>,
    each4,
    |table, address| table.longest_match(address).map(|found| *found.1),
    |route| table.insert(network4(route), route.value),
    table.remove(network4(route))
);
peer!(
    Network6,
    IpNetworkTable<u32>,
    each6,
    |table, address| table.longest_match(address).map(|found| *found.1),
    |route| table.insert(network6(route), route.value),
    table.remove(network6(route))
);
