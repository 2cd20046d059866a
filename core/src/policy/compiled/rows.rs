//! What is decided for a subject in one direction, towards each class of peers.

use std::sync::Arc;

use super::policies::{CompiledRule, Policies, PolicyId};
use super::row_map::RowMap;
use super::traits::TraitId;
use crate::policy::filter::{Clause, Clauses, Filter, Isolation};
use crate::policy::model::{NamedPort, Tier};
use crate::policy::reason::ReasonId;
use crate::policy::tables::{FilterId, SubjectClass};

/// A subject class and a direction: twice the class, and one more for egress.
pub type SideId = u32;

/// The number of a side.
pub fn side(subject: SubjectClass, direction: usize) -> SideId {
    subject * 2 + SideId::from(direction == 1)
}

/// The subject class and the direction of a side.
pub fn subject_of(side: SideId) -> (SubjectClass, usize) {
    (side / 2, (side % 2) as usize)
}

/// The rules of a side, and what they decide.
#[derive(Debug, Clone)]
pub struct Side {
    /// All rules in the order of evaluation.
    rules: Box<[Arc<CompiledRule>]>,
    /// (trait, rule for peers that have it), ascending, each once.
    by_trait: Box<[(TraitId, u32)]>,
    /// The rules for whatever peer, ascending.
    always: Box<[u32]>,
    /// The names of ports that rules use.
    pub names: Box<[Arc<str>]>,
    isolation: Isolation,
    /// Whether policies other than NetworkPolicies have a say.
    pub clustered: bool,
    /// The filter of peers that no rule names.
    pub base: FilterId,
    /// The filter of peers without a row.
    pub default: FilterId,
    /// The filters of the others.
    pub rows: RowMap,
    /// With more rows than this, another default may be better.
    pub crowd: usize,
}

impl Side {
    /// The rules of policies for a direction; `None` if none has any say.
    pub fn new(policies: &Policies, ids: &[PolicyId], direction: usize) -> Option<Self> {
        let mut all: Vec<_> = ids.iter().map(|id| policies.get(*id)).collect();
        all.retain(|policy| policy.touches(direction));
        if all.is_empty() {
            return None;
        }
        all.sort_by(|a, b| a.place.cmp(&b.place));
        let mut isolation = Isolation::default();
        for policy in &all {
            if let Some(reason) = policy.isolation[direction].map(ReasonId) {
                isolation.audited.get_or_insert(reason);
                if !policy.policy.audit {
                    isolation.enforced.get_or_insert(reason);
                }
            }
        }
        let mut names: Vec<_> = all.iter().flat_map(|one| &one.names[direction]).cloned().collect();
        names.sort();
        names.dedup();
        let rules = all.iter().flat_map(|policy| &policy.rules[direction]);
        let rules: Box<[_]> = rules.cloned().collect();
        let (mut by_trait, mut always) = (Vec::new(), Vec::new());
        for (index, rule) in (0..).zip(&rules) {
            match &rule.peers {
                None => always.push(index),
                Some(peers) => by_trait.extend(peers.iter().map(|peer| (*peer, index))),
            }
        }
        by_trait.sort_unstable();
        by_trait.dedup();
        Some(Self {
            rules,
            by_trait: by_trait.into(),
            always: always.into(),
            names: names.into(),
            isolation,
            clustered: all.iter().any(|policy| policy.policy.tier != Tier::NetworkPolicy),
            base: 0,
            default: 0,
            rows: RowMap::default(),
            crowd: 0,
        })
    }

    /// The traits that rules look at.
    pub fn traits(&self) -> impl Iterator<Item = TraitId> {
        self.by_trait.chunk_by(|a, b| a.0 == b.0).map(|rules| rules[0].0)
    }

    /// Whether rules look at a trait.
    pub fn has_trait(&self, id: TraitId) -> bool {
        !self.rules_for(id).is_empty()
    }

    fn rules_for(&self, id: TraitId) -> &[(TraitId, u32)] {
        let from = self.by_trait.partition_point(|one| one.0 < id);
        let rules = &self.by_trait[from..];
        &rules[..rules.partition_point(|one| one.0 == id)]
    }

    /// Each trait with each rule for peers that have it.
    pub fn rules_by_trait(&self) -> &[(TraitId, u32)] {
        &self.by_trait
    }

    /// The rules for whatever peer, ascending.
    pub fn rules_for_all(&self) -> &[u32] {
        &self.always
    }

    /// Add the rules for whatever peer to some; all of them are ascending then, each once.
    pub fn add_rules_for_all(&self, rules: &mut Vec<u32>) {
        rules.extend_from_slice(&self.always);
        rules.sort_unstable();
        rules.dedup();
    }

    /// The rules that match a peer with these traits, ascending.
    pub fn matching(&self, traits: impl Iterator<Item = TraitId>) -> Vec<u32> {
        let of_traits = traits.flat_map(|one| self.rules_for(one));
        let mut found = of_traits.map(|(_, rule)| *rule).collect();
        self.add_rules_for_all(&mut found);
        found
    }

    /// What these rules decide, for a destination with these named ports.
    pub fn filter(&self, rules: &[u32], ports: &[NamedPort], exempt: Option<ReasonId>) -> Filter {
        let mut clauses = Clauses { exempt, isolation: self.isolation, ..Clauses::default() };
        for index in rules {
            let rule = &self.rules[*index as usize];
            let spans = rule.spans.of(ports);
            if spans.as_ref().is_some_and(|spans| spans.is_empty()) {
                continue;
            }
            let (action, reason, audit) = (rule.action, ReasonId(rule.reason), rule.audit);
            let clause = Clause { action, reason, audit, spans };
            match rule.tier {
                Tier::Admin => clauses.admin.push(clause),
                Tier::NetworkPolicy => clauses.network.push(clause),
                Tier::Baseline => clauses.baseline.push(clause),
            }
        }
        clauses.filter()
    }
}
