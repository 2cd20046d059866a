//! What is not a policy: namespaces, nodes, pods. The API server has them, so they are valid; what
//! matters here is read, and the rest is overlooked.

use std::collections::HashSet;
use std::net::IpAddr;

use super::field::{Field, Object as Map};
use super::{Result, labels, ports};
use crate::policy::model::{Key, NamedPort, Namespace, Node, Pod};

/// The label that the API server gives to every namespace.
pub const NAME_LABEL: &str = "kubernetes.io/metadata.name";

pub fn namespace(root: &Map<'_>, key: &Key) -> Result<Namespace> {
    let metadata = root.need("metadata")?;
    let labels = labels::labels(&metadata.object()?, Some((NAME_LABEL, &key.name)))?;
    Ok(Namespace { name: key.name.clone(), labels })
}

pub fn node(root: &Map<'_>, key: &Key) -> Result<Node> {
    let metadata = root.need("metadata")?;
    let labels = labels::labels(&metadata.object()?, None)?;
    let mut addresses = Vec::new();
    if let Some(status) = root.get("status")
        && let Some(field) = status.object()?.get("addresses")
    {
        for one in field.list(usize::MAX)? {
            let one = one.object()?;
            let (kind, value) = (one.need("type")?, one.need("address")?);
            // A host name may be an address, too.
            let must = ["InternalIP", "ExternalIP"].contains(&kind.text()?);
            match address(&value) {
                Ok(address) => addresses.push(address),
                Err(error) if must => return Err(error),
                Err(_) => {}
            }
        }
    }
    addresses.sort_unstable();
    addresses.dedup();
    Ok(Node { name: key.name.clone(), labels, addresses })
}

pub fn pod(root: &Map<'_>, key: &Key) -> Result<Pod> {
    let metadata = root.need("metadata")?;
    let labels = labels::labels(&metadata.object()?, None)?;
    let mut pod = Pod {
        namespace: key.namespace.clone().unwrap_or_default(),
        name: key.name.clone(),
        labels,
        addresses: Vec::new(),
        node: None,
        host_network: false,
        ended: false,
        ports: Vec::new(),
    };
    if let Some(spec) = root.get("spec") {
        read_spec(&spec.object()?, &mut pod)?;
    }
    if let Some(status) = root.get("status") {
        read_status(&status.object()?, &mut pod)?;
    }
    Ok(pod)
}

fn read_spec(spec: &Map<'_>, pod: &mut Pod) -> Result<()> {
    let node = spec.get("nodeName");
    pod.node = node.as_ref().map(Field::shared_text).transpose()?;
    pod.node = pod.node.take().filter(|name| !name.is_empty());
    pod.host_network = spec.get("hostNetwork").map_or(Ok(false), |field| field.bool())?;
    for (list, sidecars_only) in [("containers", false), ("initContainers", true)] {
        let Some(field) = spec.get(list) else { continue };
        for container in field.list(usize::MAX)? {
            let container = container.object()?;
            let always = container.get("restartPolicy");
            let always = always.as_ref().map(Field::text).transpose()? == Some("Always");
            if always || !sidecars_only {
                read_ports(&container, &mut pod.ports)?;
            }
        }
    }
    pod.ports.sort();
    pod.ports.dedup();
    Ok(())
}

fn read_ports(container: &Map<'_>, named: &mut Vec<NamedPort>) -> Result<()> {
    let Some(field) = container.get("ports") else { return Ok(()) };
    for port in field.list(usize::MAX)? {
        let port = port.object()?;
        let Some(name) = port.get("name") else { continue };
        named.push(NamedPort {
            name: name.shared_text()?,
            protocol: ports::protocol(&port)?,
            port: port.need("containerPort")?.number(1, u16::MAX)?,
        });
    }
    Ok(())
}

fn read_status(status: &Map<'_>, pod: &mut Pod) -> Result<()> {
    if let Some(phase) = status.get("phase") {
        pod.ended = ["Succeeded", "Failed"].contains(&phase.text()?);
    }
    if let Some(field) = status.get("podIPs") {
        for one in field.list(usize::MAX)? {
            pod.addresses.push(address(&one.object()?.need("ip")?)?);
        }
        let mut seen = HashSet::new();
        pod.addresses.retain(|address| seen.insert(*address));
    }
    if let (true, Some(field)) = (pod.addresses.is_empty(), status.get("podIP"))
        && !field.text()?.is_empty()
    {
        pod.addresses.push(address(&field)?);
    }
    Ok(())
}

fn address(field: &Field<'_>) -> Result<IpAddr> {
    let address = ports::address(field.text()?);
    let address = address.ok_or_else(|| field.only("must be an IPv4 or IPv6 address"))?;
    Ok(address.to_canonical())
}
