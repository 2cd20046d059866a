//! All tables from all objects, from scratch.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::Hash;
use std::net::IpAddr;
use std::sync::Arc;

use super::super::block::{highest, next, previous};
use super::super::filter::Filter;
use super::super::model::{
    Direction, Key, NamedPort, NamespaceMatch, Peer, Pod, PodPeer, Policy, PortMatch, Rule,
};
use super::super::reason::{Reason, ReasonId};
use super::super::tables::{RowKey, Tables, Way, reasons_of};
use super::clauses::Question;
use super::world::World;

/// What makes peers different.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Trait {
    /// It is one of these peers.
    Peer(Peer),
    /// As a destination it has this named port.
    Port(NamedPort),
}

/// Values and their numbers.
#[derive(Debug, Clone)]
struct Numbers<T>(HashMap<T, u32>);

impl<T> Default for Numbers<T> {
    fn default() -> Self {
        Self(HashMap::new())
    }
}

impl<T: Hash + Eq> Numbers<T> {
    fn of(&mut self, value: T) -> u32 {
        let next = u32::try_from(self.0.len()).unwrap_or(u32::MAX);
        *self.0.entry(value).or_insert(next)
    }
}

/// The ids that were given so far.
#[derive(Debug, Clone)]
pub struct Ids {
    traits: Numbers<Trait>,
    peers: Numbers<Vec<u32>>,
    subjects: Numbers<(Vec<Key>, Vec<NamedPort>)>,
    filters: Numbers<Filter>,
    reasons: Numbers<Reason>,
}

impl Default for Ids {
    fn default() -> Self {
        let mut ids = Self {
            traits: Numbers::default(),
            peers: Numbers::default(),
            subjects: Numbers::default(),
            filters: Numbers::default(),
            reasons: Numbers::default(),
        };
        ids.peers.of(Vec::new());
        ids.subjects.of((Vec::new(), Vec::new()));
        for reason in Reason::BUILT_IN {
            ids.reasons.of(reason);
        }
        ids
    }
}

/// Compile the tables of all objects.
pub fn compile(world: &World, ids: &mut Ids) -> Tables {
    let policies: Vec<_> = world.policies.values().collect();
    let mut run = Run {
        world,
        names: egress_names(&policies),
        policies,
        ids,
        members: BTreeMap::from([(0, Vec::new())]),
        tables: Tables::default(),
        reasons: BTreeMap::new(),
    };
    run.blocks();
    run.nodes();
    let (subjects, pairs) = run.pods();
    let nodes = run.hosts();
    for (class, (policies, ports)) in &subjects {
        for direction in Direction::ALL {
            run.rows(*class, policies, ports, direction);
        }
        for peer in &nodes {
            run.exempt_row((*class, Way::Local, Some(*peer)), policies, ports);
        }
    }
    for (class, peer) in pairs {
        for way in [Way::HairpinIngress, Way::HairpinEgress] {
            let (policies, ports) = &subjects[&class];
            run.exempt_row((class, way, Some(peer)), policies, ports);
        }
    }
    run.sweep();
    run.tables
}

struct Run<'a> {
    world: &'a World,
    policies: Vec<&'a Policy>,
    /// Port names that rules for egress use.
    names: BTreeSet<Arc<str>>,
    ids: &'a mut Ids,
    /// Peer class -> what its members are.
    members: BTreeMap<u32, Vec<Trait>>,
    tables: Tables,
    reasons: BTreeMap<ReasonId, Arc<Reason>>,
}

type Subjects<'a> = BTreeMap<u32, (Vec<&'a Policy>, Vec<NamedPort>)>;

impl<'a> Run<'a> {
    fn peers(&self) -> impl Iterator<Item = &'a Peer> + use<'a> {
        let rules = self.policies.clone().into_iter().flat_map(|policy| policy.rules.iter());
        rules.flatten().filter_map(|rule| rule.peers.as_ref()).flatten()
    }

    fn class(&mut self, traits: Vec<Trait>) -> u32 {
        let key: BTreeSet<_> = traits.iter().map(|one| self.ids.traits.of(one.clone())).collect();
        let class = self.ids.peers.of(key.into_iter().collect());
        self.members.insert(class, traits);
        class
    }

    fn blocks_at(&self, address: IpAddr) -> Vec<Trait> {
        let blocks = self.peers().filter(|peer| match peer {
            Peer::Block(block) => block.contains(address),
            Peer::Pods(_) | Peer::Nodes(_) => false,
        });
        blocks.cloned().map(Trait::Peer).collect()
    }

    fn blocks(&mut self) {
        let mut starts = BTreeSet::new();
        for peer in self.peers() {
            let Peer::Block(block) = peer else { continue };
            for (first, last) in block.ranges() {
                starts.insert(first);
                starts.extend(next(last));
            }
        }
        let mut ranges: Vec<(IpAddr, IpAddr, u32)> = Vec::new();
        let starts: Vec<_> = starts.into_iter().collect();
        for (index, &first) in starts.iter().enumerate() {
            let class = self.class(self.blocks_at(first));
            let last = match starts.get(index + 1).filter(|next| next.is_ipv4() == first.is_ipv4())
            {
                Some(after) => previous(*after),
                None => highest(first),
            };
            match ranges.last_mut() {
                Some(before) if before.2 == class && next(before.1) == Some(first) => {
                    before.1 = last;
                }
                _ => ranges.push((first, last, class)),
            }
        }
        let ranges = ranges.into_iter().filter(|range| range.2 != 0);
        self.tables.blocks = ranges.map(|(first, last, class)| ((first, last), class)).collect();
    }

    /// The classes that addresses of nodes, and of pods that have their network, have.
    fn hosts(&self) -> BTreeSet<u32> {
        let nodes = self.world.nodes.values().flat_map(|node| &node.addresses);
        let pods = self.world.pods.values().filter(|pod| pod.host_network && !pod.ended);
        let addresses = nodes.chain(pods.flat_map(|pod| &pod.addresses));
        addresses.map(|address| self.tables.peer_class(*address)).collect()
    }

    fn nodes(&mut self) {
        for node in self.world.nodes.values() {
            let traits = self.peers().filter(|peer| match peer {
                Peer::Nodes(selector) => selector.matches(&node.labels),
                Peer::Pods(_) | Peer::Block(_) => false,
            });
            let traits: Vec<_> = traits.cloned().map(Trait::Peer).collect();
            for address in &node.addresses {
                self.endpoint(*address, traits.clone());
            }
        }
    }

    fn endpoint(&mut self, address: IpAddr, mut traits: Vec<Trait>) -> u32 {
        let plain = traits.is_empty();
        traits.extend(self.blocks_at(address));
        let class = self.class(traits);
        if plain {
            self.tables.endpoints.remove(&address);
        } else {
            self.tables.endpoints.insert(address, class);
        }
        class
    }

    /// The subjects, and of which peer classes their members are.
    fn pods(&mut self) -> (Subjects<'a>, BTreeSet<(u32, u32)>) {
        let (mut subjects, mut pairs) = (BTreeMap::new(), BTreeSet::new());
        let world = self.world;
        for key in world.arrivals.values() {
            let pod = &world.pods[key];
            if !pod.is_endpoint() {
                continue;
            }
            let traits = self.peers().filter(|peer| match peer {
                Peer::Pods(peer) => world.selects(peer, pod),
                Peer::Nodes(_) | Peer::Block(_) => false,
            });
            let mut traits: Vec<_> = traits.cloned().map(Trait::Peer).collect();
            let ports = pod.ports.iter().filter(|port| self.names.contains(&port.name));
            traits.extend(ports.cloned().map(Trait::Port));
            let policies = self.policies.iter().copied();
            let policies: Vec<_> =
                policies.filter(|policy| world.selects(&policy.subject, pod)).collect();
            let names = names(&policies, Direction::Ingress);
            let ports = pod.ports.iter().filter(|port| names.contains(&port.name));
            let ports: Vec<_> = ports.cloned().collect();
            let keys = policies.iter().map(|policy| policy.key.clone()).collect();
            let subject = self.ids.subjects.of((keys, ports.clone()));
            for address in &pod.addresses {
                let class = self.endpoint(*address, traits.clone());
                if subject == 0 {
                    self.tables.subjects.remove(address);
                } else {
                    pairs.insert((subject, class));
                    self.tables.subjects.insert(*address, subject);
                }
            }
            if subject != 0 && !pod.addresses.is_empty() {
                subjects.insert(subject, (policies, ports));
            }
        }
        (subjects, pairs)
    }

    fn rows(
        &mut self,
        class: u32,
        policies: &[&Policy],
        ports: &[NamedPort],
        direction: Direction,
    ) {
        let touched = |policy: &&Policy| {
            policy.isolates[direction as usize] || !policy.rules[direction as usize].is_empty()
        };
        if !policies.iter().any(touched) {
            return;
        }
        let way = match direction {
            Direction::Ingress => Way::Ingress,
            Direction::Egress => Way::Egress,
        };
        let default = self.filter(policies, ports, direction, 0, None);
        self.tables.rows.insert((class, way, None), default);
        let peers: Vec<_> = self.members.keys().copied().collect();
        for peer in peers {
            let filter = self.filter(policies, ports, direction, peer, None);
            if filter != default {
                self.tables.rows.insert((class, way, Some(peer)), filter);
            }
        }
    }

    /// What NetworkPolicies have no say in, where other policies have.
    fn exempt_row(&mut self, key: RowKey, policies: &[&Policy], ports: &[NamedPort]) {
        let (_, way, Some(peer)) = key else { return };
        let (direction, exempt) = match way {
            Way::HairpinIngress => (Direction::Ingress, ReasonId::ITSELF),
            Way::HairpinEgress => (Direction::Egress, ReasonId::ITSELF),
            _ => (Direction::Egress, ReasonId::OWN_NODE),
        };
        let id = self.filter(policies, ports, direction, peer, Some(exempt));
        if !self.tables.filters[&id].is_just(exempt) {
            self.tables.rows.insert(key, id);
        }
    }

    /// Leave only filters that rows use, and reasons that filters use.
    fn sweep(&mut self) {
        let used: BTreeSet<_> = self.tables.rows.values().copied().collect();
        self.tables.filters.retain(|id, _| used.contains(id));
        let reasons = self.tables.filters.values().flat_map(reasons_of);
        self.tables.reasons = reasons.map(|id| (id, Arc::clone(&self.reasons[&id]))).collect();
    }

    fn filter(
        &mut self,
        policies: &[&Policy],
        ports: &[NamedPort],
        direction: Direction,
        peer: u32,
        exempt: Option<ReasonId>,
    ) -> u32 {
        let members = &self.members[&peer];
        let peers_ports: Vec<_> = members.iter().filter_map(Trait::port).cloned().collect();
        let ports = match direction {
            Direction::Ingress => ports,
            Direction::Egress => &peers_ports,
        };
        let (ids, reasons) = (&mut *self.ids, &mut self.reasons);
        for (id, reason) in (0..).zip(Reason::BUILT_IN) {
            reasons.insert(ReasonId(id), Arc::new(reason));
        }
        let question = Question { policies, direction, exempt, ports };
        let clauses = question.clauses(
            |peer| members.iter().any(|one| one.peer() == Some(peer)),
            |reason| {
                let id = ReasonId(ids.reasons.of(reason.clone()));
                reasons.entry(id).or_insert_with(|| Arc::new(reason));
                id
            },
        );
        let filter = clauses.filter();
        let id = self.ids.filters.of(filter.clone());
        self.tables.filters.insert(id, filter);
        id
    }
}

impl Trait {
    fn peer(&self) -> Option<&Peer> {
        match self {
            Self::Peer(peer) => Some(peer),
            Self::Port(_) => None,
        }
    }

    fn port(&self) -> Option<&NamedPort> {
        match self {
            Self::Port(port) => Some(port),
            Self::Peer(_) => None,
        }
    }
}

/// The port names that rules of a direction use.
fn names(policies: &[&Policy], direction: Direction) -> BTreeSet<Arc<str>> {
    let rules = policies.iter().flat_map(|policy| &policy.rules[direction as usize]);
    rules.flat_map(names_of).cloned().collect()
}

fn names_of(rule: &Rule) -> impl Iterator<Item = &Arc<str>> {
    rule.ports.iter().flatten().filter_map(|port| match port {
        PortMatch::Named { name, .. } => Some(name),
        PortMatch::Range { .. } => None,
    })
}

fn egress_names(policies: &[&Policy]) -> BTreeSet<Arc<str>> {
    names(policies, Direction::Egress)
}

impl World {
    /// Whether a pod is one of these.
    pub fn selects(&self, peer: &PodPeer, pod: &Pod) -> bool {
        let namespace = match &peer.namespace {
            NamespaceMatch::Name(name) => *name == pod.namespace,
            NamespaceMatch::Labels(selector) => {
                selector.matches(&self.namespace_labels(&pod.namespace))
            }
        };
        namespace && peer.pods.matches(&pod.labels)
    }
}
