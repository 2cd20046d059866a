"""What a node has before and after a pod: links, addresses, routes, firewall, files, processes."""

from __future__ import annotations

import re
from collections.abc import Iterable

from support.node import Node, wait_for

State = dict[str, frozenset[str]]
"""What there is, by kind; one line of text for each thing."""

COMMANDS = {
    "links": "ip -o link",
    "addresses": "ip -o address",
    "routes": "ip -o -4 route show table all; ip -o -6 route show table all",
    "rules": "ip -4 rule; ip -6 rule",
    "neighbours": "ip neigh show nud permanent; bridge fdb",
    "qdiscs": "tc qdisc",
    "nftables": "nft -s list ruleset",
    "iptables": "iptables-save; ip6tables-save",
    "mounts": "cut -d ' ' -f 5- /proc/self/mountinfo",
    "files": "find /run/netns /run/cni /run/cnidaria /var/lib/cni -not -type d",
    "processes": "ps -e -o pid= -o args=",
}
NETWORK_KINDS = tuple(COMMANDS)[: tuple(COMMANDS).index("mounts")]
"""What of it is the network's alone."""

# Lines about nothing: comments, multicast groups, and the processes that look.
_IGNORED = re.compile(r"#|COMMIT|$|(33:33|01:00:5e):|.*\bps -e -o pid")
# Parts of lines that change by themselves.
_VOLATILE = re.compile(r"\[\d+:\d+\]$|\bexpires \d+sec|\bvalid_lft.*")

# Tables that iptables-nft makes; iptables-save shows what is in them.
_IPTABLES_TABLE = re.compile(r"table ip6? (filter|nat|mangle|raw) \{")

_SHARED_CHAIN = r"CNI-(HOSTPORT-(DNAT|MASQ|SETMARK)|FORWARD|ADMIN)"

BY_DESIGN = (
    # The reference plugins' shared chains are made once and stay, with their jumps.
    r"iptables: \*\w+",
    rf"iptables: :([A-Z]+|{_SHARED_CHAIN}) .*",
    rf"iptables: -A (PREROUTING|OUTPUT|POSTROUTING|FORWARD) .*-j {_SHARED_CHAIN}",
    r"iptables: -A CNI-HOSTPORT-(SETMARK|MASQ) -m .*",
    r"iptables: -A CNI-FORWARD .*-j CNI-ADMIN",
    # host-local remembers where it stopped.
    r"files: /var/lib/cni/networks/\S+/(lock|last_reserved_ip\.\d+)",
    # Our journal; what is in it is asked of `cnidaria pods`.
    r"files: /run/cnidaria/(journal|lock|status\.json)",
    # The kernel's own, once somebody has made the node a router.
    r"routes: anycast \S+ dev eth0 .*",
)
"""What stays on purpose (regular expressions on ``kind: line``)."""


def _without_iptables(ruleset: str) -> Iterable[str]:
    """The lines of an nft listing, each with its table in front, less iptables' tables."""
    table = ""
    for line in ruleset.splitlines():
        if line.startswith("table "):
            table = line
        if not _IPTABLES_TABLE.match(table) and line.strip() not in ("", "}"):
            yield f"{table} {line.strip()}"


def snapshot(node: Node) -> State:
    """All of the node's state that attaching a pod could change, when its addresses are settled."""
    wait_for(
        "duplicate address detection",
        lambda: not node.run("ip", "-o", "address", "show", "up", "tentative").stdout,
    )
    state = {}
    for kind, command in COMMANDS.items():
        text = node.run("sh", "-c", f"{command} 2>/dev/null", check=False).stdout
        lines = _without_iptables(text) if kind == "nftables" else text.splitlines()
        kept = (line.strip() for line in lines if not _IGNORED.match(line.strip()))
        state[kind] = frozenset(_VOLATILE.sub("", line) for line in kept)
    return state


def differences(
    before: State, after: State, allowed: Iterable[str] = (), kinds: Iterable[str] = COMMANDS
) -> list[str]:
    """What came and what went, but for lines that match one of ``allowed``; sorted text."""
    patterns = [re.compile(pattern) for pattern in (*BY_DESIGN, *allowed)]
    found = []
    for kind in kinds:
        came = [(f"{kind}: {line}", "left over") for line in after[kind] - before[kind]]
        went = [(f"{kind}: {line}", "missing") for line in before[kind] - after[kind]]
        for text, word in came + went:
            if not any(pattern.fullmatch(text) for pattern in patterns):
                found.append(f"{word}: {text}")
    return sorted(found)


def assert_nothing_left(
    node: Node, before: State, allowed: Iterable[str] = (), kinds: Iterable[str] = COMMANDS
) -> None:
    """Fail with the list of what differs from ``before``, once it had time to settle."""
    last: list[str] = []

    def same() -> bool:
        last[:] = differences(before, snapshot(node), allowed, kinds)
        return not last

    try:
        wait_for("the node as it was before", same, seconds=5)
    except TimeoutError:
        raise AssertionError("\n".join(["the node is not as it was:", *last])) from None
