//! Any bytes as pools: an error, or a pool that is the same after another turn.

#![no_main]

use cnidaria_core::ipam::{AddressPool, BlockPool};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(mut pool) = AddressPool::from_bytes(data) {
        let bytes = pool.to_bytes();
        let again = AddressPool::from_bytes(&bytes).expect("what it wrote itself");
        assert!(again == pool && again.to_bytes() == bytes);
        assert_eq!(pool.leases().count(), pool.len());
        assert_eq!(pool.snapshot().len(), pool.len());
    }
    if let Ok(pool) = BlockPool::from_bytes(data) {
        let bytes = pool.to_bytes();
        let again = BlockPool::from_bytes(&bytes).expect("what it wrote itself");
        assert!(again.to_bytes() == bytes);
    }
});
