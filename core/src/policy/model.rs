//! The objects of Kubernetes, as far as policies look at them, parsed and valid.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::block::Block;
use super::selector::{Labels, Selector};

/// The kinds of objects that are understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Kind {
    Namespace,
    Node,
    Pod,
    AdminNetworkPolicy,
    BaselineAdminNetworkPolicy,
    ClusterNetworkPolicy,
    NetworkPolicy,
}

impl Kind {
    /// All kinds, in the order in which `load` takes them.
    pub const ALL: [Self; 7] = [
        Self::Namespace,
        Self::Node,
        Self::NetworkPolicy,
        Self::ClusterNetworkPolicy,
        Self::AdminNetworkPolicy,
        Self::BaselineAdminNetworkPolicy,
        Self::Pod,
    ];

    /// The kind as objects name it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Node => "Node",
            Self::Pod => "Pod",
            Self::NetworkPolicy => "NetworkPolicy",
            Self::ClusterNetworkPolicy => "ClusterNetworkPolicy",
            Self::AdminNetworkPolicy => "AdminNetworkPolicy",
            Self::BaselineAdminNetworkPolicy => "BaselineAdminNetworkPolicy",
        }
    }

    /// The kind of this name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == name)
    }

    /// Whether objects of the kind are policies.
    #[must_use]
    pub fn is_policy(self) -> bool {
        !matches!(self, Self::Namespace | Self::Node | Self::Pod)
    }

    /// Whether objects of the kind are in namespaces.
    #[must_use]
    pub fn is_namespaced(self) -> bool {
        matches!(self, Self::Pod | Self::NetworkPolicy)
    }
}

/// What identifies an object.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace, for kinds that have one.
    pub namespace: Option<Arc<str>>,
    /// Its name.
    pub name: Arc<str>,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            None => write!(f, "{} {}", self.kind.as_str(), self.name),
            Some(namespace) => write!(f, "{} {namespace}/{}", self.kind.as_str(), self.name),
        }
    }
}

/// Any object.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Object {
    Namespace(Namespace),
    Node(Node),
    Pod(Pod),
    Policy(Policy),
}

/// A namespace and its labels.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Namespace {
    pub name: Arc<str>,
    pub labels: Labels,
}

/// A node, its labels and its addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct Node {
    pub name: Arc<str>,
    pub labels: Labels,
    pub addresses: Vec<IpAddr>,
}

/// A pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Arc<str>,
    /// Its name.
    pub name: Arc<str>,
    /// Its labels.
    pub labels: Labels,
    /// Its addresses, the preferred one first.
    pub addresses: Vec<IpAddr>,
    /// Where it runs.
    pub node: Option<Arc<str>>,
    /// Whether it has no network of its own.
    pub host_network: bool,
    /// Whether it has ended (phase `Succeeded` or `Failed`): its addresses may be another's.
    pub ended: bool,
    /// The ports that have a name, sorted.
    pub ports: Vec<NamedPort>,
}

impl Pod {
    /// Whether policies can select it, and its addresses are its own.
    #[must_use]
    pub fn is_endpoint(&self) -> bool {
        !self.host_network && !self.ended
    }
}

/// A port of a container that has a name.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct NamedPort {
    pub name: Arc<str>,
    pub protocol: Protocol,
    pub port: u16,
}

/// A protocol that has ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Protocol {
    Tcp,
    Udp,
    Sctp,
}

impl Protocol {
    /// All protocols that have ports.
    pub const ALL: [Self; 3] = [Self::Tcp, Self::Udp, Self::Sctp];

    /// Its number in IP (<https://www.iana.org/assignments/protocol-numbers>).
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Tcp => 6,
            Self::Udp => 17,
            Self::Sctp => 132,
        }
    }

    /// The protocol of an IP protocol number, if it has ports.
    #[must_use]
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|protocol| protocol.number() == number)
    }
}

/// Which way traffic goes, seen from the pod that a policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Direction {
    Ingress,
    Egress,
}

impl Direction {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ingress, Self::Egress];

    /// Its name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
        }
    }
}

/// The group of policies that a policy is evaluated with, in the order of evaluation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Tier {
    Admin,
    NetworkPolicy,
    Baseline,
}

/// What a rule does with the traffic that it matches.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum Action {
    Accept,
    Deny,
    Pass,
}

/// A policy of any kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// What identifies it.
    pub key: Key,
    /// `metadata.uid`.
    pub uid: Option<Arc<str>>,
    /// Whether it is only audited.
    pub audit: bool,
    /// Its tier.
    pub tier: Tier,
    /// Its place in its tier: lower ones are evaluated first.
    pub priority: u16,
    /// The pods that it is for.
    pub subject: PodPeer,
    /// Whether it denies what no rule allows, for [`Direction::Ingress`] and `Egress`.
    pub isolates: [bool; 2],
    /// Its rules in their order, for [`Direction::Ingress`] and `Egress`.
    pub rules: [Vec<Rule>; 2],
}

/// Where a policy is evaluated: by tier and priority; among those that have the same, which the
/// API leaves open, by namespace, name and kind.
pub type Place = (Tier, u16, Option<Arc<str>>, Arc<str>, Kind);

impl Policy {
    /// Where it is evaluated.
    #[must_use]
    pub fn place(&self) -> Place {
        let Key { kind, namespace, name } = self.key.clone();
        (self.tier, self.priority, namespace, name, kind)
    }
}

/// One rule of a policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rule {
    /// Its own name.
    pub name: Option<Arc<str>>,
    /// What it does.
    pub action: Action,
    /// The other side of the traffic, any of these; `None`: whatever it is.
    pub peers: Option<Vec<Peer>>,
    /// The destination ports, any of these; `None`: all protocols and ports.
    pub ports: Option<Vec<PortMatch>>,
}

/// The other side of the traffic.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Peer {
    /// Pods by labels.
    Pods(PodPeer),
    /// Nodes by labels.
    Nodes(Selector),
    /// Whatever has an address in this block.
    Block(Block),
}

/// Pods by their labels and their namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub struct PodPeer {
    pub namespace: NamespaceMatch,
    pub pods: Selector,
}

/// Namespaces by name or by labels.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum NamespaceMatch {
    Name(Arc<str>),
    Labels(Selector),
}

/// Destination ports.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[allow(missing_docs)]
pub enum PortMatch {
    /// Numbers from `first` to `last`, both included.
    Range { protocol: Protocol, first: u16, last: u16 },
    /// What the destination pod calls so, with any protocol or with this one.
    Named { protocol: Option<Protocol>, name: Arc<str> },
}
