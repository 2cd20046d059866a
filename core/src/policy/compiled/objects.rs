//! Objects in: what each of them changes.

use std::net::IpAddr;
use std::sync::Arc;

use smallvec::SmallVec;

use super::holders::{EndpointId, Holder, NONE, Pod, PodId, State};
use super::identities::{IdentityId, Who};
use super::journal::Entry;
use super::partition::Event;
use super::regroup::Rows;
use super::state::{PolicyEngine, of_endpoint, of_segment};
use crate::policy::model::{self, Key, Kind, Namespace, Object};

type EndpointIds = SmallVec<[EndpointId; 2]>;

impl PolicyEngine {
    /// Take an object; return whether something is different.
    pub fn apply(&mut self, object: Object) -> bool {
        let changed = self.put(object);
        if changed {
            self.step();
        }
        changed
    }

    /// Take many objects, in one version; return how many are new or different.
    pub fn load(&mut self, mut objects: Vec<Object>) -> usize {
        // What others are judged by comes first, so that they are judged once. Within a kind the
        // order stays.
        objects.sort_by_key(|object| match object {
            Object::Namespace(_) => 0,
            Object::Policy(_) => 1,
            Object::Node(_) => 2,
            Object::Pod(_) => 3,
        });
        let changed = objects.into_iter().map(|object| usize::from(self.put(object))).sum();
        if changed > 0 {
            self.step();
        }
        if changed > self.spots.len() / 2 {
            self.trim();
        }
        changed
    }

    /// Remove an object; return whether it was there.
    pub fn delete(&mut self, key: &Key) -> bool {
        let changed = match key.kind {
            Kind::Namespace => {
                let (there, relabelled) = self.identities.remove_namespace(&key.name);
                if relabelled {
                    self.relabel(&key.name);
                }
                there
            }
            Kind::Node => self.remove_node(&key.name),
            Kind::Pod => {
                let namespace = key.namespace.as_deref().unwrap_or_default();
                let pod = self.holders.find_pod(&format!("{namespace}/{}", key.name));
                pod.map(|id| self.remove_pod(id)).is_some()
            }
            _ => self.remove_policy(key),
        };
        if changed {
            self.step();
        }
        changed
    }

    fn step(&mut self) {
        self.make_room();
        if std::mem::take(&mut self.stale_blocks) {
            self.note_blocks();
        }
        self.journal.step();
    }

    /// Give back memory that was kept for more, once most of what there is has come.
    fn trim(&mut self) {
        self.holders.trim();
        self.identities.trim();
        self.spots.shrink_to_fit();
        self.entities.trim();
        self.peers.trim();
        self.subjects.trim();
        self.traits.trim();
        self.filters.trim();
        self.links.trim();
        self.rows.shrink_to_fit();
        for rows in &mut self.rows {
            rows.exempt.trim();
            rows.pairs.trim();
            rows.sides.iter_mut().flatten().for_each(|side| side.rows.trim());
        }
    }

    fn put(&mut self, object: Object) -> bool {
        match object {
            Object::Namespace(new) => self.put_namespace(new),
            Object::Node(new) => self.put_node(new),
            Object::Pod(new) => self.put_pod(new),
            Object::Policy(new) => self.put_policy(Arc::new(new)),
        }
    }

    fn put_namespace(&mut self, new: Namespace) -> bool {
        let name = new.name.clone();
        let (changed, relabelled) = self.identities.put_namespace(new);
        if relabelled {
            self.relabel(&name);
        }
        changed
    }

    /// The labels of a namespace are different: judge its identities again.
    fn relabel(&mut self, namespace: &Arc<str>) {
        let live: Vec<_> = self.identities.live_in(namespace).collect();
        let mut entities = Vec::new();
        for &id in &live {
            let who = self.identities.who(id);
            let mut traits = self.traits.of(who, self.identities.namespace_labels(who));
            let before = self.entities.key(self.entity(id));
            traits.extend(before.iter().filter(|one| self.traits.port(**one).is_some()));
            traits.sort_unstable();
            entities.push((id, traits.into()));
        }
        self.regroup_entities(entities, Rows::Other);
        let subjects = live.iter().map(|id| (*id, self.subject_key(*id))).collect();
        self.regroup_subjects(subjects, [true, true]);
    }

    fn put_pod(&mut self, new: model::Pod) -> bool {
        let key = format!("{}/{}", new.namespace, new.name);
        let known = self.holders.find_pod(&key);
        let (addresses, node) = (new.addresses, new.node);
        let (host_network, ended) = (new.host_network, new.ended);
        let (namespace, labels, ports) = (new.namespace, new.labels, new.ports.into());
        let who = Who::Pod { namespace, labels, ports };
        if let Some(id) = known
            && self.is_same(id, &who, &addresses, node.as_deref(), (host_network, ended))
        {
            return false;
        }
        let identity = self.identities.take(who);
        let node = node.map_or(NONE, |name| self.holders.take_node(&name));
        let id =
            known.unwrap_or_else(|| self.holders.add_pod(Pod::new(key.into(), identity, node)));
        let before = EndpointIds::from(self.holders.endpoints_of(id));
        let arrival = match self.addresses(&before) == addresses {
            true => self.holders.pod(id).arrival,
            false => self.holders.arrive(),
        };
        let endpoints = addresses.iter().map(|one| self.holders.hold(*one, Holder::Pod(id)));
        let endpoints: EndpointIds = endpoints.collect();
        self.holders.set_endpoints(id, &endpoints);
        let pod = self.holders.pod_mut(id);
        let old_identity = std::mem::replace(&mut pod.identity, identity);
        let old_node = std::mem::replace(&mut pod.node, node);
        (pod.arrival, pod.host_network, pod.ended) = (arrival, host_network, ended);
        self.move_holder(Holder::Pod(id), &before);
        if known.is_some() {
            self.identities.give(old_identity);
            if old_node != NONE {
                self.holders.give_node(old_node);
            }
        }
        true
    }

    fn is_same(
        &self,
        id: PodId,
        who: &Who,
        addresses: &[IpAddr],
        node: Option<&str>,
        flags: (bool, bool),
    ) -> bool {
        let pod = self.holders.pod(id);
        let name = (pod.node != NONE).then(|| &*self.holders.node(pod.node).name);
        (pod.host_network, pod.ended) == flags
            && name == node
            && *self.identities.who(pod.identity) == *who
            && self.addresses(self.holders.endpoints_of(id)) == addresses
    }

    /// The addresses of endpoints.
    pub(super) fn addresses(&self, endpoints: &[EndpointId]) -> Vec<IpAddr> {
        endpoints.iter().map(|id| self.holders.endpoint(*id).address).collect()
    }

    fn remove_pod(&mut self, id: PodId) {
        let before = EndpointIds::from(self.holders.endpoints_of(id));
        self.holders.set_endpoints(id, &[]);
        self.move_holder(Holder::Pod(id), &before);
        let Some(pod) = self.holders.remove_pod(id) else { return };
        self.identities.give(pod.identity);
        if pod.node != NONE {
            self.holders.give_node(pod.node);
        }
    }

    fn put_node(&mut self, new: model::Node) -> bool {
        let who = Who::Node { labels: new.labels };
        let known = self.holders.find_node(&new.name).filter(|id| self.is_known(*id));
        if let Some(id) = known {
            let node = self.holders.node(id);
            let same = *self.identities.who(node.identity) == who;
            if same && self.addresses(&node.endpoints) == new.addresses {
                return false;
            }
        }
        let identity = self.identities.take(who);
        let id = known.unwrap_or_else(|| self.holders.take_node(&new.name));
        let endpoints = new.addresses.iter();
        let endpoints = endpoints.map(|one| self.holders.hold(*one, Holder::Node(id))).collect();
        let node = self.holders.node_mut(id);
        let old_identity = std::mem::replace(&mut node.identity, identity);
        let before = std::mem::replace(&mut node.endpoints, endpoints);
        self.move_holder(Holder::Node(id), &before);
        if old_identity != NONE {
            self.identities.give(old_identity);
        }
        true
    }

    fn is_known(&self, node: u32) -> bool {
        self.holders.node(node).identity != NONE
    }

    fn remove_node(&mut self, name: &Arc<str>) -> bool {
        let known = self.holders.find_node(name).filter(|id| self.is_known(*id));
        let Some(id) = known else { return false };
        let node = self.holders.node_mut(id);
        let identity = std::mem::replace(&mut node.identity, NONE);
        let before = std::mem::take(&mut node.endpoints);
        self.move_holder(Holder::Node(id), &before);
        self.identities.give(identity);
        self.holders.give_node(id);
        true
    }

    /// Somebody has other addresses, or counts as something else.
    fn move_holder(&mut self, holder: Holder, before: &[EndpointId]) {
        let mut now = EndpointIds::from(match holder {
            Holder::Pod(id) => self.holders.endpoints_of(id),
            Holder::Node(id) => &self.holders.node(id).endpoints,
        });
        for id in &now {
            self.settle(*id);
        }
        now.sort_unstable(); // hostile objects have many thousands
        for id in before.iter().filter(|id| now.binary_search(id).is_err()) {
            self.holders.release(*id, holder);
            self.settle(*id);
            self.holders.forget(*id);
        }
    }

    /// Let an address count as what its holders make of it.
    fn settle(&mut self, id: EndpointId) {
        let (state, old) = (self.holders.judge(id), self.holders.endpoint(id).state);
        if state == old {
            return;
        }
        let before = self.tally(id);
        let moves = state.identity != old.identity;
        if moves {
            self.enter(state.identity);
            self.move_identity(id, old.identity, state.identity);
        }
        self.holders.endpoint_mut(id).state = state;
        self.regroup_endpoint(id, old);
        let now = if state.counts { self.tally(id) } else { None };
        self.retally(id, before, now);
        if !state.counts {
            let died = self.peers.remove(of_endpoint(id), self.journal.clock());
            let died: Vec<_> = died.map(Event::Died).into_iter().collect();
            self.peers_changed(&died, Rows::Other);
        }
        self.respot(id);
        if moves {
            self.leave(old.identity);
        }
    }

    fn move_identity(&mut self, id: EndpointId, old: IdentityId, new: IdentityId) {
        if old != NONE {
            let at = self.holders.endpoint(id).at;
            if let Some(other) = self.identities.remove_endpoint(old, at) {
                self.holders.endpoint_mut(other).at = at;
            }
        }
        if new != NONE {
            let at = self.identities.push_endpoint(new, id);
            self.holders.endpoint_mut(id).at = at;
        }
    }

    /// Put an address that counts into its peer class.
    fn regroup_endpoint(&mut self, id: EndpointId, old: State) {
        if !self.holders.endpoint(id).state.counts {
            return;
        }
        let (parts, clock) = (self.parts(id), self.journal.clock());
        if old.counts {
            // A class of this one alone could stay, but its rows would have to be made anew.
            let outcome = self.peers.rekey(vec![(of_endpoint(id), parts)], false, |_| 1, clock);
            self.peers_changed(&outcome.events, Rows::Other);
        } else {
            let (class, new) = self.peers.insert(of_endpoint(id), parts, clock);
            if new {
                self.peers_changed(&[Event::Born(class, class)], Rows::Other);
            }
        }
    }

    /// Cut, move and join segments where blocks begin to make a difference, or end to.
    pub(super) fn recut(&mut self, new: &[u32], gone: &[u32]) {
        let clock = self.journal.clock();
        for &id in new {
            let ranges = self.ranges(id);
            for (segment, of) in self.segments.cut(&ranges) {
                let class = self.areas.class(of).unwrap_or(0);
                let key = self.areas.key(class).clone();
                self.areas.insert(segment, key, clock);
                self.peers.insert(of_segment(segment), (0, class), clock);
            }
            let mut changes = Vec::new();
            for (first, last) in ranges {
                for segment in self.segments.beginning_in(first, last) {
                    let traits = self.areas.key(self.areas.class(segment).unwrap_or(0));
                    changes.push((segment, super::traits::with(traits, id)));
                }
            }
            self.regroup_areas(changes);
        }
        for &id in gone {
            let classes = self.links.areas_with(id);
            let segments = classes.iter().flat_map(|class| self.areas.elements(*class));
            let changes = segments.map(|segment| {
                let traits = self.areas.key(self.areas.class(*segment).unwrap_or(0));
                (*segment, super::traits::without(traits, id))
            });
            self.regroup_areas(changes.collect());
        }
        if !gone.is_empty() {
            let areas = &self.areas;
            for segment in self.segments.join(|a, b| areas.class(a) == areas.class(b)) {
                // Its class has its neighbour in it, and stays.
                self.areas.remove(segment, clock);
                self.peers.remove(of_segment(segment), clock);
            }
        }
        self.stale_blocks = true;
    }

    /// Let the elements of ranges follow the segments.
    fn note_blocks(&mut self) {
        let mut now: Vec<((IpAddr, IpAddr), u32)> = Vec::new();
        for (first, last, segment) in self.segments.iter() {
            let class = self.peers.class(of_segment(segment)).unwrap_or(0);
            match now.last_mut() {
                Some(before) if before.1 == class && before.0.0.is_ipv4() == first.is_ipv4() => {
                    before.0.1 = last;
                }
                _ => now.push(((first, last), class)),
            }
        }
        now.retain(|(_, class)| *class != 0);
        let now: std::collections::BTreeMap<_, _> = now.into_iter().collect();
        for (range, class) in &self.blocks {
            if now.get(range) != Some(class) {
                self.journal.push(Entry::Block(Box::new(*range), Some(*class)));
            }
        }
        for range in now.keys().filter(|range| !self.blocks.contains_key(*range)) {
            self.journal.push(Entry::Block(Box::new(*range), None));
        }
        self.blocks = now;
    }
}
