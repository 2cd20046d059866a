//! Who reaches whom, all at once.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::holders::Pod;
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
        for pod in self.holders.pods().filter(|pod| !pod.host_network && !pod.ended) {
            if let Some(identity) = self.identity_of(pod) {
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

    fn identity_of(&self, pod: &Pod) -> Option<Identity> {
        let found: Identity = (pod.endpoints.iter())
            .filter_map(|id| {
                let (peer, subject) = self.spots.get(*id as usize)?.classes()?;
                let is_ipv4 = matches!(self.holders.endpoint(*id).address, IpAddr::V4(_));
                Some((is_ipv4, peer, subject))
            })
            .collect();
        (!found.is_empty()).then_some(found)
    }

    /// Between the first addresses that are of one family.
    fn reaches(&self, src: &Identity, dst: &Identity, point: Point) -> bool {
        let pairs = src.iter().flat_map(|from| dst.iter().map(move |to| (from, to)));
        pairs.into_iter().find(|(from, to)| from.0 == to.0).is_some_and(|(from, to)| {
            self.decide(from.2, Way::Egress, to.1, point).allow
                && self.decide(to.2, Way::Ingress, from.1, point).allow
        })
    }
}
