"""Routes of the ``ipam`` section, and of other plugins' results, as modes get them."""

from __future__ import annotations

from typing import Any

import pytest

from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns, Route
from cnidaria.ipam.routes import settled
from cnidaria.plan.objects import Address
from cnidaria.plan.objects import Route as Declared
from cnidaria.plan.outcome import outcome
from cnidaria.wiring.routes import declared

BOTH = frozenset({4, 6})
ROUTE = Route("10.0.0.0/8")


def settle(*routes: Route, families: frozenset[int] = BOTH) -> tuple[Route, ...]:
    return settled(routes, families, "ipam.routes", Code.INVALID_CONFIG)


def test_each_once_and_canonical() -> None:
    given = (
        Route("10.0.0.1/8"),
        ROUTE,
        Route("10.0.0.0/8", priority=10),
        Route("10.0.0.0/8", table=100),
        Route("10.0.0.0/8", table=254),
        Route("fd99::1/64"),
        Route("fd99::/64", priority=7),
    )
    assert settle(*given[:4], *given[5:]) == (
        ROUTE,
        *given[2:4],
        Route("fd99::/64"),
        given[6],
    )


@pytest.mark.parametrize(
    ("routes", "says"),
    [
        ([Route("fd99::/64")], '[0].dst = "fd99::/64": the pod has no IPv6 address'),
        ([ROUTE, Route("10.9.0.0/16", gw="fd00::1")], '[1].gw = "fd00::1": must be an IPv4'),
        ([Route("10.0.0.0/8", mtu=65521)], "[0].mtu = 65521: must be between 0 and 65520"),
        ([Route("10.0.0.0/8", advmss=-1)], "[0].advmss = -1: must be between 0 and 65495"),
        ([Route("10.0.0.0/8", table=1 << 32)], "[0].table = 4294967296: must be between"),
        ([Route("10.0.0.0/8", scope=7)], "[0].scope = 7: must be one of 0 (global), 200"),
        ([Route("10.0.0.0/8", gw="10.1.0.1", scope=253)], "[0].scope = 253: must be another"),
        (
            [ROUTE, Route("10.0.0.0/8", gw="10.1.0.9")],
            '[1].dst = "10.0.0.0/8": is there twice in one table with one priority',
        ),
        (
            [ROUTE, Route("10.0.0.0/8", table=254, mtu=1400)],
            '[1].dst = "10.0.0.0/8": is there twice',
        ),
    ],
)
def test_what_cannot_be(routes: list[Route], says: str) -> None:
    with pytest.raises(CniError) as caught:
        settle(*routes, families=frozenset({4}))
    assert caught.value.msg.startswith(f"ipam.routes{says}")
    assert caught.value.code == 7


def test_twice_with_the_default_priority_of_ipv6() -> None:
    with pytest.raises(CniError, match="twice"):
        settle(Route("fd99::/64"), Route("fd99::/64", priority=1024))


FULL: dict[str, Any] = {
    "gw": "10.1.0.9", "mtu": 1400, "advmss": 1300, "priority": 7, "table": 100, "scope": 200
}  # fmt: skip


@pytest.mark.parametrize(
    "route",
    [
        ROUTE,
        Route("10.0.0.0/8", **FULL),
        Route("10.0.0.0/8", scope=253),
        Route("fd99::/64", gw="fd00::9", mtu=1400, advmss=1300, priority=7, table=100),
        Route("fd99::/64"),
    ],
)
def test_what_is_wanted_is_what_the_result_tells(route: Route) -> None:
    gateway = "fe80::1" if ":" in route.dst else "169.254.1.1"
    made = declared(route, "eth0", gateway, onlink=True)
    result = outcome([made], "/run/netns/p", Dns(), None)
    hop = None if route.scope == 253 else route.gw or gateway
    assert result.routes == (Route(**{**_fields(route), "gw": hop}),)


def _fields(route: Route) -> dict[str, Any]:
    return {name: getattr(route, name) for name in route.__struct_fields__}


def test_an_address_s_gateway_is_that_of_the_best_default_route() -> None:
    def default(via: str, metric: int, table: int = 254) -> Declared:
        return Declared(
            "0.0.0.0/0", via=via, dev="eth0", metric=metric, table=table, onlink=True, where="pod"
        )

    routes = [default("10.1.0.1", 5), default("10.1.0.2", 1), default("10.1.0.3", 9)]
    others = [default("10.1.0.4", 0, table=100)]
    address = Address("eth0", "10.1.0.5/24", where="pod")
    assert outcome([address, *routes, *others], "p", Dns(), None).ips[0].gateway == "10.1.0.2"
    assert outcome([address, *others], "p", Dns(), None).ips[0].gateway is None
