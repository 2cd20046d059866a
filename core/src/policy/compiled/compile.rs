//! Rows: made when the policies of a subject change, and followed when peer classes do.

use std::sync::Arc;

use hashbrown::{Equivalent, HashMap, HashSet};

use super::journal::Entry;
use super::partition::NOTHING;
use super::row_map::RowMap;
use super::rows::{Side, SideId, side, subject_of};
use super::state::{PolicyEngine, SubjectRows};
use super::traits::TraitId;
use crate::policy::model::NamedPort;
use crate::policy::reason::ReasonId;
use crate::policy::tables::{FilterId, PeerClass, RowKey, SubjectClass, Way};

/// So many rows are never too many.
const ROOMY: usize = 16;

const WAYS: [Way; 2] = [Way::Ingress, Way::Egress];

/// Rules that match, and the named ports of the destination -> what they decide.
type Known = HashMap<(Vec<u32>, Vec<NamedPort>), FilterId>;

/// A key of [`Known`] that is elsewhere.
#[derive(Hash)]
struct Asked<'a>(&'a [u32], &'a [NamedPort]);

impl Equivalent<(Vec<u32>, Vec<NamedPort>)> for Asked<'_> {
    fn equivalent(&self, key: &(Vec<u32>, Vec<NamedPort>)) -> bool {
        *self.0 == *key.0 && *self.1 == *key.1
    }
}

impl PolicyEngine {
    /// Make the rows of a subject anew, in these directions.
    pub(super) fn compile_subject(&mut self, subject: SubjectClass, directions: [bool; 2]) {
        self.rows_mut(subject);
        for direction in (0..2).filter(|direction| directions[*direction]) {
            let ids = self.subjects.key(subject).policies.clone();
            let made = Side::new(&self.policies, &ids, direction);
            self.replace_side(side(subject, direction), made.map(Box::new));
        }
        self.exempt_rows(subject);
    }

    /// Forget a subject.
    pub(super) fn drop_subject(&mut self, subject: SubjectClass) {
        for direction in 0..2 {
            self.replace_side(side(subject, direction), None);
        }
        for ((way, peer), filter) in std::mem::take(&mut self.rows_mut(subject).exempt).iter() {
            self.journal.push(Entry::Row((subject, way, Some(peer)), Some(filter)));
            self.give_filter(filter);
        }
        *self.rows_mut(subject) = SubjectRows::default();
    }

    fn replace_side(&mut self, id: SideId, made: Option<Box<Side>>) {
        let (subject, direction) = subject_of(id);
        let before = self.rows[subject as usize].sides[direction].take();
        self.subscribe(id, before.as_deref(), made.as_deref());
        self.flipped.remove(&id);
        let mut made = made;
        if let Some(made) = &mut made {
            self.fill(id, made, before.as_deref().map(|side| side.default));
        }
        self.note(id, before.as_deref(), made.as_deref());
        if let Some(before) = before {
            let rows = before.rows.iter().map(|(_, filter)| filter);
            for filter in rows.chain([before.base, before.default]) {
                self.give_filter(filter);
            }
        }
        self.rows[subject as usize].sides[direction] = made;
    }

    /// Count one use of a filter less.
    fn give_filter(&mut self, id: FilterId) {
        if let Some(filter) = self.filters.give(id, self.journal.clock()) {
            self.journal.push(Entry::Filter(id, filter));
        }
    }

    /// Let a side be told of the traits that its rules look at, and of no others.
    fn subscribe(&mut self, id: SideId, before: Option<&Side>, now: Option<&Side>) {
        let has = |side: Option<&Side>, one| side.is_some_and(|side| side.has_trait(one));
        for one in before.into_iter().flat_map(Side::traits).filter(|one| !has(now, *one)) {
            self.traits.remove_side(one, id);
        }
        for one in now.into_iter().flat_map(Side::traits).filter(|one| !has(before, *one)) {
            self.traits.add_side(one, id);
        }
        if subject_of(id).1 == 0 {
            return;
        }
        let names = |side: Option<&Side>| side.map_or(Box::default(), |side| side.names.clone());
        let (old, new) = (names(before), names(now));
        for name in old.iter().filter(|name| !new.contains(name)) {
            self.listen(name, id, false);
        }
        for name in new.iter().filter(|name| !old.contains(name)) {
            self.listen(name, id, true);
        }
    }

    fn listen(&mut self, name: &Arc<str>, id: SideId, on: bool) {
        let sides = self.named.entry(name.clone()).or_default();
        if on {
            sides.push(id);
        } else {
            sides.retain(|one| *one != id);
            if sides.is_empty() {
                self.named.remove(name);
            }
        }
        for port in self.traits.ports_named(name) {
            if on {
                self.traits.add_side(port, id);
            } else {
                self.traits.remove_side(port, id);
            }
        }
    }

    /// Number a port that makes a difference, and tell it who looks at it.
    pub(super) fn take_port(&mut self, port: &NamedPort) -> TraitId {
        let (id, new) = self.traits.take(&super::traits::Trait::Port(port.clone()));
        if new {
            for side in self.named.get(&port.name).into_iter().flatten() {
                self.traits.add_side(id, *side);
            }
        }
        id
    }

    /// Find the filters of all peer classes, and which of them is the default.
    fn fill(&mut self, id: SideId, made: &mut Side, default_before: Option<FilterId>) {
        let mut known = Known::new();
        let mut count: HashMap<FilterId, usize> = HashMap::new();
        made.base = self.filter_id(id, made, NOTHING, made.rules_for_all(), &mut known);
        let named = self.named_by(id, made);
        let mut filters = Vec::with_capacity(named.len());
        let mut rules = Vec::new();
        for of_peer in named.chunk_by(|a, b| a.0 == b.0) {
            let peer = of_peer[0].0;
            rules.clear();
            rules.extend(of_peer.iter().filter_map(|(_, rule)| *rule));
            made.add_rules_for_all(&mut rules);
            let filter = self.filter_id(id, made, peer, &rules, &mut known);
            *count.entry(filter).or_insert(0) += 1;
            filters.push((peer, filter));
        }
        let rest = self.links.peer_classes() - filters.len();
        *count.entry(made.base).or_insert(0) += rest;
        made.default = choose(&count, made.base, default_before);
        self.filters.take_again(made.base);
        self.filters.take_again(made.default);
        if made.default != made.base {
            self.flipped.insert(id);
            let named: HashSet<_> = filters.iter().map(|(peer, _)| *peer).collect();
            let others = self.peers.classes().filter(|peer| !named.contains(peer));
            filters.extend(others.map(|peer| (peer, made.base)));
        }
        filters.retain(|(_, filter)| *filter != made.default);
        for (_, filter) in &filters {
            self.filters.take_again(*filter);
        }
        made.rows = filters.into_iter().collect();
        made.crowd = ROOMY.max(2 * made.rows.len());
        for filter in known.into_values() {
            self.give_filter(filter);
        }
    }

    /// The peer classes that a side looks at, with each rule that matches them, ascending. Those
    /// whose named ports it asks for are among them, with a rule or without.
    fn named_by(&self, id: SideId, side: &Side) -> Vec<(PeerClass, Option<u32>)> {
        let mut named = Vec::new();
        for (one, rule) in side.rules_by_trait() {
            named.extend(self.links.peers_with(*one).map(|peer| (peer, Some(*rule))));
        }
        if subject_of(id).1 == 1 {
            for port in side.names.iter().flat_map(|name| self.traits.ports_named(name)) {
                named.extend(self.links.peers_with(port).map(|peer| (peer, None)));
            }
        }
        named.sort_unstable();
        named.dedup();
        named
    }

    /// The filter of these rules of a side towards a peer class. What was found is counted once, in
    /// `known`.
    fn filter_id(
        &mut self,
        id: SideId,
        side: &Side,
        peer: PeerClass,
        rules: &[u32],
        known: &mut Known,
    ) -> FilterId {
        let ports = self.ports_towards(id, side, peer);
        if let Some(filter) = known.get(&Asked(rules, &ports)) {
            return *filter;
        }
        let filter = self.filters.take(side.filter(rules, &ports, None), self.journal.clock());
        known.insert((rules.to_vec(), ports), filter);
        filter
    }

    /// The named ports that count from a side towards a peer class: those of the destination.
    fn ports_towards(&self, id: SideId, side: &Side, peer: PeerClass) -> Vec<NamedPort> {
        if side.names.is_empty() {
            return Vec::new();
        }
        let (subject, direction) = subject_of(id);
        if direction == 0 {
            return self.subjects.key(subject).ports.to_vec();
        }
        let ports = self.links.traits(peer).filter_map(|one| self.traits.port(one));
        ports.filter(|port| side.names.contains(&port.name)).cloned().collect()
    }

    /// Write down how the rows of a side are different.
    fn note(&mut self, id: SideId, before: Option<&Side>, now: Option<&Side>) {
        let (subject, direction) = subject_of(id);
        let way = WAYS[direction];
        let default = |side: Option<&Side>| side.map(|side| side.default);
        if default(before) != default(now) {
            self.journal.push(Entry::Row((subject, way, None), default(before)));
        }
        let none = RowMap::default();
        let old = before.map_or(&none, |side| &side.rows);
        let new = now.map_or(&none, |side| &side.rows);
        for (peer, filter) in changed(old, new) {
            self.journal.push(Entry::Row((subject, way, Some(peer)), filter));
        }
    }

    /// Choose the default again where rows have become many.
    pub(super) fn make_room(&mut self) {
        for id in std::mem::take(&mut self.crowded) {
            let (subject, direction) = subject_of(id);
            if self.side(id).is_some() {
                let ids = self.subjects.key(subject).policies.clone();
                let made = Side::new(&self.policies, &ids, direction);
                self.replace_side(id, made.map(Box::new));
            }
        }
    }

    fn side(&self, id: SideId) -> Option<&Side> {
        let (subject, direction) = subject_of(id);
        self.rows.get(subject as usize)?.sides[direction].as_deref()
    }

    /// Put in a row for a peer class that is new; its filter is counted already.
    fn add_row(&mut self, id: SideId, peer: PeerClass, filter: FilterId) {
        let (subject, direction) = subject_of(id);
        if let Some(side) = &mut self.rows[subject as usize].sides[direction] {
            side.rows.insert(peer, filter);
            if side.rows.len() > side.crowd {
                self.crowded.insert(id);
            }
        }
        self.journal.push(Entry::Row((subject, WAYS[direction], Some(peer)), None));
    }

    /// The sides that may have a row for a peer class.
    fn sides_of(&self, peer: PeerClass) -> Vec<SideId> {
        let mut sides: Vec<_> = self.flipped.iter().copied().collect();
        for one in self.links.traits(peer) {
            sides.extend_from_slice(self.traits.sides(one));
        }
        sides.sort_unstable();
        sides.dedup();
        sides
    }

    /// Give a new peer class the rows of the one that it was part of.
    pub(super) fn copy_rows(&mut self, from: PeerClass, to: PeerClass) {
        // The traits are the same, but for some that no side looks at.
        for id in self.sides_of(to) {
            let Some(filter) = self.side(id).and_then(|side| side.rows.get(from)) else { continue };
            self.filters.take_again(filter);
            self.add_row(id, to, filter);
        }
    }

    /// Make the rows of a new peer class.
    pub(super) fn make_rows(&mut self, peer: PeerClass) {
        for id in self.sides_of(peer) {
            let (subject, direction) = subject_of(id);
            // Taken out meanwhile, so that the engine can be asked.
            let Some(side) = self.rows[subject as usize].sides[direction].take() else { continue };
            let rules = side.matching(self.links.traits(peer));
            let filter = self.filter_id(id, &side, peer, &rules, &mut Known::new());
            let needed = filter != side.default;
            self.rows[subject as usize].sides[direction] = Some(side);
            if needed {
                self.add_row(id, peer, filter);
            } else {
                self.give_filter(filter);
            }
        }
    }

    /// Drop the rows of a peer class that is no more.
    pub(super) fn drop_rows(&mut self, peer: PeerClass) {
        for id in self.sides_of(peer) {
            let (subject, direction) = subject_of(id);
            let side = self.rows[subject as usize].sides[direction].as_mut();
            if let Some(filter) = side.and_then(|side| side.rows.remove(peer)) {
                let key: RowKey = (subject, WAYS[direction], Some(peer));
                self.journal.push(Entry::Row(key, Some(filter)));
                self.give_filter(filter);
            }
        }
        debug_assert!(!self.has_rows(peer));
    }

    fn has_rows(&self, peer: PeerClass) -> bool {
        let sides = self.rows.iter().flat_map(|rows| &rows.sides).flatten();
        sides.into_iter().any(|side| side.rows.has(peer))
    }

    /// Whether policies other than NetworkPolicies have a say for a subject.
    fn is_clustered(&self, subject: SubjectClass, direction: usize) -> bool {
        self.side(side(subject, direction)).is_some_and(|side| side.clustered)
    }

    /// Make those rows of a subject anew that NetworkPolicies have no say in.
    fn exempt_rows(&mut self, subject: SubjectClass) {
        let mut keys: Vec<(Way, PeerClass)> =
            self.rows_mut(subject).exempt.iter().map(|(key, _)| key).collect();
        if self.is_clustered(subject, 1) {
            keys.extend(self.hosts.keys().map(|peer| (Way::Local, *peer)));
        }
        for (peer, _) in self.rows_mut(subject).pairs.iter() {
            keys.extend([(Way::HairpinIngress, peer), (Way::HairpinEgress, peer)]);
        }
        keys.sort_unstable();
        keys.dedup();
        for (way, peer) in keys {
            self.exempt_row(subject, way, peer, true);
        }
    }

    /// A peer class is the first or the last of a node's address.
    pub(super) fn host_rows(&mut self, peer: PeerClass, there: bool) {
        for subject in 0..self.rows.len() {
            let subject = SubjectClass::try_from(subject).expect("classes are numbered by u32");
            if self.is_clustered(subject, 1) {
                self.exempt_row(subject, Way::Local, peer, there);
            }
        }
    }

    /// A peer class is the first or the last of a pod's of a subject.
    pub(super) fn hairpin_rows(&mut self, subject: SubjectClass, peer: PeerClass, there: bool) {
        self.exempt_row(subject, Way::HairpinIngress, peer, there);
        self.exempt_row(subject, Way::HairpinEgress, peer, there);
    }

    fn exempt_row(&mut self, subject: SubjectClass, way: Way, peer: PeerClass, there: bool) {
        let filter = if there { self.exempt_filter(subject, way, peer) } else { None };
        let exempt = &mut self.rows[subject as usize].exempt;
        let before = match filter {
            Some(filter) => exempt.insert((way, peer), filter),
            None => exempt.remove((way, peer)),
        };
        if before != filter {
            self.journal.push(Entry::Row((subject, way, Some(peer)), before));
        }
        if let Some(before) = before {
            self.give_filter(before);
        }
    }

    /// The filter, counted, if it says anything but what holds without it.
    fn exempt_filter(
        &mut self,
        subject: SubjectClass,
        way: Way,
        peer: PeerClass,
    ) -> Option<FilterId> {
        let (direction, exempt) = match way {
            Way::HairpinIngress => (0, ReasonId::ITSELF),
            Way::HairpinEgress => (1, ReasonId::ITSELF),
            Way::Local | Way::Ingress | Way::Egress => (1, ReasonId::OWN_NODE),
        };
        let id = side(subject, direction);
        let side = self.side(id).filter(|side| side.clustered)?;
        let ports = self.ports_towards(id, side, peer);
        let rules = side.matching(self.links.traits(peer));
        let filter = side.filter(&rules, &ports, Some(exempt));
        if filter.is_just(exempt) {
            return None;
        }
        Some(self.filters.take(filter, self.journal.clock()))
    }
}

/// The peer classes whose rows are not the same, with what they were, ascending.
fn changed(old: &RowMap, new: &RowMap) -> Vec<(PeerClass, Option<FilterId>)> {
    let gone = old.iter().filter(|(peer, filter)| new.get(*peer) != Some(*filter));
    let come = new.iter().filter(|(peer, _)| !old.has(*peer));
    let mut all: Vec<_> = gone.map(|(peer, filter)| (peer, Some(filter))).collect();
    all.extend(come.map(|(peer, _)| (peer, None)));
    all.sort_unstable();
    all
}

/// The filter that most peer classes have. That of before stays unless another one has twice as
/// many, so that few rows change; and that of peers that no rule names is preferred.
fn choose(count: &HashMap<FilterId, usize>, base: FilterId, before: Option<FilterId>) -> FilterId {
    let most = count.iter().max_by_key(|(id, count)| (**count, **id == base, u32::MAX - **id));
    let (best, most) = most.map_or((base, 0), |(id, count)| (*id, *count));
    match before {
        Some(before) if count.get(&before).is_some_and(|had| had * 2 >= most) => before,
        _ => best,
    }
}
