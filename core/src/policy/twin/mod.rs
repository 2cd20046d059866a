//! The twin: everything compiled from scratch at every change, and asked through the tables.

mod changes;
mod clauses;
mod objects;
mod scratch;
mod world;

use std::net::IpAddr;
use std::sync::Arc;

use self::scratch::{Ids, compile};
use self::world::World;
use super::filter::{Decision, point_of_number};
use super::model::{Key, Object};
use super::reason::{Reason, ReasonId};
use super::tables::{Tables, Way};

/// All objects, and the tables of them.
struct Twin {
    world: World,
    ids: Ids,
    tables: Tables,
}

/// A decision without numbers: allow or deny, why, and the same with audited policies enforced.
type Answer = (bool, Arc<Reason>, Option<(bool, Arc<Reason>)>);

impl Twin {
    fn new() -> Self {
        Self { world: World::default(), ids: Ids::default(), tables: Tables::default() }
    }

    fn apply(&mut self, object: Object) -> bool {
        let changed = self.world.put(object);
        self.tables = compile(&self.world, &mut self.ids);
        changed
    }

    fn delete(&mut self, key: &Key) -> bool {
        let changed = self.world.remove(key);
        self.tables = compile(&self.world, &mut self.ids);
        changed
    }

    /// The decisions for egress and ingress.
    fn verdict(&self, from: IpAddr, to: IpAddr, protocol: u8, port: u16) -> [Answer; 2] {
        let at = (protocol, port);
        let mut pods = self.world.pods.values().filter(|pod| pod.is_endpoint());
        if from == to && pods.any(|pod| pod.addresses.contains(&from)) {
            return [
                look(&self.tables, from, to, Way::HairpinEgress, at),
                look(&self.tables, to, from, Way::HairpinIngress, at),
            ];
        }
        let way = if self.is_own_node(from, to) { Way::Local } else { Way::Egress };
        let egress = look(&self.tables, from, to, way, at);
        let ingress = match self.is_own_node(to, from) {
            true => (true, Arc::new(Reason::OwnNode), None),
            false => look(&self.tables, to, from, Way::Ingress, at),
        };
        [egress, ingress]
    }

    /// Whether the second address is one of the node that the pod of the first is on.
    fn is_own_node(&self, pod: IpAddr, other: IpAddr) -> bool {
        let world = &self.world;
        let pods = world.arrivals.values().rev().map(|key| &world.pods[key]);
        let mut pods = pods.filter(|one| one.is_endpoint() && one.addresses.contains(&pod));
        let Some(node) = pods.next().and_then(|pod| pod.node.as_ref()) else { return false };
        let known = world.nodes.get(node);
        known.is_some_and(|node| node.addresses.contains(&other))
            || world.pods.values().any(|pod| {
                pod.host_network
                    && !pod.ended
                    && pod.node.as_ref() == Some(node)
                    && pod.addresses.contains(&other)
            })
    }
}

/// What tables decide for a pod at the first address towards the second one.
fn look(tables: &Tables, pod: IpAddr, peer: IpAddr, way: Way, at: (u8, u16)) -> Answer {
    let decision = decide(tables, pod, peer, way, at);
    let reason = |id: ReasonId| match Reason::BUILT_IN.get(id.0 as usize) {
        Some(reason) => Arc::new(reason.clone()),
        None => tables.reasons[&id].clone(),
    };
    let audit = decision.audit.map(|(allow, id)| (allow, reason(id)));
    (decision.allow, reason(decision.reason), audit)
}

fn decide(tables: &Tables, pod: IpAddr, peer: IpAddr, way: Way, at: (u8, u16)) -> Decision {
    let allowed = Decision { allow: true, reason: way.fallback(), audit: None };
    let Some(&subject) = tables.subjects.get(&pod) else { return allowed };
    let exact = tables.rows.get(&(subject, way, Some(tables.peer_class(peer))));
    let filter = exact.or_else(|| tables.rows.get(&(subject, way, None)));
    filter.map_or(allowed, |id| tables.filters[id].decide(point_of_number(at.0, at.1)))
}
