"""What chains, sets and comments of a policy table are called."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address
from typing import Final

from cnidaria_core import PolicyReason

from cnidaria import NftElement, NftSet
from cnidaria_policy.manifests import printable

TABLE: Final = "cnidaria-policy"
LIMIT: Final = 128
"""Bytes of a comment (nftables)."""
TOLD: Final = 80

WAYS: Final = ("egress", "ingress", "local")
"""From a pod, to a pod, and from a pod to its own node."""
HAIRPINS: Final = {"egress": "hairpin-egress", "ingress": "hairpin-ingress"}
"""Of a pod with itself, by a service that leads back to it."""
PEERS: Final = {
    "egress": "destination",
    "ingress": "source",
    "local": "destination",
    "hairpin-egress": "destination",
    "hairpin-ingress": "source",
}
"""The chain that finds the peer's class."""


def table(network: str) -> str:
    """The table of a network."""
    return f"{TABLE}-{network}"


def links_table(network: str) -> str:
    """The tables of its pods' links. No network has a slash in its name."""
    return f"{table(network)}/links"


def network_of(table_name: str) -> str:
    """Back from :func:`table` and :func:`links_table`."""
    return table_name.removeprefix(f"{TABLE}-").removesuffix("/links")


def store_chain(store: str) -> str:
    """The chain that says which cluster store the table's policies are of; nothing is in it."""
    return f"of-store-{store}"


def family(address: str) -> int:
    """4 or 6."""
    return ip_address(address).version


def classid(number: int) -> str:
    """A peer class as nft writes it."""
    return f"{number >> 16:x}:{number & 0xFFFF:x}"


def number_of(text: str) -> int:
    """Back from :func:`classid`."""
    major, _, minor = text.partition(":")
    return int(major, 16) << 16 | int(minor, 16)


def span(of: NftSet, first: str, last: str) -> str:
    """A range of addresses as nftables spells it: an address, a prefix, or both ends."""
    key = f"{first}-{last}" if first != last else first
    (made,) = of.elements(NftElement((key,), ("0:0",))).elements
    return made.key[0]


def subject_chain(way: str, subject: int) -> str:
    """The chain for pods of a subject class."""
    return f"{way}-{subject}"


def rows_map(way: str, subject: int) -> str:
    """Peer class to where it is decided."""
    return f"{way}-{subject}-peers"


def filter_chain(number: int) -> str:
    """Decides by protocol and port."""
    return f"filter-{number}"


def ports_map(number: int) -> str:
    """Protocol and port to where it is decided."""
    return f"filter-{number}-ports"


def told(table_name: str) -> str:
    """What stands for a table before a packet that is told of: its name, if it is not too long for
    the kernel (127 bytes with the chain's), else the beginning and a digest.
    """
    raw = table_name.encode()
    if len(raw) <= TOLD:
        return table_name
    digest = hashlib.sha256(raw).hexdigest()[:16]
    return f"{raw[: TOLD - 17].decode(errors='ignore')}/{digest}"


def clipped(text: str) -> str:
    """As much of it as fits into a comment; ``nft`` shows it as it is."""
    text = printable(text)
    raw = text.encode()
    if len(raw) <= LIMIT:
        return text
    return raw[: LIMIT - 3].decode(errors="ignore") + "…"


def audit_text(allow: bool, reason: str) -> str:
    """What an audited policy would do, as a comment."""
    return clipped(f"audit: would {'allow' if allow else 'deny'}: {reason}")


def policy_name(reason: PolicyReason) -> str:
    """``NetworkPolicy shop/web``; ``""`` where no policy decided."""
    if reason.kind is None:
        return ""
    place = f"{reason.namespace}/" if reason.namespace else ""
    return f"{reason.kind} {place}{reason.name}"
