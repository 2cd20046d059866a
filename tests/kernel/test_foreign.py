"""Firewalls of others: which of them drop what the node forwards."""

from __future__ import annotations

import shutil

import pytest

from cnidaria.kernel.foreign import Dropping, dropping
from cnidaria.kernel.netns import NetNS
from support.namespaces import run
from support.needs import needs

pytestmark = needs("nft")

HOOK = "type filter hook forward priority filter; policy accept;"
CHAINS: dict[str, tuple[list[str], bool]] = {
    "policy accept": ([HOOK, "counter"], False),
    "policy drop": ([HOOK.replace("accept", "drop"), "ct state established accept"], True),
    "another hook": (["type filter hook input priority filter; policy drop;"], False),
    "everything rejected at the end": (
        [HOOK, 'iifname "lo" accept', "counter reject"],
        True,
    ),
    "everything dropped at the end": ([HOOK, "counter log drop"], True),
    "only some dropped": ([HOOK, "ct state invalid drop"], False),
    "no hook": (["drop"], False),
}


@pytest.mark.parametrize("family", ["inet", "ip", "ip6"])
@pytest.mark.parametrize("what", CHAINS)
def test_chains_that_drop(host: NetNS, what: str, family: str) -> None:
    lines, drops = CHAINS[what]
    text = "\n".join([f"table {family} t {{ chain c {{", *lines, "}", "}"])
    run(host, "sh", "-c", f"echo '{text}' | nft -f -")
    assert dropping(host) == [Dropping("nftables", family, "t", "c")] * drops


@pytest.mark.parametrize("kind", ["legacy", "nft"])
@pytest.mark.parametrize(("program", "family"), [("iptables", "ip"), ("ip6tables", "ip6")])
def test_iptables(host: NetNS, kind: str, program: str, family: str) -> None:
    command = f"{program}-{kind}"
    if shutil.which(command) is None:
        pytest.skip(f"{command} is not installed (Debian: iptables)")
    assert dropping(host) == []
    run(host, command, "-A", "FORWARD", "-i", "lo", "-j", "DROP")
    assert dropping(host) == []
    run(host, command, "-P", "FORWARD", "DROP")
    by = "iptables-legacy" if kind == "legacy" else "nftables"
    (found,) = dropping(host)
    assert found == Dropping(by, family, "filter", "FORWARD")
    assert str(found) == f"{by}: chain FORWARD of table {family} filter"
