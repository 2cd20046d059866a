//! Policies with everything in them that has a number as that number.

use std::sync::Arc;

use hashbrown::HashMap;

use super::index::PeerIndex;
use super::traits::TraitId;
use crate::policy::filter::{Span, point};
use crate::policy::model::{Action, Key, NamedPort, Peer, Place, Policy, PortMatch, Rule, Tier};

/// Small number of a policy.
pub type PolicyId = u32;

/// A policy.
#[derive(Debug, Clone)]
pub struct Compiled {
    /// As it was given.
    pub policy: Arc<Policy>,
    /// Where it is evaluated.
    pub place: Place,
    /// Its rules, for ingress and egress.
    pub rules: [Vec<Arc<CompiledRule>>; 2],
    /// The reasons of its isolation, where it isolates.
    pub isolation: [Option<u32>; 2],
    /// The names of ports that its rules use, each once.
    pub names: [Vec<Arc<str>>; 2],
}

impl Compiled {
    /// Whether it has any say in a direction.
    pub fn touches(&self, direction: usize) -> bool {
        self.isolation[direction].is_some() || !self.rules[direction].is_empty()
    }
}

/// A rule.
#[derive(Debug, Clone)]
pub struct CompiledRule {
    /// The tier of its policy.
    pub tier: Tier,
    /// Whether its policy is only audited.
    pub audit: bool,
    /// What it does.
    pub action: Action,
    /// Its reason.
    pub reason: u32,
    /// The other side, any of these; `None`: whatever it is.
    pub peers: Option<Box<[TraitId]>>,
    /// Where it matches.
    pub spans: Spans,
}

/// Protocols and ports of a rule.
#[derive(Debug, Clone)]
pub enum Spans {
    /// All.
    All,
    /// The same whatever the destination is.
    Fixed(Arc<[Span]>),
    /// Some are those that the destination calls so.
    Named(Arc<[PortMatch]>),
}

impl Spans {
    /// Of the ports of a rule.
    pub fn new(rule: &Rule) -> Self {
        match &rule.ports {
            None => Self::All,
            Some(ports) if ports.iter().any(|one| matches!(one, PortMatch::Named { .. })) => {
                Self::Named(ports.as_slice().into())
            }
            Some(ports) => Self::Fixed(resolve(ports, &[])),
        }
    }

    /// The spans for a destination with these named ports; `None`: all.
    pub fn of(&self, named: &[NamedPort]) -> Option<Arc<[Span]>> {
        match self {
            Self::All => None,
            Self::Fixed(spans) => Some(spans.clone()),
            Self::Named(ports) => Some(resolve(ports, named)),
        }
    }
}

fn resolve(ports: &[PortMatch], named: &[NamedPort]) -> Arc<[Span]> {
    let mut spans = Vec::with_capacity(ports.len());
    for one in ports {
        match one {
            PortMatch::Range { protocol, first, last } => {
                spans.push(point(*protocol, *first)..=point(*protocol, *last));
            }
            PortMatch::Named { protocol, name } => {
                let fits = |port: &&NamedPort| {
                    port.name == *name && protocol.is_none_or(|protocol| port.protocol == protocol)
                };
                let at = |port: &NamedPort| point(port.protocol, port.port);
                spans.extend(named.iter().filter(fits).map(at).map(|at| at..=at));
            }
        }
    }
    spans.into()
}

/// The names of ports that rules use, each once.
pub fn names(rules: &[Rule]) -> Vec<Arc<str>> {
    let ports = rules.iter().filter_map(|rule| rule.ports.as_ref()).flatten();
    let names = ports.filter_map(|port| match port {
        PortMatch::Named { name, .. } => Some(name),
        PortMatch::Range { .. } => None,
    });
    let mut names: Vec<_> = names.cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// All policies.
#[derive(Debug, Clone, Default)]
pub struct Policies {
    ids: HashMap<Key, PolicyId>,
    slots: Vec<Option<Compiled>>,
    free: Vec<PolicyId>,
    subjects: PeerIndex,
}

impl Policies {
    /// The number of a policy that is there.
    pub fn find(&self, key: &Key) -> Option<PolicyId> {
        self.ids.get(key).copied()
    }

    /// A policy that is there.
    pub fn get(&self, id: PolicyId) -> &Compiled {
        self.slots[id as usize].as_ref().expect("policies in use are there")
    }

    /// All policies.
    pub fn iter(&self) -> impl Iterator<Item = &Compiled> {
        self.slots.iter().flatten()
    }

    /// Put in a policy, beside any other version of it, which is not found any more.
    pub fn add(&mut self, compiled: Compiled) -> PolicyId {
        let id = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            u32::try_from(self.slots.len() - 1).expect("policies are numbered by u32")
        });
        self.subjects.insert(&compiled.policy.subject, id);
        self.ids.insert(compiled.policy.key.clone(), id);
        self.slots[id as usize] = Some(compiled);
        id
    }

    /// Take a policy out.
    pub fn remove(&mut self, id: PolicyId) -> Option<Compiled> {
        let compiled = self.slots[id as usize].take()?;
        if self.find(&compiled.policy.key) == Some(id) {
            self.ids.remove(&compiled.policy.key);
        }
        self.subjects.remove(&compiled.policy.subject, id);
        self.free.push(id);
        Some(compiled)
    }

    /// The policies by what they select.
    pub fn index(&self) -> &PeerIndex {
        &self.subjects
    }

    /// A policy with numbers, made by those that give traits and reasons.
    pub fn compile(
        policy: Arc<Policy>,
        mut take: impl FnMut(&Peer) -> TraitId,
        mut reason: impl FnMut(usize, Option<usize>) -> u32,
    ) -> Compiled {
        let mut rules = [Vec::new(), Vec::new()];
        let mut isolation = [None, None];
        for direction in 0..2 {
            if policy.isolates[direction] {
                isolation[direction] = Some(reason(direction, None));
            }
            for (index, rule) in policy.rules[direction].iter().enumerate() {
                rules[direction].push(Arc::new(CompiledRule {
                    tier: policy.tier,
                    audit: policy.audit,
                    action: rule.action,
                    reason: reason(direction, Some(index)),
                    peers: rule.peers.as_ref().map(|peers| peers.iter().map(&mut take).collect()),
                    spans: Spans::new(rule),
                }));
            }
        }
        let names = [names(&policy.rules[0]), names(&policy.rules[1])];
        Compiled { place: policy.place(), rules, isolation, names, policy }
    }
}
