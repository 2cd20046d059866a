"""Pods that only the kernel knows of, as after the loss of a journal: their policies stay."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING

import msgspec

from cnidaria.kinds import NetNS, Ruleset, WholeTable
from cnidaria_policy.links import Family
from cnidaria_policy.manifests import Json, Key

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod
    from cnidaria_policy.shared import Shared


def lost_pods(
    network: str,
    have: Ruleset,
    links: Mapping[Family, Ruleset],
    declared: Iterable[PolicyPod],
    told: Mapping[Key, Json],
    *,
    shared: Shared | None,
) -> Iterator[tuple[PolicyPod, Family | None]]:
    """Those whose names and addresses are in the table, and that nobody declares or tells of; and
    where their links are guarded.

    Args:
        have: what is in the kernel of the policies; ``links``: of the links.
        told: what the sources say; ``shared``: what this node has entered of its pods.
    """
    for pod in _unknown_pods(network, have, declared, told):
        link, family = link_of(pod, links) or ("", None)
        labels = shared.entered_labels(pod) if shared else {}
        yield msgspec.structs.replace(pod, host_ifname=link, labels=labels), family


def _unknown_pods(
    network: str, have: Ruleset, declared: Iterable[PolicyPod], told: Mapping[Key, Json]
) -> Iterator[PolicyPod]:
    from cnidaria_policy.objects import PolicyPod

    known = {address for one in declared for address in one.addresses}
    found: dict[str, list[str]] = {}
    for version in (4, 6):
        for (address,), element in have.elements.get(f"subjects{version}", {}).items():
            if address not in known:
                found.setdefault(element.comment, []).append(address)
    for text, addresses in found.items():
        namespace, slash, name = text.partition("/")
        if slash and not _tells(told.get(("Pod", namespace, name)), addresses):
            yield PolicyPod(network, f"lost/{text}", namespace, name, tuple(addresses), "")


def _tells(obj: Json | None, addresses: Collection[str]) -> bool:
    """Whether a source has the pod with such an address: then it comes and goes with that."""
    status = (obj or {}).get("status") or {}
    return any(one.get("ip") in addresses for one in status.get("podIPs") or ())


def links_there(namespace: NetNS, tables: Mapping[Family, WholeTable]) -> dict[Family, Ruleset]:
    """What is in the tables of links, of those that are there.

    Raises:
        KernelError: the kernel does not answer.
    """
    read = {family: table.read(namespace) for family, table in tables.items()}
    return {family: rules for family, rules in read.items() if rules is not None}


def link_of(pod: PolicyPod, have: Mapping[Family, Ruleset]) -> tuple[str, Family] | None:
    """The pod's link that is guarded in the kernel, and where.

    Args:
        have: what is in the kernel of the links.
    """
    for family, rules in have.items():
        for version in (4, 6):
            for ifname, address in rules.elements.get(f"addresses{version}", {}):
                if address in pod.addresses:
                    return ifname, family
    return None


def without_labels(pods: Iterable[PolicyPod], told: Mapping[Key, Json]) -> Iterator[str]:
    """What there is to say about those whose labels nobody knows any more."""
    for one in pods:
        if not one.labels and ("Pod", one.namespace, one.name) not in told:
            yield (
                f"pod {one.namespace}/{one.name}: its attachment is lost, and with it its labels: "
                "no policy counts for it that asks for labels; replace the pod"
            )


def kept(pods: Iterable[PolicyPod], told: Mapping[Key, Json]) -> Iterator[str]:
    """What there is to say about all of them."""
    for one in pods:
        yield next(
            without_labels([one], told),
            f"pod {one.namespace}/{one.name}: its attachment is lost: it is known by the kernel's "
            "table alone, and policies stay in force for it; replace the pod",
        )
