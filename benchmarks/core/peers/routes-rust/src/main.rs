//! Route tables of Rust, one of them in each process: `routes-rust NAME`, then a command per line.
//!
//! `load FAMILY FOLDER`: build of FOLDER/vFAMILY.{addresses,lengths,values}
//! `bulk FILE`, `calls FILE`: look up each address of the file, all at once or one by one
//! `updates FILE`: remove and insert again each prefix of these numbers, each one timed
//! `limit FILE BYTES`: as many reads of random words of so much memory as the file has numbers

mod tables;

use std::io::{BufRead, Write};
use std::time::Instant;

use tables::{Addresses, Route, Table};

fn main() {
    let name = std::env::args().nth(1).expect("the name of a table");
    let mut loaded: Option<(u8, Vec<Route>, Box<dyn Table>)> = None;
    for line in std::io::stdin().lock().lines().map_while(Result::ok) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match (words.as_slice(), &mut loaded) {
            (["load", family, folder], _) => {
                let family = family.parse().expect("a family");
                drop(loaded.take());
                let routes = read_routes(family, folder);
                let before = allocated();
                let start = Instant::now();
                let table = tables::named(&name, family, &routes);
                let seconds = start.elapsed().as_secs_f64();
                let (lookup, total) = table.bytes().unwrap_or((0, allocated() - before));
                loaded = Some((family, routes, table));
                format!("{{\"seconds\": {seconds}, \"lookup\": {lookup}, \"total\": {total}}}")
            }
            (["bulk", file], Some((family, _, table))) => {
                let addresses = read_addresses(*family, file);
                timed(|| table.bulk(&addresses))
            }
            (["calls", file], Some((family, _, table))) => {
                let addresses = read_addresses(*family, file);
                timed(|| table.calls(&addresses))
            }
            (["updates", file], Some((_, routes, table))) => updates(table.as_mut(), routes, file),
            (["limit", file, bytes], _) => {
                let addresses = numbers(file);
                let words = vec![1u32; bytes.parse::<usize>().expect("a number") / 4];
                timed(|| limit(&addresses, &words))
            }
            _ => panic!("no command: {line}"),
        };
        println!("{answer}");
        std::io::stdout().flush().expect("somebody reads");
    }
}

fn timed(work: impl FnOnce() -> u64) -> String {
    let start = Instant::now();
    let sum = work();
    format!("{{\"seconds\": {}, \"sum\": {sum}}}", start.elapsed().as_secs_f64())
}

/// One read for each number, at a place that does not depend on any read before.
fn limit(numbers: &[u32], words: &[u32]) -> u64 {
    let at = |number: &u32| {
        let mixed = number.wrapping_mul(0x9e37_79b1);
        (u64::from(mixed) * words.len() as u64 >> 32) as usize
    };
    numbers.iter().map(|number| u64::from(words[at(number)])).sum()
}

fn updates(table: &mut dyn Table, routes: &[Route], file: &str) -> String {
    let (mut removes, mut inserts) = (Vec::new(), Vec::new());
    for number in numbers(file) {
        let route = routes[number as usize];
        let start = Instant::now();
        table.remove(route);
        removes.push(start.elapsed().as_nanos());
        let start = Instant::now();
        table.insert(route);
        inserts.push(start.elapsed().as_nanos());
    }
    format!("{{\"remove\": {}, \"insert\": {}}}", percentiles(removes), percentiles(inserts))
}

fn percentiles(mut nanoseconds: Vec<u128>) -> String {
    nanoseconds.sort_unstable();
    let at =
        |part: usize| nanoseconds[(nanoseconds.len() * part / 1000).min(nanoseconds.len() - 1)];
    format!("{{\"p50\": {}, \"p99\": {}, \"p999\": {}}}", at(500), at(990), at(999))
}

fn numbers(file: &str) -> Vec<u32> {
    let bytes = std::fs::read(file).expect("a file");
    bytes.chunks_exact(4).map(|four| u32::from_le_bytes(four.try_into().expect("four"))).collect()
}

fn read_addresses(family: u8, file: &str) -> Addresses {
    if family == 4 {
        return Addresses::V4(numbers(file));
    }
    let bytes = std::fs::read(file).expect("a file");
    let address = |bytes: &[u8]| u128::from_be_bytes(bytes.try_into().expect("sixteen"));
    Addresses::V6(bytes.chunks_exact(16).map(address).collect())
}

fn read_routes(family: u8, folder: &str) -> Vec<Route> {
    let file = |name: &str| format!("{folder}/v{family}.{name}");
    let addresses = match read_addresses(family, &file("addresses")) {
        Addresses::V4(addresses) => addresses.into_iter().map(u128::from).collect(),
        Addresses::V6(addresses) => addresses,
    };
    let lengths = std::fs::read(file("lengths")).expect("a file");
    let routes = addresses.into_iter().zip(lengths).zip(numbers(&file("values")));
    routes.map(|((bits, length), value)| Route { bits, length, value }).collect()
}

/// Bytes that the allocator has given out.
fn allocated() -> usize {
    // SAFETY: it only reads counters of the allocator.
    let info = unsafe { libc::mallinfo2() };
    info.uordblks + info.hblkhd
}
