"""What the kernel remembers of connections: between their true ends, and forgotten one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cnidaria.kernel.conntrack import flows, forget
from support.namespaces import may_unshare, run
from support.needs import needs
from support.policy_lab import Lab, Question, lab, pod_addresses

pytestmark = needs("nft")

CLIENT, CLIENT6 = pod_addresses("n1", 1)
SERVER, SERVER6 = pod_addresses("n2", 2)
SERVICE, SERVICE6 = "192.0.2.1", "2001:db8:5e::1"
RULES = f"""
table inet nat {{
  chain to {{ type nat hook prerouting priority dstnat; ip daddr {SERVICE} dnat ip to {SERVER}
    ip6 daddr {SERVICE6} dnat ip6 to {SERVER6}
  }}
  chain from {{ type nat hook postrouting priority srcnat; ip saddr {CLIENT} masquerade
    ip6 saddr {CLIENT6} masquerade
  }}
}}
"""


@pytest.fixture
def cluster() -> Iterator[Lab]:
    if not may_unshare():
        pytest.skip("may not make network namespaces: run by scripts/in-namespaces")
    with lab(2) as made:
        run(made.nodes["n1"], "sh", "-c", f"echo '{RULES}' | nft -f -")
        # An association that nobody answers is forgotten after three seconds.
        patience = "net.netfilter.nf_conntrack_sctp_timeout_cookie_wait=600"
        run(made.nodes["n1"], "sysctl", "-w", patience)
        yield made


def test_true_ends_whatever_nat_makes_of_them(cluster: Lab) -> None:
    node = cluster.nodes["n1"]
    asked: list[Question] = [
        (CLIENT, SERVER, "UDP", 53),
        (CLIENT, SERVER, "SCTP", 80),
        (CLIENT, SERVER, "ICMP", None),
        (CLIENT6, SERVER6, "UDP", 81),
    ]
    assert cluster.ask(asked, [True] * len(asked)) == [True] * len(asked)
    cluster.alias(SERVICE, SERVER)
    cluster.alias(SERVICE6, SERVER6)
    by_service: list[Question] = [
        (CLIENT, SERVICE, "UDP", 8080),
        (CLIENT6, SERVICE6, "UDP", 8080),
        (CLIENT6, SERVICE6, "SCTP", 90),
    ]
    assert cluster.ask(by_service, [True] * 3) == [True] * 3
    found = {(one.src, one.dst, one.protocol, one.port) for one in flows(node, [SERVER, SERVER6])}
    assert found == {
        (CLIENT, SERVER, 17, 53),
        (CLIENT, SERVER, 132, 80),
        (CLIENT, SERVER, 1, 0),
        (CLIENT6, SERVER6, 17, 81),
        (CLIENT, SERVER, 17, 8080),
        (CLIENT6, SERVER6, 17, 8080),
        (CLIENT6, SERVER6, 132, 90),
    }
    assert {one.src for one in flows(node, [CLIENT])} == {CLIENT}
    assert not list(flows(node, ["10.9.9.9"]))


def test_only_those_that_are_named_are_forgotten(cluster: Lab) -> None:
    node = cluster.nodes["n1"]
    asked: list[Question] = [(CLIENT, SERVER, "UDP", port) for port in range(1, 301)]
    cluster.ask(asked, [True] * len(asked))
    known = list(flows(node, [CLIENT]))
    assert len(known) == 300
    odd = [one for one in known if one.port % 2]
    assert forget(node, odd) == 150
    assert {one.port for one in flows(node, [CLIENT])} == {*range(2, 301, 2)}
    assert forget(node, odd) == 0
