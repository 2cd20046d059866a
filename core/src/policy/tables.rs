//! Compiled tables, and what differs between two of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::block::Address;
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
pub type AddressRange = (Address, Address);

/// The policies in force, compiled. What the parts mean is documented with the Python class
/// `PolicyTables`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub struct Tables {
    pub version: u64,
    pub node: Option<Arc<str>>,
    pub endpoints: BTreeMap<Address, PeerClass>,
    pub blocks: BTreeMap<AddressRange, PeerClass>,
    pub subjects: BTreeMap<Address, SubjectClass>,
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
    pub endpoints: Delta<Address, PeerClass>,
    pub blocks: Delta<AddressRange, PeerClass>,
    pub subjects: Delta<Address, SubjectClass>,
    pub rows: Delta<RowKey, FilterId>,
    pub filters: Delta<FilterId, Filter>,
    pub reasons: Delta<ReasonId, Arc<Reason>>,
}

impl Tables {
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

    /// Leave only these subjects, and what their rows need.
    #[must_use]
    pub fn restricted(&self, node: &Arc<str>, subjects: BTreeMap<Address, SubjectClass>) -> Self {
        let classes: BTreeSet<_> = subjects.values().copied().collect();
        let here = |(key, _): &(&RowKey, _)| classes.contains(&key.0);
        let rows: BTreeMap<_, _> =
            self.rows.iter().filter(here).map(|(key, filter)| (*key, *filter)).collect();
        let used: BTreeSet<_> = rows.values().copied().collect();
        let filters: BTreeMap<_, _> =
            used.into_iter().map(|id| (id, self.filters[&id].clone())).collect();
        let reasons = filters.values().flat_map(reasons_of);
        let reasons = reasons.map(|id| (id, Arc::clone(&self.reasons[&id]))).collect();
        Self {
            version: self.version,
            node: Some(node.clone()),
            endpoints: self.endpoints.clone(),
            blocks: self.blocks.clone(),
            subjects,
            rows,
            filters,
            reasons,
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
