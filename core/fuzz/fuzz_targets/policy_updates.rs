//! Any sequence of changes of a small cluster ends as if it had been loaded at once.

#![no_main]

use std::sync::LazyLock;

use cnidaria_core::policy::{Object, PolicyEngine, parse_object};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};

/// Several states of each of some objects.
static STATES: LazyLock<Vec<Object>> = LazyLock::new(|| {
    let label = |one: usize| json!({"a": (["x", "y", "z"][one % 3])});
    let mut all: Vec<Value> = Vec::new();
    for n in 0..3 {
        for state in 0..3 {
            all.push(json!({"apiVersion": "v1", "kind": "Namespace",
                "metadata": {"name": format!("ns{n}"), "labels": label(state)}}));
            all.push(json!({"apiVersion": "v1", "kind": "Pod",
                "metadata": {"name": "p", "namespace": format!("ns{n}"), "labels": label(n + state)},
                "status": {"phase": "Running", "podIPs": [{"ip": format!("10.0.0.{}", 1 + (n + state) % 4)}]}}));
            let peer = match state {
                0 => json!({"podSelector": {"matchLabels": label(n)}}),
                1 => json!({"namespaceSelector": {"matchLabels": label(n)}}),
                _ => json!({"ipBlock": {"cidr": "10.0.0.0/30", "except": ["10.0.0.2/32"]}}),
            };
            all.push(json!({"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
                "metadata": {"name": "q", "namespace": format!("ns{n}")},
                "spec": {"podSelector": {"matchLabels": label(state)}, "policyTypes": ["Ingress", "Egress"],
                    "ingress": [{"from": [peer], "ports": [{"port": 80, "endPort": 90}]}],
                    "egress": if state == 0 { json!([]) } else { json!([{}]) }}}));
            all.push(json!({"apiVersion": "policy.networking.k8s.io/v1alpha2", "kind": "ClusterNetworkPolicy",
                "metadata": {"name": format!("c{n}")},
                "spec": {"tier": (["Admin", "Baseline", "Admin"][state]), "priority": n,
                    "subject": {"namespaces": {"matchLabels": label(state)}},
                    "ingress": [{"action": (["Accept", "Deny", "Pass"][(n + state) % 3]),
                        "from": [{"namespaces": {"matchLabels": label(n)}}]}]}}));
        }
    }
    all.iter()
        .map(|one| parse_object(one, true).unwrap_or_else(|why| panic!("{why}: {one}")))
        .collect()
});

fuzz_target!(|changes: Vec<u8>| {
    let mut engine = PolicyEngine::new(64);
    for change in changes {
        let object = &STATES[usize::from(change >> 1) % STATES.len()];
        match change & 1 {
            0 => drop(engine.apply(object.clone())),
            _ => drop(engine.delete(&object.key())),
        }
    }
    // Of pods with one address the one counts that came last: bytes know which that is.
    let again = PolicyEngine::from_bytes(&engine.to_bytes(), 64).unwrap();
    for (protocol, port) in [(6, 80), (6, 91), (17, 80), (1, 0)] {
        assert_eq!(engine.reachable(protocol, port), again.reachable(protocol, port));
    }
});
