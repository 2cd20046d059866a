"""What is attached: every attachment and every lease, in memory and in the journal.

The order is always intent, change, commit: :meth:`Store.begin` before the first kernel change of
an ADD, :meth:`Store.commit` after the last; :meth:`Store.detaching` before the first change of a
DEL, :meth:`Store.forget` after the last.  Whoever starts next finds in the journal what to finish
or undo.  Only one process at a time may use a state directory: see :class:`StateLock`.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from cnidaria.plan.attachment import Attachment, Key, NetworkId, State
from cnidaria.plan.claims import Claims, claims_of
from cnidaria.plan.journal import Journal, StateError
from cnidaria.plan.lease import Cooling, Lease
from cnidaria.plan.objects import Object
from cnidaria.plan.statelock import StateLock

__all__ = ["Attachment", "Cooling", "Key", "Lease", "State", "StateError", "StateLock", "Store"]

log = logging.getLogger(__name__)

COMPACT_AT_LEAST: Final = 256 << 10
"""A journal shorter than this many bytes is not worth compacting."""

COMPACT_FACTOR: Final = 4
"""How many times its compacted length a journal may grow to."""


class Store:
    """All attachments. Thread-safe; every change is one record, written before it is believed.

    Args:
        journal: loaded here.
        clock: seconds since boot, sleep included (``CLOCK_BOOTTIME``).

    Raises:
        StateError: the journal cannot be read.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._clock = clock
        self._lock = threading.RLock()
        self._by_key: dict[Key, Attachment] = {}
        self._by_id: dict[str, Attachment] = {}
        self._by_network: dict[tuple[int, NetworkId], dict[str, Attachment]] = {}
        self._cooling: dict[tuple[str, str], Cooling] = {}
        self._node_parts: set[tuple[int, NetworkId]] = set()
        self._claims = Claims()
        for record in journal.load():
            try:
                self._replay(record)
            except (msgspec.MsgspecError, ValueError, KeyError, TypeError) as error:
                log.error("%s: record left out: %s: %.200r", journal.path, error, record)
        if journal.damage:
            log.error("%s: %s; what follows it is lost", journal.path, journal.damage)
        self._compact_at = max(COMPACT_AT_LEAST, COMPACT_FACTOR * journal.size)

    # -- changes ---------------------------------------------------------------------------

    def begin(self, attachment: Attachment) -> Attachment:
        """Declare what is about to be attached, and take its leases.

        May be called again by the same request as long as there were no objects: what another
        plugin has to take back is declared before that plugin is asked, the plan afterwards.

        Raises:
            StateError: not recorded, nothing was changed.
            ValueError: there is an attachment of this key.
        """
        attachment = replace(attachment, state="attaching")
        with self._lock:
            old = self._by_key.get(attachment.key)
            if old is not None and not old.is_beginning_of(attachment):
                raise ValueError(f"attachment {attachment.id}: exists")
            self._write({"op": "begin", "attachment": attachment.to_record()})
            self._put(attachment)
        return attachment

    def adopt(self, attachment: Attachment) -> None:
        """Enter what is attached already, though the journal does not know it.

        Raises:
            StateError: not recorded; in memory it is known nevertheless, because it is there.
        """
        with self._lock:
            self._put(attachment)
            self._write({"op": "attachment", "attachment": attachment.to_record()})

    def commit(self, id: str, result: dict[str, Any] | None = None) -> Attachment:  # noqa: A002
        """Everything is there; ``result`` replaces the one that :meth:`begin` recorded.

        Raises:
            StateError: not recorded, nothing was changed.
            KeyError: no such attachment.
        """
        with self._lock:
            old = self._by_id[id]
            new = replace(old, state="attached", result=old.result if result is None else result)
            self._write({"op": "commit", "id": id, "result": result})
            self._put(new)
        return new

    def detaching(self, id: str) -> Attachment:  # noqa: A002
        """Declare that the attachment is about to go. Its leases stay held.

        Raises:
            StateError: not recorded; in memory it is detaching nevertheless, because its kernel
                state will go whether we can write or not.
            KeyError: no such attachment.
        """
        with self._lock:
            old = self._by_id[id]
            if old.state == "detaching":
                return old
            new = replace(old, state="detaching")
            self._put(new)
            self._write({"op": "detaching", "id": id})
        return new

    def forget(self, id: str) -> Attachment:  # noqa: A002
        """Nothing of it is left: drop it; its addresses cool down from now.

        Raises:
            StateError: not recorded, nothing was changed.
            KeyError: no such attachment.
        """
        with self._lock:
            attachment = self._by_id[id]
            now = self._clock()
            self._write({"op": "forget", "id": id, "at": now})
            self._drop(attachment, now)
        return attachment

    def node_part(self, host_cookie: int, network: NetworkId, *, there: bool) -> None:
        """A network's part of a node is about to be made, or is gone, in the namespace ``host``.

        Raises:
            StateError: not recorded.
        """
        place = host_cookie, network
        with self._lock:
            if (place in self._node_parts) == there:
                return
            self._write({"op": "node", "host": host_cookie, "network": network, "there": there})
            self._note_node_part(place, there)

    def require_writable(self) -> None:
        """See whether changes could be recorded. Raises :class:`StateError` where not."""
        self._journal.require_writable()

    def compact(self) -> None:
        """Write the journal anew, without what is history.

        Raises:
            StateError: that cannot be done; the old one is in force.
        """
        with self._lock:
            self._journal.compact(self._records())
            self._compact_at = max(COMPACT_AT_LEAST, COMPACT_FACTOR * self._journal.size)

    def close(self) -> None:
        """Close the journal. The store can be read on."""
        with self._lock:
            self._journal.close()

    # -- questions -------------------------------------------------------------------------

    def get(self, network: str, container: str, ifname: str, plugin: str) -> Attachment | None:
        """The attachment of this key."""
        return self._by_key.get((network, container, ifname, plugin))

    def by_id(self, id: str) -> Attachment | None:  # noqa: A002
        """The attachment of this :attr:`Attachment.id`."""
        return self._by_id.get(id)

    def all(self) -> list[Attachment]:
        """Every attachment, oldest first."""
        with self._lock:
            return list(self._by_id.values())

    def find(
        self,
        *,
        network: str | None = None,
        container: str | None = None,
        ifname: str | None = None,
        plugin: str | None = None,
    ) -> list[Attachment]:
        """The attachments that agree in what is given, oldest first."""
        wanted = (network, container, ifname, plugin)
        return [
            found
            for found in self.all()
            if all(want in (None, have) for want, have in zip(wanted, found.key, strict=True))
        ]

    def node_parts(self) -> list[tuple[int, NetworkId]]:
        """Cookies of namespaces, and the networks that have a part of the node there."""
        with self._lock:
            return sorted(self._node_parts)

    def networks_of_pods(self, host_cookie: int) -> dict[NetworkId, Attachment]:
        """The networks with objects of pods on this host, each with an attachment of it.

        That is the oldest whose configuration is known, if there is one.
        """
        with self._lock:
            return {
                network: next(
                    (one for one in pods.values() if one.config), next(iter(pods.values()))
                )
                for (cookie, network), pods in self._by_network.items()
                if cookie == host_cookie
            }

    def has_pods(self, host_cookie: int, network: NetworkId) -> bool:
        """Whether a network has objects of pods on this host."""
        return (host_cookie, network) in self._by_network

    def cooling(self) -> list[Cooling]:
        """Addresses that were released and may not be used again yet, longest ago first."""
        with self._lock:
            now = self._clock()
            for key, entry in list(self._cooling.items()):
                if entry.until <= now:
                    del self._cooling[key]
            return sorted(self._cooling.values(), key=lambda entry: entry.released_at)

    def declared(self, cookie: int) -> list[Object]:
        """The objects that attachments declare in the namespace with this cookie.

        Without those of attachments that are going: their objects are perhaps withdrawn already.
        """
        with self._lock:
            staying = (one for one in self._by_id.values() if one.state != "detaching")
            claims = (claim for one in staying for claim in claims_of(one))
            return list({obj.key: obj for where, obj in claims if where == cookie}.values())

    @contextmanager
    def frozen(self) -> Iterator[Claims]:
        """Hold off every change, and say which objects attachments claim. Keep it short."""
        with self._lock:
            yield self._claims

    # -- inside ----------------------------------------------------------------------------

    def _write(self, record: dict[str, Any]) -> None:
        if self._journal.lost():
            log.error("%s was removed; writing it anew", self._journal.path)
            self.compact()
        elif self._journal.size >= self._compact_at:
            self._try_compact()
        self._journal.append(record)

    def _try_compact(self) -> None:
        try:
            self.compact()
        except StateError as error:
            self._compact_at *= 2
            log.warning("journal not compacted: %s", error)

    def _records(self) -> Iterator[dict[str, Any]]:
        for entry in self.cooling():
            yield {"op": "cooling", "entry": entry.to_record()}
        for host, network in sorted(self._node_parts):
            yield {"op": "node", "host": host, "network": network, "there": True}
        for attachment in self._by_id.values():
            yield {"op": "attachment", "attachment": attachment.to_record()}

    def _replay(self, record: dict[str, Any]) -> None:
        match record:
            case {"op": "begin" | "attachment", "attachment": raw}:
                self._put(Attachment.from_record(raw))
            case {"op": "commit", "id": id_, "result": result} if id_ in self._by_id:
                old = self._by_id[id_]
                result = old.result if result is None else result
                self._put(replace(old, state="attached", result=result))
            case {"op": "detaching", "id": id_} if id_ in self._by_id:
                self._put(replace(self._by_id[id_], state="detaching"))
            case {"op": "forget", "id": id_, "at": at} if id_ in self._by_id:
                self._drop(self._by_id[id_], at)
            case {"op": "cooling", "entry": raw}:
                entry = Cooling.from_record(raw)
                self._cool(entry)
            case {"op": "node", "host": int(host), "network": [str(name), str(type_)]}:
                self._note_node_part((host, (name, type_)), record["there"])
            case _:
                raise ValueError("fits nothing that is known")

    def _note_node_part(self, place: tuple[int, NetworkId], there: bool) -> None:
        (self._node_parts.add if there else self._node_parts.discard)(place)

    def _put(self, attachment: Attachment) -> None:
        old = self._by_id.get(attachment.id)
        if old is None or old.objects is not attachment.objects:
            if old is not None:
                self._claims.remove(old)
            self._claims.add(attachment)
        self._by_id[attachment.id] = attachment
        self._by_key[attachment.key] = attachment
        if old is not None:
            self._leave_network(old)
        if attachment.objects or attachment.foreign:
            self._by_network.setdefault(_network_of(attachment), {})[attachment.id] = attachment
        for lease in attachment.leases:
            self._cooling.pop((lease.pool, lease.address), None)

    def _leave_network(self, attachment: Attachment) -> None:
        place = _network_of(attachment)
        pods = self._by_network.get(place, {})
        pods.pop(attachment.id, None)
        if not pods:
            self._by_network.pop(place, None)

    def _drop(self, attachment: Attachment, at: float) -> None:
        del self._by_id[attachment.id]
        self._leave_network(attachment)
        del self._by_key[attachment.key]
        self._claims.remove(attachment)
        for lease in attachment.leases:
            self._cool(Cooling(lease, at))

    def _cool(self, entry: Cooling) -> None:
        """A clock that was set back does not make an address cool for longer than it should."""
        entry = replace(entry, released_at=min(entry.released_at, self._clock()))
        if entry.until > self._clock():
            self._cooling[entry.lease.pool, entry.lease.address] = entry


def _network_of(attachment: Attachment) -> tuple[int, NetworkId]:
    return attachment.host_cookie, (attachment.network, attachment.plugin)
