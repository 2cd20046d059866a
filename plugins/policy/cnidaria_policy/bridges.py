"""Pods behind a bridge: the node sees by br_netfilter alone what they say to each other."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Final, cast

from cnidaria import Object, Sysctl
from cnidaria.kinds import Difference, KernelError, NetNS, Session, driver_of
from cnidaria_policy.guard import guarded_by

if TYPE_CHECKING:
    from cnidaria_policy.objects import PolicyPod

log = logging.getLogger(__name__)

NEEDED: Final = "without br_netfilter the node does not see what pods on one bridge say: load it"

SETTINGS: Final = tuple(
    Sysctl(f"net.bridge.bridge-nf-{one}", "1")
    for one in ("call-iptables", "call-ip6tables", "filter-vlan-tagged")
)
"""They have packets between two ports of a bridge pass the node's tables."""

Values = list[str | None]
WANTED: Final[Values] = [one.value for one in SETTINGS]


def values(session: Session) -> Values:
    """What the settings are; ``None`` where the kernel has none."""
    found = [driver_of(one).find(session, one) for one in SETTINGS]
    return [cast(Sysctl, one.object).value if one else None for one in found]


def is_bridged(session: Session, pod: PolicyPod) -> bool:
    """Whether the pod is behind a bridge."""
    return guarded_by(session, pod) == "bridge"


def unset(session: Session, obj: Object) -> Iterator[Difference]:
    """Which settings are not as they have to be, as differences of what needs them."""
    for setting in SETTINGS:
        for one in driver_of(setting).differences(session, setting):
            yield Difference(obj, setting.name, setting.value, one.found)


def see(session: Session) -> None:
    """Have the node see them.

    Raises:
        KernelError: it cannot; the text says what would help.
    """
    for setting in SETTINGS:
        try:
            driver_of(setting).apply(session, setting)
        except KernelError as error:
            raise KernelError(error.errno, error.what, f"{error.reason}; {NEEDED}") from error


class Watch:
    """Turns on again what others turn off, as ``sysctl --system`` may at any time."""

    def __init__(self) -> None:
        self._needless: Values = []

    def look(self, namespace: NetNS, pods: Iterable[PolicyPod]) -> list[str]:
        """Why the node does not see what ``pods`` say to each other, if it does not.

        Pods are looked at where the settings are others than before: who adds one sets them.

        Raises:
            KernelError: the kernel does not answer.
        """
        with Session(namespace) as session:
            now = values(session)
            if now == self._needless:
                return []
            self._needless = []
            if now == WANTED:
                return []
            if not any(is_bridged(session, pod) for pod in pods):
                self._needless = now
                return []
            try:
                see(session)
            except KernelError as error:
                return [str(error)]
            log.warning("%s: turned on again", ", ".join(one.name for one in SETTINGS))
        return []
