"""pyroute2 has the kernel's numbers, too: where it knows a name it must have our number."""

from __future__ import annotations

import inspect
from types import ModuleType

import pytest

from cnidaria.kernel import nftuapi, uapi


def modules():
    from pyroute2 import netlink
    from pyroute2.netlink import nfnetlink, rtnl
    from pyroute2.netlink.nfnetlink import nftsocket
    from pyroute2.netlink.rtnl import fibmsg, ifaddrmsg, ifinfmsg, ndmsg, rtmsg

    return netlink, nfnetlink, nftsocket, rtnl, fibmsg, ifaddrmsg, ifinfmsg, ndmsg, rtmsg


def numbers_of(thing, found, seen):
    """Constants of modules, and the attribute tables of classes and the classes inside them."""
    if id(thing) in seen:
        return
    seen.add(id(thing))
    inner = [] if isinstance(thing, ModuleType) else [*thing.__mro__[1:-1]]
    for name, value in vars(thing).items():
        if isinstance(value, int) and name[:1].isupper():
            found.setdefault(name, set()).add(value)
        elif inspect.isclass(value):
            inner.append(value)
        elif name == "data_map":  # a link's data by kind
            inner += value.values()
        elif name == "nla_map":
            for number, attribute in attributes(value):
                found.setdefault(attribute, set()).add(number)
    for one in inner:
        numbers_of(one, found, seen)


def attributes(table):
    """Numbered by their place, or by themselves."""
    for place, entry in table.items() if isinstance(table, dict) else enumerate(table):
        if type(entry) is tuple:  # others are made on demand
            yield entry[:2] if isinstance(entry[0], int) else (place, entry[0])


@pytest.fixture(scope="module")
def theirs():
    found: dict[str, set[int]] = {}
    for module in modules():
        assert isinstance(module, ModuleType)
        numbers_of(module, found, set())
    return found


def ours(module):
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, int) and name.isupper()
    }


UNKNOWN_THERE = {
    "IN6_ADDR_GEN_MODE_NONE",
    "LWTUNNEL_IP_DST",
    "LWTUNNEL_IP_ID",
    "LWTUNNEL_IP_SRC",
    "LWTUNNEL_IP_TOS",
    "LWTUNNEL_IP_TTL",
    "NETLINK_CAP_ACK",
    "NETNSA_FD",
    "NETNSA_NSID",
    "NFTA_OBJ_NAME",
    "NFTA_OBJ_TABLE",
    "NFTA_OBJ_TYPE",
    "NFT_CHAIN_BINDING",
    "NFT_LOGLEVEL_WARNING",
    "NF_NAT_RANGE_MAP_IPS",
    "NF_NAT_RANGE_PROTO_SPECIFIED",
    "NFT_TABLE_F_DORMANT",
    "NLA_TYPE_MASK",
    "RTEXT_FILTER_SKIP_STATS",
    "RTM_F_FIB_MATCH",
    "RT_TABLE_UNSPEC",
    "SIOCGIFINDEX",
    "SO_SNDBUFFORCE",
    "SIOCGIFNAME",
    "BYTEORDER_BIG_ENDIAN",
    "BYTEORDER_HOST_ENDIAN",
    "NFNL_BATCH_GENID",
    "NFNL_MSG_BATCH_BEGIN",
    "NFNL_MSG_BATCH_END",
    "NFTA_DYNSET_EXPRESSIONS",
    "NFTA_FIB_F_PRESENT",
    "NFT_EXTHDR_F_PRESENT",
    "NFT_EXTHDR_OP_IPV4",
    "NFT_EXTHDR_OP_IPV6",
    "NFTNL_UDATA_RULE_COMMENT",
    "NFTNL_UDATA_SET_DATABYTEORDER",
    "NFTNL_UDATA_SET_KEYBYTEORDER",
    "NFT_BYTEORDER_HTON",
    "NFT_DATA_VERDICT",
    "NFT_LIMIT_PKTS",
    "NFT_LOOKUP_F_INV",
    "NFT_SET_ANONYMOUS",
    "NFT_SET_CONCAT",
    "NFT_SET_ELEM_INTERVAL_END",
    "NFT_SET_INTERVAL",
    "NFT_SET_MAP",
    "NF_NAT_RANGE_PROTO_RANDOM_FULLY",
}


@pytest.mark.parametrize("module", [uapi, nftuapi], ids=lambda module: module.__name__)
def test_where_pyroute2_knows_the_name_it_has_the_number(module, theirs):
    for name, number in ours(module).items():
        assert name in UNKNOWN_THERE or number in theirs[name], name


def test_what_pyroute2_does_not_know_is_listed(theirs):
    assert ({*ours(uapi)} | {*ours(nftuapi)}) - {*theirs} == UNKNOWN_THERE
