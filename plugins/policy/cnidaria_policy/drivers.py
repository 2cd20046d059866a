"""How policies get into the kernel, out of it, and are compared with it."""

from __future__ import annotations

import errno
import logging
import threading
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any, Final

import msgspec
from cnidaria_core import InvalidObject

from cnidaria import CniError, Code, Object
from cnidaria.kinds import (
    Difference,
    Driver,
    Found,
    KernelError,
    LinkInfo,
    NetNS,
    Session,
    find_link,
    marked_tables,
)
from cnidaria_policy import bridges, kept, names
from cnidaria_policy.config import PolicyConfig
from cnidaria_policy.enforcer import Enforcer, mark, tables_of
from cnidaria_policy.guard import guarded_by
from cnidaria_policy.remains import remove_remains
from cnidaria_policy.shared import Shared

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod, PolicyTable

log = logging.getLogger(__name__)

UNSEEN: Final = frozenset({"macvlan", "macvtap", "ipvlan", "ipvtap"})
"""Kinds of interfaces whose packets do not pass the node."""


class Enforcers:
    """The enforcers of this process, by namespace and network."""

    def __init__(self) -> None:
        self._known: dict[tuple[int, str], Enforcer] = {}
        self._gone: dict[tuple[int, str], list[PolicyPod]] = {}
        self._lock = threading.Lock()
        self._changing = threading.Lock()

    def find(self, namespace: NetNS, network: str) -> Enforcer | None:
        """One that was opened."""
        return self._known.get((namespace.cookie, network))

    def take_out(self, namespace: NetNS, pod: PolicyPod) -> Enforcer | None:
        """The one that a pod is to be detached from; one that is being opened will know of it."""
        place = namespace.cookie, pod.network
        with self._changing:
            if place in self._gone:
                self._gone[place].append(pod)
            return self._known.get(place)

    def open(self, session: Session, network: str, config: Any) -> Enforcer:
        """The one of this configuration, with the pods that are declared.

        Raises:
            KernelError: see :meth:`Enforcer.open`.
        """
        place = session.namespace.cookie, network
        wanted = msgspec.convert(config, PolicyConfig)
        with self._lock:
            known = self._known.get(place)
            if known is not None and known.config == wanted:
                return known
            made = Enforcer(network, wanted, _kept(session, network))
            for pod in self._open(session, made):
                made.detach(session.namespace, pod)
            made.settle(session.namespace)
            return made

    def _open(self, session: Session, made: Enforcer) -> list[PolicyPod]:
        """Open it; the pods that went meanwhile. To read the sources may take long."""
        from cnidaria_policy.objects import PolicyPod

        place = session.namespace.cookie, made.network
        with self._changing:
            self._gone[place] = []
        try:
            pods = [one for one in session.declared(PolicyPod) if one.network == made.network]
            made.open(session.namespace, pods, {one.id: guarded_by(session, one) for one in pods})
        except BaseException:
            with self._changing:
                del self._gone[place]
            raise
        with self._changing:
            self._known[place] = made
            return self._gone.pop(place)

    def close(self, namespace: NetNS, network: str) -> None:
        """Forget it."""
        with self._lock:
            self._known.pop((namespace.cookie, network), None)


ENFORCERS: Final = Enforcers()


class TableDriver(Driver["PolicyTable"]):
    """The whole table of a network."""

    def apply(self, session: Session, obj: PolicyTable) -> None:
        """Make it so, or put it back."""
        session.flush()
        try:
            enforcer = ENFORCERS.open(session, obj.network, obj.config)
            enforcer.repair(session.namespace)
            if _has_bridged(session, enforcer):
                bridges.see(session)
        except KernelError as error:
            raise _about(error, obj) from error

    def withdraw(self, session: Session, obj: PolicyTable) -> None:
        """Nothing is restricted any more."""
        policies, links = tables_of(obj.network)
        for table in (policies, *links.values()):
            table.delete(session.namespace)
        ENFORCERS.close(session.namespace, obj.network)
        if session.state_dir:
            kept.forget(session.state_dir, obj.network, session.namespace)

    def find(self, session: Session, obj: PolicyTable) -> Found | None:
        """It is there if nothing is wrong with it."""
        return None if any(self.differences(session, obj)) else Found(obj, True)

    def owned(self, session: Session) -> Iterator[Object]:
        """Tables with our mark."""
        from cnidaria_policy.objects import PolicyTable

        found = {names.network_of(one.name): comment for one, comment in marked_tables(session)}
        for network, comment in found.items():
            if comment == mark(network):
                yield PolicyTable(network=network)

    def differences(self, session: Session, obj: PolicyTable) -> Iterator[Difference]:
        """What differs, in a few words. That it cannot be known must not keep others back."""
        try:
            enforcer = ENFORCERS.open(session, obj.network, obj.config)
        except KernelError as error:
            yield Difference(obj, "content", "as compiled", str(error))
            return
        if wrong := enforcer.wrong(session.namespace):
            yield Difference(obj, "content", "as compiled", f"{wrong} elements differ")
        unset = list(bridges.unset(session, obj))
        if unset and _has_bridged(session, enforcer):
            yield from unset


class PodDriver(Driver["PolicyPod"]):
    """One pod's policies: that they are in force before the pod runs."""

    def apply(self, session: Session, obj: PolicyPod) -> None:
        """Put the pod's policies in force, and read them back."""
        session.flush()
        _refuse_unseen(session, obj)
        try:
            guarded = guarded_by(session, obj)
            if guarded == "bridge":
                bridges.see(session)
            enforcer = ENFORCERS.open(session, obj.network, obj.config)
            enforcer.attach(session.namespace, obj, guarded)
            enforcer.settle(session.namespace)
        except InvalidObject as error:
            raise CniError(Code.INVALID_CONFIG, f"the pod's labels: {error}") from error
        except KernelError as error:
            if error.errno == errno.EAGAIN:
                raise CniError(Code.TRY_AGAIN_LATER, str(error)) from error
            raise _about(error, obj) from error

    def withdraw(self, session: Session, obj: PolicyPod) -> None:
        """Forget the pod. That must always be possible, whatever the sources say now."""
        enforcer = ENFORCERS.take_out(session.namespace, obj)
        if enforcer is not None:
            enforcer.detach(session.namespace, obj)
        else:
            others = _others(session, obj)
            remove_remains(session.namespace, tables_of(obj.network), obj, others)
            leave(obj, others)

    def find(self, session: Session, obj: PolicyPod) -> Found | None:
        """It is there if nothing is wrong with it."""
        return None if any(self.differences(session, obj)) else Found(obj, True)

    def owned(self, session: Session) -> Iterable[Object]:  # noqa: ARG002
        """What is in the table belongs to the table."""
        return ()

    def differences(self, session: Session, obj: PolicyPod) -> Iterator[Difference]:
        """What of the pod's way through the table is not there."""
        enforcer = ENFORCERS.open(session, obj.network, obj.config)
        for wrong in enforcer.unlike(session.namespace, obj):
            yield Difference(obj, "policies", "in force", f"without {wrong}")


def _others(session: Session, pod: PolicyPod) -> list[PolicyPod]:
    """The other pods of its network that are declared here."""
    from cnidaria_policy.objects import PolicyPod

    declared = session.declared(PolicyPod)
    return [one for one in declared if one.network == pod.network and one.key != pod.key]


def leave(pod: PolicyPod, others: Iterable[PolicyPod]) -> None:
    """Tell other nodes that the pod is gone, where no enforcer is there to do it."""
    name = pod.namespace, pod.name
    left = [one for one in others if (one.namespace, one.name) == name]
    config = msgspec.convert(pod.config, PolicyConfig)
    if config.cluster:
        shared = Shared(pod.network, config.cluster, config.node_name)
        shared.leave(pod, left[-1] if left else None)
        shared.stop()


def unseen(inside: LinkInfo | None, outside: LinkInfo | None) -> str:
    """What a pod's interface is, where the node does not see its packets; ``""`` where it does.

    Args:
        inside: the interface; ``outside``: the node's end of it; ``None``: there is none.
    """
    if inside is not None and inside.kind in UNSEEN:
        return inside.kind
    if outside is not None and outside.slave_kind == "openvswitch":
        return f"port of Open vSwitch ({outside.name})"
    return ""


def _refuse_unseen(session: Session, obj: PolicyPod) -> None:
    """The node must see a pod's packets to judge them."""
    pod = session.other("pod")
    inside = find_link(pod, obj.ifname) if pod else None
    outside = find_link(session, obj.host_ifname) if obj.host_ifname else None
    if why := unseen(inside, outside):
        raise CniError(
            Code.INVALID_CONFIG,
            f"interface {obj.ifname} of pod {obj.namespace}/{obj.name} is a {why}: "
            "its packets do not pass the node, so policies cannot be enforced",
            "chain cnidaria-policy after a plugin that makes a veth, as cnidaria-flat or bridge",
        )


def _kept(session: Session, network: str) -> kept.Kept:
    where = session.state_dir
    return kept.Kept(kept.place(where, network, session.namespace) if where else None)


def _has_bridged(session: Session, enforcer: Enforcer) -> bool:
    return any(bridges.is_bridged(session, pod) for pod in enforcer.world.pods())


def _about(error: KernelError, obj: Object) -> KernelError:
    return KernelError(error.errno, error.what, error.reason, object=obj)
