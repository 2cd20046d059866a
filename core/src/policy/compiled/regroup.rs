//! Moving identities, segments and addresses between classes, and telling the tables.

use hashbrown::{HashMap, HashSet};

use super::holders::{EndpointId, NONE};
use super::identities::IdentityId;
use super::partition::{Class, Event, Outcome};
use super::segments::SegmentId;
use super::state::{PolicyEngine, SubjectKey, endpoint_of, of_endpoint, of_segment};
use super::tally::Tally;
use super::traits::TraitSet;

/// Whether rows of a class that comes out of another one are those of the other one: so it is as
/// long as no rule looks at what makes them different.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rows {
    /// They are the same, and a class may even stay when it gets another key.
    Same,
    /// They have to be made anew.
    Other,
}

impl PolicyEngine {
    /// Give identities other traits.
    pub(super) fn regroup_entities(&mut self, changes: Vec<(IdentityId, TraitSet)>, rows: Rows) {
        let identities = &self.identities;
        let weight = |id: IdentityId| identities.endpoints(id).len();
        let clock = self.journal.clock();
        let Outcome { events, moved } =
            self.entities.rekey(changes, rows == Rows::Same, weight, clock);
        for event in &events {
            match *event {
                Event::Born(class, _) | Event::Rekeyed(class) => {
                    let traits = self.entities.key(class).clone();
                    self.links.set_entity(class, &traits);
                }
                // Its peer classes go first, and need its traits for that.
                Event::Died(_) => {}
            }
        }
        let mut addresses = Vec::new();
        for (identity, class) in moved {
            for endpoint in self.identities.endpoints(identity) {
                addresses.push((*endpoint, self.tally_as(*endpoint, class)));
            }
        }
        self.regroup_addresses(addresses, Vec::new(), rows);
        for event in events {
            if let Event::Died(class) = event {
                self.links.set_entity(class, &TraitSet::default());
            }
        }
    }

    /// Give segments other blocks.
    pub(super) fn regroup_areas(&mut self, changes: Vec<(SegmentId, TraitSet)>) {
        let clock = self.journal.clock();
        let Outcome { events, moved } = self.areas.rekey(changes, true, |_| 1, clock);
        for event in &events {
            if let Event::Born(class, _) | Event::Rekeyed(class) = *event {
                let traits = self.areas.key(class).clone();
                self.links.set_area(class, &traits);
            }
        }
        let segments: Vec<_> = moved.into_iter().map(|(id, _)| id).collect();
        let mut addresses = Vec::new();
        if !segments.is_empty() {
            for (id, endpoint) in self.holders.endpoints() {
                let Some(peer) = self.peers.class(of_endpoint(id)) else { continue };
                let (_, area) = *self.peers.key(peer);
                if area != self.area_at(endpoint.address) {
                    addresses.push((id, self.tally(id)));
                }
            }
        }
        self.regroup_addresses(addresses, segments, Rows::Same);
        for event in events {
            if let Event::Died(class) = event {
                self.links.set_area(class, &TraitSet::default());
            }
        }
    }

    /// The class of the segment that has an address.
    pub(super) fn area_at(&self, address: std::net::IpAddr) -> Class {
        self.areas.class(self.segments.at(address)).unwrap_or(0)
    }

    /// Give addresses, and segments, the peer classes that their parts say. What the addresses
    /// counted as before is given.
    fn regroup_addresses(
        &mut self,
        endpoints: Vec<(EndpointId, Option<Tally>)>,
        segments: Vec<SegmentId>,
        rows: Rows,
    ) {
        let of_endpoints = endpoints.iter().map(|(id, _)| (of_endpoint(*id), self.parts(*id)));
        let of_segments =
            segments.iter().map(|id| (of_segment(*id), (0, self.areas.class(*id).unwrap_or(0))));
        let changes = of_endpoints.chain(of_segments).collect();
        let clock = self.journal.clock();
        let Outcome { events, moved } = self.peers.rekey(changes, rows == Rows::Same, |_| 1, clock);
        self.peers_changed(&events, rows);
        let meant: HashSet<_> = endpoints.iter().map(|(id, _)| *id).collect();
        for (id, before) in endpoints {
            let now = self.tally(id);
            self.retally(id, before, now);
        }
        // Others that made room: only their class has another number.
        for (element, peer) in moved {
            match endpoint_of(element) {
                None => self.stale_blocks = true,
                Some(id) if meant.contains(&id) => {}
                Some(id) => {
                    let now = self.tally(id);
                    self.retally(id, now.map(|now| Tally { peer, ..now }), now);
                }
            }
        }
    }

    /// The pair that an address belongs to.
    pub(super) fn parts(&self, id: EndpointId) -> (Class, Class) {
        let endpoint = self.holders.endpoint(id);
        (self.entity(endpoint.state.identity), self.area_at(endpoint.address))
    }

    /// Let the tables follow what happened to peer classes.
    pub(super) fn peers_changed(&mut self, events: &[Event], rows: Rows) {
        for event in events {
            match *event {
                Event::Born(class, from) => {
                    let parts = *self.peers.key(class);
                    self.links.set_peer(class, Some(parts));
                    match rows {
                        Rows::Same => self.copy_rows(from, class),
                        Rows::Other => self.make_rows(class),
                    }
                }
                Event::Rekeyed(class) => {
                    let parts = *self.peers.key(class);
                    self.links.set_peer(class, Some(parts));
                }
                Event::Died(class) => {
                    self.drop_rows(class);
                    self.links.set_peer(class, None);
                }
            }
        }
    }

    /// Let other policies select identities; of `directions` the rows are made anew.
    pub(super) fn regroup_subjects(
        &mut self,
        changes: Vec<(IdentityId, SubjectKey)>,
        directions: [bool; 2],
    ) {
        let identities = &self.identities;
        let weight = |id: IdentityId| identities.endpoints(id).len();
        let clock = self.journal.clock();
        let Outcome { events, moved } = self.subjects.rekey(changes, true, weight, clock);
        for event in &events {
            match *event {
                Event::Born(class, _) => self.compile_subject(class, [true, true]),
                Event::Rekeyed(class) => self.compile_subject(class, directions),
                Event::Died(_) => {}
            }
        }
        for (identity, class) in moved {
            for endpoint in self.identities.endpoints(identity).to_vec() {
                let now = self.tally(endpoint);
                let before = now.map(|now| Tally { subject: class, ..now });
                self.retally(endpoint, before, now);
            }
        }
        for event in events {
            if let Event::Died(class) = event {
                self.drop_subject(class);
            }
        }
    }

    /// Put an identity that an endpoint is about to have into its classes.
    pub(super) fn enter(&mut self, identity: IdentityId) {
        if identity == NONE || !self.identities.endpoints(identity).is_empty() {
            return;
        }
        let who = self.identities.who(identity).clone();
        let mut traits = self.traits.of(&who, self.identities.namespace_labels(&who));
        for port in who.ports() {
            if self.traits.uses_name(&port.name) {
                traits.push(self.take_port(port));
            }
        }
        traits.sort_unstable();
        let clock = self.journal.clock();
        let (entity, new) = self.entities.insert(identity, traits.into(), clock);
        if new {
            let traits = self.entities.key(entity).clone();
            self.links.set_entity(entity, &traits);
        }
        let key = self.subject_key(identity);
        let (subject, new) = self.subjects.insert(identity, key, clock);
        if new {
            self.compile_subject(subject, [true, true]);
        }
    }

    /// Take an identity that no endpoint has any more out of its classes.
    pub(super) fn leave(&mut self, identity: IdentityId) {
        if identity == NONE || !self.identities.endpoints(identity).is_empty() {
            return;
        }
        let traits = self.entities.key(self.entity(identity)).clone();
        let clock = self.journal.clock();
        if let Some(died) = self.entities.remove(identity, clock) {
            self.links.set_entity(died, &TraitSet::default());
        }
        for id in traits.iter() {
            if self.traits.port(*id).is_some() && self.traits.give(*id) {
                self.traits.forget(*id);
            }
        }
        if let Some(died) = self.subjects.remove(identity, clock) {
            self.drop_subject(died);
        }
    }

    /// The policies that select an identity, by asking each that may.
    pub(super) fn subject_key(&self, identity: IdentityId) -> SubjectKey {
        let who = self.identities.who(identity);
        let labels = self.identities.namespace_labels(who);
        let (Some(namespace), super::identities::Who::Pod { labels: of_pod, .. }) =
            (who.namespace(), who)
        else {
            return SubjectKey::default();
        };
        let candidates = self.policies.index().candidates(namespace, labels, of_pod);
        let selected = candidates.filter(|id| {
            super::traits::selects(&self.policies.get(*id).policy.subject, who, labels)
        });
        let mut ids: Vec<_> = selected.collect();
        ids.sort_unstable();
        self.key_of(identity, ids)
    }

    /// The key of an identity that these policies select.
    pub(super) fn key_of(&self, identity: IdentityId, policies: Vec<u32>) -> SubjectKey {
        let names = policies.iter().flat_map(|id| &self.policies.get(*id).names[0]);
        let names: Vec<_> = names.collect();
        let ports = match names.is_empty() {
            true => Default::default(),
            false => {
                let ports = self.identities.who(identity).ports().iter();
                ports.filter(|port| names.contains(&&port.name)).cloned().collect()
            }
        };
        SubjectKey { policies: policies.into(), ports }
    }

    /// Change the traits of all identities of some classes alike.
    pub(super) fn rekey_entities(
        &mut self,
        identities: impl IntoIterator<Item = IdentityId>,
        key: impl Fn(&[u32]) -> TraitSet,
    ) {
        let mut made: HashMap<Class, TraitSet> = HashMap::new();
        let mut changes = Vec::new();
        for identity in identities {
            let class = self.entity(identity);
            let traits = made.entry(class).or_insert_with(|| key(self.entities.key(class)));
            changes.push((identity, traits.clone()));
        }
        self.regroup_entities(changes, Rows::Same);
    }
}
