//! What a policy that comes, changes or goes makes different.

use std::collections::BTreeMap;
use std::sync::Arc;

use hashbrown::HashMap;

use super::identities::IdentityId;
use super::partition::Class;
use super::policies::{Compiled, Policies, PolicyId};
use super::state::{PolicyEngine, SubjectKey};
use super::traits::{Trait, TraitId, selects, with, without};
use crate::policy::block;
use crate::policy::model::{Direction, Key, NamespaceMatch, Peer, PodPeer, Policy};
use crate::policy::reason::PolicyReason;

impl PolicyEngine {
    pub(super) fn put_policy(&mut self, policy: Arc<Policy>) -> bool {
        let before = self.policies.find(&policy.key);
        if before.is_some_and(|id| *self.policies.get(id).policy == *policy) {
            return false;
        }
        let compiled = self.compile(policy);
        let id = self.policies.add(compiled);
        self.select(before, Some(id));
        if let Some(before) = before {
            self.retire(before);
        }
        true
    }

    pub(super) fn remove_policy(&mut self, key: &Key) -> bool {
        let Some(id) = self.policies.find(key) else { return false };
        self.select(Some(id), None);
        self.retire(id);
        true
    }

    /// Give numbers to all that a policy names, and let what is new make its difference.
    fn compile(&mut self, policy: Arc<Policy>) -> Compiled {
        let clock = self.journal.clock();
        let (traits, reasons) = (&mut self.traits, &mut self.reasons);
        let mut new = Vec::new();
        let take = |peer: &Peer| {
            let (id, first) = traits.take(&Trait::Peer(peer.clone()));
            if first {
                new.push(id);
            }
            id
        };
        let of_policy = policy.clone();
        let reason = |direction: usize, rule: Option<usize>| {
            let rule = rule.map(|index| (index, &of_policy.rules[direction][index]));
            let direction = Direction::ALL[direction];
            reasons.take(Arc::new(PolicyReason::of(&of_policy, direction, rule)), clock)
        };
        let compiled = Policies::compile(policy, take, reason);
        self.distinguish(&new);
        for name in &compiled.names[1] {
            if self.traits.take_name(name) {
                self.distinguish_ports(name);
            }
        }
        compiled
    }

    /// Let new traits split classes.
    fn distinguish(&mut self, new: &[TraitId]) {
        let mut blocks = Vec::new();
        for &id in new {
            let identities: Vec<_> = match self.traits.get(id) {
                Trait::Peer(Peer::Block(_)) => {
                    blocks.push(id);
                    continue;
                }
                Trait::Peer(Peer::Pods(peer)) => self.candidates(peer),
                Trait::Peer(Peer::Nodes(_)) | Trait::Port(_) => self.identities.live().collect(),
            };
            let (all, traits) = (&self.identities, &self.traits);
            let matching = identities.into_iter().filter(|identity| {
                let who = all.who(*identity);
                traits.matches(id, who, all.namespace_labels(who))
            });
            let matching: Vec<_> = matching.collect();
            self.rekey_entities(matching, |traits| with(traits, id));
        }
        if !blocks.is_empty() {
            self.recut(&blocks, &[]);
        }
    }

    /// The identities that a selector may match.
    fn candidates(&self, peer: &PodPeer) -> Vec<IdentityId> {
        match &peer.namespace {
            NamespaceMatch::Name(name) => self.identities.live_in(name).collect(),
            NamespaceMatch::Labels(_) => self.identities.live().collect(),
        }
    }

    /// Ports of this name begin to make a difference.
    fn distinguish_ports(&mut self, name: &Arc<str>) {
        let mut of_port: BTreeMap<TraitId, Vec<IdentityId>> = BTreeMap::new();
        let live: Vec<_> = self.identities.live().collect();
        for identity in live {
            let who = self.identities.who(identity).clone();
            for port in who.ports().iter().filter(|port| port.name == *name) {
                of_port.entry(self.take_port(port)).or_default().push(identity);
            }
        }
        for (id, identities) in of_port {
            self.rekey_entities(identities, |traits| with(traits, id));
        }
    }

    /// One version of a policy selects pods instead of another one.
    fn select(&mut self, before: Option<PolicyId>, now: Option<PolicyId>) {
        let mut identities: Vec<_> = [before, now]
            .into_iter()
            .flatten()
            .flat_map(|id| self.candidates(&self.policies.get(id).policy.subject))
            .collect();
        identities.sort_unstable();
        identities.dedup();
        let mut changes = Vec::new();
        let mut made: HashMap<(Class, bool), Vec<PolicyId>> = HashMap::new();
        for identity in identities {
            let who = self.identities.who(identity);
            let labels = self.identities.namespace_labels(who);
            let selected =
                now.filter(|id| selects(&self.policies.get(*id).policy.subject, who, labels));
            let class = self.subject(identity);
            let key = self.subjects.key(class);
            let had = before.filter(|id| key.policies.binary_search(id).is_ok());
            if selected.is_none() && had.is_none() {
                continue;
            }
            let policies = made.entry((class, selected.is_some())).or_insert_with(|| {
                let kept = key.policies.iter().copied().filter(|id| Some(*id) != had);
                let mut ids: Vec<_> = kept.chain(selected).collect();
                ids.sort_unstable();
                ids
            });
            changes.push((identity, self.key_of(identity, policies.clone())));
        }
        let touches = |direction| {
            [before, now].into_iter().flatten().any(|id| self.policies.get(id).touches(direction))
        };
        let directions = [touches(0), touches(1)];
        self.share(&mut changes);
        self.regroup_subjects(changes, directions);
    }

    /// Let equal keys be one in memory.
    fn share(&self, changes: &mut [(IdentityId, SubjectKey)]) {
        let mut seen: HashMap<SubjectKey, SubjectKey> = HashMap::new();
        for (_, key) in changes {
            *key = seen.entry(key.clone()).or_insert_with(|| key.clone()).clone();
        }
    }

    /// Take out a version of a policy that selects nothing any more.
    fn retire(&mut self, id: PolicyId) {
        let Some(old) = self.policies.remove(id) else { return };
        let peers = old.rules.iter().flatten().filter_map(|rule| rule.peers.as_ref());
        let mut gone = Vec::new();
        for peer in peers.flat_map(|peers| peers.iter()) {
            if self.traits.give(*peer) {
                gone.push(*peer);
            }
        }
        self.blend(&gone);
        for name in &old.names[1] {
            if self.traits.give_name(name) {
                self.blend_ports(name);
            }
        }
        let clock = self.journal.clock();
        let of_rules = old.rules.iter().flatten().map(|rule| rule.reason);
        for reason in of_rules.chain(old.isolation.into_iter().flatten()) {
            self.reasons.give(reason, clock);
        }
    }

    /// Traits make no difference any more: let classes merge.
    fn blend(&mut self, gone: &[TraitId]) {
        let mut blocks = Vec::new();
        for &id in gone {
            if matches!(self.traits.get(id), Trait::Peer(Peer::Block(_))) {
                blocks.push(id);
                continue;
            }
            self.rekey_without(id);
            self.traits.forget(id);
        }
        if !blocks.is_empty() {
            self.recut(&[], &blocks);
        }
        for id in blocks {
            self.traits.forget(id);
        }
    }

    fn rekey_without(&mut self, id: TraitId) {
        let classes = self.links.entities_with(id);
        let identities: Vec<_> =
            classes.iter().flat_map(|class| self.entities.elements(*class)).copied().collect();
        self.rekey_entities(identities, |traits| without(traits, id));
    }

    /// Ports of this name make no difference any more.
    fn blend_ports(&mut self, name: &Arc<str>) {
        for id in self.traits.ports_named(name) {
            self.rekey_without(id);
            self.traits.forget(id);
        }
    }

    /// The ranges of a trait that is a block.
    pub(super) fn ranges(&self, id: TraitId) -> Vec<(std::net::IpAddr, std::net::IpAddr)> {
        match self.traits.get(id) {
            Trait::Peer(Peer::Block(block)) => block::Block::ranges(block),
            Trait::Peer(_) | Trait::Port(_) => Vec::new(),
        }
    }
}
