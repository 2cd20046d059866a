//! Compiled tables, and what differs between two of them.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::block::highest;
use super::filter::{Decision, Filter};
use super::reason::{Reason, ReasonId};

/// Small number of a set of peers that no rule tells apart; 0 is what no rule names.
pub type PeerClass = u32;
/// Small number of a set of pods that the same policies select.
pub type SubjectClass = u32;
/// Small number of a [`Filter`].
pub type FilterId = u32;

/// Which rules a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Way {
    /// To a pod.
    Ingress,
    /// From a pod.
    Egress,
    /// From a pod to its own node.
    Local,
    /// To a pod from itself, by a service that leads back to it.
    HairpinIngress,
    /// From a pod to itself, by a service that leads back to it.
    HairpinEgress,
}

impl Way {
    /// What allows where there is no row.
    #[must_use]
    pub fn fallback(self) -> ReasonId {
        match self {
            Self::Ingress | Self::Egress => ReasonId::DEFAULT,
            Self::Local => ReasonId::OWN_NODE,
            Self::HairpinIngress | Self::HairpinEgress => ReasonId::ITSELF,
        }
    }

    /// Its name in lower case.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ingress => "ingress",
            Self::Egress => "egress",
            Self::Local => "local",
            Self::HairpinIngress => "hairpin-ingress",
            Self::HairpinEgress => "hairpin-egress",
        }
    }
}

/// Where a row is: `None` is any peer that has no row of its own.
pub type RowKey = (SubjectClass, Way, Option<PeerClass>);

/// First and last address.
pub type AddressRange = (IpAddr, IpAddr);

/// The policies in force, compiled. What the parts mean is documented with the Python class
/// `PolicyTables`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Tables {
    pub version: u64,
    pub node: Option<Arc<str>>,
    pub endpoints: BTreeMap<IpAddr, PeerClass>,
    pub blocks: BTreeMap<AddressRange, PeerClass>,
    pub subjects: BTreeMap<IpAddr, SubjectClass>,
    pub rows: BTreeMap<RowKey, FilterId>,
    pub filters: BTreeMap<FilterId, Filter>,
    pub reasons: BTreeMap<ReasonId, Arc<Reason>>,
}

/// New values by key; `None` where there is none any more.
pub type Delta<K, V> = BTreeMap<K, Option<V>>;

/// What differs between two versions.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Changes {
    pub since: u64,
    pub version: u64,
    pub node: Option<Arc<str>>,
    pub endpoints: Delta<IpAddr, PeerClass>,
    pub blocks: Delta<AddressRange, PeerClass>,
    pub subjects: Delta<IpAddr, SubjectClass>,
    pub rows: Delta<RowKey, FilterId>,
    pub filters: Delta<FilterId, Filter>,
    pub reasons: Delta<ReasonId, Arc<Reason>>,
}

impl Tables {
    /// The peer class of an address.
    #[must_use]
    pub fn peer_class(&self, address: IpAddr) -> PeerClass {
        if let Some(class) = self.endpoints.get(&address) {
            return *class;
        }
        let upto = ..=(address, highest(address));
        match self.blocks.range(upto).next_back() {
            Some((&(first, last), class)) if first <= address && address <= last => *class,
            _ => 0,
        }
    }

    /// How many elements there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
            + self.blocks.len()
            + self.subjects.len()
            + self.rows.len()
            + self.filters.len()
            + self.reasons.len()
    }

    /// Whether there is no element.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What has to be done to the earlier tables to get these.
    #[must_use]
    pub fn since(&self, before: &Self) -> Changes {
        Changes {
            since: before.version,
            version: self.version,
            node: self.node.clone(),
            endpoints: delta(&before.endpoints, &self.endpoints),
            blocks: delta(&before.blocks, &self.blocks),
            subjects: delta(&before.subjects, &self.subjects),
            rows: delta(&before.rows, &self.rows),
            filters: delta(&before.filters, &self.filters),
            reasons: delta(&before.reasons, &self.reasons),
        }
    }
}

/// The reasons that a filter names.
pub fn reasons_of(filter: &Filter) -> impl Iterator<Item = ReasonId> {
    let decisions = filter.ports.iter().map(|one| one.decision);
    decisions.chain([filter.default]).flat_map(|decision: Decision| {
        [Some(decision.reason), decision.audit.map(|(_, reason)| reason)].into_iter().flatten()
    })
}

impl Changes {
    /// How many elements differ.
    #[must_use]
    pub fn len(&self) -> usize {
        self.endpoints.len()
            + self.blocks.len()
            + self.subjects.len()
            + self.rows.len()
            + self.filters.len()
            + self.reasons.len()
    }

    /// Whether nothing differs.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

fn delta<K: Ord + Clone, V: Clone + PartialEq>(
    before: &BTreeMap<K, V>,
    now: &BTreeMap<K, V>,
) -> Delta<K, V> {
    let gone = before.keys().filter(|key| !now.contains_key(key));
    let gone = gone.map(|key| (key.clone(), None));
    let new = now.iter().filter(|(key, value)| before.get(key) != Some(value));
    gone.chain(new.map(|(key, value)| (key.clone(), Some(value.clone())))).collect()
}
