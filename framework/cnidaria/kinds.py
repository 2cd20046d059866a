"""For authors of kinds of kernel objects of their own (hook ``cnidaria_objects``).

A kind is a subclass of :class:`~cnidaria.Object` whose ``DRIVER`` makes it so, removes it, and says
what is not as declared.  Whatever follows from a plan follows then for the kind, too.
"""

from cnidaria.kernel.conntrack import Flow, flows, forget
from cnidaria.kernel.driver import Driver, Found
from cnidaria.kernel.drivers import driver_of
from cnidaria.kernel.entries import Addresses
from cnidaria.kernel.errors import Difference, KernelError
from cnidaria.kernel.foreign import Dropping, dropping
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.linkinfo import LinkInfo, find_link
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.nflog import Listener, Told
from cnidaria.kernel.objects.nftexpr import Unknown
from cnidaria.kernel.ruleset import Batch, Ruleset, WholeTable, difference, marked_tables
from cnidaria.kernel.session import Session
from cnidaria.kernel.walk import Packet, Way, walk


def addresses(namespace: NetNS) -> list[str]:
    """All addresses of a namespace. Raises :class:`KernelError`."""
    with Session(namespace) as session:
        return Addresses().everywhere(session)


__all__ = [
    "Batch",
    "Difference",
    "Driver",
    "Dropping",
    "Flow",
    "Found",
    "Kernel",
    "KernelError",
    "LinkInfo",
    "Listener",
    "NetNS",
    "Packet",
    "Ruleset",
    "Session",
    "Told",
    "Unknown",
    "Way",
    "WholeTable",
    "addresses",
    "difference",
    "driver_of",
    "dropping",
    "find_link",
    "flows",
    "forget",
    "marked_tables",
    "walk",
]
