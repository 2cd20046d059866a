//! Ports of the two families of policies, and blocks of addresses.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use super::Result;
use super::field::{Field, Object as Map};
use crate::policy::block::Block;
use crate::policy::model::{PortMatch, Protocol};
use crate::prefix::Prefix;

const PROTOCOLS: [(&str, Protocol); 3] =
    [("TCP", Protocol::Tcp), ("UDP", Protocol::Udp), ("SCTP", Protocol::Sctp)];

/// `protocol`, which is TCP if it is missing.
pub fn protocol(map: &Map<'_>) -> Result<Protocol> {
    map.get("protocol").map_or(Ok(Protocol::Tcp), |field| field.one_of(&PROTOCOLS))
}

/// `NetworkPolicyPort`.
pub fn network_policy_port(field: &Field<'_>) -> Result<PortMatch> {
    let map = field.object()?;
    map.known(&["protocol", "port", "endPort"])?;
    let protocol = protocol(&map)?;
    let end = map.get("endPort");
    let Some(port) = map.get("port") else {
        return match end {
            None => Ok(PortMatch::Range { protocol, first: 0, last: u16::MAX }),
            Some(_) => Err(map.missing("port")),
        };
    };
    if !port.is_number() {
        if let Some(end) = end {
            return Err(end.only("must not be there with a port that is a name"));
        }
        return Ok(PortMatch::Named { protocol: Some(protocol), name: port_name(&port)? });
    }
    let first = port.number(1, u16::MAX)?;
    let last = end.map_or(Ok(first), |end| end.number(first, u16::MAX))?;
    Ok(PortMatch::Range { protocol, first, last })
}

/// The name of a port (RFC 6335, section 5.1, in lower case).
pub fn port_name(field: &Field<'_>) -> Result<Arc<str>> {
    let allowed = "must be a port: a number, or a name of 1 to 15 lower case letters, digits and \
                   -, with at least one letter, no - at either end, and no two in a row";
    let text = field.text().map_err(|_| field.only(allowed))?;
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    let fits = (1..=15).contains(&text.len())
        && text.bytes().all(inner)
        && text.bytes().any(|byte| byte.is_ascii_lowercase())
        && !text.starts_with('-')
        && !text.ends_with('-')
        && !text.contains("--");
    if fits { Ok(text.into()) } else { Err(field.only(allowed)) }
}

/// `IPBlock`.
pub fn ip_block(field: &Field<'_>) -> Result<Block> {
    let map = field.object()?;
    map.known(&["cidr", "except"])?;
    let cidr = prefix(&map.need("cidr")?)?;
    let mut except = Vec::new();
    if let Some(field) = map.get("except") {
        for one in field.list(usize::MAX)? {
            let hole = prefix(&one)?;
            if !cidr.covers(&hole) || cidr == hole {
                return Err(one.only(format_args!("must be inside {cidr}, and smaller")));
            }
            except.push(hole);
        }
    }
    Ok(Block::new(cidr, except))
}

/// A prefix. As the API server always did, bits behind the length are overlooked, and leading
/// zeros in IPv4 are decimal.
pub fn prefix(field: &Field<'_>) -> Result<Prefix> {
    let text = field.text()?;
    let parsed = text.split_once('/').and_then(|(base, length)| {
        let digits = length.bytes().all(|byte| byte.is_ascii_digit());
        covering(address(base)?, length.parse().ok().filter(|_| digits)?)
    });
    parsed.ok_or_else(|| field.only("must be a prefix, as 192.168.1.0/24 or 2001:db8::/64"))
}

/// IPv4 mapped into IPv6 is IPv4, as it is for Go's `net` package.
fn covering(base: IpAddr, length: u8) -> Option<Prefix> {
    let canonical = base.to_canonical();
    let mapped = base.is_ipv6() && canonical.is_ipv4();
    let length = if mapped { length.checked_sub(96)? } else { length };
    Prefix::covering(canonical, length).ok()
}

/// A prefix without bits behind its length, as 10.0.0.0/8.
pub fn masked_prefix(field: &Field<'_>) -> Result<Prefix> {
    let prefix = prefix(field)?;
    let base = field.text()?.split('/').next().and_then(address);
    if base.map(|base| base.to_canonical()) != Some(prefix.address()) {
        return Err(field.only(format_args!("must not have bits set behind its length: {prefix}")));
    }
    Ok(prefix)
}

/// An address, leading zeros overlooked.
pub fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let mut octets = [0; 4];
    let mut parts = text.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| part.bytes().all(|byte| byte.is_ascii_digit()))?;
        *octet = part.parse().ok()?;
    }
    parts.next().is_none().then_some(Ipv4Addr::from(octets).into())
}
