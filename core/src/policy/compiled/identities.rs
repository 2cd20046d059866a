//! Identities: what selectors can tell apart. All pods of a namespace with the same labels and named
//! ports are one, and all nodes with the same labels.

use std::hash::{BuildHasher, Hash};
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use crate::policy::model::{NamedPort, Namespace};
use crate::policy::parse::NAME_LABEL;
use crate::policy::selector::Labels;

/// Small number of an identity.
pub type IdentityId = u32;

/// What an identity is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Who {
    /// Pods.
    Pod {
        /// Their namespace.
        namespace: Arc<str>,
        /// Their labels.
        labels: Labels,
        /// Their named ports, sorted.
        ports: Arc<[NamedPort]>,
    },
    /// Nodes.
    Node {
        /// Their labels.
        labels: Labels,
    },
}

impl Who {
    /// The namespace of pods.
    pub fn namespace(&self) -> Option<&Arc<str>> {
        match self {
            Self::Pod { namespace, .. } => Some(namespace),
            Self::Node { .. } => None,
        }
    }

    /// The named ports of pods.
    pub fn ports(&self) -> &[NamedPort] {
        match self {
            Self::Pod { ports, .. } => ports,
            Self::Node { .. } => &[],
        }
    }
}

/// All identities, and the namespaces that they are in.
#[derive(Debug, Clone, Default)]
pub struct Identities {
    /// Found by what the slots say.
    ids: HashTable<IdentityId>,
    hasher: DefaultHashBuilder,
    slots: Vec<Option<Slot>>,
    free: Vec<IdentityId>,
    namespaces: HashMap<Arc<str>, Room>,
    none: Labels,
    labels: Shared<Labels>,
    /// The keys and values of `labels`.
    strings: Shared<Arc<str>>,
    ports: Shared<Arc<[NamedPort]>>,
}

/// Values of which equal ones are one in memory -> how many have them.
#[derive(Debug, Clone)]
struct Shared<T>(HashMap<T, u32>);

impl<T> Default for Shared<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq + Clone> Shared<T> {
    fn has(&self, value: &T) -> bool {
        self.0.contains_key(value)
    }

    /// Count one more use; return the one in memory.
    fn take(&mut self, value: &T) -> T {
        let known = self.0.get_key_value(value).map_or(value, |(known, _)| known).clone();
        *self.0.entry(known.clone()).or_insert(0) += 1;
        known
    }

    /// Count one use less; return whether it was the last.
    fn give(&mut self, value: &T) -> bool {
        let Some(uses) = self.0.get_mut(value) else { return false };
        *uses -= 1;
        let last = *uses == 0;
        if last {
            self.0.remove(value);
        }
        last
    }
}

#[derive(Debug, Clone)]
struct Slot {
    who: Who,
    /// How many pods or nodes have it.
    uses: u32,
    /// The endpoints that have it.
    endpoints: Vec<u32>,
}

/// A namespace.
#[derive(Debug, Clone)]
struct Room {
    labels: Labels,
    /// Whether there is an object for it.
    known: bool,
    identities: Vec<IdentityId>,
}

impl Identities {
    /// Count one more use of an identity.
    pub fn take(&mut self, mut who: Who) -> IdentityId {
        let hash = self.hasher.hash_one(&who);
        if let Some(&id) = self.ids.find(hash, |id| *self.who(*id) == who) {
            self.slot_mut(id).uses += 1;
            return id;
        }
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("identities are numbered by u32")
        });
        match &mut who {
            Who::Pod { namespace, labels, ports } => {
                self.room(namespace).identities.push(id);
                if let Some((known, _)) = self.namespaces.get_key_value(namespace) {
                    *namespace = known.clone();
                }
                *labels = self.take_labels(labels);
                *ports = self.ports.take(ports);
            }
            Who::Node { labels } => *labels = self.take_labels(labels),
        }
        self.slots[id as usize] = Some(Slot { who, uses: 1, endpoints: Vec::new() });
        let (slots, hasher) = (&self.slots, &self.hasher);
        self.ids.insert_unique(hash, id, |id| {
            slots[*id as usize].as_ref().map_or(0, |slot| hasher.hash_one(&slot.who))
        });
        id
    }

    /// Count one use less; an identity that nobody has is forgotten.
    pub fn give(&mut self, id: IdentityId) {
        let slot = self.slot_mut(id);
        slot.uses -= 1;
        if slot.uses > 0 {
            return;
        }
        debug_assert!(slot.endpoints.is_empty());
        let hash = self.hasher.hash_one(self.who(id));
        if let Ok(entry) = self.ids.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        let Some(Slot { who, .. }) = self.slots[id as usize].take() else { return };
        self.free.push(id);
        match &who {
            Who::Pod { labels, ports, .. } => {
                self.give_labels(labels);
                self.ports.give(ports);
            }
            Who::Node { labels } => self.give_labels(labels),
        }
        if let Some(namespace) = who.namespace() {
            self.room(namespace).identities.retain(|one| *one != id);
            self.tidy(namespace);
        }
    }

    fn take_labels(&mut self, labels: &Labels) -> Labels {
        if self.labels.has(labels) {
            return self.labels.take(labels);
        }
        let strings = &mut self.strings;
        let pairs = labels.iter().map(|(key, value)| (strings.take(key), strings.take(value)));
        self.labels.take(&Labels::new(pairs.collect()))
    }

    fn give_labels(&mut self, labels: &Labels) {
        if self.labels.give(labels) {
            for (key, value) in labels.iter() {
                self.strings.give(key);
                self.strings.give(value);
            }
        }
    }

    /// What an identity is.
    pub fn who(&self, id: IdentityId) -> &Who {
        &self.slot(id).who
    }

    /// The endpoints that have an identity.
    pub fn endpoints(&self, id: IdentityId) -> &[u32] {
        &self.slot(id).endpoints
    }

    /// Add an endpoint; return its place.
    pub fn push_endpoint(&mut self, id: IdentityId, endpoint: u32) -> u32 {
        let endpoints = &mut self.slot_mut(id).endpoints;
        endpoints.push(endpoint);
        u32::try_from(endpoints.len() - 1).expect("endpoints are numbered by u32")
    }

    /// Remove the endpoint at a place; return the one that is there now.
    pub fn remove_endpoint(&mut self, id: IdentityId, at: u32) -> Option<u32> {
        let endpoints = &mut self.slot_mut(id).endpoints;
        endpoints.swap_remove(at as usize);
        endpoints.get(at as usize).copied()
    }

    /// Identities that endpoints have, ascending.
    pub fn live(&self) -> impl Iterator<Item = IdentityId> {
        let live = |slot: &Option<Slot>| slot.as_ref().is_some_and(|one| !one.endpoints.is_empty());
        (0..).zip(&self.slots).filter(move |(_, slot)| live(slot)).map(|(id, _)| id)
    }

    /// Identities of a namespace that endpoints have.
    pub fn live_in(&self, namespace: &str) -> impl Iterator<Item = IdentityId> {
        let room = self.namespaces.get(namespace);
        let all = room.into_iter().flat_map(|room| room.identities.iter().copied());
        all.filter(|id| !self.slot(*id).endpoints.is_empty())
    }

    /// The labels of the namespace of somebody; none for nodes.
    pub fn namespace_labels(&self, who: &Who) -> &Labels {
        let room = who.namespace().and_then(|namespace| self.namespaces.get(namespace));
        room.map_or(&self.none, |room| &room.labels)
    }

    /// Take a namespace; return whether it is different, and whether its labels are.
    pub fn put_namespace(&mut self, namespace: Namespace) -> (bool, bool) {
        let room = self.room(&namespace.name);
        let relabelled = room.labels != namespace.labels;
        let changed = relabelled || !room.known;
        room.known = true;
        room.labels = namespace.labels;
        (changed, relabelled)
    }

    /// Forget a namespace's labels; return whether it was there, and whether they are different.
    pub fn remove_namespace(&mut self, name: &Arc<str>) -> (bool, bool) {
        let plain = implied(name);
        let Some(room) = self.namespaces.get_mut(name).filter(|room| room.known) else {
            return (false, false);
        };
        let relabelled = room.labels != plain;
        room.known = false;
        room.labels = plain;
        self.tidy(name);
        (true, relabelled)
    }

    /// The namespaces that there are objects for.
    pub fn known_namespaces(&self) -> impl Iterator<Item = Namespace> {
        let known = self.namespaces.iter().filter(|(_, room)| room.known);
        known.map(|(name, room)| Namespace { name: name.clone(), labels: room.labels.clone() })
    }

    fn room(&mut self, name: &Arc<str>) -> &mut Room {
        self.namespaces.entry(name.clone()).or_insert_with(|| Room {
            labels: implied(name),
            known: false,
            identities: Vec::new(),
        })
    }

    fn tidy(&mut self, name: &Arc<str>) {
        if self.namespaces.get(name).is_some_and(|room| !room.known && room.identities.is_empty()) {
            self.namespaces.remove(name);
        }
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.slots.shrink_to_fit();
        for slot in self.slots.iter_mut().flatten() {
            slot.endpoints.shrink_to_fit();
        }
        for room in self.namespaces.values_mut() {
            room.identities.shrink_to_fit();
        }
    }

    fn slot(&self, id: IdentityId) -> &Slot {
        self.slots[id as usize].as_ref().expect("identities in use are there")
    }

    fn slot_mut(&mut self, id: IdentityId) -> &mut Slot {
        self.slots[id as usize].as_mut().expect("identities in use are there")
    }
}

/// The labels of a namespace that nobody told of: the one that the API server gives to all.
fn implied(name: &Arc<str>) -> Labels {
    Labels::new(vec![(NAME_LABEL.into(), name.clone())])
}
