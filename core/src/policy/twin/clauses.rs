//! From policies to the clauses that match one peer.

use std::sync::Arc;

use super::super::filter::{Clause, Clauses, Span, point};
use super::super::model::{Direction, NamedPort, Peer, Policy, PortMatch, Protocol, Rule, Tier};
use super::super::reason::{PolicyReason, Reason, ReasonId};

/// What a connection's filter is made for.
pub struct Question<'a> {
    /// The policies that select the pod, in the order of evaluation.
    pub policies: &'a [&'a Policy],
    /// The direction, seen from the pod.
    pub direction: Direction,
    /// Why no NetworkPolicy counts, if none does.
    pub exempt: Option<ReasonId>,
    /// The named ports of the destination.
    pub ports: &'a [NamedPort],
}

impl Question<'_> {
    /// The clauses of the rules that match the peer.
    pub fn clauses(
        &self,
        matches: impl Fn(&Peer) -> bool,
        mut id: impl FnMut(Reason) -> ReasonId,
    ) -> Clauses {
        let mut clauses = Clauses { exempt: self.exempt, ..Clauses::default() };
        for policy in self.policies {
            if policy.isolates[self.direction as usize] {
                let isolation = &mut clauses.isolation;
                if isolation.audited.is_none() || isolation.enforced.is_none() {
                    let reason = id(PolicyReason::of(policy, self.direction, None));
                    isolation.audited.get_or_insert(reason);
                    if !policy.audit {
                        isolation.enforced.get_or_insert(reason);
                    }
                }
            }
            for (index, rule) in policy.rules[self.direction as usize].iter().enumerate() {
                if rule.peers.as_ref().is_some_and(|peers| !peers.iter().any(&matches)) {
                    continue;
                }
                let spans = spans(rule, self.ports);
                if spans.as_ref().is_some_and(|spans| spans.is_empty()) {
                    continue;
                }
                let reason = id(PolicyReason::of(policy, self.direction, Some((index, rule))));
                let clause = Clause { action: rule.action, reason, audit: policy.audit, spans };
                match policy.tier {
                    Tier::Admin => clauses.admin.push(clause),
                    Tier::NetworkPolicy => clauses.network.push(clause),
                    Tier::Baseline => clauses.baseline.push(clause),
                }
            }
        }
        clauses
    }
}

/// Where a rule matches, `None` for everywhere.
fn spans(rule: &Rule, named: &[NamedPort]) -> Option<Arc<[Span]>> {
    let mut spans = Vec::new();
    for one in rule.ports.as_ref()? {
        match one {
            PortMatch::Range { protocol, first, last } => {
                spans.push(point(*protocol, *first)..=point(*protocol, *last));
            }
            PortMatch::Named { protocol, name } => {
                spans.extend(resolve(*protocol, name, named));
            }
        }
    }
    Some(spans.into())
}

fn resolve<'a>(
    protocol: Option<Protocol>,
    name: &'a Arc<str>,
    named: &'a [NamedPort],
) -> impl Iterator<Item = Span> + 'a {
    let fits = move |port: &&NamedPort| {
        port.name == *name && protocol.is_none_or(|protocol| port.protocol == protocol)
    };
    named.iter().filter(fits).map(|port| {
        let at = point(port.protocol, port.port);
        at..=at
    })
}
