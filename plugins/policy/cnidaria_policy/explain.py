"""Why a connection is allowed or denied: each side's rule, and the way through the kernel."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from itertools import pairwise
from struct import pack
from typing import Final

from cnidaria_core import PolicyReason

from cnidaria.kinds import Packet, Ruleset, walk
from cnidaria_policy.manifests import Json, ports_of
from cnidaria_policy.policies import Policies, is_placeholder, own_addresses

PROTOCOLS: Final = {"tcp": 6, "udp": 17, "sctp": 132, "icmp": 1, "icmpv6": 58}
WITH_PORTS: Final = frozenset({"tcp", "udp", "sctp"})
_PLACE: Final = re.compile(r"(?:\[(?P<v6>[^\]]+)\]|(?P<name>[^:\[\]]+))(?::(?P<port>[^:]+))?")


@dataclass(frozen=True)
class Side:
    """What one side decides.

    Attributes:
        why: the rule, the policy that isolates, or that there is none.
        place: file and line of it, ``""`` if there is none.
        audit: what an audited policy would do, ``""`` if nothing else.
    """

    allowed: bool
    why: str
    place: str
    audit: str = ""


@dataclass(frozen=True)
class Explanation:
    """A connection and what is decided about it.

    Attributes:
        src, dst: names of pods, or addresses.
        port: 0 of protocols without ports.
    """

    src: str
    dst: str
    src_address: str
    dst_address: str
    protocol: str
    port: int
    egress: Side
    ingress: Side
    notes: tuple[str, ...] = ()

    @property
    def allowed(self) -> bool:
        """Whether both sides allow it."""
        return self.egress.allowed and self.ingress.allowed


@dataclass
class KernelSide:
    """What the kernel's table does with the first packet on one side.

    Attributes:
        steps: the way; empty where the table says nothing about the pod.
    """

    side: str
    allowed: bool
    steps: list[str] = field(default_factory=list)


def explain(policies: Policies, source: str, target: str) -> Explanation:
    """Explain a connection.

    Args:
        source: ``namespace/pod`` or an address.
        target: the same with ``:port`` (a number, or a name of a port of the pod) and
            ``/protocol``: ``shop/db:5432/tcp``, ``10.1.0.5:53/udp``, ``[fd00::5]:80``,
            ``shop/db/icmp``. Default: TCP.

    Raises:
        ValueError: it is not written like that, or there is no such pod, port or address.
    """
    place, protocol, port_text = parse_target(target)
    guests = [one for one in dict.fromkeys((source, place)) if has_host_network(policies, one)]
    src, dst = pair(policies, source, place)
    port = port_of(policies, place, port_text, protocol)
    name = "icmpv6" if protocol == "icmp" and ":" in dst else protocol
    verdict = policies.engine.verdict(
        src, dst, PROTOCOLS[name], port if name in WITH_PORTS else None
    )
    homeless = [policies.name_of(one) for one in dict.fromkeys((src, dst)) if is_placeholder(one)]
    notes = (
        [f"{' and '.join(homeless)} without an address: in no block but those of everybody"]
        if homeless and policies.tables().blocks
        else []
    )
    notes += [f"{one} has its node's network: for policies it is the node" for one in guests]
    return Explanation(
        policies.name_of(src),
        policies.name_of(dst),
        src,
        dst,
        protocol.upper(),
        port or 0,
        _side(policies, verdict.egress, verdict.egress_audit),
        _side(policies, verdict.ingress, verdict.ingress_audit),
        tuple(notes),
    )


def _side(policies: Policies, reason: PolicyReason, audit: PolicyReason | None) -> Side:
    would = f"would be {'allowed' if audit.allow else 'denied'} by {audit}" if audit else ""
    return Side(reason.allow, str(reason), policies.place_of(reason), would)


def parse_target(text: str) -> tuple[str, str, str]:
    """Place, protocol and port of a target. Raises ``ValueError``."""
    place, _, last = text.rpartition("/")
    protocol = last.lower() if last.lower() in (*WITH_PORTS, "icmp") else ""
    _, colon, port = text.rpartition(":")
    if colon and "/" in port and not protocol:
        raise ValueError(f"{text!r}: protocol {last!r}: must be tcp, udp, sctp or icmp")
    found = _PLACE.fullmatch(place if protocol else text)
    if found is None:
        how = "must be NAMESPACE/POD or an address, [:PORT][/tcp|udp|sctp|icmp]; [ADDRESS] of IPv6"
        raise ValueError(f"{text!r}: {how}")
    if protocol == "icmp" and found["port"]:
        raise ValueError(f"{text!r}: icmp has no ports")
    if protocol != "icmp" and not found["port"]:
        raise ValueError(f"{text!r}: which port? as in {found[0]}:80")
    return found["v6"] or found["name"], protocol or "tcp", found["port"] or ""


def pair(policies: Policies, source: str, target: str) -> tuple[str, str]:
    """Two addresses of one family. Raises ``ValueError``."""
    ones, others = _addresses(policies, source), _addresses(policies, target)
    for one in ones:
        for other in others:
            if ip_address(one).version == ip_address(other).version:
                return one, other
    raise ValueError(f"{source} and {target} have no address family in common")


def has_host_network(policies: Policies, place: str) -> bool:
    """Whether it is a pod that has its node's network (``hostNetwork``)."""
    return place not in policies.pods and bool(_spec(policies, place).get("hostNetwork"))


def _spec(policies: Policies, place: str) -> Json:
    namespace, _, name = place.partition("/")
    return policies.objects.get(("Pod", namespace, name), {}).get("spec") or {}


def _addresses(policies: Policies, place: str) -> list[str]:
    if place in policies.pods:
        return policies.pods[place]
    if has_host_network(policies, place):
        return _of_node(policies, place)
    if ("Pod", *place.split("/", 1)) in policies.objects:
        raise ValueError(f"{place} has no address; give the one that it will have")
    try:
        return [str(ip_address(place))]
    except ValueError:
        raise ValueError(
            f"{place!r}: must be an address or one of the pods that are known"
        ) from None


def _of_node(policies: Policies, pod: str) -> list[str]:
    namespace, _, name = pod.partition("/")
    node = str(_spec(policies, pod).get("nodeName") or "")
    told = policies.objects.get(("Node", "", node), {}).get("status") or {}
    known = [one["address"] for one in told.get("addresses") or [] if is_address(one["address"])]
    known = known or own_addresses(policies.objects["Pod", namespace, name])
    if not known:
        which = f"its node {node}" if node else "its node (no spec.nodeName)"
        raise ValueError(
            f"{pod} has the network of {which}, of which no address is known: "
            "give the node's address instead, or its Node object with status.addresses"
        )
    return known


def is_address(text: str) -> bool:
    """Whether it is an IP address, not a name."""
    try:
        return bool(ip_address(text))
    except ValueError:
        return False


def port_of(policies: Policies, place: str, text: str, protocol: str) -> int | None:
    """A port's number; a name is one of the pod's ports. Raises ``ValueError``."""
    if not text:
        return None
    if text.isdecimal():
        if 0 <= int(text) <= 65535:
            return int(text)
        raise ValueError(f"port {text}: must be between 0 and 65535")
    namespace, _, name = place.partition("/")
    for port in ports_of(policies.objects.get(("Pod", namespace, name), {})):
        same = (port.get("protocol") or "TCP").lower() == protocol
        if port.get("name") == text and same:
            return int(port["containerPort"])
    raise ValueError(f"{place} has no {protocol.upper()} port {text!r}")


# -- the kernel ------------------------------------------------------------------------------------


def packet_of(one: Explanation) -> Packet:
    """The first packet of the connection."""
    name = one.protocol.lower()
    if name == "icmp":
        name = "icmpv6" if ":" in one.dst_address else "icmp"
        header = bytes((128 if name == "icmpv6" else 8, 0, 0, 0))
    else:
        header = pack(">HH", 32768, one.port) + bytes(9) + b"\x02" + bytes(6)
    return Packet(one.src_address, one.dst_address, PROTOCOLS[name], header)


def in_kernel(rules: Ruleset, one: Explanation, node: set[str]) -> Iterator[KernelSide]:
    """What a table that was read from the kernel does with it, side by side.

    Args:
        node: the node's own addresses.
    """
    packet = packet_of(one)
    if one.src_address in node:
        return  # what a node sends to its pods passes no chain of ours
    for side in ("local",) if one.dst_address in node else ("egress", "ingress"):
        way = walk(rules, side, packet)
        texts = [step.text for step in way.steps]
        # What a look-up led to is told with it.
        steps = [text for last, text in pairwise(("", *texts)) if not last.endswith(f": {text}")]
        if way.comment:
            steps.append(f"{way.chain}: {way.verdict}, {way.comment}")
        yield KernelSide("egress" if side == "local" else side, way.verdict == "accept", steps)


def agrees(policies: Policies, one: Explanation, kernel: Iterable[KernelSide]) -> bool:
    """Whether the kernel does on each side of this node what is decided there."""
    local = {address for pod in policies.local for address in pod.addresses}
    said = {"egress": (one.egress, one.src_address), "ingress": (one.ingress, one.dst_address)}
    return all(
        way.allowed == (said[way.side][0].allowed or said[way.side][1] not in local)
        for way in kernel
    )


def lines(one: Explanation, kernel: list[KernelSide] | None = None) -> Iterator[str]:
    """For people."""
    port = f" {one.port}" if one.port else ""
    ends = (
        name if name == address or is_placeholder(address) else f"{name} ({address})"
        for name, address in ((one.src, one.src_address), (one.dst, one.dst_address))
    )
    yield f"{' > '.join(ends)} {one.protocol}{port}: {'allowed' if one.allowed else 'denied'}"
    for name, side in (("egress", one.egress), ("ingress", one.ingress)):
        place = f"  ({side.place})" if side.place else ""
        yield f"  {name:8}{'allowed' if side.allowed else 'denied':9}{side.why}{place}"
        if side.audit:
            yield f"  {'':8}{'audit':9}{side.audit}"
    yield from (f"  note    {note}" for note in one.notes)
    if kernel is None:
        return
    for way in kernel:
        state = "allowed" if way.allowed else "denied"
        yield f"  kernel  {way.side:9}{state}: {' > '.join(way.steps) or 'nothing about this pod'}"
