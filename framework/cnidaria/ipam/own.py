"""The addresses that the node itself has: no pod can have them."""

from __future__ import annotations

from typing import Final

from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam.pools import Own
from cnidaria.kernel.handle import Kernel, KernelError
from cnidaria.kernel.netns import NetNS

_ARTICLES: Final = {"local": "an", "broadcast": "a broadcast", "anycast": "an anycast"}


def own_addresses(host: NetNS) -> Own:
    """Asks the kernel of the node's namespace, at the cost of one question for each address.

    What comes back raises :class:`CniError`, 106, where the kernel does not answer.
    """
    kernel = Kernel(host)

    def own(address: str) -> str:
        try:
            found = kernel.own(address)
        except KernelError as error:
            raise CniError(Code.KERNEL_REFUSED, str(error)) from error
        return f"{_ARTICLES[found]} address of this node" if found else ""

    return own
