//! `networking.k8s.io/v1` NetworkPolicy.

use std::sync::Arc;

use super::field::{Field, Object as Map};
use super::{Result, labels, policy_metadata, ports};
use crate::policy::model::{
    Action, Direction, Key, NamespaceMatch, Peer, PodPeer, Policy, Rule, Tier,
};
use crate::policy::selector::Selector;

pub fn parse(root: &Map<'_>, key: &Key) -> Result<Policy> {
    root.known(&["apiVersion", "kind", "metadata", "spec", "status"])?;
    let (uid, audit) = policy_metadata(root)?;
    let namespace = key.namespace.clone().unwrap_or_default();
    // A policy without a spec is one whose fields are all missing.
    let mut policy = Policy {
        key: key.clone(),
        uid,
        audit,
        tier: Tier::NetworkPolicy,
        priority: 0,
        subject: PodPeer {
            namespace: NamespaceMatch::Name(namespace.clone()),
            pods: Selector::default(),
        },
        isolates: [true, false],
        rules: [Vec::new(), Vec::new()],
    };
    if let Some(spec) = root.get("spec") {
        read_spec(&spec.object()?, &namespace, &mut policy)?;
    }
    Ok(policy)
}

fn read_spec(spec: &Map<'_>, namespace: &Arc<str>, policy: &mut Policy) -> Result<()> {
    spec.known(&["podSelector", "ingress", "egress", "policyTypes"])?;
    if let Some(field) = spec.get("podSelector") {
        policy.subject.pods = labels::selector(&field)?;
    }
    for (direction, (list, peers)) in [("ingress", "from"), ("egress", "to")].iter().enumerate() {
        let Some(field) = spec.get(list) else { continue };
        for one in field.list(usize::MAX)? {
            policy.rules[direction].push(rule(&one, peers, namespace)?);
        }
    }
    let mut isolates = [false, false];
    if let Some(types) = spec.get("policyTypes") {
        let words = [("Ingress", Direction::Ingress), ("Egress", Direction::Egress)];
        for one in types.list(2)? {
            isolates[one.one_of(&words)? as usize] = true;
        }
    }
    if isolates == [false, false] {
        isolates = [true, !policy.rules[1].is_empty()];
    }
    policy.isolates = isolates;
    for (direction, isolates) in isolates.into_iter().enumerate() {
        if !isolates {
            policy.rules[direction].clear();
        }
    }
    Ok(())
}

fn rule(field: &Field<'_>, peers: &str, namespace: &Arc<str>) -> Result<Rule> {
    let map = field.object()?;
    map.known(&["ports", peers])?;
    let mut rule = Rule { name: None, action: Action::Accept, peers: None, ports: None };
    if let Some(field) = map.get("ports") {
        let ports = field.list(usize::MAX)?.map(|one| ports::network_policy_port(&one));
        rule.ports = unless_empty(ports.collect::<Result<_>>()?);
    }
    if let Some(field) = map.get(peers) {
        let peers = field.list(usize::MAX)?.map(|one| peer(&one, namespace));
        rule.peers = unless_empty(peers.collect::<Result<_>>()?);
    }
    Ok(rule)
}

/// An empty list says what a missing one says: no restriction.
fn unless_empty<T>(list: Vec<T>) -> Option<Vec<T>> {
    Some(list).filter(|list| !list.is_empty())
}

fn peer(field: &Field<'_>, namespace: &Arc<str>) -> Result<Peer> {
    let map = field.object()?;
    map.known(&["podSelector", "namespaceSelector", "ipBlock"])?;
    let (pods, namespaces) = (map.get("podSelector"), map.get("namespaceSelector"));
    if let Some(block) = map.get("ipBlock") {
        if pods.is_some() || namespaces.is_some() {
            return Err(field.only("must not have both an ipBlock and a selector"));
        }
        return ports::ip_block(&block).map(Peer::Block);
    }
    if pods.is_none() && namespaces.is_none() {
        return Err(field.only("must have a podSelector, a namespaceSelector or an ipBlock"));
    }
    let namespace = match &namespaces {
        Some(field) => NamespaceMatch::Labels(labels::selector(field)?),
        None => NamespaceMatch::Name(namespace.clone()),
    };
    let pods = pods.as_ref().map_or(Ok(Selector::default()), labels::selector)?;
    Ok(Peer::Pods(PodPeer { namespace, pods }))
}
