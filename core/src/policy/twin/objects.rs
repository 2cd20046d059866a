//! Random objects: few names, so that everything meets everything.

use std::net::IpAddr;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};

use super::super::block::Block;
use super::super::model::{
    Action, Key, Kind, NamedPort, Namespace, NamespaceMatch, Node, Object, Peer, Pod, PodPeer,
    Policy, PortMatch, Protocol, Rule, Tier,
};
use super::super::selector::{Labels, Requirement, Selector, Test};
use crate::prefix::Prefix;

/// What happens to an engine.
#[derive(Debug, Clone)]
pub enum Step {
    /// An object comes or changes.
    Put(Object),
    /// One goes.
    Remove(Key),
}

pub const ADDRESSES: [&str; 12] = [
    "10.0.0.1",
    "10.0.0.2",
    "10.0.0.3",
    "10.0.1.1",
    "10.0.1.2",
    "fd00::1",
    "fd00::2",
    "fd00:1::1",
    "192.168.0.1",
    "192.168.0.2",
    "fd01::1",
    "203.0.113.9",
];
const POD_ADDRESSES: usize = 8;
const NODES: [&str; 2] = ["n1", "n2"];
const NAMESPACES: [&str; 2] = ["x", "y"];
const BLOCKS: [(&str, &[&str]); 6] = [
    ("0.0.0.0/0", &["10.0.0.0/24", "10.0.0.2/32"]),
    ("10.0.0.0/8", &["10.0.1.0/24"]),
    ("10.0.0.2/31", &[]),
    ("::/0", &["fd00::/64", "fd00::/63"]),
    ("fd00::/32", &[]),
    ("192.168.0.0/24", &["192.168.0.1/32"]),
];

fn text(one: &'static str) -> Arc<str> {
    one.into()
}

fn of(names: &'static [&'static str]) -> impl Strategy<Value = Arc<str>> {
    select(names).prop_map(text)
}

fn labels() -> impl Strategy<Value = Labels> {
    let pairs = vec![("a", "1"), ("a", "2"), ("b", "1")];
    subsequence(pairs, 0..=2).prop_map(|pairs| {
        Labels::new(pairs.into_iter().map(|(key, value)| (text(key), text(value))).collect())
    })
}

fn selector() -> impl Strategy<Value = Selector> {
    let values = || subsequence(vec![text("1"), text("2")], 1..=2);
    let test = prop_oneof![
        4 => values().prop_map(Test::In),
        1 => values().prop_map(Test::NotIn),
        1 => Just(Test::Exists),
        1 => Just(Test::DoesNotExist),
    ];
    let requirement = (of(&["a", "b"]), test).prop_map(|(key, test)| Requirement { key, test });
    prop::collection::vec(requirement, 0..=2).prop_map(Selector::new)
}

fn pod_peer() -> impl Strategy<Value = PodPeer> {
    let namespace = prop_oneof![
        of(&NAMESPACES).prop_map(NamespaceMatch::Name),
        selector().prop_map(NamespaceMatch::Labels),
    ];
    (namespace, selector()).prop_map(|(namespace, pods)| PodPeer { namespace, pods })
}

fn block() -> impl Strategy<Value = Block> {
    let prefix = |text: &str| text.parse::<Prefix>().expect("a prefix");
    select(&BLOCKS[..]).prop_flat_map(move |(cidr, except)| {
        subsequence(except, 0..=except.len()).prop_map(move |except| {
            Block::new(prefix(cidr), except.into_iter().map(prefix).collect())
        })
    })
}

fn peer() -> impl Strategy<Value = Peer> {
    prop_oneof![
        3 => pod_peer().prop_map(Peer::Pods),
        1 => selector().prop_map(Peer::Nodes),
        2 => block().prop_map(Peer::Block),
    ]
}

fn protocol() -> impl Strategy<Value = Protocol> {
    select(&Protocol::ALL[..2])
}

fn port() -> impl Strategy<Value = PortMatch> {
    let number = select(vec![0u16, 80, 81, 82, u16::MAX]);
    let range = (protocol(), number.clone(), number).prop_map(|(protocol, one, other)| {
        PortMatch::Range { protocol, first: one.min(other), last: one.max(other) }
    });
    let named = (prop::option::of(protocol()), of(&["p", "q"]))
        .prop_map(|(protocol, name)| PortMatch::Named { protocol, name });
    prop_oneof![2 => range, 1 => named]
}

fn rule(actions: &'static [Action]) -> impl Strategy<Value = Rule> {
    (
        select(actions),
        prop::option::weighted(0.8, prop::collection::vec(peer(), 1..=2)),
        prop::option::of(prop::collection::vec(port(), 1..=2)),
    )
        .prop_map(|(action, peers, ports)| Rule { name: None, action, peers, ports })
}

fn policy() -> impl Strategy<Value = Policy> {
    prop_oneof![network_policy(), cluster_policy()]
}

fn network_policy() -> impl Strategy<Value = Policy> {
    let rules = || prop::collection::vec(rule(&[Action::Accept]), 0..=2);
    (of(&NAMESPACES), of(&["p1", "p2"]), selector(), any::<[bool; 2]>(), [rules(), rules()], odd())
        .prop_map(|(namespace, name, pods, isolates, mut rules, audit)| {
            for direction in 0..2 {
                if !isolates[direction] {
                    rules[direction].clear();
                }
            }
            Policy {
                key: Key { kind: Kind::NetworkPolicy, namespace: Some(namespace.clone()), name },
                uid: None,
                audit,
                tier: Tier::NetworkPolicy,
                priority: 0,
                subject: PodPeer { namespace: NamespaceMatch::Name(namespace), pods },
                isolates,
                rules,
            }
        })
}

/// Seldom true.
fn odd() -> impl Strategy<Value = bool> {
    prop::bool::weighted(0.2)
}

fn cluster_policy() -> impl Strategy<Value = Policy> {
    const ALL: &[Action] = &[Action::Accept, Action::Deny, Action::Pass];
    let rules = || prop::collection::vec(rule(ALL), 0..=2);
    let tier = select(vec![Tier::Admin, Tier::Baseline]);
    (of(&["c1", "c2"]), tier, 0..3u16, pod_peer(), [rules(), rules()], odd()).prop_map(
        |(name, tier, priority, subject, rules, audit)| Policy {
            key: Key { kind: Kind::ClusterNetworkPolicy, namespace: None, name },
            uid: None,
            audit,
            tier,
            priority,
            subject,
            isolates: [false, false],
            rules,
        },
    )
}

fn addresses(from: &'static [&'static str]) -> impl Strategy<Value = Vec<IpAddr>> {
    subsequence(from, 0..=2)
        .prop_map(|all| all.into_iter().map(|one| one.parse().expect("an address")).collect())
}

fn pod() -> impl Strategy<Value = Pod> {
    let port = (of(&["p", "q"]), protocol(), select(vec![80u16, 81]))
        .prop_map(|(name, protocol, port)| NamedPort { name, protocol, port });
    let ports = prop::collection::btree_set(port, 0..=2);
    (
        (of(&NAMESPACES), of(&["1", "2", "3", "4"]), labels()),
        addresses(&ADDRESSES[..POD_ADDRESSES]),
        prop::option::weighted(0.8, of(&NODES)),
        (odd(), odd()),
        ports,
    )
        .prop_map(
            |((namespace, name, labels), addresses, node, (host_network, ended), ports)| Pod {
                namespace,
                name,
                labels,
                addresses,
                node,
                host_network,
                ended,
                ports: ports.into_iter().collect(),
            },
        )
}

fn node() -> impl Strategy<Value = Node> {
    (of(&NODES), labels(), addresses(&ADDRESSES[POD_ADDRESSES - 2..]))
        .prop_map(|(name, labels, addresses)| Node { name, labels, addresses })
}

fn namespace() -> impl Strategy<Value = Namespace> {
    (of(&NAMESPACES), labels()).prop_map(|(name, labels)| Namespace { name, labels })
}

fn object() -> impl Strategy<Value = Object> {
    prop_oneof![
        1 => namespace().prop_map(Object::Namespace),
        1 => node().prop_map(Object::Node),
        5 => pod().prop_map(Object::Pod),
        4 => policy().prop_map(Object::Policy),
    ]
}

/// Steps, mostly objects that come or change.
pub fn steps(most: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => object().prop_map(Step::Put),
        1 => object().prop_map(|object| Step::Remove(object.key())),
    ];
    prop::collection::vec(step, 1..most)
}
