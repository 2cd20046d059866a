//! Any JSON as an object of Kubernetes: an error, or an object that an engine takes and keeps.

#![no_main]

use cnidaria_core::policy::{PolicyEngine, parse_object};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Ok(value) = serde_json::from_slice(data) else { return };
    let lenient = parse_object(&value, false);
    if let Ok(object) = parse_object(&value, true) {
        assert_eq!(lenient.as_ref().ok(), Some(&object), "strict takes what lenient refuses");
    }
    if let Ok(object) = lenient {
        let key = object.key();
        let mut engine = PolicyEngine::new(64);
        assert!(engine.apply(object.clone()) && !engine.apply(object));
        assert!(PolicyEngine::from_bytes(&engine.to_bytes(), 64).is_ok());
        assert!(engine.delete(&key) && engine.objects().is_empty());
    }
});
