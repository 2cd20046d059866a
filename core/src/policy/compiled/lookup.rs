//! Verdicts from the tables.

use std::net::IpAddr;

use super::holders::{EndpointId, NONE};
use super::partition::NOTHING;
use super::state::{PolicyEngine, of_endpoint, of_segment};
use crate::policy::error::{Error, Result};
use crate::policy::filter::{Decision, Point, point_of_number};
use crate::policy::reason::ReasonId;
use crate::policy::tables::{FilterId, PeerClass, SubjectClass, Way};
use crate::policy::verdict::{End, Verdict};

/// What counts of one end.
#[derive(Debug, Clone, Copy)]
struct Place {
    address: IpAddr,
    endpoint: Option<EndpointId>,
    peer: PeerClass,
    subject: SubjectClass,
    /// The node that a pod runs on, [`NONE`] of all others.
    home: u32,
}

impl PolicyEngine {
    /// Whether a connection may be made: an IP protocol number, and the destination port, which
    /// counts for protocols that have ports.
    ///
    /// # Errors
    /// [`Error::UnknownPod`].
    pub fn verdict(&self, src: End<'_>, dst: End<'_>, protocol: u8, port: u16) -> Result<Verdict> {
        let (src, dst) = self.places(src, dst)?;
        Ok(self.between(&src, &dst, point_of_number(protocol, port)))
    }

    fn between(&self, src: &Place, dst: &Place, point: Point) -> Verdict {
        if src.address == dst.address {
            return Verdict {
                egress: self.decide(src.subject, Way::HairpinEgress, dst.peer, point),
                ingress: self.decide(dst.subject, Way::HairpinIngress, src.peer, point),
            };
        }
        let way = if self.is_home(src, dst) { Way::Local } else { Way::Egress };
        let egress = self.decide(src.subject, way, dst.peer, point);
        let ingress = match self.is_home(dst, src) {
            true => Decision { allow: true, reason: ReasonId::OWN_NODE, audit: None },
            false => self.decide(dst.subject, Way::Ingress, src.peer, point),
        };
        Verdict { egress, ingress }
    }

    /// Both ends; of pods the first addresses that are of one family.
    fn places(&self, src: End<'_>, dst: End<'_>) -> Result<(Place, Place)> {
        let (from, to) = (self.ends(src)?, self.ends(dst)?);
        let (from, to) = (from.as_slice(), to.as_slice());
        let same = |a: &Place, b: &Place| a.address.is_ipv4() == b.address.is_ipv4();
        let pairs = from.iter().flat_map(|from| to.iter().map(move |to| (from, to)));
        let pair = pairs.clone().find(|(from, to)| same(from, to)).or_else(|| pairs.clone().next());
        match pair {
            Some((from, to)) => Ok((*from, *to)),
            None => unreachable!("ends have an address, or are an error"),
        }
    }

    fn ends(&self, end: End<'_>) -> Result<smallvec::SmallVec<[Place; 2]>> {
        match end {
            End::Address(address) => Ok(smallvec::smallvec![self.place_of(address)]),
            End::Pod(key) => {
                let pod = self.holders.find_pod(key).map(|id| self.holders.pod(id));
                let endpoints = pod.map_or(&[][..], |pod| &pod.endpoints);
                if endpoints.is_empty() {
                    return Err(Error::UnknownPod(key.to_owned()));
                }
                Ok(endpoints.iter().map(|id| self.place_of_endpoint(*id)).collect())
            }
        }
    }

    fn place_of(&self, address: IpAddr) -> Place {
        let address = address.to_canonical();
        match self.holders.find(address) {
            Some(id) => self.place_of_endpoint(id),
            None => self.place_outside(address, None),
        }
    }

    fn place_of_endpoint(&self, id: EndpointId) -> Place {
        let endpoint = self.holders.endpoint(id);
        let Some(peer) = self.peers.class(of_endpoint(id)) else {
            return self.place_outside(endpoint.address, Some(id));
        };
        let subject = self.subject(endpoint.state.identity);
        let pod = endpoint.state.identity != NONE && !self.is_nodes(endpoint.state.identity);
        let home = if pod { endpoint.state.node } else { NONE };
        Place { address: endpoint.address, endpoint: Some(id), peer, subject, home }
    }

    fn is_nodes(&self, identity: u32) -> bool {
        self.identities.who(identity).namespace().is_none()
    }

    fn place_outside(&self, address: IpAddr, endpoint: Option<EndpointId>) -> Place {
        let segment = of_segment(self.segments.at(address));
        let peer = self.peers.class(segment).unwrap_or(NOTHING);
        Place { address, endpoint, peer, subject: NOTHING, home: NONE }
    }

    /// Whether the second one is the node that the pod of the first one is on.
    fn is_home(&self, pod: &Place, other: &Place) -> bool {
        let Some(endpoint) = other.endpoint.filter(|_| pod.home != NONE) else { return false };
        self.holders.is_of_node(endpoint, pod.home)
    }

    fn decide(&self, subject: SubjectClass, way: Way, peer: PeerClass, point: Point) -> Decision {
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
                return rows.exempt.get(&(way, peer)).copied();
            }
        };
        let side = rows.sides[direction].as_deref()?;
        Some(side.rows.get(&peer).copied().unwrap_or(side.default))
    }
}
