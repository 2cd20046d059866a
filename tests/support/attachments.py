"""Attachments with a plan of every kind of object, and what an engine needs around them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.attachment import Attachment, alias_of
from cnidaria.plan.engine import Engine
from cnidaria.plan.journal import Journal
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import (
    Address,
    Neighbour,
    NftElements,
    NftSet,
    NftTable,
    Object,
    Route,
    Rule,
    Sysctl,
    Veth,
)
from cnidaria.plan.store import Store

PODS = NftSet("cnidaria", "pods", type=("ifname", "ipv4_addr"))
NODE: tuple[Object, ...] = (NftTable("cnidaria"), PODS)
"""What the attachments need on the node."""


def mac(n: int, end: int) -> str:
    return f"02:00:00:{end:02x}:{n >> 8:02x}:{n & 255:02x}"


def plan(n: int, ifname: str = "eth0") -> tuple[Object, ...]:
    """A routed pod, dual stack, with an entry in the node's set of pods and a rule."""
    link, v4, v6 = f"cnd{n}", f"10.1.{n >> 8}.{n & 255}", f"fd00::{n:x}"
    return (
        Veth(
            link, peer=ifname, mac=mac(n, 1), peer_mac=mac(n, 2), mtu=1400,
            alias=alias_of(("net", f"c{n}", ifname, "cnidaria-flat")),
        ),
        Sysctl(f"net.ipv6.conf.{ifname}.accept_ra", "0", where="pod"),
        Address(ifname, f"{v4}/32", where="pod"),
        Address(ifname, f"{v6}/128", nodad=True, where="pod"),
        Neighbour(ifname, "169.254.1.1", mac(n, 1), where="pod"),
        Route("0.0.0.0/0", via="169.254.1.1", dev=ifname, onlink=True, where="pod"),
        Route("::/0", via="fe80::1", dev=ifname, onlink=True, where="pod"),
        Route(f"{v4}/32", dev=link, scope="link"),
        Route(f"{v6}/128", dev=link),
        Neighbour(link, v4, mac(n, 2)),
        Rule(4, 1000 + n, src=f"{v4}/32", table=254),
        elements(n),
    )  # fmt: skip


def elements(n: int) -> NftElements:
    return PODS.elements((f"cnd{n}", f"10.1.{n >> 8}.{n & 255}"))


def attachment(n: int, pod: NetNS | None = None, ifname: str = "eth0", **fields: Any) -> Attachment:
    """Container ``n``: leases, plan and a result."""
    given: dict[str, Any] = {
        "network": "net",
        "container": f"c{n}",
        "ifname": ifname,
        "plugin": "cnidaria-flat",
        "request_id": os.urandom(16),
        "netns_path": path_of(pod) if pod else "",
        "leases": (Lease("net", f"10.1.{n >> 8}.{n & 255}", 16), Lease("net", f"fd00::{n:x}", 64)),
        "objects": plan(n, ifname),
        "result": {"cniVersion": "1.1.0", "ips": [{"address": f"10.1.{n >> 8}.{n & 255}/32"}]},
    }
    return Attachment(**{**given, **fields})


def path_of(namespace: NetNS) -> str:
    """A path by which a namespace without a name can be opened, from any process."""
    return f"/proc/{os.getpid()}/fd/{namespace.fd}"


def boottime() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def engine(
    directory: Path, kernel_for: Callable[[NetNS], Kernel] = Kernel, **events: Any
) -> Engine:
    """An engine on a state directory, as a process has it at its start."""
    store = Store(Journal(directory), boottime)
    return Engine(store, kernel_for, boottime, **events)


def bring_up(host: NetNS, objects: Sequence[Object] = NODE) -> None:
    """What the node has before its first pod."""
    Kernel(host).apply(objects)


def ours(host: NetNS, without: Sequence[Object] = NODE) -> list[Object]:
    """What bears our mark on the node, but for the node's own; elements of its set of pods, too."""
    known = {obj.key for obj in without}
    kernel = Kernel(host)
    found = [obj for obj in kernel.owned() if obj.key not in known]
    for difference in kernel.differences([PODS.holding()]):
        found += [PODS.elements(element) for element in difference.found or ()]
    return found


def links(namespace: NetNS) -> set[str]:
    """Names of all links, but for loopback."""
    return {link.name for link in Kernel(namespace).links()} - {"lo"}
