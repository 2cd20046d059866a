//! Any bytes as a policy engine: an error, or an engine that is the same after another turn.

#![no_main]

use cnidaria_core::policy::PolicyEngine;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(engine) = PolicyEngine::from_bytes(data, 64) {
        let bytes = engine.to_bytes();
        let again = PolicyEngine::from_bytes(&bytes, 64).expect("what it wrote itself");
        assert!(again.to_bytes() == bytes);
        assert!(again.diff(&engine).is_empty());
        assert_eq!(again.reachable(6, 80), engine.reachable(6, 80));
    }
});
