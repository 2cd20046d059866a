//! The address pools from Rust, without Python, asked line by line.
//!
//! ```text
//! new FIRST LAST HELD   a pool with so many leases held
//! pass COUNT            allocate and release so often; answers seconds
//! ```

use std::hint::black_box;
use std::io::{BufRead, Write, stdin, stdout};
use std::net::IpAddr;
use std::time::{Duration, Instant};

use cnidaria_core::ipam::{AddressPool, Interval};

type Failure = Box<dyn std::error::Error>;

fn new_pool(first: &str, last: &str, held: u32) -> Result<AddressPool, Failure> {
    let (first, last): (IpAddr, IpAddr) = (first.parse()?, last.parse()?);
    let mut pool = AddressPool::new(&[Interval { first, last }], &[], Duration::ZERO)?;
    for number in 0..held {
        pool.allocate(&format!("held-{number}"), Duration::ZERO)?;
    }
    Ok(pool)
}

fn pass(pool: &mut AddressPool, count: u32) -> Result<f64, Failure> {
    let owners: Vec<_> = (0..1024).map(|number| format!("pod-{number}")).collect();
    let began = Instant::now();
    for number in 0..count {
        let address = pool.allocate(&owners[number as usize % 1024], Duration::ZERO)?;
        black_box(pool.release(black_box(address), Duration::ZERO, true));
    }
    Ok(began.elapsed().as_secs_f64())
}

fn main() -> Result<(), Failure> {
    let mut pool = None;
    for line in stdin().lock().lines() {
        let line = line?;
        let words: Vec<_> = line.split(' ').collect();
        match (words.as_slice(), &mut pool) {
            (["new", first, last, held], _) => {
                pool = Some(new_pool(first, last, held.parse()?)?);
                println!("{{}}");
            }
            (["pass", count], Some(pool)) => {
                println!("{{\"seconds\": {}}}", pass(pool, count.parse()?)?);
            }
            _ => return Err(format!("no command {line:?}").into()),
        }
        stdout().flush()?;
    }
    Ok(())
}
