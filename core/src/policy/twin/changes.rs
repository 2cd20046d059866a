//! After every step the engine says what its twin says, and its differences lead from any version
//! to the next.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;

use super::super::compiled::PolicyEngine;
use super::super::reason::Reason;
use super::super::tables::{Changes, Delta, Tables};
use super::super::verdict::End;
use super::objects::{ADDRESSES, Step, steps};
use super::{Answer, Twin};

const QUERIES: [(u8, u16); 7] = [(6, 79), (6, 80), (6, 81), (17, 80), (17, 83), (132, 80), (1, 0)];

fn addresses() -> Vec<IpAddr> {
    ADDRESSES.iter().map(|one| one.parse().unwrap()).collect()
}

/// What the engine decides, without numbers.
fn ask(
    engine: &PolicyEngine,
    from: IpAddr,
    to: IpAddr,
    (protocol, port): (u8, u16),
) -> [Answer; 2] {
    let verdict = engine.verdict(End::Address(from), End::Address(to), protocol, port).unwrap();
    let reason = |id| -> Arc<Reason> { engine.reason(id).unwrap().clone() };
    [verdict.egress, verdict.ingress].map(|one| {
        let audit = one.audit.map(|(allow, id)| (allow, reason(id)));
        (one.allow, reason(one.reason), audit)
    })
}

fn check_verdicts(engine: &PolicyEngine, twin: &Twin) {
    for from in addresses() {
        for to in addresses() {
            if from.is_ipv4() != to.is_ipv4() {
                continue;
            }
            for at in QUERIES {
                let (found, truth) =
                    (ask(engine, from, to, at), twin.verdict(from, to, at.0, at.1));
                assert_eq!(found, truth, "from {from} to {to} at {at:?}");
            }
        }
    }
}

/// Which addresses are in one class with which others: numbers do not matter.
fn shape<'a>(classes: impl Iterator<Item = u32> + 'a) -> Vec<usize> {
    let mut seen: BTreeMap<u32, usize> = BTreeMap::new();
    classes
        .map(|class| {
            let next = seen.len();
            *seen.entry(class).or_insert(next)
        })
        .collect()
}

fn check_shape(found: &Tables, truth: &Tables) {
    let peers = |tables: &Tables| {
        shape(addresses().iter().map(|one| tables.peer_class(*one)).collect::<Vec<_>>().into_iter())
    };
    assert_eq!(peers(found), peers(truth));
    assert!(found.endpoints.keys().eq(truth.endpoints.keys()));
    assert!(found.blocks.keys().eq(truth.blocks.keys()));
    assert_eq!(shape(found.blocks.values().copied()), shape(truth.blocks.values().copied()));
    assert!(found.subjects.keys().eq(truth.subjects.keys()));
    assert_eq!(shape(found.subjects.values().copied()), shape(truth.subjects.values().copied()));
}

fn merge<K: Ord + Clone, V: Clone>(into: &mut BTreeMap<K, V>, delta: &Delta<K, V>) {
    for (key, value) in delta {
        match value {
            Some(value) => into.insert(key.clone(), value.clone()),
            None => Some(into.remove(key).expect("what is removed was there")),
        };
    }
}

fn apply(tables: &mut Tables, changes: &Changes) {
    merge(&mut tables.endpoints, &changes.endpoints);
    merge(&mut tables.blocks, &changes.blocks);
    merge(&mut tables.subjects, &changes.subjects);
    merge(&mut tables.rows, &changes.rows);
    merge(&mut tables.filters, &changes.filters);
    merge(&mut tables.reasons, &changes.reasons);
    tables.version = changes.version;
}

fn check_changes(engine: &PolicyEngine, node: Option<&Arc<str>>, before: &Tables) {
    let changes = engine.changes_since(before.version, node).unwrap();
    let now = engine.tables(node);
    assert_eq!(changes, now.since(before), "the least that differs");
    let mut merged = before.clone();
    apply(&mut merged, &changes);
    assert_eq!(merged, now);
}

fn run(steps: Vec<Step>, every: usize) {
    let (mut engine, mut twin) = (PolicyEngine::new(1 << 20), Twin::new());
    let node: Arc<str> = "n1".into();
    let views = [None, Some(&node)];
    let mut before: Vec<[Tables; 2]> = vec![views.map(|view| engine.tables(view))];
    for (index, step) in steps.into_iter().enumerate() {
        let (changed, truth) = match step {
            Step::Put(object) => (engine.apply(object.clone()), twin.apply(object)),
            Step::Remove(key) => (engine.delete(&key), twin.delete(&key)),
        };
        assert_eq!(changed, truth, "whether something changed");
        if index % every == 0 {
            check_verdicts(&engine, &twin);
            check_shape(&engine.tables(None), &twin.tables);
        }
        for old in [&before[before.len() - 1], &before[before.len() / 2], &before[0]] {
            for (view, old) in views.iter().zip(old) {
                check_changes(&engine, *view, old);
            }
        }
        before.push(views.map(|view| engine.tables(view)));
    }
    check_verdicts(&engine, &twin);
    check_bytes(&engine, &twin);
    check_rebuilt(engine);
}

/// What comes of an engine's bytes says what it says, and has the same bytes.
fn check_bytes(engine: &PolicyEngine, twin: &Twin) {
    let bytes = engine.to_bytes();
    let other = PolicyEngine::from_bytes(&bytes, 1).unwrap();
    assert_eq!(*engine, other);
    check_verdicts(&other, twin);
    assert_eq!(other.to_bytes(), bytes);
    assert!(engine.diff(&other).is_empty());
    for cut in [0, bytes.len() / 2, bytes.len() - 1] {
        assert!(PolicyEngine::from_bytes(&bytes[..cut], 1).is_err());
    }
}

/// An engine is its objects: loaded into another one, or taken out one by one.
fn check_rebuilt(mut engine: PolicyEngine) {
    let objects = engine.objects();
    assert_eq!(engine.len(), objects.len());
    let mut other = PolicyEngine::new(0);
    other.load(objects.iter().rev().cloned().collect());
    assert_eq!(engine, other);
    for object in objects {
        assert!(engine.delete(&object.key()));
    }
    let empty = Tables { version: engine.version(), ..Tables::default() };
    assert_eq!(engine.tables(None), empty);
}

fn cases(usual: u32) -> ProptestConfig {
    // PROPTEST_CASES asks for more.
    let given = ProptestConfig::default();
    let cases = if given.cases == 256 { usual } else { given.cases };
    ProptestConfig { cases, failure_persistence: None, ..given }
}

proptest! {
    #![proptest_config(cases(40))]

    #[test]
    fn the_engine_follows_its_twin(steps in steps(24)) {
        run(steps, 1);
    }
}

proptest! {
    #![proptest_config(cases(16))]

    #[test]
    fn long_lives_end_alike(steps in steps(120)) {
        run(steps, 40);
    }
}
