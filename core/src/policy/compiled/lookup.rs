//! Verdicts from the tables.

use std::net::IpAddr;

use smallvec::{SmallVec, smallvec};

use super::holders::{EndpointId, NONE};
use super::ids::make_room;
use super::journal::NodeId;
use super::partition::NOTHING;
use super::state::{PolicyEngine, of_endpoint, of_segment};
use crate::policy::error::{Error, Result};
use crate::policy::filter::{Decision, Point, point_of_number};
use crate::policy::reason::ReasonId;
use crate::policy::tables::{FilterId, PeerClass, SubjectClass, Way};
use crate::policy::verdict::{End, Verdict};

/// What verdicts look at of an address, all in one place: it follows from the classes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spot {
    peer: PeerClass,
    subject: SubjectClass,
    /// The node that a pod runs on, [`NONE`] of all others.
    home: NodeId,
    /// Whether it counts as a pod's own.
    pod: bool,
    /// Whether a node has it.
    host: bool,
    /// Whether it counts.
    counts: bool,
}

impl Spot {
    /// The classes, if they are an address's own.
    pub fn classes(&self) -> Option<(PeerClass, SubjectClass)> {
        self.counts.then_some((self.peer, self.subject))
    }

    /// What is nobody's, and of this peer class.
    fn outside(peer: PeerClass) -> Self {
        Self { peer, subject: NOTHING, home: NONE, pod: false, host: false, counts: false }
    }
}

/// One end.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: IpAddr,
    endpoint: EndpointId,
    spot: Spot,
}

impl PolicyEngine {
    /// Whether a connection may be made: an IP protocol number, and the destination port, which
    /// counts for protocols that have ports.
    ///
    /// # Errors
    /// [`Error::UnknownPod`], [`Error::NoCommonFamily`].
    pub fn verdict(&self, src: End<'_>, dst: End<'_>, protocol: u8, port: u16) -> Result<Verdict> {
        let (src, dst) = self.places(src, dst)?;
        Ok(self.between(&src, &dst, point_of_number(protocol, port)))
    }

    /// Whether connections between addresses may be made; none can be between two families.
    #[must_use]
    pub fn allows(&self, src: IpAddr, dst: IpAddr, protocol: u8, port: u16) -> bool {
        let (src, dst) = (self.place_of(src), self.place_of(dst));
        src.address.is_ipv4() == dst.address.is_ipv4()
            && self.between(&src, &dst, point_of_number(protocol, port)).allowed()
    }

    #[inline]
    fn between(&self, from: &Place, to: &Place, point: Point) -> Verdict {
        let (src, dst) = (&from.spot, &to.spot);
        if from.address == to.address && src.pod {
            return Verdict {
                egress: self.decide(src.subject, Way::HairpinEgress, dst.peer, point),
                ingress: self.decide(dst.subject, Way::HairpinIngress, src.peer, point),
            };
        }
        let way = if self.is_home(from, to) { Way::Local } else { Way::Egress };
        let egress = self.decide(src.subject, way, dst.peer, point);
        let ingress = match self.is_home(to, from) {
            true => Decision { allow: true, reason: ReasonId::OWN_NODE, audit: None },
            false => self.decide(dst.subject, Way::Ingress, src.peer, point),
        };
        Verdict { egress, ingress }
    }

    /// Both ends; of pods the first addresses that are of one family.
    fn places(&self, src: End<'_>, dst: End<'_>) -> Result<(Place, Place)> {
        let (from, to) = (self.ends(src)?, self.ends(dst)?);
        let first = |v4: bool| to.iter().find(|one| one.address.is_ipv4() == v4);
        let theirs = [first(false), first(true)];
        from.iter()
            .find_map(|one| theirs[usize::from(one.address.is_ipv4())].map(|other| (*one, *other)))
            .ok_or_else(|| Error::NoCommonFamily(src.to_string(), dst.to_string()))
    }

    fn ends(&self, end: End<'_>) -> Result<SmallVec<[Place; 2]>> {
        match end {
            End::Address(address) => Ok(smallvec![self.place_of(address)]),
            End::Pod(key) => {
                let own = self.holders.find_pod(key).into_iter().flat_map(|id| {
                    let all = self.holders.endpoints_of(id).iter();
                    all.filter(move |one| self.holders.counts_as(**one, id))
                });
                let places: SmallVec<_> = own.map(|one| self.place_of_endpoint(*one)).collect();
                match places.is_empty() {
                    true => Err(Error::UnknownPod(key.to_owned())),
                    false => Ok(places),
                }
            }
        }
    }

    #[inline]
    fn place_of(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        match self.holders.find(address) {
            Some(id) => self.place_at(address, id),
            None => Place { address, endpoint: NONE, spot: self.spot_outside(address) },
        }
    }

    fn place_of_endpoint(&self, id: EndpointId) -> Place {
        self.place_at(self.holders.endpoint(id).address, id)
    }

    #[inline]
    fn place_at(&self, address: IpAddr, endpoint: EndpointId) -> Place {
        let spot = self.spots.get(endpoint as usize).copied().filter(|spot| spot.counts);
        let spot = spot.unwrap_or_else(|| self.spot_outside(address));
        Place { address, endpoint, spot }
    }

    fn spot_outside(&self, address: IpAddr) -> Spot {
        let segment = of_segment(self.segments.at(address));
        Spot::outside(self.peers.class(segment).unwrap_or(NOTHING))
    }

    /// Let what verdicts look at follow the classes of an address.
    pub(super) fn respot(&mut self, id: EndpointId) {
        let state = self.holders.endpoint(id).state;
        let spot = match self.peers.class(of_endpoint(id)) {
            None => Spot::outside(NOTHING),
            Some(peer) => {
                let pod = state.identity != NONE && !self.is_nodes(state.identity);
                let home = if pod { state.node } else { NONE };
                let subject = self.subject(state.identity);
                Spot { peer, subject, home, pod, host: state.host, counts: true }
            }
        };
        if self.spots.len() <= id as usize {
            make_room(&mut self.spots, id);
            self.spots.resize(id as usize + 1, Spot::outside(NOTHING));
        }
        self.spots[id as usize] = spot;
    }

    fn is_nodes(&self, identity: u32) -> bool {
        self.identities.who(identity).namespace().is_none()
    }

    /// Whether the second one is the node that the pod of the first one is on.
    #[inline]
    fn is_home(&self, pod: &Place, other: &Place) -> bool {
        let home = pod.spot.home;
        other.spot.host && home != NONE && self.holders.is_of_node(other.endpoint, home)
    }

    #[inline]
    pub(super) fn decide(
        &self,
        subject: SubjectClass,
        way: Way,
        peer: PeerClass,
        point: Point,
    ) -> Decision {
        match self.filter_of(subject, way, peer) {
            Some(filter) => self.filters.value(filter).decide(point),
            None => Decision { allow: true, reason: way.fallback(), audit: None },
        }
    }

    fn filter_of(&self, subject: SubjectClass, way: Way, peer: PeerClass) -> Option<FilterId> {
        let rows = self.rows.get(subject as usize)?;
        let direction = match way {
            Way::Ingress => 0,
            Way::Egress => 1,
            Way::Local | Way::HairpinIngress | Way::HairpinEgress => {
                return rows.exempt.get((way, peer));
            }
        };
        let side = rows.sides[direction].as_deref()?;
        Some(side.rows.get(peer).unwrap_or(side.default))
    }
}
