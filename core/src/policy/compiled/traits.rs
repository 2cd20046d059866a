//! What makes peers different: to be one of the peers that some rule names, or to have a named port
//! that some rule uses.

use std::sync::Arc;

use hashbrown::HashMap;

use super::identities::Who;
use super::index::PeerIndex;
use super::rows::SideId;
use crate::policy::model::{NamedPort, NamespaceMatch, Peer, PodPeer};
use crate::policy::selector::Labels;

/// Small number of a [`Trait`].
pub type TraitId = u32;

/// Traits, ascending.
pub type TraitSet = Arc<[TraitId]>;

/// What a peer is, or has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Trait {
    /// One of these.
    Peer(Peer),
    /// As a destination, this port.
    Port(NamedPort),
}

/// All traits that make a difference now.
#[derive(Debug, Clone, Default)]
pub struct Traits {
    ids: HashMap<Trait, TraitId>,
    slots: Vec<Option<Slot>>,
    free: Vec<TraitId>,
    pods: PeerIndex,
    nodes: Vec<TraitId>,
    /// Port names that rules for egress use -> how often.
    names: HashMap<Arc<str>, u32>,
    /// Port names -> the traits that are ports of this name.
    ports: HashMap<Arc<str>, Vec<TraitId>>,
}

#[derive(Debug, Clone)]
struct Slot {
    what: Trait,
    /// How many rules name the peer, or identities have the port.
    uses: u32,
    /// The sides whose rows it can make different, each once.
    sides: Vec<SideId>,
}

impl Traits {
    /// Count one more use; return the number, and whether the trait is new.
    pub fn take(&mut self, what: &Trait) -> (TraitId, bool) {
        if let Some(&id) = self.ids.get(what) {
            self.slot_mut(id).uses += 1;
            return (id, false);
        }
        let slot = Slot { what: what.clone(), uses: 1, sides: Vec::new() };
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("traits are numbered by u32")
        });
        self.slots[id as usize] = Some(slot);
        self.ids.insert(what.clone(), id);
        match what {
            Trait::Peer(Peer::Pods(peer)) => self.pods.insert(peer, id),
            Trait::Peer(Peer::Nodes(_)) => self.nodes.push(id),
            Trait::Peer(Peer::Block(_)) => {}
            Trait::Port(port) => self.ports.entry(port.name.clone()).or_default().push(id),
        }
        (id, true)
    }

    /// Count one use less; return whether none is left.
    pub fn give(&mut self, id: TraitId) -> bool {
        let slot = self.slot_mut(id);
        slot.uses -= 1;
        slot.uses == 0
    }

    /// Forget a trait that is not used and that no class has.
    pub fn forget(&mut self, id: TraitId) {
        let Some(slot) = self.slots[id as usize].take() else { return };
        self.ids.remove(&slot.what);
        match &slot.what {
            Trait::Peer(Peer::Pods(peer)) => self.pods.remove(peer, id),
            Trait::Peer(Peer::Nodes(_)) => self.nodes.retain(|one| *one != id),
            Trait::Peer(Peer::Block(_)) => {}
            Trait::Port(port) => {
                let of_name = self.ports.entry(port.name.clone()).or_default();
                of_name.retain(|one| *one != id);
                if of_name.is_empty() {
                    self.ports.remove(&port.name);
                }
            }
        }
        self.free.push(id);
    }

    /// The trait of a number.
    pub fn get(&self, id: TraitId) -> &Trait {
        &self.slot(id).what
    }

    /// The sides whose rows a trait can make different.
    pub fn sides(&self, id: TraitId) -> &[SideId] {
        &self.slot(id).sides
    }

    /// Let a side be told of a trait.
    pub fn add_side(&mut self, id: TraitId, side: SideId) {
        self.slot_mut(id).sides.push(side);
    }

    /// Let a side not be told any more.
    pub fn remove_side(&mut self, id: TraitId, side: SideId) {
        self.slot_mut(id).sides.retain(|one| *one != side);
    }

    /// The port of a trait that is one.
    pub fn port(&self, id: TraitId) -> Option<&NamedPort> {
        match &self.slot(id).what {
            Trait::Port(port) => Some(port),
            Trait::Peer(_) => None,
        }
    }

    /// The traits that are ports of a name.
    pub fn ports_named(&self, name: &str) -> Vec<TraitId> {
        self.ports.get(name).cloned().unwrap_or_default()
    }

    /// Count one more use of a port's name; return whether it is the first.
    pub fn take_name(&mut self, name: &Arc<str>) -> bool {
        let uses = self.names.entry(name.clone()).or_insert(0);
        *uses += 1;
        *uses == 1
    }

    /// Count one use of a port's name less; return whether it was the last.
    pub fn give_name(&mut self, name: &Arc<str>) -> bool {
        let Some(uses) = self.names.get_mut(name) else { return false };
        *uses -= 1;
        let last = *uses == 0;
        if last {
            self.names.remove(name);
        }
        last
    }

    /// Whether rules for egress use a port's name.
    pub fn uses_name(&self, name: &Arc<str>) -> bool {
        self.names.contains_key(name)
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.slots.iter_mut().flatten().for_each(|slot| slot.sides.shrink_to_fit());
    }

    /// The traits by peer of somebody, ascending.
    pub fn of(&self, who: &Who, namespace_labels: &Labels) -> Vec<TraitId> {
        let mut found: Vec<_> = match who {
            Who::Pod { namespace, labels, .. } => self
                .pods
                .candidates(namespace, namespace_labels, labels)
                .filter(|id| self.matches(*id, who, namespace_labels))
                .collect(),
            Who::Node { .. } => {
                let nodes = self.nodes.iter().copied();
                nodes.filter(|id| self.matches(*id, who, namespace_labels)).collect()
            }
        };
        found.sort_unstable();
        found
    }

    /// Whether somebody is one of the peers of a trait.
    pub fn matches(&self, id: TraitId, who: &Who, namespace_labels: &Labels) -> bool {
        match (&self.slot(id).what, who) {
            (Trait::Peer(Peer::Pods(peer)), Who::Pod { .. }) => {
                selects(peer, who, namespace_labels)
            }
            (Trait::Peer(Peer::Nodes(selector)), Who::Node { labels }) => selector.matches(labels),
            _ => false,
        }
    }

    fn slot(&self, id: TraitId) -> &Slot {
        self.slots[id as usize].as_ref().expect("traits in use are there")
    }

    fn slot_mut(&mut self, id: TraitId) -> &mut Slot {
        self.slots[id as usize].as_mut().expect("traits in use are there")
    }
}

/// Whether pods of an identity are selected.
pub fn selects(peer: &PodPeer, who: &Who, namespace_labels: &Labels) -> bool {
    let Who::Pod { namespace, labels, .. } = who else { return false };
    let there = match &peer.namespace {
        NamespaceMatch::Name(name) => name == namespace,
        NamespaceMatch::Labels(selector) => selector.matches(namespace_labels),
    };
    there && peer.pods.matches(labels)
}

/// A set with one more.
pub fn with(set: &[TraitId], one: TraitId) -> TraitSet {
    match set.binary_search(&one) {
        Ok(_) => set.into(),
        Err(at) => [&set[..at], &[one], &set[at..]].concat().into(),
    }
}

/// A set with one less.
pub fn without(set: &[TraitId], one: TraitId) -> TraitSet {
    set.iter().copied().filter(|other| *other != one).collect()
}
