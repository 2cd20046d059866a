"""Addresses for pods: leases from pools of our own, or from any other IPAM plugin.

* :mod:`~cnidaria.ipam.config`: the section ``ipam`` of a network configuration;
* :mod:`~cnidaria.ipam.pools`: who holds which address;
* :mod:`~cnidaria.ipam.plugin`: the CNI plugin ``cnidaria-ipam``;
* :mod:`~cnidaria.ipam.delegate`: other plugins, executed.
"""

from cnidaria.ipam.config import Claim, IpamConfig, ipam_type
from cnidaria.ipam.keys import IPAM_TYPE, ClusterPool, IpamKeys
from cnidaria.ipam.leases import LeaseSet, Owner
from cnidaria.ipam.own import own_addresses
from cnidaria.ipam.pools import Pools, Usage
from cnidaria.ipam.prefixes import prefixes, prefixes_of_foreign
from cnidaria.ipam.requested import Requested, requested

__all__ = [
    "IPAM_TYPE",
    "Claim",
    "ClusterPool",
    "IpamConfig",
    "IpamKeys",
    "LeaseSet",
    "Owner",
    "Pools",
    "Requested",
    "Usage",
    "ipam_type",
    "own_addresses",
    "prefixes",
    "prefixes_of_foreign",
    "requested",
]
