//! The objects of an engine as bytes, read as hostile.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::compiled::PolicyEngine;
use super::model::{Key, Object, Policy, PortMatch, Rule};
use super::selector::{Labels, Requirement, Selector};
use crate::codec::{self, CodecError};
use crate::prefix::Prefix;

const KIND: &str = "policy-engine";
const VERSION: u32 = 1;

/// Everything that decides what an engine says.
#[derive(Serialize, Deserialize)]
struct Body {
    /// By kind, namespace and name.
    objects: Vec<Object>,
    /// Pods that have an address in common, as places among the objects, in the order in which they
    /// got it: the last one counts.
    shared: Vec<u32>,
}

impl PolicyEngine {
    /// The objects as bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let objects = self.objects();
        let shared = self.sharing(&objects);
        codec::to_bytes(KIND, VERSION, &Body { objects, shared })
    }

    /// An engine with the objects of these bytes; versions and ids begin anew.
    ///
    /// # Errors
    /// If the bytes are not what [`Self::to_bytes`] makes, or say what cannot be.
    pub fn from_bytes(bytes: &[u8], history: usize) -> Result<Self, CodecError> {
        let Body { objects, shared } = codec::from_bytes(KIND, VERSION, bytes)?;
        for object in &objects {
            check(object)
                .map_err(|why| CodecError::malformed(format!("{}: {why}", object.key())))?;
        }
        if let Some(pair) = objects.windows(2).find(|pair| pair[0].key() >= pair[1].key()) {
            return Err(CodecError::malformed(format!("{} is out of order", pair[1].key())));
        }
        let mut made = Self::new(history);
        made.load(in_order(objects, &shared)?);
        Ok(made)
    }

    /// The places of pods that share addresses, by when they got them.
    fn sharing(&self, objects: &[Object]) -> Vec<u32> {
        let mut holders: HashMap<IpAddr, usize> = HashMap::new();
        let pods = || {
            objects.iter().enumerate().filter_map(|(at, object)| match object {
                Object::Pod(pod) => Some((at, pod)),
                _ => None,
            })
        };
        for (_, pod) in pods() {
            pod.addresses.iter().for_each(|one| *holders.entry(*one).or_default() += 1);
        }
        let shares = |address: &IpAddr| holders.get(address).is_some_and(|count| *count > 1);
        let mut found: Vec<_> = pods()
            .filter(|(_, pod)| pod.addresses.iter().any(shares))
            .map(|(at, pod)| (self.arrival(&format!("{}/{}", pod.namespace, pod.name)), at))
            .collect();
        found.sort_unstable();
        found.into_iter().filter_map(|(_, at)| u32::try_from(at).ok()).collect()
    }
}

/// The objects with those that share addresses last, in their order.
fn in_order(objects: Vec<Object>, shared: &[u32]) -> Result<Vec<Object>, CodecError> {
    let mut all: Vec<_> = objects.into_iter().map(Some).collect();
    let mut last = Vec::with_capacity(shared.len());
    for at in shared {
        match all.get_mut(*at as usize).and_then(Option::take) {
            Some(pod @ Object::Pod(_)) => last.push(pod),
            _ => return Err(CodecError::malformed(format!("object {at} shares no address"))),
        }
    }
    Ok(all.into_iter().flatten().chain(last).collect())
}

/// What the parser makes sure of.
fn check(object: &Object) -> Result<(), &'static str> {
    let key = object.key();
    let named = |text: &str| !text.is_empty() && !text.contains('/');
    if !named(&key.name) || key.namespace.as_deref().is_some_and(|one| !named(one)) {
        return Err("that is no name");
    }
    match object {
        Object::Namespace(_) => Ok(()),
        Object::Node(node) => check_addresses(&node.addresses),
        Object::Pod(pod) => {
            check_addresses(&pod.addresses)?;
            sorted(&pod.ports).then_some(()).ok_or("its ports are out of order")
        }
        Object::Policy(policy) => check_policy(policy, &key),
    }
}

fn sorted<T: Ord>(list: &[T]) -> bool {
    list.windows(2).all(|pair| pair[0] < pair[1])
}

fn check_addresses(addresses: &[IpAddr]) -> Result<(), &'static str> {
    let mut seen = HashSet::new();
    if addresses.iter().all(|one| seen.insert(one))
        && addresses.iter().all(|one| one.to_canonical() == *one)
    {
        return Ok(());
    }
    Err("its addresses are not canonical, or not distinct")
}

fn check_policy(policy: &Policy, key: &Key) -> Result<(), &'static str> {
    if !key.kind.is_policy() || key.kind.is_namespaced() != key.namespace.is_some() {
        return Err("that is no kind of policy, or it has the wrong namespace");
    }
    let fits = |rule: &Rule| {
        let ports = rule.ports.iter().flatten();
        ports.into_iter().all(|one| match one {
            PortMatch::Range { first, last, .. } => first <= last,
            PortMatch::Named { .. } => true,
        })
    };
    policy.rules.iter().flatten().all(fits).then_some(()).ok_or("a range of ports is reversed")
}

/// What of the model is not just its fields: made by its constructors, which bring it into its form.
macro_rules! by {
    ($type:ty, $form:ty, $into:expr, $from:expr) => {
        impl Serialize for $type {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                let into: fn(&$type) -> $form = $into;
                into(self).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let form = <$form>::deserialize(from)?;
                let make: fn($form) -> Result<$type, String> = $from;
                make(form).map_err(serde::de::Error::custom)
            }
        }
    };
}

type Pairs = Vec<(Arc<str>, Arc<str>)>;
type Range = (IpAddr, u8);

fn range(prefix: &Prefix) -> Range {
    (prefix.address(), prefix.length())
}

fn prefix((address, length): Range) -> Result<Prefix, String> {
    if address.to_canonical() != address {
        return Err(format!("{address} is IPv4"));
    }
    Prefix::new(address, length).map_err(|error| error.to_string())
}

by!(Labels, Pairs, |labels| labels.iter().cloned().collect(), |pairs| Ok(Labels::new(pairs)));
by!(Selector, Vec<Requirement>, |one| one.requirements().to_vec(), |all| Ok(Selector::new(all)));
by!(
    Block,
    (Range, Vec<Range>),
    |block| (range(&block.cidr), block.except.iter().map(range).collect()),
    |(cidr, except)| {
        let (cidr, except) = (prefix(cidr)?, except.into_iter().map(prefix));
        let except = except.collect::<Result<Vec<_>, _>>()?;
        let inside = |one: &Prefix| cidr.contains(one.address()) && cidr.contains(one.last());
        match except.iter().all(inside) {
            true => Ok(Block::new(cidr, except)),
            false => Err(format!("an exception is outside {cidr}")),
        }
    }
);

#[cfg(test)]
mod tests {
    use super::super::model::{Kind, Pod, Protocol};
    use super::*;

    fn pod(name: &str, addresses: &[&str]) -> Object {
        Object::Pod(Pod {
            namespace: "x".into(),
            name: name.into(),
            labels: Labels::default(),
            addresses: addresses.iter().map(|one| one.parse().unwrap()).collect(),
            node: None,
            host_network: false,
            ended: false,
            ports: Vec::new(),
        })
    }

    fn policy(kind: Kind, first: u16, last: u16) -> Object {
        let subject = super::super::model::PodPeer {
            namespace: super::super::model::NamespaceMatch::Name("x".into()),
            pods: Selector::default(),
        };
        let range = PortMatch::Range { protocol: Protocol::Tcp, first, last };
        let rule = Rule {
            name: None,
            action: super::super::model::Action::Accept,
            peers: None,
            ports: Some(vec![range]),
        };
        Object::Policy(Policy {
            key: Key { kind, namespace: Some("x".into()), name: "p".into() },
            uid: None,
            audit: false,
            tier: super::super::model::Tier::NetworkPolicy,
            priority: 0,
            subject,
            isolates: [true, false],
            rules: [vec![rule], Vec::new()],
        })
    }

    fn read(objects: Vec<Object>, shared: Vec<u32>) -> Result<PolicyEngine, CodecError> {
        PolicyEngine::from_bytes(&codec::to_bytes(KIND, VERSION, &Body { objects, shared }), 1)
    }

    #[test]
    fn what_cannot_be_is_refused() {
        assert!(
            read(vec![pod("a", &["10.0.0.1"]), policy(Kind::NetworkPolicy, 1, 2)], vec![]).is_ok()
        );
        for objects in [
            vec![pod("", &[])],
            vec![pod("a/b", &[])],
            vec![pod("b", &[]), pod("a", &[])],
            vec![pod("a", &[]), pod("a", &[])],
            vec![pod("a", &["::ffff:10.0.0.1"])],
            vec![pod("a", &["10.0.0.1", "10.0.0.1"])],
            vec![policy(Kind::NetworkPolicy, 2, 1)],
            vec![policy(Kind::ClusterNetworkPolicy, 1, 2)],
            vec![policy(Kind::Pod, 1, 2)],
        ] {
            assert!(read(objects.clone(), vec![]).is_err(), "{objects:?}");
        }
        assert!(read(vec![pod("a", &[])], vec![1]).is_err());
        assert!(read(vec![pod("a", &[])], vec![0, 0]).is_err());
    }
}
