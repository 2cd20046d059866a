//! All objects as they are now.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::super::model::{Key, Kind, Namespace, Node, Object, Place, Pod, Policy};
use super::super::parse::NAME_LABEL;
use super::super::selector::Labels;

/// (namespace, name).
pub type PodKey = (Arc<str>, Arc<str>);

/// All objects.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs)]
pub struct World {
    pub namespaces: BTreeMap<Arc<str>, Namespace>,
    pub nodes: BTreeMap<Arc<str>, Node>,
    pub pods: BTreeMap<PodKey, Pod>,
    /// Pods in the order they came: where two have one address, it is the later one's.
    pub arrivals: BTreeMap<u64, PodKey>,
    pub policies: BTreeMap<Place, Policy>,
    places: BTreeMap<Key, Place>,
    arrived: BTreeMap<PodKey, u64>,
    next: u64,
}

impl World {
    /// Take an object; return whether something is different.
    pub fn put(&mut self, object: Object) -> bool {
        match object {
            Object::Namespace(new) => replace(&mut self.namespaces, new.name.clone(), new),
            Object::Node(new) => replace(&mut self.nodes, new.name.clone(), new),
            Object::Pod(new) => self.put_pod(new),
            Object::Policy(new) => {
                let place = new.place();
                if let Some(before) = self.places.insert(new.key.clone(), place.clone())
                    && before != place
                {
                    self.policies.remove(&before);
                }
                replace(&mut self.policies, place, new)
            }
        }
    }

    fn put_pod(&mut self, pod: Pod) -> bool {
        let key = (pod.namespace.clone(), pod.name.clone());
        let same_addresses =
            self.pods.get(&key).is_some_and(|before| before.addresses == pod.addresses);
        if !same_addresses {
            if let Some(before) = self.arrived.insert(key.clone(), self.next) {
                self.arrivals.remove(&before);
            }
            self.arrivals.insert(self.next, key.clone());
            self.next += 1;
        }
        replace(&mut self.pods, key, pod)
    }

    /// Remove an object; return whether it was there.
    pub fn remove(&mut self, key: &Key) -> bool {
        match key.kind {
            Kind::Namespace => self.namespaces.remove(&key.name).is_some(),
            Kind::Node => self.nodes.remove(&key.name).is_some(),
            Kind::Pod => {
                let pod = (key.namespace.clone().unwrap_or_default(), key.name.clone());
                if let Some(arrival) = self.arrived.remove(&pod) {
                    self.arrivals.remove(&arrival);
                }
                self.pods.remove(&pod).is_some()
            }
            _ => {
                let place = self.places.remove(key);
                place.is_some_and(|place| self.policies.remove(&place).is_some())
            }
        }
    }

    /// The labels of a namespace; one that nobody told of has its name's label.
    pub fn namespace_labels(&self, name: &Arc<str>) -> Labels {
        let known = self.namespaces.get(name).map(|namespace| namespace.labels.clone());
        known.unwrap_or_else(|| Labels::new(vec![(NAME_LABEL.into(), name.clone())]))
    }
}

fn replace<K: Ord, V: PartialEq>(map: &mut BTreeMap<K, V>, key: K, value: V) -> bool {
    let same = map.get(&key) == Some(&value);
    if !same {
        map.insert(key, value);
    }
    !same
}
