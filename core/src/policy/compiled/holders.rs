//! Pods and nodes, their addresses, and who has an address if several say they do.

use std::hash::BuildHasher;
use std::net::IpAddr;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};

use super::identities::IdentityId;
use super::ids::make_room;
use super::journal::NodeId;

/// Small number of an address that somebody has.
pub type EndpointId = u32;
/// Small number of a pod.
pub type PodId = u32;

/// No identity, or no node.
pub const NONE: u32 = u32::MAX;

/// A pod.
#[derive(Debug, Clone)]
pub struct Pod {
    /// `namespace/name`.
    pub key: Box<str>,
    /// What selectors see of it.
    pub identity: IdentityId,
    /// Where it runs.
    pub node: NodeId,
    /// When it got its addresses, compared with others.
    pub arrival: u64,
    /// How many addresses it has.
    addresses: u32,
    /// Its addresses, the preferred one first, if it has no more than these.
    endpoints: [EndpointId; 2],
    /// Whether it has the node's network.
    pub host_network: bool,
    /// Whether it has ended.
    pub ended: bool,
}

/// A node that there is an object for, or that pods run on.
#[derive(Debug, Clone)]
pub struct Node {
    /// Its name.
    pub name: Arc<str>,
    /// How many pods run on it, and one for its object.
    uses: u32,
    /// What selectors see of it, [`NONE`] without an object.
    pub identity: IdentityId,
    /// Its addresses.
    pub endpoints: Vec<EndpointId>,
}

/// Somebody who has an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Holder {
    Pod(PodId),
    Node(NodeId),
}

/// An address, and what follows from who has it.
#[derive(Debug, Clone)]
pub struct Endpoint {
    /// The address.
    pub address: IpAddr,
    /// Who says it is theirs, if that is no more than one.
    holder: Option<Holder>,
    /// What it counts as now.
    pub state: State,
    /// Its place among the endpoints of the identity.
    pub at: u32,
}

/// What an address counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct State {
    /// Whether it counts at all: those of pods that have ended do not.
    pub counts: bool,
    /// What selectors see; [`NONE`]: nothing, as of pods that have the node's network.
    pub identity: IdentityId,
    /// Its node.
    pub node: NodeId,
    /// Whether a node has it.
    pub host: bool,
}

impl State {
    /// Nobody's.
    pub const NOBODY: Self = Self { counts: false, identity: NONE, node: NONE, host: false };
}

/// All pods, nodes and addresses.
#[derive(Debug, Clone, Default)]
pub struct Holders {
    pods: Vec<Option<Pod>>,
    free_pods: Vec<PodId>,
    by_key: HashTable<PodId>,
    hasher: DefaultHashBuilder,
    nodes: Vec<Option<Node>>,
    free_nodes: Vec<NodeId>,
    by_name: HashMap<Arc<str>, NodeId>,
    endpoints: Vec<Option<Endpoint>>,
    free_endpoints: Vec<EndpointId>,
    v4: HashMap<u32, EndpointId>,
    /// Found by what the endpoints say.
    v6: HashTable<EndpointId>,
    /// The addresses of pods that have more than two.
    many: HashMap<PodId, Box<[EndpointId]>>,
    /// All that say an address is theirs, where that is more than one.
    contested: HashMap<EndpointId, Vec<Holder>>,
    arrivals: u64,
}

impl Pod {
    /// A pod without addresses.
    pub fn new(key: Box<str>, identity: IdentityId, node: NodeId) -> Self {
        Self {
            key,
            identity,
            node,
            arrival: 0,
            addresses: 0,
            endpoints: [NONE; 2],
            host_network: false,
            ended: false,
        }
    }
}

fn add<T>(slots: &mut Vec<Option<T>>, free: &mut Vec<u32>, value: T) -> u32 {
    let id = free.pop().unwrap_or_else(|| {
        let id = u32::try_from(slots.len()).expect("there are fewer than 2^32");
        make_room(slots, id);
        slots.push(None);
        id
    });
    slots[id as usize] = Some(value);
    id
}

impl Holders {
    /// The number of a pod.
    pub fn find_pod(&self, key: &str) -> Option<PodId> {
        let hash = self.hasher.hash_one(key);
        self.by_key.find(hash, |id| &*self.pod(*id).key == key).copied()
    }

    /// A pod that is there.
    pub fn pod(&self, id: PodId) -> &Pod {
        self.pods[id as usize].as_ref().expect("pods in use are there")
    }

    /// A pod that is there.
    pub fn pod_mut(&mut self, id: PodId) -> &mut Pod {
        self.pods[id as usize].as_mut().expect("pods in use are there")
    }

    /// All pods.
    pub fn pods(&self) -> impl Iterator<Item = (PodId, &Pod)> {
        (0..).zip(&self.pods).filter_map(|(id, one)| one.as_ref().map(|one| (id, one)))
    }

    /// The addresses of a pod, the preferred one first.
    pub fn endpoints_of(&self, id: PodId) -> &[EndpointId] {
        let pod = self.pod(id);
        match pod.endpoints.get(..pod.addresses as usize) {
            Some(few) => few,
            None => &self.many[&id],
        }
    }

    /// Let a pod have other addresses.
    pub fn set_endpoints(&mut self, id: PodId, endpoints: &[EndpointId]) {
        let pod = self.pod_mut(id);
        pod.addresses = u32::try_from(endpoints.len()).expect("addresses are numbered by u32");
        match pod.endpoints.get_mut(..endpoints.len()) {
            Some(few) => {
                few.copy_from_slice(endpoints);
                self.many.remove(&id);
            }
            None => {
                self.many.insert(id, endpoints.into());
            }
        }
    }

    /// Put in a pod whose key is not there.
    pub fn add_pod(&mut self, pod: Pod) -> PodId {
        let hash = self.hasher.hash_one(&*pod.key);
        let id = add(&mut self.pods, &mut self.free_pods, pod);
        let (pods, hasher) = (&self.pods, &self.hasher);
        self.by_key.insert_unique(hash, id, |id| {
            hasher.hash_one(pods[*id as usize].as_ref().map_or("", |pod| &*pod.key))
        });
        id
    }

    /// Take a pod out, once it has no endpoint.
    pub fn remove_pod(&mut self, id: PodId) -> Option<Pod> {
        let hash = self.hasher.hash_one(&*self.pod(id).key);
        if let Ok(entry) = self.by_key.find_entry(hash, |other| *other == id) {
            entry.remove();
        }
        self.free_pods.push(id);
        self.pods[id as usize].take()
    }

    /// When a pod gets its addresses.
    pub fn arrive(&mut self) -> u64 {
        self.arrivals += 1;
        self.arrivals
    }

    /// The number of a node.
    pub fn find_node(&self, name: &str) -> Option<NodeId> {
        self.by_name.get(name).copied()
    }

    /// A node that is there.
    pub fn node(&self, id: NodeId) -> &Node {
        self.nodes[id as usize].as_ref().expect("nodes in use are there")
    }

    /// A node that is there.
    pub fn node_mut(&mut self, id: NodeId) -> &mut Node {
        self.nodes[id as usize].as_mut().expect("nodes in use are there")
    }

    /// The name of a node, if it is one.
    pub fn node_name(&self, id: NodeId) -> Option<Arc<str>> {
        (id != NONE).then(|| self.node(id).name.clone())
    }

    /// All nodes that there are objects for.
    pub fn known_nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten().filter(|node| node.identity != NONE)
    }

    /// Count one more use of a node.
    pub fn take_node(&mut self, name: &Arc<str>) -> NodeId {
        let id = self.find_node(name).unwrap_or_else(|| {
            let node = Node { name: name.clone(), uses: 0, identity: NONE, endpoints: Vec::new() };
            let id = add(&mut self.nodes, &mut self.free_nodes, node);
            self.by_name.insert(name.clone(), id);
            id
        });
        self.node_mut(id).uses += 1;
        id
    }

    /// Count one use of a node less.
    pub fn give_node(&mut self, id: NodeId) {
        let node = self.node_mut(id);
        node.uses -= 1;
        if node.uses == 0 {
            let name = node.name.clone();
            self.by_name.remove(&name);
            self.nodes[id as usize] = None;
            self.free_nodes.push(id);
        }
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        self.pods.shrink_to_fit();
        self.nodes.shrink_to_fit();
        self.endpoints.shrink_to_fit();
    }

    /// The endpoint of an address.
    // Inlined, so that an address need not go through memory: that is most of what a verdict in bulk
    // would cost.
    #[inline]
    pub fn find(&self, address: IpAddr) -> Option<EndpointId> {
        match address {
            IpAddr::V4(v4) => self.v4.get(&v4.to_bits()).copied(),
            IpAddr::V6(_) => self.find_v6(address),
        }
    }

    #[inline(never)]
    fn find_v6(&self, address: IpAddr) -> Option<EndpointId> {
        let hash = self.hasher.hash_one(address);
        self.v6.find(hash, |id| self.endpoint(*id).address == address).copied()
    }

    /// An endpoint that is there.
    pub fn endpoint(&self, id: EndpointId) -> &Endpoint {
        self.endpoints[id as usize].as_ref().expect("endpoints in use are there")
    }

    /// An endpoint that is there.
    pub fn endpoint_mut(&mut self, id: EndpointId) -> &mut Endpoint {
        self.endpoints[id as usize].as_mut().expect("endpoints in use are there")
    }

    /// All endpoints.
    pub fn endpoints(&self) -> impl Iterator<Item = (EndpointId, &Endpoint)> {
        (0..).zip(&self.endpoints).filter_map(|(id, one)| one.as_ref().map(|one| (id, one)))
    }

    /// Let somebody have an address; return its endpoint.
    pub fn hold(&mut self, address: IpAddr, holder: Holder) -> EndpointId {
        let id = self.find(address).unwrap_or_else(|| {
            let (holder, state) = (None, State::NOBODY);
            let endpoint = Endpoint { address, holder, state, at: 0 };
            let id = add(&mut self.endpoints, &mut self.free_endpoints, endpoint);
            match address {
                IpAddr::V4(v4) => {
                    self.v4.insert(v4.to_bits(), id);
                }
                IpAddr::V6(_) => {
                    let (endpoints, hasher) = (&self.endpoints, &self.hasher);
                    self.v6.insert_unique(hasher.hash_one(address), id, |id| {
                        let one: Option<&Endpoint> = endpoints[*id as usize].as_ref();
                        hasher.hash_one(one.map_or(address, |one| one.address))
                    });
                }
            }
            id
        });
        if !self.holders_of(id).contains(&holder) {
            let mut holders = self.holders_of(id).to_vec();
            holders.push(holder);
            self.set_holders(id, holders);
        }
        id
    }

    /// Let somebody not have an address any more.
    pub fn release(&mut self, id: EndpointId, holder: Holder) {
        let others = self.holders_of(id).iter().copied().filter(|one| *one != holder);
        let others = others.collect();
        self.set_holders(id, others);
    }

    /// All that say an address is theirs.
    fn holders_of(&self, id: EndpointId) -> &[Holder] {
        match &self.endpoint(id).holder {
            Some(one) => std::slice::from_ref(one),
            None => self.contested.get(&id).map_or(&[], Vec::as_slice),
        }
    }

    fn set_holders(&mut self, id: EndpointId, holders: Vec<Holder>) {
        self.endpoint_mut(id).holder = match *holders {
            [one] => Some(one),
            _ => None,
        };
        if holders.len() > 1 {
            self.contested.insert(id, holders);
        } else {
            self.contested.remove(&id);
        }
    }

    /// Forget an address that nobody has.
    pub fn forget(&mut self, id: EndpointId) {
        if !self.holders_of(id).is_empty() {
            return;
        }
        match self.endpoint(id).address {
            IpAddr::V4(v4) => {
                self.v4.remove(&v4.to_bits());
            }
            IpAddr::V6(v6) => {
                let hash = self.hasher.hash_one(IpAddr::V6(v6));
                if let Ok(entry) = self.v6.find_entry(hash, |other| *other == id) {
                    entry.remove();
                }
            }
        }
        self.endpoints[id as usize] = None;
        self.free_endpoints.push(id);
    }

    /// What an address counts as: a pod's before a node's, a node's before that of a pod that has
    /// its network; among pods the later one's, among nodes that with the greater name.
    pub fn judge(&self, id: EndpointId) -> State {
        let host = self.holders_of(id).iter().any(|holder| self.is_host(*holder));
        match self.best(id) {
            None => State::NOBODY,
            Some(Holder::Node(id)) => {
                State { counts: true, identity: self.node(id).identity, node: id, host }
            }
            Some(Holder::Pod(id)) => match self.pod(id) {
                pod if pod.ended => State::NOBODY,
                pod if pod.host_network => {
                    State { counts: true, identity: NONE, node: pod.node, host }
                }
                pod => State { counts: true, identity: pod.identity, node: pod.node, host },
            },
        }
    }

    fn best(&self, id: EndpointId) -> Option<Holder> {
        let holders = self.holders_of(id).iter().copied();
        holders.max_by_key(|holder| match holder {
            Holder::Pod(pod) => match self.pod(*pod) {
                pod if pod.ended => (0, pod.arrival, ""),
                pod if pod.host_network => (1, pod.arrival, ""),
                pod => (3, pod.arrival, ""),
            },
            Holder::Node(node) => (2, 0, &*self.node(*node).name),
        })
    }

    /// Whether an address of a pod counts as its own: that of one which has the node's network
    /// counts as the node's, if nobody else's.
    pub fn counts_as(&self, id: EndpointId, pod: PodId) -> bool {
        let one = self.pod(pod);
        match self.best(id) {
            _ if one.ended => false,
            Some(Holder::Node(_)) => one.host_network,
            Some(Holder::Pod(other)) => {
                other == pod || one.host_network && self.pod(other).host_network
            }
            None => false,
        }
    }

    fn is_host(&self, holder: Holder) -> bool {
        match holder {
            Holder::Node(_) => true,
            Holder::Pod(pod) => {
                let pod = self.pod(pod);
                pod.host_network && !pod.ended
            }
        }
    }

    /// Whether a node has an address, itself or by a pod that has its network.
    pub fn is_of_node(&self, id: EndpointId, node: NodeId) -> bool {
        self.endpoint(id).state.host
            && self.holders_of(id).iter().any(|holder| {
                self.is_host(*holder)
                    && match holder {
                        Holder::Node(one) => *one == node,
                        Holder::Pod(pod) => self.pod(*pod).node == node,
                    }
            })
    }
}
