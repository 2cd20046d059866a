"""A cluster's policies, compiled: from files alone, or as they are in force on this node."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any, Final

from cnidaria_core import PolicyReason, PolicyTables

from cnidaria import CniError, Code, NodeView
from cnidaria.kinds import Ruleset, addresses
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.enforcer import tables_of
from cnidaria_policy.kept import Kept, place
from cnidaria_policy.lost import links_there, lost_pods
from cnidaria_policy.manifests import SUFFIXES, Json, Key, Manifest, Refused, line_in, read, shown
from cnidaria_policy.objects import PolicyPod
from cnidaria_policy.sources import Sources
from cnidaria_policy.world import World, global_ones, node_key, node_object

PLACEHOLDERS: Final = {4: ip_network("198.18.0.0/15"), 6: ip_network("2001:2::/48")}
"""Addresses of pods that have none (RFC 2544, RFC 5180): in no block but those of everybody."""


class Policies:
    """Policies and what they are about.

    Args:
        objects: of the sources.
        places: where they are from.
        node: whose pods are judged, ``None``: all.
        local: the pods that live here.

    Attributes:
        engine: knows all of them.
        pods: addresses by ``namespace/name``.
        problems: of the sources, with what is in force nevertheless.
        shared: which objects are in the cluster store.
        store: which cluster store that is, see :attr:`Sources.store`.
        lost: pods of ``local`` that only the kernel's tables tell of.
    """

    def __init__(
        self,
        objects: Mapping[Key, Json],
        places: Mapping[Key, Manifest],
        node: str | None = None,
        local: Iterable[PolicyPod] = (),
    ) -> None:
        self.objects = dict(objects)
        self.places = dict(places)
        self.node = node
        self.local = list(local)
        self.problems: list[str] = []
        self.shared: frozenset[Key] = frozenset()
        self.store = ""
        self.lost: list[PolicyPod] = []
        world = World(node or "")
        world.replace(self.objects)
        world.attach(self.local)
        self.engine = world.engine
        self.pods = {
            f"{key[1]}/{key[2]}": addresses_of(obj)
            for key, obj in self.objects.items()
            if key[0] == "Pod" and addresses_of(obj)
        }
        self.pods |= {f"{pod.namespace}/{pod.name}": list(pod.addresses) for pod in self.local}

    @classmethod
    def from_files(cls, paths: Iterable[Path]) -> Policies:
        """Of files and directories alone. Pods without an address get a placeholder.

        Raises:
            Refused: a file is wrong, or says what another one says, too.
            OSError: a file cannot be read.
        """
        places = manifests(paths)
        objects = {key: one.obj for key, one in places.items()}
        return cls({**objects, **placed(objects)}, places)

    @classmethod
    def from_node(cls, view: NodeView, network: str | None = None) -> tuple[str, Policies]:
        """A network's, as its conflist and the pods of this node have it, and its name.

        Args:
            network: may be left out where there is only one.

        Raises:
            CniError: there is no such network, or its sources were never whole.
            KernelError: the kernel does not answer.
        """
        name, config = choose(view, network)
        was = Kept(place(view.state_dir, name, view.namespace), is_fixed=True)
        sources = Sources(name, config, was)
        found = sources.look()
        if not sources.is_whole:
            raise CniError(Code.TRY_AGAIN_LATER, "; ".join(sources.problems))
        local = [pod for pod in view.declared(PolicyPod) if pod.network == name]
        key = node_key(config.node_name)
        if key not in found and (own := global_ones(addresses(view.namespace))):
            found = {**found, key: node_object(config.node_name, own)}
        table, of_links = tables_of(name)
        have, links = table.read(view.namespace), links_there(view.namespace, of_links)
        shared = sources.shared
        lost = [
            pod for pod, _ in lost_pods(name, have or Ruleset(), links, local, found, shared=shared)
        ]
        made = cls(found, sources.places, config.node_name, [*local, *lost])
        made.lost = lost
        made.problems, made.store = sources.problems, sources.store
        if shared:
            made.shared = frozenset(shared.written())
            sources.stop()
        return name, made

    def changed(self, objects: Mapping[Key, Json], without: Iterable[Key] = ()) -> Policies:
        """The same with other objects: what would be if they were applied, and those deleted."""
        left = {key: obj for key, obj in self.objects.items() if key not in set(without)}
        return Policies({**left, **objects}, self.places, self.node, self.local)

    def tables(self) -> PolicyTables:
        """The compiled tables of all pods."""
        return self.engine.tables()

    def name_of(self, address: str) -> str:
        """The pod that has the address; the address itself, if none has."""
        names = (name for name, addresses in self.pods.items() if address in addresses)
        return next(names, address)

    def place_of(self, reason: PolicyReason) -> str:
        """File and line of what decided, or that it is in the cluster store.

        ``""`` where no policy did, or nobody knows.
        """
        if reason.kind is None or reason.name is None:
            return ""
        key = reason.kind, reason.namespace or "", reason.name
        manifest = self.places.get(key)
        if key in self.shared:
            rule = "" if reason.rule is None else f": spec.{reason.direction}[{reason.rule}]"
            return f"cluster store{rule}"
        if manifest is None:
            return ""
        line = manifest.line
        if reason.rule is not None:
            line = line_in(manifest, f"spec.{reason.direction}[{reason.rule}]")
        return f"{shown(manifest.file)}:{line}"


def choose(view: NodeView, network: str | None) -> tuple[str, PolicyConfig]:
    """The network that is meant. Raises :class:`CniError`."""
    known = view.networks("cnidaria-policy", PolicyConfig)
    wanted = network or (next(iter(known)) if len(known) == 1 else None)
    if wanted in known:
        return wanted, known[wanted]
    there_are = ", ".join(known) or "none"
    problem = (
        f"network {network!r}: no conflist chains cnidaria-policy to it"
        if network
        else "which network? no, or more than one, conflist has cnidaria-policy"
    )
    raise CniError(Code.INVALID_CONFIG, problem, f"there are: {there_are}")


def manifests(paths: Iterable[Path]) -> dict[Key, Manifest]:
    """All objects of files and directories. What is named itself may be a pipe.

    Raises:
        Refused: a file is wrong, or says what another one says, too.
        OSError: a file cannot be read.
    """
    found: dict[Key, Manifest] = {}
    for path in paths:
        inside = sorted(path.iterdir()) if path.is_dir() else [path]
        for file in inside:
            if file is path or file.suffix in SUFFIXES:
                for one in read(file, waits=file is path):
                    first = found.setdefault(one.key, one)
                    if first is not one:
                        why = f"{' '.join(filter(None, one.key))} is in {first.file}, too"
                        raise Refused(file, one.line, why)
    return found


def placed(objects: Mapping[Key, Json]) -> dict[Key, Json]:
    """Pods that have no address, with a placeholder of each family."""
    homeless = [
        key
        for key, obj in objects.items()
        if key[0] == "Pod"
        and not (own_addresses(obj) or (obj.get("spec") or {}).get("hostNetwork"))
    ]
    placed: dict[Key, Json] = {}
    for number, key in enumerate(sorted(homeless), 1):
        both = [{"ip": str(net[number])} for net in PLACEHOLDERS.values()]
        status: dict[str, Any] = {"phase": "Running", "podIP": both[0]["ip"], "podIPs": both}
        placed[key] = {**objects[key], "status": {**status, **(objects[key].get("status") or {})}}
    return placed


def is_placeholder(address: str) -> bool:
    """Whether the address was made up."""
    one = ip_address(address)
    return one in PLACEHOLDERS[one.version]


def addresses_of(pod: Json) -> list[str]:
    """A pod's addresses as its status has them; a pod of the node's network has none."""
    return [] if (pod.get("spec") or {}).get("hostNetwork") else own_addresses(pod)


def own_addresses(pod: Json) -> list[str]:
    """What a pod's status has, its node's addresses among it."""
    status = pod.get("status") or {}
    several = [one["ip"] for one in status.get("podIPs") or []]
    return several or ([status["podIP"]] if status.get("podIP") else [])
