//! Any bytes as a route table: an error, or a table that is the same after another turn.

#![no_main]

use cnidaria_core::routes::RouteTable;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(table) = RouteTable::from_bytes(data) {
        let bytes = table.snapshot().to_bytes();
        let again = RouteTable::from_bytes(&bytes).expect("what it wrote itself");
        assert!(again.snapshot() == table.snapshot() && again.snapshot().to_bytes() == bytes);
        let snapshot = table.snapshot();
        assert_eq!(snapshot.routes().count(), table.len());
        for (prefix, value) in snapshot.routes() {
            assert_eq!(snapshot.get(prefix), Some(value));
        }
    }
});
