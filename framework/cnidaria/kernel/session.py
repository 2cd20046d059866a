"""One call's conversation with one namespace: requests gathered into batches, names resolved."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, Collection, Hashable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from struct import Struct
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, ParamSpec, TypeVar

from cnidaria.kernel import nftuapi, uapi
from cnidaria.kernel.codec import Part
from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.netlink import Answer, Channel, Hook, Request
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.objects import Object

if TYPE_CHECKING:
    from types import TracebackType

P = ParamSpec("P")
T = TypeVar("T")
O = TypeVar("O", bound=Object)  # noqa: E741

Verb = Literal["add", "remove", "read"]

OnError = Callable[[Answer], None]
"""What to do about a refusal; raises if that is nothing."""

GONE = frozenset(
    {errno.ENOENT, errno.ESRCH, errno.ENODEV, errno.EADDRNOTAVAIL, errno.ENXIO, errno.EINVAL}
)
"""How the kernel says that what is to be removed is not there (EINVAL: a port of no bridge)."""

_NFGENMSG = Struct(">BBH")  # family, version, subsystem
BEGIN, END = (
    Request(kind, 0, _NFGENMSG.pack(0, 0, nftuapi.NFNL_SUBSYS_NFTABLES))
    for kind in (nftuapi.NFNL_MSG_BATCH_BEGIN, nftuapi.NFNL_MSG_BATCH_END)
)
_IFREQ = Struct("=16si20x")


class Change(NamedTuple):
    """What nftables is to do for one object, and what to do where it refuses."""

    requests: Sequence[Request]
    on_error: OnError


class Session:
    """Requests are queued, and sent together by :meth:`flush` or at the end. For one thread.

    Args:
        host, pod: the namespaces that objects may name besides this one.
        hook: see :data:`~cnidaria.kernel.netlink.Hook`.
        many: much is going to be read: better all at once than one by one.
        declared: see :class:`~cnidaria.kernel.handle.Kernel`.

    Attributes:
        state_dir: see :class:`~cnidaria.kernel.handle.Kernel`.
        errors: a list where errors are to be gathered; ``None``: they are raised.
        cache: what was read once in this conversation.
    """

    def __init__(
        self,
        namespace: NetNS,
        hook: Hook | None = None,
        *,
        host: NetNS | None = None,
        pod: NetNS | None = None,
        many: bool = False,
        declared: Callable[[int], Collection[Object]] | None = None,
        state_dir: Path | None = None,
    ) -> None:
        self.namespace = namespace
        self.state_dir = state_dir
        self._declared = declared
        self.hook = hook
        self.many = many
        self.cache: dict[Any, Any] = {}
        self.errors: list[KernelError] | None = None
        self._others = {"host": host, "pod": pod}
        self._sessions: dict[str, Session] = {}
        self._stack = ExitStack()
        self._channels: dict[int, Channel] = {}
        self._queue: list[tuple[Request, OnError]] = []
        self._changes: list[Change] = []
        self._indices: dict[str, int] = {}
        self._names: dict[int, str] = {}

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An answer that says no is a whole answer: the sockets are as good as before.
        if isinstance(error, KernelError) and error.errno not in (errno.ETIMEDOUT, errno.ENOBUFS):
            self._stack.close()
        else:
            self._stack.__exit__(kind, error, trace)

    def channel(self, protocol: int = uapi.NETLINK_ROUTE) -> Channel:
        """This call's socket of a protocol."""
        found = self._channels.get(protocol)
        if found is None:
            make = partial(Channel.open, self.namespace, protocol)
            try:
                found = self._stack.enter_context(self.namespace.borrow(protocol, make))
            except OSError as error:
                code = error.errno or errno.EIO
                raise KernelError(code, f"cannot talk to the kernel in {self.namespace}") from error
            self._channels[protocol] = found
        return found

    def other(self, where: str) -> Session | None:
        """The conversation with the namespace that an object's ``where`` means, if it is known."""
        namespace = self._others[where]
        if namespace is None:
            return None
        session = self._sessions.get(where)
        if session is None:
            session = Session(namespace, self.hook)
            self._sessions[where] = self._stack.enter_context(session)
        return session

    def declared(self, kind: type[O]) -> list[O]:
        """All objects of a kind that attachments declare in this namespace.

        Raises:
            LookupError: nobody here can tell.
        """
        if self._declared is None:
            raise LookupError("what attachments declare is not known here")
        return [obj for obj in self._declared(self.namespace.cookie) if isinstance(obj, kind)]

    # -- changing --------------------------------------------------------------------------

    def queue(
        self, verb: Verb, obj: Object, request: Request, on_error: OnError | None = None
    ) -> None:
        """Send this with the next batch; what the kernel refuses is raised unless handled."""
        if self._changes:
            self.flush()
        self._queue.append((request, on_error or partial(self._raise, verb, obj)))

    def queue_change(
        self, verb: Verb, obj: Object, requests: Sequence[Request], on_error: OnError | None = None
    ) -> None:
        """Like :meth:`queue`, for nftables: an object's requests are done all or not at all."""
        if self._queue:
            self.flush()
        self._changes.append(Change(requests, on_error or partial(self._raise, verb, obj)))

    def flush(self) -> None:
        """Send what is queued.

        Raises:
            KernelError: the first that was refused; all were tried.
        """
        if self._changes:
            changes, self._changes = self._changes, []
            self._commit(changes)
        if not self._queue:
            return
        queue, self._queue = self._queue, []
        answers = self.channel().batch([request for request, _ in queue], self.hook)
        for (_, on_error), answer in zip(queue, answers, strict=True):
            if answer.errno:
                self.collect(on_error, answer)

    def _commit(self, changes: list[Change]) -> None:
        """In one transaction; where that is refused, each object in one of its own."""
        requests = [request for change in changes for request in change.requests]
        channel = self.channel(uapi.NETLINK_NETFILTER)
        answers = channel.transaction(BEGIN, requests, END, self.hook) if requests else []
        bad = [answer for answer in answers if answer.errno]
        if bad and len(changes) > 1:
            for change in changes:
                self._commit([change])
        elif bad:
            self.collect(changes[0].on_error, bad[0])

    def collect(self, function: Callable[P, None], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call it; its error goes to :attr:`errors` where errors are gathered."""
        try:
            function(*args, **kwargs)
        except KernelError as error:
            if self.errors is None:
                raise
            self.errors.append(error)

    @staticmethod
    def _raise(verb: Verb, obj: Object, answer: Answer) -> None:
        raise refused(verb, obj, answer)

    # -- reading ---------------------------------------------------------------------------

    def ask(self, request: Request, protocol: int = uapi.NETLINK_ROUTE) -> Answer:
        """The answer to one request, refused or not."""
        self._flush_before(protocol)
        return self.channel(protocol).batch([request])[0]

    def step(self, request: Request) -> Answer:
        """The answer to a request that changes something, refused or not."""
        self.flush()
        return self.channel().batch([request], self.hook)[0]

    def ask_all(self, requests: list[Request]) -> list[Answer]:
        """The answers to many."""
        self.flush()
        return self.channel().batch(requests)

    def dump(self, kind: int, body: bytes, protocol: int = uapi.NETLINK_ROUTE) -> list[Part]:
        """A dump; nothing where the kernel knows no such table."""
        self._flush_before(protocol)
        try:
            return self.channel(protocol).dump(kind, body)
        except KernelError as error:
            if error.errno not in GONE:
                raise
            return []

    def once(self, key: Hashable, read: Callable[[], T]) -> T:
        """What ``read`` gave the first time in this conversation."""
        if key not in self.cache:
            self.cache[key] = read()
        found: T = self.cache[key]
        return found

    def _flush_before(self, protocol: int) -> None:
        """What is read must show what was queued; of nftables nothing is declared twice, and all
        of one call is to be one transaction.
        """
        if protocol == uapi.NETLINK_ROUTE:
            self.flush()

    def index(self, name: str) -> int:
        """A link's number; 0 if there is none."""
        found = self._indices.get(name, 0)
        if not found:
            self.flush()
            found = self._ioctl(uapi.SIOCGIFINDEX, name.encode(), 0)[1]
            self._indices[name] = found
            self._names[found] = name
        return found

    def name(self, index: int) -> str:
        """A link's name; ``""`` if there is none."""
        found = self._names.get(index)
        if found is None:
            raw: bytes = self._ioctl(uapi.SIOCGIFNAME, b"", index)[0]
            found = self._names[index] = raw.rstrip(b"\0").decode(errors="surrogateescape")
        return found

    def forget(self) -> None:
        """Links have come or gone."""
        self._indices.clear()
        self._names.clear()
        self.cache.clear()

    def _ioctl(self, request: int, name: bytes, index: int) -> tuple[bytes, int]:
        """Any socket does; it asks about its own namespace."""
        try:
            reply = fcntl.ioctl(self.channel().fileno(), request, _IFREQ.pack(name, index))
        except OSError as error:
            if error.errno not in GONE:
                code = error.errno or errno.EIO
                raise KernelError(code, "cannot look up an interface") from error
            return b"", 0
        raw, number = _IFREQ.unpack(reply)
        return raw.partition(b"\0")[0], number


def refused(verb: Verb, obj: Object, answer: Answer | None = None, code: int = 0) -> KernelError:
    """The kernel said no."""
    answer = answer or Answer(code, os.strerror(code))
    what = f"cannot {verb} {obj} ({obj.where})"
    return KernelError(answer.errno, what, answer.reason, object=obj)


def taken(obj: Object, how: str, name: str = "") -> KernelError:
    """Something else is there; ``name``: of the link."""
    what = f"cannot add {obj} ({obj.where})"
    return KernelError(errno.EEXIST, what, how, object=obj, name=name)


def need_index(session: Session, obj: Object, name: str, verb: Verb = "add") -> int:
    """A link's number.

    Raises:
        KernelError: ENODEV, there is no such link.
    """
    index = session.index(name)
    if not index:
        what = f"cannot {verb} {obj} ({obj.where})"
        raise KernelError(errno.ENODEV, what, f"there is no interface {name}", object=obj)
    return index
