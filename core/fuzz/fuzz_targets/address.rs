//! Any text as an address: what the standard library says of it.

#![no_main]

use cnidaria_core::address::parse;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| assert_eq!(parse(text), text.parse().ok()));
