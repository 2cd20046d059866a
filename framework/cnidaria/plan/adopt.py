"""Attachments that the kernel has and the journal does not, as after the loss of a journal.

The links of an attachment say whose they are, so what is on them is known to be somebody's: it is
entered as an attachment again, without what only the journal knew.  Then its pod keeps its network
until DEL or GC, and nobody else gets its addresses.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from ipaddress import ip_network

from cnidaria.kernel.handle import Kernel
from cnidaria.plan.attachment import Attachment, Key, key_of
from cnidaria.plan.lease import Lease
from cnidaria.plan.objects import Address, AnyLink, Neighbour, Object, Route


def unknown(kernel: Kernel, known: Callable[[], Iterable[Key]], now: float) -> Iterator[Attachment]:
    """The attachments with links in the kernel's namespace that are not among ``known``.

    Args:
        known: asked after the kernel, as an attachment is known before its links are made.
        now: seconds since boot: when they were made nobody knows.

    Raises:
        KernelError: the kernel does not answer.
    """
    links: dict[Key, list[Object]] = {}
    for link in kernel.owned(AnyLink):
        key = key_of(link.alias) if isinstance(link, AnyLink) else None
        if key:
            links.setdefault(key, []).append(link)
    for key in known():
        links.pop(key, None)
    if not links:
        return
    others = kernel.owned(Address, Route, Neighbour)
    for key, found in links.items():
        names = {name for link in found for name in link.names()}
        on_them = [one for one in others if names & {*one.on()}]
        yield _attachment(key, [*found, *on_them], kernel, now)


def _attachment(key: Key, objects: list[Object], kernel: Kernel, now: float) -> Attachment:
    network, container, ifname, plugin = key
    routes = [ip_network(one.dst) for one in objects if isinstance(one, Route)]
    return Attachment(
        network=network,
        container=container,
        ifname=ifname,
        plugin=plugin,
        host_cookie=kernel.namespace.cookie,
        leases=tuple(
            Lease(network, str(one.network_address), one.prefixlen)
            for one in routes
            if one.prefixlen == one.max_prefixlen
        ),
        objects=tuple(objects),
        state="attached",
        created=now,
        adopted=True,
    )
