//! Which rule decides for which protocol and port, once it is known which rules match the peer.

use std::collections::BTreeMap;
use std::hash::{Hash, Hasher};
use std::ops::RangeInclusive;
use std::sync::Arc;

use super::model::{Action, Protocol};
use super::reason::ReasonId;

/// Protocols and ports in one line: 0 to 0xffff is every protocol without ports, then the ports of
/// TCP, of UDP and of SCTP, 0x10000 each.
pub type Point = u32;

/// A range of that line.
pub type Span = RangeInclusive<Point>;

const PORTS: Point = 0x1_0000;
const END: Point = 4 * PORTS - 1;

/// The point of a port.
#[must_use]
pub fn point(protocol: Protocol, port: u16) -> Point {
    (protocol as Point + 1) * PORTS + Point::from(port)
}

/// The point of an IP protocol number and a port, which counts for protocols that have ports.
pub fn point_of_number(protocol: u8, port: u16) -> Point {
    Protocol::from_number(protocol).map_or(0, |protocol| point(protocol, port))
}

/// Allow or deny, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Decision {
    /// What is done.
    pub allow: bool,
    /// What decided it.
    pub reason: ReasonId,
    /// What would have decided, and how, if audited policies were enforced, where it is something
    /// else.
    pub audit: Option<(bool, ReasonId)>,
}

impl Hash for Decision {
    /// Of the reason, which nearly always has the rest with it: verdicts are looked up by this.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u32(self.reason.0);
    }
}

/// The decision for each protocol and port.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Filter {
    /// What is not the default: ascending, disjoint, each within one protocol.
    pub ports: Arc<[PortDecision]>,
    /// For everything else, protocols without ports among it.
    pub default: Decision,
}

/// What is decided for some ports of a protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct PortDecision {
    pub protocol: Protocol,
    pub first: u16,
    pub last: u16,
    pub decision: Decision,
}

impl Filter {
    /// Whether it always allows for the same reason.
    #[must_use]
    pub fn is_just(&self, reason: ReasonId) -> bool {
        self.ports.is_empty() && self.default == Decision { allow: true, reason, audit: None }
    }

    /// The decision for an IP protocol number and a destination port.
    #[must_use]
    pub fn decide_number(&self, protocol: u8, port: u16) -> Decision {
        self.decide(point_of_number(protocol, port))
    }

    /// The decision for a point.
    #[must_use]
    pub fn decide(&self, at: Point) -> Decision {
        let behind = self.ports.partition_point(|one| point(one.protocol, one.first) <= at);
        match behind.checked_sub(1).map(|index| &self.ports[index]) {
            Some(one) if at <= point(one.protocol, one.last) => one.decision,
            _ => self.default,
        }
    }
}

/// A rule that matches the peer.
#[derive(Debug, Clone)]
pub struct Clause {
    /// What it does.
    pub action: Action,
    /// What it is known as.
    pub reason: ReasonId,
    /// Whether it is of an audited policy.
    pub audit: bool,
    /// Where it matches; `None`: everywhere.
    pub spans: Option<Arc<[Span]>>,
}

/// All rules that match a peer, in their order, and what isolates.
#[derive(Debug, Clone, Default)]
pub struct Clauses {
    /// Rules of the tier Admin.
    pub admin: Vec<Clause>,
    /// Rules of NetworkPolicies.
    pub network: Vec<Clause>,
    /// The policies that deny what `network` does not allow: the first enforced one, and the
    /// first of all with the audited ones.
    pub isolation: Isolation,
    /// Why `isolation` does not count, as between a pod and its node, and nothing else allows.
    pub exempt: Option<ReasonId>,
    /// Rules of the tier Baseline.
    pub baseline: Vec<Clause>,
}

/// What denies in the tier NetworkPolicy if no rule allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Isolation {
    pub enforced: Option<ReasonId>,
    pub audited: Option<ReasonId>,
}

impl Clauses {
    /// Evaluate all tiers.
    #[must_use]
    pub fn filter(&self) -> Filter {
        let enforced = self.paint(false);
        let all = self.admin.iter().chain(&self.network).chain(&self.baseline);
        let differs = self.isolation.audited != self.isolation.enforced;
        if !differs && !all.into_iter().any(|clause| clause.audit) {
            return assemble(&enforced, &enforced);
        }
        assemble(&enforced, &self.paint(true))
    }

    fn paint(&self, with_audited: bool) -> Painting {
        let mut painting = Painting::default();
        let in_force = |clause: &&Clause| with_audited || !clause.audit;
        painting.tier(self.admin.iter().filter(in_force));
        let isolation = if with_audited { self.isolation.audited } else { self.isolation.enforced };
        if let Some(reason) = isolation {
            match self.exempt {
                Some(exempt) => painting.rest(true, exempt),
                None => {
                    painting.tier(self.network.iter().filter(in_force));
                    painting.rest(false, reason);
                }
            }
        }
        painting.tier(self.baseline.iter().filter(in_force));
        painting.rest(true, self.exempt.unwrap_or(ReasonId::DEFAULT));
        painting
    }
}

/// First point of a span -> (last point, allow, reason).
type Painted = BTreeMap<Point, (Point, bool, ReasonId)>;

/// What is decided, and what is not yet.
struct Painting {
    open: Open,
    done: Painted,
}

impl Default for Painting {
    fn default() -> Self {
        Self { open: Open(BTreeMap::from([(0, END)])), done: BTreeMap::new() }
    }
}

impl Painting {
    /// The first rule that matches decides, or passes on to the next tier.
    fn tier<'a>(&mut self, clauses: impl Iterator<Item = &'a Clause>) {
        let mut passed = Vec::new();
        for clause in clauses {
            let everywhere = [0..=END];
            for span in clause.spans.as_deref().unwrap_or(&everywhere) {
                for (first, last) in self.open.take(span) {
                    match clause.action {
                        Action::Pass => passed.push((first, last)),
                        Action::Accept | Action::Deny => {
                            let allow = clause.action == Action::Accept;
                            self.done.insert(first, (last, allow, clause.reason));
                        }
                    }
                }
            }
        }
        self.open.0.extend(passed);
    }

    fn rest(&mut self, allow: bool, reason: ReasonId) {
        for (first, last) in std::mem::take(&mut self.open.0) {
            self.done.insert(first, (last, allow, reason));
        }
    }
}

/// Disjoint spans, first point -> last point.
struct Open(BTreeMap<Point, Point>);

impl Open {
    /// Remove what is in the span; return it.
    fn take(&mut self, span: &Span) -> Vec<(Point, Point)> {
        let (from, to) = (*span.start(), *span.end());
        let mut first = from;
        if let Some((&before, &last)) = self.0.range(..from).next_back()
            && last >= from
        {
            first = before;
        }
        let hit: Vec<_> = self.0.range(first..=to).map(|(&first, &last)| (first, last)).collect();
        let mut taken = Vec::with_capacity(hit.len());
        for (first, last) in hit {
            self.0.remove(&first);
            if first < from {
                self.0.insert(first, from - 1);
            }
            if last > to {
                self.0.insert(to + 1, last);
            }
            taken.push((first.max(from), last.min(to)));
        }
        taken
    }
}

/// Put two paintings of the whole line on each other.
fn assemble(enforced: &Painting, audited: &Painting) -> Filter {
    let mut audited = audited.done.values().peekable();
    let mut merged: Vec<(Point, Point, Decision)> = Vec::new();
    for (&first, &(last, allow, reason)) in &enforced.done {
        let mut at = first;
        while at <= last {
            let Some(&&(until, audit_allow, audit_reason)) = audited.peek() else { break };
            let audit = (audit_reason != reason).then_some((audit_allow, audit_reason));
            let end = until.min(last);
            push(&mut merged, at, end, Decision { allow, reason, audit });
            if end == until {
                audited.next();
            }
            at = end + 1;
        }
    }
    let default = merged[0].2;
    let ports = merged.iter().filter(|one| one.2 != default && one.1 >= PORTS);
    let ports = ports.flat_map(|&(first, last, decision)| by_protocol(first, last, decision));
    Filter { ports: ports.collect(), default }
}

/// Append a span, joined to the one before if both say the same.
fn push(merged: &mut Vec<(Point, Point, Decision)>, first: Point, last: Point, decision: Decision) {
    match merged.last_mut() {
        Some(before) if before.2 == decision => before.1 = last,
        _ => merged.push((first, last, decision)),
    }
}

fn by_protocol(
    first: Point,
    last: Point,
    decision: Decision,
) -> impl Iterator<Item = PortDecision> {
    Protocol::ALL.into_iter().filter_map(move |protocol| {
        let first = first.max(point(protocol, 0));
        let last = last.min(point(protocol, u16::MAX));
        let port = |at: Point| u16::try_from(at % PORTS).unwrap_or(u16::MAX);
        (first <= last).then(|| PortDecision {
            protocol,
            first: port(first),
            last: port(last),
            decision,
        })
    })
}
