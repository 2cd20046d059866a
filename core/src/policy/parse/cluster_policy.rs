//! `policy.networking.k8s.io`: ClusterNetworkPolicy (v1alpha2, v1beta1), and AdminNetworkPolicy and
//! BaselineAdminNetworkPolicy (v1alpha1), which say the same in other words.

use super::field::{Field, Object as Map};
use super::{Result, labels, policy_metadata, ports};
use crate::policy::block::Block;
use crate::policy::model::{
    Action, Key, Kind, NamespaceMatch, Peer, PodPeer, Policy, PortMatch, Protocol, Rule, Tier,
};
use crate::policy::selector::Selector;

/// In what the versions of the group differ.
struct Dialect {
    /// How rules are said to allow.
    accept: &'static str,
    /// Whether rules may pass.
    passes: bool,
    /// The key of the list of ports.
    ports: &'static str,
    /// What is in that list.
    port: fn(&Field<'_>, &mut Vec<PortMatch>) -> Result<()>,
    /// How many rules a direction may have, and how many peers and ports a rule.
    most: usize,
}

const MOST_NETWORKS: usize = 25;

const V1ALPHA2: Dialect =
    Dialect { accept: "Accept", passes: true, ports: "protocols", port: protocol, most: 25 };

const ADMIN: Dialect =
    Dialect { accept: "Allow", passes: true, ports: "ports", port: admin_port, most: 100 };

const BASELINE: Dialect = Dialect { passes: false, ..ADMIN };

pub fn parse(root: &Map<'_>, key: &Key) -> Result<Policy> {
    let spec = root.need("spec")?;
    let spec = spec.object()?;
    spec.known(&["tier", "priority", "subject", "ingress", "egress"])?;
    let tiers = [("Admin", Tier::Admin), ("Baseline", Tier::Baseline)];
    let tier = spec.need("tier")?.one_of(&tiers)?;
    let priority = spec.need("priority")?.number(0, 1000)?;
    policy(root, key, &spec, &V1ALPHA2, (tier, priority))
}

pub fn parse_v1alpha1(root: &Map<'_>, key: &Key) -> Result<Policy> {
    let spec = root.need("spec")?;
    let spec = spec.object()?;
    if key.kind == Kind::AdminNetworkPolicy {
        spec.known(&["priority", "subject", "ingress", "egress"])?;
        let priority = spec.need("priority")?.number(0, 1000)?;
        return policy(root, key, &spec, &ADMIN, (Tier::Admin, priority));
    }
    if &*key.name != "default" {
        let metadata = root.need("metadata")?;
        let metadata = metadata.object()?;
        return Err(metadata.need("name")?.only("must be default: there is only one"));
    }
    spec.known(&["subject", "ingress", "egress"])?;
    // Behind all that have a priority.
    policy(root, key, &spec, &BASELINE, (Tier::Baseline, u16::MAX))
}

fn policy(
    root: &Map<'_>,
    key: &Key,
    spec: &Map<'_>,
    dialect: &Dialect,
    (tier, priority): (Tier, u16),
) -> Result<Policy> {
    root.known(&["apiVersion", "kind", "metadata", "spec", "status"])?;
    let (uid, audit) = policy_metadata(root)?;
    let subject = spec.need("subject")?;
    let map = subject.object()?;
    map.known(&["namespaces", "pods"])?;
    let subject = exactly_one(&map, &["namespaces", "pods"])
        .and_then(|found| found.map_or_else(|| Err(nothing(&map)), |_| pod_peer(&map)))?;
    let mut rules = [Vec::new(), Vec::new()];
    for (direction, list) in ["ingress", "egress"].into_iter().enumerate() {
        let Some(field) = spec.get(list) else { continue };
        for one in field.list(dialect.most)? {
            rules[direction].push(rule(&one, direction == 1, dialect)?);
        }
    }
    let key = key.clone();
    Ok(Policy { key, uid, audit, tier, priority, subject, isolates: [false, false], rules })
}

fn nothing(map: &Map<'_>) -> Box<super::Invalid> {
    map.field().only("must have exactly one of namespaces and pods")
}

/// Which of the keys is there; none may be if unknown fields are overlooked.
fn exactly_one<'a>(map: &Map<'a>, keys: &[&'a str]) -> Result<Option<&'a str>> {
    let mut found = keys.iter().filter(|key| map.get(key).is_some());
    let first = found.next();
    if found.next().is_some() || (first.is_none() && map.is_empty()) {
        let keys = keys.join(", ");
        return Err(map.field().only(format_args!("must have exactly one of {keys}")));
    }
    Ok(first.copied())
}

fn rule(field: &Field<'_>, egress: bool, dialect: &Dialect) -> Result<Rule> {
    let map = field.object()?;
    let list = if egress { "to" } else { "from" };
    map.known(&["name", "action", list, dialect.ports])?;
    let name = map.get("name").map(|field| {
        let name = field.text()?;
        if name.chars().count() > 100 {
            return Err(field.only("must have at most 100 characters"));
        }
        Ok(name.into())
    });
    let words = [(dialect.accept, Action::Accept), ("Deny", Action::Deny), ("Pass", Action::Pass)];
    let words = &words[..if dialect.passes { 3 } else { 2 }];
    let action = map.need("action")?.one_of(words)?;
    let (ports, named) = match map.get(dialect.ports) {
        None => (None, false),
        Some(field) => {
            let mut matches = Vec::new();
            for one in some(&field, dialect.most)? {
                (dialect.port)(&one, &mut matches)?;
            }
            let named = matches.iter().any(|one| matches!(one, PortMatch::Named { .. }));
            (Some(matches), named)
        }
    };
    let mut rule = Rule { name: name.transpose()?, action, peers: None, ports };
    let peers = map.need(list)?;
    let mut found = Vec::new();
    for one in some(&peers, dialect.most)? {
        match peer(&one, egress, &mut found)? {
            PeerKind::WithoutPorts | PeerKind::DomainNames if named => {
                return Err(one.only(
                    "must not be nodes, networks or domainNames in a rule with a named port, \
                     which they do not have",
                ));
            }
            PeerKind::Pods | PeerKind::WithoutPorts => {}
            // Closed, whichever way that is for the rule.
            PeerKind::DomainNames | PeerKind::Unknown if action == Action::Accept => {}
            PeerKind::DomainNames | PeerKind::Unknown => {
                (rule.action, rule.peers, rule.ports) = (Action::Deny, None, None);
                return Ok(rule);
            }
        }
    }
    rule.peers = Some(found);
    Ok(rule)
}

/// The members of a list that must have at least one.
fn some<'a>(field: &'a Field<'a>, max: usize) -> Result<impl Iterator<Item = Field<'a>>> {
    let mut members = field.list(max)?.peekable();
    if members.peek().is_none() {
        return Err(field.only(format_args!("must have 1 to {max} items")));
    }
    Ok(members)
}

enum PeerKind {
    Pods,
    WithoutPorts,
    /// What they mean at some moment only a resolver can know: not supported, as if unknown.
    DomainNames,
    /// Of a newer version of the API.
    Unknown,
}

fn peer(field: &Field<'_>, egress: bool, found: &mut Vec<Peer>) -> Result<PeerKind> {
    let map = field.object()?;
    let keys = ["namespaces", "pods", "nodes", "networks", "domainNames"];
    let keys = &keys[..if egress { 5 } else { 2 }];
    map.known(keys)?;
    match exactly_one(&map, keys)? {
        Some("namespaces" | "pods") => {
            found.push(Peer::Pods(pod_peer(&map)?));
            Ok(PeerKind::Pods)
        }
        Some("nodes") => {
            found.push(Peer::Nodes(labels::selector(&map.need("nodes")?)?));
            Ok(PeerKind::WithoutPorts)
        }
        Some("networks") => {
            for one in some(&map.need("networks")?, MOST_NETWORKS)? {
                let cidr = ports::masked_prefix(&one)?;
                found.push(Peer::Block(Block::new(cidr, Vec::new())));
            }
            Ok(PeerKind::WithoutPorts)
        }
        Some(_) => {
            domain_names(&map.need("domainNames")?)?;
            Ok(PeerKind::DomainNames)
        }
        None => Ok(PeerKind::Unknown),
    }
}

fn domain_names(field: &Field<'_>) -> Result<()> {
    for one in some(field, MOST_NETWORKS)? {
        let name = one.text()?;
        let labels = name.strip_prefix("*.").unwrap_or(name);
        let labels = labels.strip_suffix('.').unwrap_or(labels);
        let inner = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let label = |label: &str| {
            let ends = [label.bytes().next(), label.bytes().last()];
            let ends = ends.iter().all(|end| end.is_some_and(|byte| byte.is_ascii_alphanumeric()));
            ends && label.bytes().all(inner)
        };
        if !labels.contains('.') || !labels.split('.').all(label) {
            return Err(one.only("must be a domain name, as kubernetes.io or *.kubernetes.io"));
        }
    }
    Ok(())
}

/// `namespaces` or `pods`, one of which is there.
fn pod_peer(map: &Map<'_>) -> Result<PodPeer> {
    if let Some(field) = map.get("namespaces") {
        let namespace = NamespaceMatch::Labels(labels::selector(&field)?);
        return Ok(PodPeer { namespace, pods: Selector::default() });
    }
    let pods = map.need("pods")?;
    let map = pods.object()?;
    map.known(&["namespaceSelector", "podSelector"])?;
    let namespaces = map.get("namespaceSelector");
    let namespaces = namespaces.as_ref().map_or(Ok(Selector::default()), labels::selector)?;
    let namespace = NamespaceMatch::Labels(namespaces);
    Ok(PodPeer { namespace, pods: labels::selector(&map.need("podSelector")?)? })
}

/// `ClusterNetworkPolicyProtocol`.
fn protocol(field: &Field<'_>, found: &mut Vec<PortMatch>) -> Result<()> {
    let map = field.object()?;
    let keys = ["tcp", "udp", "sctp", "destinationNamedPort"];
    map.known(&keys)?;
    let protocol = match exactly_one(&map, &keys)? {
        Some("tcp") => (Protocol::Tcp, map.need("tcp")?),
        Some("udp") => (Protocol::Udp, map.need("udp")?),
        Some("sctp") => (Protocol::Sctp, map.need("sctp")?),
        Some(key) => {
            let name = ports::port_name(&map.need(key)?)?;
            found.push(PortMatch::Named { protocol: None, name });
            return Ok(());
        }
        None => return Err(map.field().only(format_args!("must be one of {}", keys.join(", ")))),
    };
    let (protocol, field) = protocol;
    let map = field.object()?;
    map.known(&["destinationPort"])?;
    let (first, last) = match map.get("destinationPort") {
        None => return Err(map.missing("destinationPort")),
        Some(port) => port_or_range(&port)?,
    };
    found.push(PortMatch::Range { protocol, first, last });
    Ok(())
}

/// `Port`: a number or a range.
fn port_or_range(field: &Field<'_>) -> Result<(u16, u16)> {
    let map = field.object()?;
    map.known(&["number", "range"])?;
    match exactly_one(&map, &["number", "range"])? {
        Some("number") => {
            let number = map.need("number")?.number(1, u16::MAX)?;
            Ok((number, number))
        }
        Some(_) => {
            let range = map.need("range")?;
            let range = range.object()?;
            range.known(&["start", "end"])?;
            start_and_end(&range, 1)
        }
        None => Err(map.field().only("must have exactly one of number, range")),
    }
}

fn start_and_end(map: &Map<'_>, least: u16) -> Result<(u16, u16)> {
    let start = map.need("start")?.number(1, u16::MAX)?;
    let first = start.saturating_add(least);
    Ok((start, map.need("end")?.number(first, u16::MAX)?))
}

/// `AdminNetworkPolicyPort`.
fn admin_port(field: &Field<'_>, found: &mut Vec<PortMatch>) -> Result<()> {
    let map = field.object()?;
    let keys = ["portNumber", "portRange", "namedPort"];
    map.known(&keys)?;
    let one = match exactly_one(&map, &keys)? {
        Some("namedPort") => {
            PortMatch::Named { protocol: None, name: ports::port_name(&map.need("namedPort")?)? }
        }
        Some("portNumber") => {
            let number = map.need("portNumber")?;
            let number = number.object()?;
            number.known(&["protocol", "port"])?;
            let first = number.need("port")?.number(1, u16::MAX)?;
            PortMatch::Range { protocol: ports::protocol(&number)?, first, last: first }
        }
        Some(_) => {
            let range = map.need("portRange")?;
            let range = range.object()?;
            range.known(&["protocol", "start", "end"])?;
            let (first, last) = start_and_end(&range, 0)?;
            PortMatch::Range { protocol: ports::protocol(&range)?, first, last }
        }
        None => return Err(map.field().only(format_args!("must be one of {}", keys.join(", ")))),
    };
    found.push(one);
    Ok(())
}
