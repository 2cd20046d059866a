//! The engine: objects in, verdicts and tables out.

use std::collections::{BTreeMap, VecDeque};
use std::net::IpAddr;
use std::sync::Arc;

use super::block::Address;
use super::compile::{Ids, compile};
use super::error::{Error, Result};
use super::filter::{Decision, point_of_number};
use super::model::{Key, Object, Pod};
use super::reason::{Reason, ReasonId};
use super::tables::{Changes, SubjectClass, Tables, Way};
use super::world::World;

/// One end of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// A pod by namespace and name.
    Pod(Arc<str>, Arc<str>),
    /// Whatever has this address.
    Address(IpAddr),
}

/// The decisions of both sides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub struct Verdict {
    pub egress: Decision,
    pub ingress: Decision,
}

impl Verdict {
    /// Whether both sides allow.
    #[must_use]
    pub fn allowed(&self) -> bool {
        self.egress.allow && self.ingress.allow
    }
}

/// Kubernetes network policies in force.
#[derive(Debug, Clone)]
pub struct PolicyEngine {
    world: World,
    ids: Ids,
    history: VecDeque<Arc<Snapshot>>,
    reach: usize,
}

/// The tables of a version, and whose the subjects are.
#[derive(Debug, Clone, Default)]
struct Snapshot {
    tables: Tables,
    /// Address of a subject -> its node.
    homes: BTreeMap<Address, Option<Arc<str>>>,
}

impl PolicyEngine {
    /// An engine without objects, whose history has so many versions.
    #[must_use]
    pub fn new(history: usize) -> Self {
        let history_of_one = VecDeque::from([Arc::new(Snapshot::default())]);
        Self {
            world: World::default(),
            ids: Ids::default(),
            history: history_of_one,
            reach: history.max(1),
        }
    }

    fn now(&self) -> &Snapshot {
        // There is always one: `new` makes the first, and the last is never dropped.
        &self.history[self.history.len() - 1]
    }

    /// Counts the changes.
    #[must_use]
    pub fn version(&self) -> u64 {
        self.now().tables.version
    }

    /// Take an object; return whether something is different.
    pub fn apply(&mut self, object: Object) -> bool {
        let changed = self.world.put(object);
        if changed {
            self.step();
        }
        changed
    }

    /// Take many objects; return how many are new or different.
    pub fn load(&mut self, objects: Vec<Object>) -> usize {
        let mut changed = 0;
        for object in objects {
            changed += usize::from(self.world.put(object));
        }
        if changed > 0 {
            self.step();
        }
        changed
    }

    /// Remove an object; return whether it was there.
    pub fn delete(&mut self, key: &Key) -> bool {
        let changed = self.world.remove(key);
        if changed {
            self.step();
        }
        changed
    }

    fn step(&mut self) {
        let mut tables = compile(&self.world, &mut self.ids);
        tables.version = self.version() + 1;
        let homes = tables.subjects.keys().map(|address| {
            let node = self.pod_at(*address).and_then(|pod| pod.node.clone());
            (*address, node)
        });
        let homes = homes.collect();
        self.history.push_back(Arc::new(Snapshot { tables, homes }));
        while self.history.len() > self.reach {
            self.history.pop_front();
        }
    }

    /// The reason of an id.
    #[must_use]
    pub fn reason(&self, id: ReasonId) -> Option<Arc<Reason>> {
        self.ids.reason(id)
    }

    fn pod_at(&self, address: Address) -> Option<&Pod> {
        let pods = self.world.arrivals.values().rev().map(|key| &self.world.pods[key]);
        let has = |pod: &&Pod| pod.addresses.iter().any(|one| Address::from(*one) == address);
        pods.filter(|pod| pod.is_endpoint()).find(has)
    }

    /// The compiled tables, of all pods or of those on a node.
    #[must_use]
    pub fn tables(&self, node: Option<&Arc<str>>) -> Tables {
        self.now().of(node)
    }

    /// What is different since a version.
    ///
    /// # Errors
    /// [`Error::HistoryLost`] if it is too old.
    pub fn changes_since(&self, since: u64, node: Option<&Arc<str>>) -> Result<Changes> {
        let before = self.history.iter().find(|one| one.tables.version == since);
        match before {
            Some(before) => Ok(self.tables(node).since(&before.of(node))),
            None => Err(Error::HistoryLost {
                since,
                oldest: self.history[0].tables.version,
                version: self.version(),
            }),
        }
    }

    /// Whether a connection may be made: an IP protocol number, and the destination port, which
    /// counts for protocols that have ports.
    ///
    /// # Errors
    /// [`Error::UnknownPod`].
    pub fn verdict(&self, src: &End, dst: &End, protocol: u8, port: u16) -> Result<Verdict> {
        let (from, to) = (self.addresses(src)?, self.addresses(dst)?);
        let pair = from
            .iter()
            .find_map(|from| to.iter().find(|to| to.same_family(*from)).map(|to| (*from, *to)));
        let (from, to) = pair.unwrap_or((from[0], to[0]));
        let point = point_of_number(protocol, port);
        if from == to {
            return Ok(Verdict {
                egress: self.decide(from, to, Way::HairpinEgress, point),
                ingress: self.decide(from, to, Way::HairpinIngress, point),
            });
        }
        let way = if self.is_own_node(from, to) { Way::Local } else { Way::Egress };
        let ingress = match self.is_own_node(to, from) {
            true => Decision { allow: true, reason: ReasonId::OWN_NODE, audit: None },
            false => self.decide(to, from, Way::Ingress, point),
        };
        Ok(Verdict { egress: self.decide(from, to, way, point), ingress })
    }

    fn addresses(&self, end: &End) -> Result<Vec<Address>> {
        match end {
            End::Address(address) => Ok(vec![(*address).into()]),
            End::Pod(namespace, name) => {
                let pod = self.world.pods.get(&(namespace.clone(), name.clone()));
                let addresses = pod.map(|pod| pod.addresses.iter().map(|one| (*one).into()));
                let addresses: Vec<_> = addresses.into_iter().flatten().collect();
                if addresses.is_empty() {
                    return Err(Error::UnknownPod(format!("{namespace}/{name}")));
                }
                Ok(addresses)
            }
        }
    }

    /// Whether the second address is one of the node that the pod of the first is on.
    fn is_own_node(&self, pod: Address, other: Address) -> bool {
        let Some(node) = self.pod_at(pod).and_then(|pod| pod.node.as_ref()) else {
            return false;
        };
        let has = |addresses: &[IpAddr]| addresses.iter().any(|one| Address::from(*one) == other);
        let known = self.world.nodes.get(node).is_some_and(|node| has(&node.addresses));
        let mut pods = self.world.pods.values();
        known
            || pods.any(|pod| {
                pod.host_network
                    && !pod.ended
                    && pod.node.as_ref() == Some(node)
                    && has(&pod.addresses)
            })
    }

    fn decide(&self, subject: Address, peer: Address, way: Way, point: u32) -> Decision {
        let tables = &self.now().tables;
        let fallback = match way {
            Way::Ingress | Way::Egress => ReasonId::DEFAULT,
            Way::Local => ReasonId::OWN_NODE,
            Way::HairpinIngress | Way::HairpinEgress => ReasonId::ITSELF,
        };
        let allowed = Decision { allow: true, reason: fallback, audit: None };
        let Some(&class) = tables.subjects.get(&subject) else {
            return allowed;
        };
        let peer = tables.peer_class(peer);
        let exact = tables.rows.get(&(class, way, Some(peer)));
        let any = || tables.rows.get(&(class, way, None));
        exact.or_else(any).map_or(allowed, |filter| tables.filters[filter].decide(point))
    }
}

impl Snapshot {
    fn of(&self, node: Option<&Arc<str>>) -> Tables {
        let Some(node) = node else { return self.tables.clone() };
        let here = |address: &Address| self.homes[address].as_ref() == Some(node);
        let subjects = self.tables.subjects.iter().filter(|(address, _)| here(address));
        let subjects: BTreeMap<Address, SubjectClass> =
            subjects.map(|(address, class)| (*address, *class)).collect();
        self.tables.restricted(node, subjects)
    }
}

impl Tables {
    /// The peer class of an address.
    #[must_use]
    pub fn peer_class(&self, address: Address) -> u32 {
        if let Some(class) = self.endpoints.get(&address) {
            return *class;
        }
        let upto = ..=(address, address.highest());
        match self.blocks.range(upto).next_back() {
            Some((&(first, last), class)) if first <= address && address <= last => *class,
            _ => 0,
        }
    }
}
