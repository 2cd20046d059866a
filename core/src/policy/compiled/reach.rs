//! Who reaches whom, all at once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::holders::PodId;
use super::state::PolicyEngine;
use crate::policy::filter::{Point, point_of_number};
use crate::policy::tables::{PeerClass, SubjectClass, Way};

/// Of each address of a pod whether it is IPv4, and its classes: pods that have the same are not
/// told apart by any policy.
type Identity = Vec<(bool, PeerClass, SubjectClass)>;

/// Pods that no policy tells apart, and who of them reaches whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reach {
    /// The pods of each identity as `namespace/name`, sorted; the identities by their first pod.
    pub identities: Vec<Vec<String>>,
    /// By source, then by destination: whether a pod reaches another pod.
    pub matrix: Vec<bool>,
}

impl PolicyEngine {
    /// Who reaches whom with a protocol and a port. Pods without an address or network of their own
    /// are left out.
    #[must_use]
    pub fn reachable(&self, protocol: u8, port: u16) -> Reach {
        let mut pods: BTreeMap<Identity, Vec<String>> = BTreeMap::new();
        for (id, pod) in self.holders.pods().filter(|(_, pod)| !pod.host_network && !pod.ended) {
            if let Some(identity) = self.identity_of(id) {
                pods.entry(identity).or_default().push(pod.key.to_string());
            }
        }
        let mut found: Vec<_> = pods.into_iter().collect();
        found.iter_mut().for_each(|(_, pods)| pods.sort_unstable());
        found.sort_by(|a, b| a.1[0].cmp(&b.1[0]));
        let point = point_of_number(protocol, port);
        let (identities, pods): (Vec<_>, Vec<_>) = found.into_iter().unzip();
        let pairs = identities.iter().flat_map(|src| identities.iter().map(move |dst| (src, dst)));
        let matrix = pairs.map(|(src, dst)| self.reaches(src, dst, point)).collect();
        Reach { identities: pods, matrix }
    }

    fn identity_of(&self, pod: PodId) -> Option<Identity> {
        let found: Identity = (self.holders.endpoints_of(pod).iter())
            .filter_map(|id| {
                let (peer, subject) = self.spots.get(*id as usize)?.classes()?;
                let is_ipv4 = matches!(self.holders.endpoint(*id).address, IpAddr::V4(_));
                Some((is_ipv4, peer, subject))
            })
            .collect();
        (!found.is_empty()).then_some(found)
    }

    /// From the first address of each family that both have to the first of it.
    fn reaches(&self, src: &Identity, dst: &Identity, point: Point) -> bool {
        let of = |all: &Identity, family| all.iter().find(|one| one.0 == family).copied();
        let families = [true, false].map(|one| of(src, one).zip(of(dst, one)));
        let mut common = families.into_iter().flatten().peekable();
        common.peek().is_some()
            && common.all(|((_, from, src), (_, to, dst))| {
                self.decide(src, Way::Egress, to, point).allow
                    && self.decide(dst, Way::Ingress, from, point).allow
            })
    }
}
