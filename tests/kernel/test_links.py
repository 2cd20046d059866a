"""Deleting links together, steps that can be died between, and what else is said of links."""

from __future__ import annotations

import threading

import pytest
from msgspec.structs import replace

from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.objects import Address, AnyLink, Bridge, Route, Sysctl, Veth
from support.namespaces import new_namespace, run

MAC, PEER_MAC = "02:00:00:00:00:01", "02:00:00:00:00:02"


def veth(n):
    return Veth(f"cnd{n}", peer=f"eth{n}", mac=MAC, peer_mac=PEER_MAC, alias=f"cnidaria:{n}")


@pytest.mark.parametrize("count", [0, 1, 2, 30])
def test_links_are_deleted_together(host, pod, count):
    kernel = Kernel(host)
    objects = [veth(n) for n in range(count)]
    kernel.apply(objects, pod=pod)
    run(host, "ip", "link", "add", "other0", "type", "bridge")
    more = [AnyLink("other0"), AnyLink("absent0")]
    assert kernel.delete_links([*objects, *more]) == []
    assert {link.name for link in kernel.links()} == {"lo", "other0"}
    assert {link.name for link in Kernel(pod).links()} == {"lo"}


def test_a_renamed_link_is_deleted_too(host, pod):
    """By its alias, which names the attachment; a node's own link has no such alias."""
    kernel = Kernel(host)
    mine = replace(veth(1), alias="cnidaria:net/c1/eth1/cnidaria-flat")
    kernel.apply([mine, veth(2)], pod=pod)
    for name in ("cnd1", "cnd2"):
        run(host, "ip", "link", "set", name, "name", f"{name}x")
    assert kernel.delete_links([mine, veth(2)]) == []
    assert {link.name for link in kernel.links()} == {"lo", "cnd2x"}


def test_a_pods_end_lets_the_hosts_end_go(host):
    with new_namespace() as pod:
        Kernel(host).apply([veth(1)], pod=pod)
        assert Kernel(pod).link("eth1").up
        Kernel(pod)._session().__enter__().ask  # noqa: B018  a socket that nobody closed
    for _ in range(500):
        if Kernel(host).link("cnd1") is None:
            return
        threading.Event().wait(0.01)
    pytest.fail("the pod's namespace is still held")


class Died(Exception):
    """Stands for the end of the process."""


def steps(limit):
    taken = []

    def hook(data):
        if len(taken) == limit:
            raise Died
        taken.append(data)

    return hook, taken


PLAN = [
    Sysctl("net.ipv4.ip_forward", "1"),
    Bridge("br1"),
    veth(1),
    Address("cnd1", "10.1.0.1/32"),
    Route("10.1.0.5/32", dev="cnd1"),
]


def test_whatever_step_one_dies_after_all_of_it_is_found_to_be_ours(host, pod):
    """So that whoever starts next can remove it."""
    hook, taken = steps(-1)
    Kernel(host, hook).apply(PLAN, pod=pod)
    total = len(taken)
    assert total >= len(PLAN)
    assert Kernel(host).withdraw(PLAN) == []

    for limit in range(total):
        run(host, "sysctl", "-qw", "net.ipv4.ip_forward=0")
        with pytest.raises(Died):
            Kernel(host, steps(limit)[0]).apply(PLAN, pod=pod)
        if limit > 1:
            assert AnyLink("br1").key in {obj.key for obj in Kernel(host).owned()}
        assert Kernel(host).withdraw(PLAN) == []
        assert [link.name for link in Kernel(host).links()] == ["lo"]
        assert [link.name for link in Kernel(pod).links()] == ["lo"]


def test_whatever_step_one_dies_after_withdrawing_can_go_on(host, pod):
    more = [*PLAN, veth(2)]
    for limit in range(50):
        Kernel(host).apply(more, pod=pod)
        hook, taken = steps(limit)
        try:
            assert Kernel(host, hook).withdraw(more) == []
        except Died:
            assert Kernel(host).withdraw(more) == []
            assert Kernel(host).owned() == []
        else:
            assert len(taken) == limit
            return
    pytest.fail("no end")


def test_going_on_where_one_died(host, pod):
    """Applying again completes what was begun."""
    for limit in range(1, 50):
        try:
            Kernel(host, steps(limit)[0]).apply(PLAN, pod=pod)
        except Died:
            Kernel(host).apply(PLAN, pod=pod)
            assert Kernel(host).differences(PLAN, pod=pod) == []
            assert Kernel(host).withdraw(PLAN) == []
        else:
            return
    pytest.fail("no end")


def test_the_way_out(host):
    kernel = Kernel(host)
    assert kernel.default_route_link(4) is None
    assert kernel.default_route_link(6) is None
    run(host, "ip", "link", "add", "up0", "type", "bridge")
    run(host, "ip", "link", "set", "up0", "up")
    run(host, "ip", "address", "add", "10.0.0.1/24", "dev", "up0")
    run(host, "ip", "address", "add", "fd00::1/64", "dev", "up0", "nodad")
    run(host, "ip", "route", "add", "default", "via", "10.0.0.2")
    run(host, "ip", "route", "add", "default", "via", "fd00::2")
    for family in (4, 6):
        link = kernel.default_route_link(family)
        assert (link.name, link.mtu, link.up) == ("up0", 1500, True)
    assert kernel.addresses("up0")[0] == "10.0.0.1/24"
    assert "fd00::1/64" in kernel.addresses("up0")
    assert kernel.addresses("absent0") == []


def test_many_threads_on_one_kernel(host, pod):
    """Answers are never mixed up."""
    kernel = Kernel(host)
    run(host, "ip", "link", "add", "up0", "type", "bridge")
    run(host, "ip", "link", "set", "up0", "up")
    wrong = []

    def go(thread):
        try:
            for n in range(20):
                route = Route(f"10.{thread}.{n}.0/24", dev="up0")
                pair = veth(thread * 100 + n)
                kernel.apply([route, pair], pod=pod)
                wrong.extend(kernel.differences([route, pair], pod=pod))
                wrong.extend(kernel.withdraw([route, pair]))
        except Exception as error:  # noqa: BLE001
            wrong.append(error)

    threads = [threading.Thread(target=go, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=60)
    assert wrong == []
    assert kernel.owned() == []
