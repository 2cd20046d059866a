//! Objects out again.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::holders::{NONE, Node, Pod, PodId};
use super::identities::Who;
use super::state::PolicyEngine;
use crate::policy::model::{self, Key, Kind, Object, Policy};
use crate::policy::selector::Labels;

/// What became of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Difference {
    Added,
    Removed,
    Changed,
}

impl PolicyEngine {
    /// All objects, by kind, namespace and name.
    #[must_use]
    pub fn objects(&self) -> Vec<Object> {
        let namespaces = self.identities.known_namespaces().map(Object::Namespace);
        let nodes = self.holders.known_nodes().map(|node| Object::Node(self.node_object(node)));
        let pods = self.holders.pods().map(|(id, pod)| Object::Pod(self.pod_object(id, pod)));
        let policies = self.policies.iter();
        let policies = policies.map(|one| Object::Policy(Policy::clone(&one.policy)));
        let mut all: Vec<_> = namespaces.chain(nodes).chain(pods).chain(policies).collect();
        all.sort_by_cached_key(Object::key);
        all
    }

    /// How many objects there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.identities.known_namespaces().count()
            + self.holders.known_nodes().count()
            + self.holders.pods().count()
            + self.policies.iter().count()
    }

    /// Whether there is no object.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How the objects of a later engine are different, by kind, namespace and name.
    #[must_use]
    pub fn diff(&self, later: &Self) -> Vec<(Key, Difference)> {
        let mut all: BTreeMap<Key, [Option<Object>; 2]> = BTreeMap::new();
        for (side, engine) in [self, later].into_iter().enumerate() {
            for object in engine.objects() {
                let key = object.key();
                all.entry(key).or_default()[side] = Some(object);
            }
        }
        let different = all.into_iter().filter(|(_, [old, new])| old != new);
        let what = |sides: &[Option<Object>; 2]| match sides {
            [None, _] => Difference::Added,
            [_, None] => Difference::Removed,
            _ => Difference::Changed,
        };
        different.map(|(key, sides)| (key, what(&sides))).collect()
    }

    /// When a pod got its addresses, compared with others.
    pub(crate) fn arrival(&self, key: &str) -> u64 {
        self.holders.find_pod(key).map_or(0, |id| self.holders.pod(id).arrival)
    }

    fn labels(&self, identity: u32) -> Labels {
        match self.identities.who(identity) {
            Who::Pod { labels, .. } | Who::Node { labels } => labels.clone(),
        }
    }

    fn node_object(&self, node: &Node) -> model::Node {
        let (name, labels) = (node.name.clone(), self.labels(node.identity));
        model::Node { name, labels, addresses: self.addresses(&node.endpoints) }
    }

    fn pod_object(&self, id: PodId, pod: &Pod) -> model::Pod {
        let who = self.identities.who(pod.identity);
        let (namespace, name) = pod.key.split_once('/').unwrap_or_default();
        model::Pod {
            namespace: who.namespace().cloned().unwrap_or_else(|| namespace.into()),
            name: name.into(),
            labels: self.labels(pod.identity),
            addresses: self.addresses(self.holders.endpoints_of(id)),
            node: (pod.node != NONE).then(|| self.holders.node(pod.node).name.clone()),
            host_network: pod.host_network,
            ended: pod.ended,
            ports: who.ports().to_vec(),
        }
    }
}

impl PartialEq for PolicyEngine {
    /// Whether the objects are the same; numbers and history do not count.
    fn eq(&self, other: &Self) -> bool {
        self.objects() == other.objects()
    }
}

impl Object {
    /// What identifies it.
    #[must_use]
    pub fn key(&self) -> Key {
        let of = |kind, namespace: Option<&Arc<str>>, name: &Arc<str>| Key {
            kind,
            namespace: namespace.cloned(),
            name: name.clone(),
        };
        match self {
            Self::Namespace(one) => of(Kind::Namespace, None, &one.name),
            Self::Node(one) => of(Kind::Node, None, &one.name),
            Self::Pod(one) => of(Kind::Pod, Some(&one.namespace), &one.name),
            Self::Policy(one) => one.key.clone(),
        }
    }
}
