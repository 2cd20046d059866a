"""An attachment: one container's interface on one network, and everything that belongs to it."""

from __future__ import annotations

import hashlib
import logging
from typing import Any, Final, Literal

import msgspec

from cnidaria.kernel import nsids
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import MARK, Object, from_wire, to_wire

log = logging.getLogger(__name__)

Key = tuple[str, str, str, str]
"""Network, container, interface name, CNI type: what an attachment is known by."""

NetworkId = tuple[str, str]
"""A network's name and a CNI type: a chain may hold several plugins of ours."""

_ALIAS_LIMIT: Final = 254  # bytes of IFLA_IFALIAS (IFALIASZ less two: the zero is counted twice)
_SHORTENED: Final = "~"  # no network's name begins so

State = Literal["attaching", "attached", "detaching"]


def alias_of(key: Key) -> str:
    """What the links of an attachment say about themselves in the kernel.

    Where there is no room for the key it is a digest of the key, and as much of it as fits.
    """
    text = "/".join(key)
    whole = (MARK + text).encode()
    if len(whole) > _ALIAS_LIMIT:
        digest = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
        whole = f"{MARK}{_SHORTENED}{digest}/{text}".encode()
    return whole[:_ALIAS_LIMIT].decode(errors="ignore")


def key_of(alias: str) -> Key | None:
    """The attachment that a link says it belongs to; ``None`` where that cannot be told."""
    parts = alias.removeprefix(MARK).split("/")
    whole = alias.startswith(MARK) and not parts[0].startswith(_SHORTENED)
    return (parts[0], parts[1], parts[2], parts[3]) if whole and len(parts) == 4 else None


class _Recorded(msgspec.Struct, frozen=True, kw_only=True):
    """What the journal holds of an attachment, but for its objects."""

    network: str
    container: str
    ifname: str
    plugin: str
    pod: str = ""
    request_id: bytes = b""
    netns_path: str = ""
    netns_cookie: int = 0
    nsid: int = nsids.NONE
    host_cookie: int = 0
    config: dict[str, Any] = {}
    leases: tuple[Lease, ...] = ()
    delegate: dict[str, Any] | None = None
    result: dict[str, Any] | None = None
    state: State = "attaching"
    created: float = 0.0
    adopted: bool = False

    @property
    def key(self) -> Key:
        """What the attachment is known by."""
        return self.network, self.container, self.ifname, self.plugin

    @property
    def id(self) -> str:
        """The key as one text; no part may contain a slash (CNI specification, "Parameters")."""
        return "/".join(self.key)


class Attachment(_Recorded, frozen=True, kw_only=True):
    """One attachment. Immutable: a change is a new one in the store.

    Attributes:
        plugin: the CNI type that made it.
        pod: ``namespace/name`` in Kubernetes, ``""`` if it is not known.
        request_id: of the request that made it; a repetition of that request gets ``result``.
        netns_path: where the container's namespace was found, may be gone or another one by now.
        netns_cookie: the kernel's lasting name of that namespace (``SO_NETNS_COOKIE``); 0 if none.
        nsid: what the host's namespace calls the container's, as long as it lives.
        host_cookie: likewise of the namespace on the node's side.
        config: the configuration that ADD came with, as it came.
        delegate: configuration of the foreign IPAM plugin that must be called for DEL.
        objects: the plan, in the order of application.
        foreign: objects of kinds that nobody here knows (any more), kept for who does.
        result: what ADD answered.
        created: ``CLOCK_BOOTTIME``, seconds.
        adopted: it was found in the kernel, and what only the journal knew of it is lost:
            configuration, result, the container's namespace, and what another IPAM plugin lent.
    """

    objects: tuple[Object, ...] = ()
    foreign: tuple[dict[str, Any], ...] = ()

    def is_beginning_of(self, other: Attachment) -> bool:
        """Whether this only says beforehand that ``other`` is coming: nothing was applied yet."""
        same = self.key == other.key and self.request_id == other.request_id
        return same and self.state == "attaching" and not self.objects and not self.foreign

    def to_record(self) -> Any:
        """For the journal."""
        fields = {name: getattr(self, name) for name in _Recorded.__struct_fields__}
        wire = [*map(to_wire, self.objects), *self.foreign]
        return msgspec.to_builtins({**fields, "objects": wire}, builtin_types=(bytes,))

    @classmethod
    def from_record(cls, raw: dict[str, Any]) -> Attachment:
        """Raises :class:`msgspec.ValidationError` where ``raw`` is no attachment."""
        rest = {name: value for name, value in raw.items() if name != "objects"}
        recorded = msgspec.convert(rest, _Recorded)
        objects: list[Object] = []
        foreign: list[dict[str, Any]] = []
        for wire in raw["objects"]:
            try:
                objects.append(from_wire(wire))
            except (ValueError, KeyError) as error:
                log.warning("attachment %s: object left as it is: %s", recorded.id, error)
                foreign.append(wire)
        fields = {name: getattr(recorded, name) for name in _Recorded.__struct_fields__}
        return cls(**fields, objects=tuple(objects), foreign=tuple(foreign))
