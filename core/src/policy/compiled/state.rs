//! Everything that an engine knows, and how its parts refer to each other.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use hashbrown::HashMap;
use smallvec::SmallVec;

use super::holders::{EndpointId, Holders, NONE};
use super::identities::{Identities, IdentityId};
use super::interned::Interned;
use super::journal::{Journal, NodeId};
use super::lookup::Spot;
use super::partition::{Class, NOTHING, Partition};
use super::policies::{Policies, PolicyId};
use super::rows::{Side, SideId};
use super::segments::{SegmentId, Segments};
use super::sorted_map::SortedMap;
use super::traits::{TraitId, TraitSet, Traits};
use crate::policy::filter::Filter;
use crate::policy::model::NamedPort;
use crate::policy::reason::Reason;
use crate::policy::tables::{AddressRange, FilterId, PeerClass, SubjectClass, Way};

/// Kubernetes network policies in force.
///
/// Three partitions make the classes: identities by their traits (`entities`), segments of addresses
/// by the blocks they lie in (`areas`), and addresses by the pair of both (`peers`). A fourth one
/// has identities by the policies that select them (`subjects`). What a change moves from one class
/// to another, and only that, moves in the tables.
#[derive(Debug, Clone)]
pub struct PolicyEngine {
    pub(super) journal: Journal,
    pub(super) policies: Policies,
    pub(super) identities: Identities,
    pub(super) holders: Holders,
    /// By endpoint: what verdicts look at.
    pub(super) spots: Vec<Spot>,
    pub(super) segments: Segments,
    pub(super) traits: Traits,
    pub(super) reasons: Interned<Arc<Reason>>,
    pub(super) filters: Interned<Filter>,
    /// Identities by their traits.
    pub(super) entities: Partition<TraitSet>,
    /// Segments by the traits that are blocks.
    pub(super) areas: Partition<TraitSet>,
    /// Endpoints and segments by (class in `entities`, class in `areas`).
    pub(super) peers: Partition<(Class, Class)>,
    /// Identities by what selects them.
    pub(super) subjects: Partition<SubjectKey>,
    pub(super) links: Links,
    /// By subject class.
    pub(super) rows: Vec<SubjectRows>,
    /// Sides whose default is not what peers get that no rule names.
    pub(super) flipped: BTreeSet<SideId>,
    /// Sides that have so many rows that another default may be better.
    pub(super) crowded: BTreeSet<SideId>,
    /// Port names -> the sides whose rules for egress use them.
    pub(super) named: HashMap<Arc<str>, Vec<SideId>>,
    /// Peer classes of addresses of nodes -> how many.
    pub(super) hosts: HashMap<PeerClass, u32>,
    /// Nodes and subject classes -> how many addresses.
    pub(super) placements: HashMap<(NodeId, SubjectClass), u32>,
    /// The ranges of addresses that have a peer class of their own.
    pub(super) blocks: BTreeMap<AddressRange, PeerClass>,
    /// Whether segments have other classes than `blocks` says.
    pub(super) stale_blocks: bool,
}

/// What decides for a pod as a subject.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct SubjectKey {
    /// The policies that select it, by number.
    pub policies: Arc<[PolicyId]>,
    /// Of its named ports those that their rules for ingress use.
    pub ports: Arc<[NamedPort]>,
}

/// The rows of a subject class.
#[derive(Debug, Clone, Default)]
pub struct SubjectRows {
    /// For ingress and egress, where a policy has a say.
    pub sides: [Option<Box<Side>>; 2],
    /// Those that NetworkPolicies have no say in.
    pub exempt: SortedMap<(Way, PeerClass), FilterId>,
    /// Of which peer classes the pods of the subject are -> how many addresses.
    pub pairs: SortedMap<PeerClass, u32>,
}

type PeerClasses = SmallVec<[PeerClass; 4]>;

/// Who has what: from traits to classes, and from those to peer classes.
#[derive(Debug, Clone, Default)]
pub struct Links {
    entities_with: HashMap<TraitId, Vec<Class>>,
    areas_with: HashMap<TraitId, Vec<Class>>,
    entity_traits: Vec<TraitSet>,
    area_traits: Vec<TraitSet>,
    peers_of_entity: Vec<PeerClasses>,
    peers_of_area: Vec<PeerClasses>,
    parts: Vec<(Class, Class)>,
    peer_classes: usize,
}

/// The element of an endpoint in `peers`.
pub fn of_endpoint(id: EndpointId) -> u32 {
    id * 2
}

/// The element of a segment in `peers`.
pub fn of_segment(id: SegmentId) -> u32 {
    id * 2 + 1
}

/// The endpoint of an element of `peers`, if it is one.
pub fn endpoint_of(element: u32) -> Option<EndpointId> {
    element.is_multiple_of(2).then_some(element / 2)
}

impl Links {
    /// The traits of a peer class.
    pub fn traits(&self, peer: PeerClass) -> impl Iterator<Item = TraitId> {
        let (entity, area) = self.parts.get(peer as usize).copied().unwrap_or((NOTHING, NOTHING));
        let entity = self.entity_traits.get(entity as usize);
        let area = self.area_traits.get(area as usize);
        entity.into_iter().chain(area).flat_map(|set| set.iter().copied())
    }

    /// The peer classes that have a trait, each once.
    pub fn peers_with(&self, id: TraitId) -> impl Iterator<Item = PeerClass> {
        let entities = self.entities_with.get(&id).into_iter().flatten();
        let areas = self.areas_with.get(&id).into_iter().flatten();
        let by_entity = entities.map(|one| &self.peers_of_entity[*one as usize]);
        by_entity.chain(areas.map(|one| &self.peers_of_area[*one as usize])).flatten().copied()
    }

    /// The classes of identities that have a trait.
    pub fn entities_with(&self, id: TraitId) -> Vec<Class> {
        self.entities_with.get(&id).cloned().unwrap_or_default()
    }

    /// The classes of segments that have a trait.
    pub fn areas_with(&self, id: TraitId) -> Vec<Class> {
        self.areas_with.get(&id).cloned().unwrap_or_default()
    }

    /// How many peer classes there are.
    pub fn peer_classes(&self) -> usize {
        self.peer_classes
    }

    /// A class of identities has these traits now.
    pub fn set_entity(&mut self, class: Class, traits: &TraitSet) {
        set(&mut self.entities_with, &mut self.entity_traits, class, traits);
        grow(&mut self.peers_of_entity, class);
    }

    /// A class of segments has these traits now.
    pub fn set_area(&mut self, class: Class, traits: &TraitSet) {
        set(&mut self.areas_with, &mut self.area_traits, class, traits);
        grow(&mut self.peers_of_area, class);
    }

    /// A peer class is this pair now; `None`: it is no more.
    pub fn set_peer(&mut self, peer: PeerClass, parts: Option<(Class, Class)>) {
        if self.parts.len() <= peer as usize {
            self.parts.resize(peer as usize + 1, (NONE, NONE));
        }
        let before =
            std::mem::replace(&mut self.parts[peer as usize], parts.unwrap_or((NONE, NONE)));
        if before.0 != NONE {
            self.peers_of_entity[before.0 as usize].retain(|one| *one != peer);
            self.peers_of_area[before.1 as usize].retain(|one| *one != peer);
            self.peer_classes -= 1;
        }
        if let Some((entity, area)) = parts {
            grow(&mut self.peers_of_entity, entity).push(peer);
            grow(&mut self.peers_of_area, area).push(peer);
            self.peer_classes += 1;
        }
    }

    /// Give back memory that was kept for more.
    pub fn trim(&mut self) {
        for classes in self.entities_with.values_mut().chain(self.areas_with.values_mut()) {
            classes.shrink_to_fit();
        }
        self.entity_traits.shrink_to_fit();
        self.area_traits.shrink_to_fit();
        for peers in [&mut self.peers_of_entity, &mut self.peers_of_area] {
            peers.iter_mut().for_each(SmallVec::shrink_to_fit);
            peers.shrink_to_fit();
        }
        self.parts.shrink_to_fit();
    }
}

fn grow<T: Default>(list: &mut Vec<T>, index: u32) -> &mut T {
    if list.len() <= index as usize {
        list.resize_with(index as usize + 1, T::default);
    }
    &mut list[index as usize]
}

fn set(
    with: &mut HashMap<TraitId, Vec<Class>>,
    all: &mut Vec<TraitSet>,
    class: Class,
    traits: &TraitSet,
) {
    let before = std::mem::replace(grow(all, class), traits.clone());
    for gone in before.iter().filter(|one| traits.binary_search(one).is_err()) {
        if let Some(classes) = with.get_mut(gone) {
            classes.retain(|one| *one != class);
            if classes.is_empty() {
                with.remove(gone);
            }
        }
    }
    for new in traits.iter().filter(|one| before.binary_search(one).is_err()) {
        with.entry(*new).or_default().push(class);
    }
}

impl PolicyEngine {
    /// An engine without objects; its history remembers so many changed elements.
    #[must_use]
    pub fn new(history: usize) -> Self {
        let mut made = Self {
            journal: Journal::new(history),
            policies: Policies::default(),
            identities: Identities::default(),
            holders: Holders::default(),
            spots: Vec::new(),
            segments: Segments::default(),
            traits: Traits::default(),
            reasons: Interned::new(Reason::BUILT_IN.map(Arc::new)),
            filters: Interned::new([]),
            entities: Partition::new(),
            areas: Partition::new(),
            peers: Partition::new(),
            subjects: Partition::new(),
            links: Links::default(),
            rows: Vec::new(),
            flipped: BTreeSet::new(),
            crowded: BTreeSet::new(),
            named: HashMap::new(),
            hosts: HashMap::new(),
            placements: HashMap::new(),
            blocks: BTreeMap::new(),
            stale_blocks: false,
        };
        made.links.set_entity(NOTHING, &TraitSet::default());
        made.links.set_area(NOTHING, &TraitSet::default());
        made.links.set_peer(NOTHING, Some((NOTHING, NOTHING)));
        let clock = made.journal.clock();
        for segment in Segments::WHOLE {
            made.areas.insert(segment, TraitSet::default(), clock);
            made.peers.insert(of_segment(segment), (NOTHING, NOTHING), clock);
        }
        made
    }

    /// The class of an identity among `entities`; that of [`NONE`] is [`NOTHING`].
    pub(super) fn entity(&self, identity: IdentityId) -> Class {
        if identity == NONE {
            return NOTHING;
        }
        self.entities.class(identity).unwrap_or(NOTHING)
    }

    /// The subject class of an identity; that of [`NONE`] is [`NOTHING`].
    pub(super) fn subject(&self, identity: IdentityId) -> SubjectClass {
        if identity == NONE {
            return NOTHING;
        }
        self.subjects.class(identity).unwrap_or(NOTHING)
    }

    /// The rows of a subject class, which are made if there are none.
    pub(super) fn rows_mut(&mut self, subject: SubjectClass) -> &mut SubjectRows {
        grow(&mut self.rows, subject)
    }
}
