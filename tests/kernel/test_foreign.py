"""Firewalls of others: which of them drop what pods say, told by their chains and rules."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from cnidaria.kernel.foreign import Dropping, dropping
from cnidaria.kernel.netns import NetNS
from support.namespaces import make_uplink, run
from support.needs import needs

pytestmark = needs("nft")

PODS = {"10.1.0.2": "pod2", "10.1.0.3": "pod3", "fd00:1::2": "pod2", "fd00:1::3": "pod3"}
OUT_AND_IN = "from pods to elsewhere, to pods from elsewhere"
WHOLE = f"connections {OUT_AND_IN}, between pods"
NOTHING: list[str] = []
FORWARD = "type filter hook forward priority filter; policy accept;"


@pytest.fixture
def node(host: NetNS) -> Iterator[NetNS]:
    """Two pods of both families, and the world behind an uplink."""
    make_uplink(host, "192.0.2.1/24")
    run(host, "ip", "address", "add", "2001:db8::1/64", "dev", "up0", "nodad")
    run(host, "ip", "route", "add", "default", "via", "192.0.2.254")
    run(host, "ip", "route", "add", "default", "via", "2001:db8::2")
    for name in ("pod2", "pod3"):
        run(host, "ip", "link", "add", name, "type", "veth", "peer", "name", f"in-{name}")
        for end in (name, f"in-{name}"):
            run(host, "ip", "link", "set", end, "up")
    for address, name in PODS.items():
        run(host, "ip", "route", "add", address, "dev", name)
    return host


def load(node: NetNS, text: str) -> None:
    lines = text.replace("} }", "}\n}").replace("} chain", "}\nchain")
    node.run(subprocess.run, ["nft", "-f", "-"], input=lines, text=True, check=True)


def told(node: NetNS) -> list[str]:
    """Chains, rules by their place, and what is dropped."""
    return [
        f"{one.chain} {len(one.rules) - (0 in one.rules)} rules{' and policy' * (0 in one.rules)} "
        f"{'drops' if one.certain else 'may drop'} {one.what}"
        for one in dropping(node, PODS)
    ]


CASES: dict[str, tuple[str, list[str]]] = {
    "policy accept": (f"chain c {{ {FORWARD} counter; }}", NOTHING),
    "policy drop": (
        "chain c { type filter hook forward priority 0; policy drop;"
        " ct state established accept; }",
        [f"c 0 rules and policy drops all {WHOLE}"],
    ),
    "policy drop, and new connections are accepted": (
        "chain c { type filter hook forward priority 0; policy drop; ct state new accept; }",
        [f"c 0 rules and policy drops all {WHOLE}"],
    ),
    "policy drop, and all pods are accepted": (
        "chain c { type filter hook forward priority 0; policy drop;"
        ' ct state established,related accept; iifname "pod*" accept; oifname "pod*" accept; }',
        NOTHING,
    ),
    "policy drop, and some ports are accepted": (
        "chain c { type filter hook forward priority 0; policy drop;"
        " ct state established accept; tcp dport 443 accept; }",
        [
            f"c 0 rules and policy drops UDP, SCTP, ICMP {WHOLE}",
            f"c 0 rules and policy may drop TCP {WHOLE}",
        ],
    ),
    "what nobody comes to": (f"chain c {{ {FORWARD} accept; drop; }}", NOTHING),
    "everything rejected at the end": (
        f'chain c {{ {FORWARD} iifname "lo" accept; counter reject; }}',
        [f"c 1 rules drops all {WHOLE}"],
    ),
    "everything logged and dropped": (
        f"chain c {{ {FORWARD} counter log drop; }}",
        [f"c 1 rules drops all {WHOLE}"],
    ),
    "what is invalid": (f"chain c {{ {FORWARD} ct state invalid drop; }}", NOTHING),
    "one port": (
        f"chain c {{ {FORWARD} tcp dport 23 drop; }}",
        [f"c 1 rules may drop TCP {WHOLE}"],
    ),
    "one port that was accepted before": (
        f"chain c {{ {FORWARD} tcp dport 23 accept; tcp dport 23 drop; }}",
        NOTHING,
    ),
    "more often than so": (
        f"chain c {{ {FORWARD} limit rate over 10/second drop; }}",
        ["c 1 rules may drop " + WHOLE],
    ),
    "one pod": (
        f"chain c {{ {FORWARD} ip saddr 10.1.0.3 drop; }}",
        [
            "c 1 rules drops all connections between pods",
            f"c 1 rules may drop connections {OUT_AND_IN}",
        ],
    ),
    "another one": (f"chain c {{ {FORWARD} ip saddr 10.1.0.9 drop; }}", NOTHING),
    "an address elsewhere": (f"chain c {{ {FORWARD} ip daddr 198.51.100.7 drop; }}", NOTHING),
    "a network elsewhere": (f"chain c {{ {FORWARD} ip daddr 198.51.100.0/24 drop; }}", NOTHING),
    "half of the world": (
        f"chain c {{ {FORWARD} ip daddr 128.0.0.0/1 drop; }}",
        [f"c 1 rules may drop connections {OUT_AND_IN}"],
    ),
    "all but our network": (
        f"chain c {{ {FORWARD} ct state new ip saddr != 10.0.0.0/8 drop; }}",
        ["c 1 rules drops all connections to pods from elsewhere"],
    ),
    "where a jump leads": (
        f"chain d {{ drop; }} chain c {{ {FORWARD} meta l4proto udp jump d; }}",
        [f"d 1 rules drops UDP {WHOLE}"],
    ),
    "after a return": (
        f'chain d {{ iifname "pod*" return; drop; }} chain c {{ {FORWARD} goto d; }}',
        [f"d 1 rules drops all connections {OUT_AND_IN}"],
    ),
    "a map": (
        f"chain c {{ {FORWARD} iifname vmap {{ pod2 : drop, lo : accept }}; }}",
        [
            "c 1 rules drops all connections between pods",
            f"c 1 rules may drop connections {OUT_AND_IN}",
        ],
    ),
    "no hook": ("chain c { drop; }", NOTHING),
    "another chain accepts": (
        f"chain c {{ {FORWARD} drop; }}"
        " chain b { type filter hook forward priority -5; policy accept; accept; }",
        [f"c 1 rules drops all {WHOLE}"],
    ),
    "before routing": (
        'chain c { type filter hook prerouting priority -300; iifname "pod2" udp dport 53 drop; }',
        ["c 1 rules may drop UDP connections from pods to elsewhere, between pods"],
    ),
    "after routing": (
        'chain c { type filter hook postrouting priority 0; oifname "up0" drop; }',
        [f"c 1 rules drops all connections {OUT_AND_IN}"],
    ),
    "what the node says": (
        "chain c { type filter hook output priority 0; policy drop; }",
        ["c 0 rules and policy drops all connections from the node to pods"],
    ),
    "what answers the node": (
        "chain c { type filter hook input priority 0; policy drop; tcp dport 22 accept; }",
        ["c 0 rules and policy drops all connections from the node to pods"],
    ),
    "some of what answers the node": (
        "chain c { type filter hook input priority 0; policy drop; tcp dport >= 40000 accept; }",
        [
            "c 0 rules and policy drops UDP, SCTP, ICMP connections from the node to pods",
            "c 0 rules and policy may drop TCP connections from the node to pods",
        ],
    ),
    "only requests pass": (
        "chain c { type filter hook forward priority 0; policy drop; tcp dport 22 accept; }",
        [f"c 0 rules and policy drops all {WHOLE}"],
    ),
    "the node receives answers": (
        "chain c { type filter hook input priority 0; policy drop; ct state established accept; }",
        NOTHING,
    ),
    "false source addresses": (
        "chain c { type filter hook prerouting priority raw; fib saddr . iif oif 0 drop; }",
        NOTHING,
    ),
    "all but addresses that a route leads back to": (
        "chain c { type filter hook prerouting priority raw; fib saddr . iif oif exists accept;"
        " drop; }",
        NOTHING,
    ),
    "addresses that a route leads back to": (
        "chain c { type filter hook prerouting priority raw; fib saddr . iif oif exists drop; }",
        [
            "c 1 rules drops all connections from pods to elsewhere, to pods from elsewhere, "
            "from the node to pods, between pods"
        ],
    ),
    "what has no SYN": (
        f"chain c {{ {FORWARD} tcp flags & (fin | syn | rst | ack) != syn ct state new drop; }}",
        NOTHING,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_chains(node: NetNS, case: str) -> None:
    text, expected = CASES[case]
    load(node, f"table inet t {{ {text} }}")
    assert told(node) == expected


def test_a_line_tells_where_to_look(node: NetNS) -> None:
    load(node, f"table ip t {{ chain c {{ {FORWARD} tcp dport 23 drop; }} }}")
    (found,) = dropping(node, PODS)
    handle = found.rules[0]
    assert found == Dropping(
        "nftables",
        "ip",
        "t",
        "c",
        (handle,),
        False,
        f"TCP {WHOLE}",
    )
    assert str(found) == (
        f"nftables: rule handle {handle} of chain c of table ip t (`nft -a list chain ip t c`) "
        f"may drop TCP {WHOLE}, whatever policies allow"
    )
    assert f"tcp dport 23 drop # handle {handle}" in run(node, *found.command.split())


def test_without_pods_only_what_drops_everything_is_told(node: NetNS) -> None:
    load(
        node,
        f"table inet t {{ chain a {{ {FORWARD} ip saddr 10.0.0.0/8 drop; tcp dport 9 drop; }}"
        " chain b { type filter hook forward priority 0; policy drop; } }",
    )
    assert [(one.chain, one.certain) for one in dropping(node, {})] == [("b", True)]


def test_ours_is_not_foreign(node: NetNS) -> None:
    load(node, f"table inet cnidaria-x {{ chain c {{ {FORWARD} drop; }} }}")
    assert dropping(node, PODS) == []


@pytest.mark.parametrize(
    ("hook", "ways"), [("ingress", "from pods, between pods"), ("egress", "to pods, between pods")]
)
def test_netdev(node: NetNS, hook: str, ways: str) -> None:
    chain = f"type filter hook {hook} device pod3 priority 0; udp dport 1 drop;"
    load(node, f"table netdev t {{ chain c {{ {chain} }} }}")
    found = told(node)
    assert len(found) == 1
    assert found[0].startswith("c 1 rules may drop UDP connections ")
    assert all(way in found[0] for way in ways.split(", "))


def test_bridge(node: NetNS) -> None:
    run(node, "ip", "link", "add", "br0", "type", "bridge")
    run(node, "ip", "link", "set", "br0", "up")
    for name in ("pod2", "pod3"):
        run(node, "ip", "link", "set", name, "master", "br0")
    for address in PODS:
        run(node, "ip", "route", "replace", address, "dev", "br0")
    chain = 'type filter hook forward priority 0; iifname "pod2" udp dport 1 drop;'
    load(node, f"table bridge t {{ chain c {{ {chain} }} }}")
    assert told(node) == ["c 1 rules may drop UDP connections between pods"]
    load(
        node, f"table ip t {{ chain d {{ {FORWARD} iifname br0 oifname br0 tcp dport 1 drop; }} }}"
    )
    assert "d 1 rules may drop TCP connections between pods" in told(node)
    chain = "type filter hook prerouting priority 0; policy drop; ether type ip accept;"
    load(node, f"table bridge u {{ chain c {{ {chain} }} }}")
    dropped = [one for one in dropping(node, PODS) if one.table == "u"]
    assert [(one.chain, one.certain) for one in dropped] == [("c", True)]


@pytest.mark.parametrize("ours", [{}, PODS])
def test_many_pods_are_few_to_ask_about(node: NetNS, ours: dict[str, str]) -> None:
    load(node, f"table ip t {{ chain c {{ {FORWARD} ip daddr 10.2.3.4 drop; }} }}")
    many = {f"10.2.{n // 250}.{n % 250 + 1}": "" for n in range(10_000)} | ours
    assert [one.certain for one in dropping(node, many)] == [False]


# -- xtables ---------------------------------------------------------------------------------------

XTABLES: dict[str, tuple[list[str], str]] = {
    "policy": (["-P FORWARD DROP"], f"drops all {WHOLE}"),
    "accepted before": (["-A FORWARD -j ACCEPT", "-P FORWARD DROP"], ""),
    "a single interface": (["-A FORWARD -i lo -j DROP"], ""),
    "not this interface": (
        ["-A FORWARD ! -i pod+ -o pod2 -j DROP"],
        f"may drop connections {OUT_AND_IN}",
    ),
    "the last rule": (["-A FORWARD -i lo -j ACCEPT", "-A FORWARD -j REJECT"], f"drops all {WHOLE}"),
    "a port": (
        ["-A FORWARD -p tcp -m tcp --dport 23 -j REJECT"],
        f"may drop TCP {WHOLE}",
    ),
    "a client's port": (["-A FORWARD -p udp --sport 1024:32767 -j DROP"], f"may drop UDP {WHOLE}"),
    "ports": (
        ["-A FORWARD -p udp -m multiport --dports 1,2 -j DROP"],
        f"may drop UDP {WHOLE}",
    ),
    "a protocol": (
        ["-A FORWARD ! -p udp -j DROP"],
        f"drops TCP, SCTP, ICMP {WHOLE}",
    ),
    "invalid": (["-A FORWARD -m conntrack --ctstate INVALID -j DROP"], ""),
    "invalid, by state": (["-A FORWARD -m state --state INVALID -j DROP"], ""),
    "new": (["-A FORWARD -m conntrack --ctstate NEW -j DROP"], f"drops all {WHOLE}"),
    "all but new": (
        ["-A FORWARD -m conntrack ! --ctstate NEW -j DROP"],
        f"drops all {WHOLE}",
    ),
    "no SYN": (["-A FORWARD -p tcp ! --syn -m state --state NEW -j DROP"], ""),
    "a chain": (
        ["-N D", "-A D -i lo -j RETURN", "-A D -j DROP", "-A FORWARD -j D"],
        f"drops all {WHOLE}",
    ),
    "a chain that returns": (["-N D", "-A D -j RETURN", "-A D -j DROP", "-A FORWARD -j D"], ""),
    "goto": (["-N D", "-A D -o lo -j DROP", "-A FORWARD -g D", "-A FORWARD -j DROP"], ""),
    "a mark that nobody gives": (["-A FORWARD -m mark --mark 0x8000/0x8000 -j DROP"], ""),
    "an unknown match": (
        ["-A FORWARD -m length --length 1400:1500 -j DROP"],
        f"may drop {WHOLE}",
    ),
    "before routing": (
        ["-t raw -A PREROUTING -i pod2 -j DROP"],
        "drops all connections between pods; "
        f"may drop connections {OUT_AND_IN}, from the node to pods",
    ),
    "only logged": (["-A FORWARD -j LOG"], ""),
    "no target": (["-A FORWARD -i pod2"], ""),
    "a comment": (["-A FORWARD -m comment --comment x -j DROP"], f"drops all {WHOLE}"),
    "input": (["-P INPUT DROP", "-A INPUT -m conntrack --ctstate ESTABLISHED -j ACCEPT"], ""),
    "a user's": (
        ["-A OUTPUT -m owner --uid-owner 7 -j DROP"],
        "may drop connections from the node to pods",
    ),
}
ADDRESSES: dict[str, tuple[list[str], str]] = {
    "iptables": (["-A FORWARD -s 10.1.0.0/24 -j DROP"], f"drops all {WHOLE}"),
    "ip6tables": (["-A FORWARD -d fd00:1::/64 -j DROP"], f"drops all {WHOLE}"),
}


@pytest.mark.parametrize("case", [*XTABLES, "addresses"])
@pytest.mark.parametrize("kind", ["legacy", "nft"])
@pytest.mark.parametrize("program", ["iptables", "ip6tables"])
def test_xtables(node: NetNS, kind: str, program: str, case: str) -> None:
    command = f"{program}-{kind}"
    needs_it = needs(command).args[0]
    if needs_it:
        pytest.skip(f"{command} is not installed (Debian: iptables)")
    lines, expected = ADDRESSES[program] if case == "addresses" else XTABLES[case]
    assert dropping(node, PODS) == []
    for line in lines:
        run(node, command, *line.split())
    found = dropping(node, PODS)
    verbs = ("drops" if one.certain else "may drop" for one in found)
    lines = [f"{verb} {one.what}" for verb, one in zip(verbs, found, strict=True)]
    assert "; ".join(lines) == expected
    for one in found:
        assert one.by == ("iptables-legacy" if kind == "legacy" else "nftables")
        assert one.family == ("ip" if program == "iptables" else "ip6")
        shown = run(node, *one.command.split())
        assert f"chain {one.chain}" in shown.replace("Chain", "chain")
        assert ("policy" in str(one)) == (0 in one.rules)


def test_a_rule_of_legacy_is_named_by_its_number(node: NetNS) -> None:
    if needs("iptables-legacy").args[0]:
        pytest.skip("iptables-legacy is not installed (Debian: iptables)")
    for line in ("-A FORWARD -i lo", "-A FORWARD -p udp --dport 9 -j DROP"):
        run(node, "iptables-legacy", *line.split())
    (found,) = dropping(node, PODS)
    assert str(found) == (
        "iptables-legacy: rule 2 of chain FORWARD of table ip filter "
        "(`iptables-legacy -t filter -L FORWARD --line-numbers -nv`) "
        f"may drop UDP {WHOLE}, whatever policies allow"
    )
    assert "\n2 " in run(node, *found.command.split())


RAW = "type filter hook prerouting priority raw; policy accept;"
EVERY = f"all connections {OUT_AND_IN}, from the node to pods, between pods"
PAST = {
    "notrack": ("ip", f"chain c {{ {RAW} notrack; }}", f"keeps connection tracking off {EVERY}"),
    "notrack of one port": (
        "inet",
        f"chain c {{ {RAW} udp dport 53 notrack; }}",
        f"may keep connection tracking off UDP {WHOLE}",
    ),
    "notrack of the node's own": ("ip", f'chain c {{ {RAW} iifname "lo" notrack; }}', ""),
    "notrack of one service": ("ip", f"chain c {{ {RAW} ip daddr 169.254.20.10 notrack; }}", ""),
    "a zone": (
        "ip",
        f"chain c {{ {RAW} ct zone set 5; }}",
        f"gives another zone of connection tracking to {EVERY}",
    ),
    "a zone of one direction": (
        "ip",
        f"chain c {{ {RAW} ct original zone set 5; }}",
        f"gives another zone of connection tracking to {EVERY}",
    ),
    "to another link": (
        "netdev",
        "chain c { type filter hook ingress device pod2 priority 0; fwd to pod3; }",
        "sends on all connections between pods past all policies",
    ),
    "a copy": (
        "netdev",
        "chain c { type filter hook ingress device pod2 priority 0; dup to pod3; }",
        "copies all connections between pods past all policies",
    ),
    "what is dropped afterwards": (
        "ip",
        f"chain c {{ {RAW} notrack; drop; }}",
        f"drops {EVERY}, whatever policies allow",
    ),
}
"""What keeps policies from judging, and how it is said of it."""


@pytest.mark.parametrize("what", PAST)
def test_what_gets_round_policies_is_told(node: NetNS, what: str) -> None:
    family, text, expected = PAST[what]
    load(node, f"table {family} t {{ {text} }}")
    said = "; ".join(map(str, dropping(node, PODS)))
    assert expected in said
    assert bool(expected) == bool(said)


@pytest.mark.parametrize("kind", ["legacy", "nft"])
@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("NOTRACK", "keeps connection tracking off"),
        ("CT --notrack", "keeps connection tracking off"),
        ("CT --zone 3", "gives another zone of connection tracking to"),
        ("CT --zone-orig 3", "gives another zone of connection tracking to"),
        ("CT --helper ftp", ""),
    ],
)
def test_what_gets_round_policies_by_iptables_is_told(
    node: NetNS, kind: str, target: str, expected: str
) -> None:
    command = f"iptables-{kind}"
    if needs(command).args[0]:
        pytest.skip(f"{command} is not installed (Debian: iptables)")
    run(node, command, *f"-t raw -A PREROUTING -p tcp -j {target}".split())
    said = "; ".join(map(str, dropping(node, PODS)))
    ways = f"TCP connections {OUT_AND_IN}, from the node to pods, between pods"
    assert f"{expected} {ways}" in said if expected else not said
