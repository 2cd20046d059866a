"""Pools: who gets which address, and what is said when there is none."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from cnidaria.cni.errors import CniError, Code
from cnidaria.ipam import IpamConfig, LeaseSet, Owner, Pools, Requested
from cnidaria.ipam.ledger import MAX_POOLS
from cnidaria.plan.journal import Journal
from cnidaria.plan.store import Attachment, Store

SMALL = {"subnet": "10.1.0.0/29"}  # .2 to .6: five addresses


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def pools(clock: Clock) -> Pools:
    return Pools(clock)


def owner(number: int, pod: str = "") -> Owner:
    return Owner(f"c{number}", "eth0", pod)


def wish(address: str) -> tuple[Requested, ...]:
    return (Requested(ip_address(address), "CNI_ARGS: IP"),)


def take(
    pools: Pools, raw: dict[str, Any], who: Owner, *wishes: str, network: str = "net"
) -> LeaseSet:
    requested = tuple(one for address in wishes for one in wish(address))
    return pools.lease(network, IpamConfig.parse(raw), who, requested)


def addresses(found: LeaseSet) -> list[str]:
    return [lease.address for lease in found.addresses]


def refused(code: Code, *args: Any, **kwargs: Any) -> CniError:
    with pytest.raises(CniError) as caught:
        take(*args, **kwargs)
    assert caught.value.code == code
    return caught.value


def test_one_address_of_each_range_set_with_its_subnets_length_and_gateway(pools):
    raw = {
        "ranges": [
            [{"subnet": "10.1.0.0/24", "rangeStart": "10.1.0.9", "rangeEnd": "10.1.0.9"},
             {"subnet": "10.2.0.0/16", "gateway": "10.2.9.9"}],
            [{"subnet": "fd00::/64"}],
        ],
        "routes": [{"dst": "0.0.0.0/0"}],
    }  # fmt: skip
    first = take(pools, raw, owner(1))
    second = take(pools, raw, owner(2))
    assert [(a.address, a.prefix_len, a.gateway) for a in first.addresses] == [
        ("10.1.0.9", 24, "10.1.0.1"),
        ("fd00::2", 64, "fd00::1"),
    ]
    assert [(a.address, a.prefix_len, a.gateway) for a in second.addresses] == [
        ("10.2.0.1", 16, "10.2.9.9"),
        ("fd00::3", 64, "fd00::1"),
    ]
    assert first.families() == {4, 6}
    result = first.result("1.1.0").to_json("1.1.0")
    assert result["ips"][0] == {"address": "10.1.0.9/24", "gateway": "10.1.0.1"}
    assert result["routes"] == [{"dst": "0.0.0.0/0"}]


def test_never_network_broadcast_gateway_excluded(pools):
    raw = {
        "subnet": "10.1.0.0/28",
        "rangeStart": "10.1.0.0",
        "rangeEnd": "10.1.0.15",
        "gateway": "10.1.0.7",
        "exclude": ["10.1.0.2", "10.1.0.4-10.1.0.5", "10.1.0.12/30", "fd00::/8"],
    }
    found = [addresses(take(pools, raw, owner(i)))[0] for i in range(7)]
    assert found == [f"10.1.0.{i}" for i in (1, 3, 6, 8, 9, 10, 11)]
    refused(Code.POOL_EXHAUSTED, pools, raw, owner(8))


def test_what_the_node_itself_has_is_nobodys(pools):
    there = {"10.1.0.2": "an address of this node", "10.1.0.6": "a broadcast address of this node"}

    def own(address: str) -> str:
        return there.get(address, "")

    reserved = {**SMALL, "reservations": {"10.1.0.6": "db/a"}}
    config = IpamConfig.parse(reserved)
    given = [addresses(pools.lease("net", config, owner(i), own=own)) for i in range(2)]
    assert given == [["10.1.0.3"], ["10.1.0.4"]]
    with pytest.raises(CniError, match=r"10\.1\.0\.2 \(CNI_ARGS: IP\) is an address of this node"):
        pools.lease("net", config, owner(2), wish("10.1.0.2"), own)
    with pytest.raises(CniError, match=r"reserved for .*db/a.* is a broadcast address of this"):
        pools.lease("net", config, owner(2, "db/a"), own=own)
    pools.lease("net", config, owner(2), own=own)
    with pytest.raises(CniError, match=r"3 of 3 are taken"):
        pools.lease("net", config, owner(3), own=own)
    there.clear()  # the node has given them up
    assert addresses(pools.lease("net", config, owner(3), own=own)) == ["10.1.0.2"]


def test_where_everything_is_the_nodes_own_that_is_said(pools):
    config = IpamConfig.parse({"subnet": "fd00::/64"})
    with pytest.raises(CniError, match=r"257 addresses were tried .* fd00::102 is a") as caught:
        pools.lease("net", config, owner(0), own=lambda _: "an address of this node")
    assert caught.value.code == Code.POOL_EXHAUSTED
    assert addresses(pools.lease("net", config, owner(0))) == ["fd00::2"]


def test_gateways_can_be_handed_out_where_nobody_has_them(pools):
    raw = {**SMALL, "reserveGateway": False}
    assert addresses(take(pools, raw, owner(1))) == ["10.1.0.1"]


def test_in_ipv6_the_last_address_is_one_and_the_first_is_not(pools):
    raw = {"subnet": "fd00::/126", "rangeStart": "fd00::"}
    assert [addresses(take(pools, raw, owner(i)))[0] for i in range(2)] == ["fd00::2", "fd00::3"]
    refused(Code.POOL_EXHAUSTED, pools, raw, owner(3))


def test_nothing_to_hand_out_is_a_fault_of_the_configuration(pools):
    error = refused(Code.INVALID_CONFIG, pools, {**SMALL, "exclude": ["10.1.0.0/29"]}, owner(1))
    assert "nothing is left to hand out" in error.msg


def test_exhausted_says_used_total_and_who_holds_most(pools):
    for i, pod in enumerate(["web/a", "web/b", "web/c", "db/a", ""]):
        take(pools, SMALL, owner(i, pod))
    error = refused(Code.POOL_EXHAUSTED, pools, SMALL, owner(9))
    assert "10.1.0.1-10.1.0.6" in error.msg and "5 of 5" in error.msg
    assert error.details == "most are held by namespace web: 3, namespace db: 1, container c4: 1"
    with pytest.raises(CniError, match="5 of 5") as caught:
        pools.check_free("net", IpamConfig.parse(SMALL))
    assert caught.value.code == Code.NOT_AVAILABLE


@pytest.mark.parametrize(
    ("address", "problem"),
    [
        ("10.9.9.9", "is in no range; there are 10.1.0.1-10.1.0.6"),
        ("fd00::1", "is in no range"),
        ("10.1.0.0", "is the network address of 10.1.0.0/29"),
        ("10.1.0.7", "is the broadcast address of 10.1.0.0/29"),
        ("10.1.0.1", "is the gateway of 10.1.0.0/29"),
        ("10.1.0.5", "is left out by ipam.exclude"),
        ("10.1.0.4", "is reserved for db/a"),
        ("10.1.0.3", "is taken by pod web/a, container c1 (eth0)"),
    ],
)
def test_a_requested_address_that_cannot_be_had(pools, address, problem):
    raw = {**SMALL, "exclude": ["10.1.0.5"], "reservations": {"10.1.0.4": "db/a"}}
    assert addresses(take(pools, raw, owner(1, "web/a"), "10.1.0.3")) == ["10.1.0.3"]
    error = refused(Code.ADDRESS_UNAVAILABLE, pools, raw, owner(2), address)
    assert f"requested address {address} (CNI_ARGS: IP) {problem}" in error.msg


def test_two_requests_of_one_range_set(pools):
    error = refused(Code.ADDRESS_UNAVAILABLE, pools, SMALL, owner(1), "10.1.0.3", "10.1.0.4")
    assert "same range set as requested address 10.1.0.3" in error.msg


def test_all_or_nothing(pools):
    raw = {"ranges": [[{"subnet": "10.1.0.0/29"}], [{"subnet": "10.2.0.0/29"}]]}
    take(pools, {"subnet": "10.2.0.0/29"}, owner(1), "10.2.0.3")
    refused(Code.ADDRESS_UNAVAILABLE, pools, raw, owner(2), "10.2.0.3")
    assert pools.holder("net", "10.1.0.2") is None
    # Nobody has used it, so it need not rest.
    found = [addresses(take(pools, SMALL, owner(10 + i)))[0] for i in range(5)]
    assert sorted(found) == [f"10.1.0.{i}" for i in range(2, 7)]


def test_a_second_address_of_a_range_set_is_refused(pools):
    take(pools, SMALL, owner(1))
    error = refused(Code.ALREADY_ATTACHED, pools, SMALL, owner(1))
    assert "holds 10.1.0.2" in error.msg
    assert addresses(take(pools, SMALL, Owner("c1", "eth1"))) == ["10.1.0.3"]


def test_reserved_addresses_are_for_their_pod_or_container_only(pools):
    raw = {**SMALL, "reservations": {"10.1.0.2": "db/a", "10.1.0.3": "c7"}}
    others = [addresses(take(pools, raw, owner(i)))[0] for i in range(3)]
    assert others == ["10.1.0.4", "10.1.0.5", "10.1.0.6"]
    error = refused(Code.POOL_EXHAUSTED, pools, raw, owner(4))
    assert "3 of 5 are taken, 2 are reserved" in error.msg
    mine = take(pools, raw, owner(5, "db/a"))
    assert addresses(mine) == ["10.1.0.2"]
    assert addresses(take(pools, raw, owner(7), "10.1.0.3")) == ["10.1.0.3"]
    error = refused(Code.ADDRESS_UNAVAILABLE, pools, raw, owner(6, "db/a"))
    assert "10.1.0.2, reserved for pod db/a, container c6 (eth0) is taken by pod db/a" in error.msg
    pools.release(owner(5, "db/a"), mine.addresses)
    refused(Code.POOL_EXHAUSTED, pools, raw, owner(8))
    assert addresses(take(pools, raw, owner(6, "db/a"))) == ["10.1.0.2"]


def test_released_addresses_rest_then_come_back_oldest_first(pools, clock):
    held = {i: take(pools, SMALL, owner(i)) for i in range(5)}
    for i in (3, 1):
        pools.release(owner(i), held[i].addresses)
        clock.now += 20
    # Address 3 has rested for 40 s, address 1 for 20.
    assert addresses(take(pools, SMALL, owner(6))) == addresses(held[3])


def test_an_address_comes_back_only_when_all_others_were_used(pools, clock):
    found = []
    for i in range(6):
        given = take(pools, SMALL, owner(i))
        pools.release(owner(i), given.addresses)
        clock.now += 1000
        found += addresses(given)
    assert found == ["10.1.0.2", "10.1.0.3", "10.1.0.4", "10.1.0.5", "10.1.0.6", "10.1.0.2"]


def test_while_it_rests_an_address_is_used_only_if_nothing_else_is_free(pools, clock):
    first = take(pools, SMALL, owner(0))
    second = take(pools, SMALL, owner(1))
    pools.release(owner(1), second.addresses)
    pools.release(owner(0), first.addresses)
    fresh = [addresses(take(pools, SMALL, owner(10 + i)))[0] for i in range(3)]
    assert fresh == ["10.1.0.4", "10.1.0.5", "10.1.0.6"]
    assert addresses(take(pools, SMALL, owner(20))) == ["10.1.0.3"]
    assert addresses(take(pools, SMALL, owner(21))) == ["10.1.0.2"]
    refused(Code.POOL_EXHAUSTED, pools, SMALL, owner(22))


def test_only_who_holds_an_address_can_give_it_back(pools):
    given = take(pools, SMALL, owner(1))
    pools.release(owner(2), given.addresses)
    assert pools.holder("net", "10.1.0.2") == owner(1)
    pools.release(owner(1), given.addresses)
    pools.release(owner(1), given.addresses)
    assert pools.holder("net", "10.1.0.2") is None


def test_networks_do_not_know_each_other(pools):
    assert addresses(take(pools, SMALL, owner(1))) == ["10.1.0.2"]
    assert addresses(take(pools, SMALL, owner(1), network="other")) == ["10.1.0.2"]


def test_leases_outlive_a_change_of_the_configuration(pools, clock):
    held = [take(pools, SMALL, owner(i)) for i in range(3)]
    wider = {"subnet": "10.1.0.0/24"}
    assert addresses(take(pools, wider, owner(10))) == ["10.1.0.5"]
    refused(Code.ADDRESS_UNAVAILABLE, pools, wider, owner(11), "10.1.0.3")
    elsewhere = {"subnet": "10.7.0.0/24"}
    assert addresses(take(pools, elsewhere, owner(12))) == ["10.7.0.2"]
    # Given back under the new configuration, free (and resting) under every one.
    pools.release(owner(1), held[1].addresses)
    found = [addresses(take(pools, SMALL, owner(20 + i)))[0] for i in range(2)]
    assert found == ["10.1.0.6", "10.1.0.3"]
    refused(Code.ADDRESS_UNAVAILABLE, pools, wider, owner(30), "10.1.0.3")


def test_pools_that_pods_bring_do_not_pile_up(pools):
    for i in range(3 * MAX_POOLS):
        raw = {"subnet": "10.1.0.0/16", "rangeStart": f"10.1.{i}.0", "rangeEnd": "10.1.200.0"}
        take(pools, raw, owner(i))
    assert len(pools._ledger("net")._pools) == MAX_POOLS
    found = {
        addresses(take(pools, {"subnet": "10.1.0.0/16"}, owner(1000 + i)))[0] for i in range(9)
    }
    assert all(pools.holder("net", address).container.startswith("c1") for address in found)


def attached(number: int, given: LeaseSet) -> Attachment:
    return Attachment(
        network="net", container=f"c{number}", ifname="eth0", plugin="t", leases=given.addresses
    )


def test_a_restart_keeps_leases_and_rests(clock, tmp_path):
    store = Store(Journal(tmp_path, boot="b"), clock)
    pools = Pools(clock)
    for i in range(4):
        store.begin(attached(i, take(pools, SMALL, owner(i))))
    pools.forget(store.forget("net/c0/eth0/t"))
    clock.now += 5
    pools.forget(store.forget("net/c1/eth0/t"))
    store.close()

    again = Pools.of(Store(Journal(tmp_path, boot="b"), clock), clock)
    assert again.holder("net", "10.1.0.4") == owner(2)
    assert addresses(take(again, SMALL, owner(10))) == ["10.1.0.6"]
    assert addresses(take(again, SMALL, owner(11))) == ["10.1.0.2"]
    assert addresses(take(again, SMALL, owner(12))) == ["10.1.0.3"]
    refused(Code.POOL_EXHAUSTED, again, SMALL, owner(13))


def test_an_address_held_twice_is_said_and_the_first_one_keeps_it(pools, caplog):
    given = take(Pools(lambda: 0.0), SMALL, owner(1))
    pools.restore(attached(1, given))
    pools.restore(attached(2, given))
    assert "10.1.0.2 is held twice" in caplog.text
    pools.forget(attached(2, given))
    assert pools.holder("net", "10.1.0.2") == owner(1)


def resident() -> int:
    """Memory of this process, bytes."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGESIZE")


def test_a_large_pool_costs_what_is_used(pools):
    raw = {"ranges": [[{"subnet": "fd00::/64"}], [{"subnet": "10.0.0.0/8"}]]}
    take(pools, raw, owner(0))
    before = resident()
    for i in range(1, 1001):
        take(pools, raw, owner(i))
    # One byte for each address of the smaller one would be more.
    assert resident() - before < 16 << 20


def test_many_threads_at_once_get_different_addresses(pools):
    raw = {"ranges": [[{"subnet": "10.1.0.0/22"}], [{"subnet": "fd00::/64"}]]}

    def come_and_go(number: int) -> LeaseSet:
        for i in range(20):
            who = Owner(f"t{number}", f"eth{i}")
            pools.release(who, take(pools, raw, who).addresses)
        return take(pools, raw, owner(number))

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(come_and_go, range(100)))
    assert len({lease.address for one in found for lease in one.addresses}) == 200


def test_dns_comes_from_resolv_conf(pools, tmp_path):
    file = tmp_path / "resolv.conf"
    file.write_text("nameserver 192.0.2.53\n")
    raw = {**SMALL, "resolvConf": str(file)}
    assert take(pools, raw, owner(1)).dns.nameservers == ("192.0.2.53",)
    file.unlink()
    refused(Code.IO_FAILURE, pools, raw, owner(2))
    assert pools.holder("net", "10.1.0.3") is None
