//! Any text as a prefix: an error, or what it is printed as again.

#![no_main]

use cnidaria_core::prefix::Prefix;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Ok(prefix) = text.parse::<Prefix>() {
        assert_eq!(prefix.to_string().parse(), Ok(prefix));
        assert!(prefix.contains(prefix.address()) && prefix.contains(prefix.last()));
    }
});
