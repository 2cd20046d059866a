//! What follows from the classes of one address: its elements, and what is counted by them.

use super::holders::EndpointId;
use super::journal::{Entry, NodeId};
use super::partition::{Class, NOTHING};
use super::state::{PolicyEngine, of_endpoint};
use crate::policy::tables::{PeerClass, SubjectClass};

/// The classes of an address that counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tally {
    /// Its peer class.
    pub peer: PeerClass,
    /// Whether that is another one than that of the block around it.
    pub listed: bool,
    /// Its subject class.
    pub subject: SubjectClass,
    /// Its node.
    pub node: NodeId,
    /// Whether a node has it.
    pub host: bool,
}

impl Tally {
    /// The element of the address among the endpoints.
    pub fn endpoint(&self) -> Option<PeerClass> {
        self.listed.then_some(self.peer)
    }

    /// The element of the address among the subjects.
    pub fn selected(&self) -> Option<(SubjectClass, NodeId)> {
        (self.subject != NOTHING).then_some((self.subject, self.node))
    }
}

impl PolicyEngine {
    /// What an address counts as.
    pub(super) fn tally(&self, id: EndpointId) -> Option<Tally> {
        let identity = self.holders.endpoint(id).state.identity;
        self.tally_as(id, self.entity(identity))
    }

    /// What an address counts as whose identity is of this class.
    pub(super) fn tally_as(&self, id: EndpointId, entity: Class) -> Option<Tally> {
        let state = self.holders.endpoint(id).state;
        Some(Tally {
            peer: self.peers.class(of_endpoint(id))?,
            listed: entity != NOTHING,
            subject: self.subject(state.identity),
            node: state.node,
            host: state.host,
        })
    }

    /// Let elements and counts follow an address.
    pub(super) fn retally(&mut self, id: EndpointId, before: Option<Tally>, now: Option<Tally>) {
        if before == now {
            return;
        }
        self.respot(id);
        let address = self.holders.endpoint(id).address;
        let endpoint = before.as_ref().and_then(Tally::endpoint);
        if endpoint != now.as_ref().and_then(Tally::endpoint) {
            self.journal.push(Entry::Endpoint(address, endpoint));
        }
        let (old, new) =
            (before.as_ref().and_then(Tally::selected), now.as_ref().and_then(Tally::selected));
        if old != new {
            let old = old.map(|(subject, node)| (subject, self.holders.node_name(node)));
            self.journal.push(Entry::Subject(address, old));
        }
        // What is new is counted first, so that nothing is dropped only to be made again.
        if let Some(now) = now {
            self.count(now, new);
        }
        if let Some(before) = before {
            self.discount(before, old);
        }
    }

    fn count(&mut self, tally: Tally, selected: Option<(SubjectClass, NodeId)>) {
        if tally.host {
            let uses = self.hosts.entry(tally.peer).or_insert(0);
            *uses += 1;
            if *uses == 1 {
                self.host_rows(tally.peer, true);
            }
        }
        let Some((subject, node)) = selected else { return };
        let placed = self.placements.entry((node, subject)).or_insert(0);
        *placed += 1;
        if *placed == 1 {
            self.journal.push(Entry::Placement(self.holders.node_name(node), subject, false));
        }
        if self.rows_mut(subject).pairs.more(tally.peer) {
            self.hairpin_rows(subject, tally.peer, true);
        }
    }

    fn discount(&mut self, tally: Tally, selected: Option<(SubjectClass, NodeId)>) {
        if tally.host && less(&mut self.hosts, tally.peer) {
            self.host_rows(tally.peer, false);
        }
        let Some((subject, node)) = selected else { return };
        if less(&mut self.placements, (node, subject)) {
            self.journal.push(Entry::Placement(self.holders.node_name(node), subject, true));
        }
        if self.rows_mut(subject).pairs.less(tally.peer) {
            self.hairpin_rows(subject, tally.peer, false);
        }
    }
}

/// Count one less; return whether none is left.
fn less<K: std::hash::Hash + Eq>(counts: &mut hashbrown::HashMap<K, u32>, key: K) -> bool {
    let hashbrown::hash_map::Entry::Occupied(mut entry) = counts.entry(key) else { return false };
    *entry.get_mut() -= 1;
    let last = *entry.get() == 0;
    if last {
        entry.remove();
    }
    last
}
