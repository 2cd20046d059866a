"""What is told of foreign rules is what they do to real packets."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from cnidaria.kernel.foreign import nft
from cnidaria.kernel.foreign.tables import dropping_only, sets_marks
from cnidaria.kernel.foreign.walk import drops
from cnidaria.kernel.netns import NetNS
from cnidaria.kernel.session import Session
from support.foreign_rules import STRANGER, asked, drawn, questions
from support.namespaces import run
from support.needs import needs
from support.policy_lab import Lab, lab

pytestmark = needs("nft")


@pytest.fixture(scope="module")
def place(_namespaces: None) -> Iterator[Lab]:
    with lab(2) as made:
        for host in {*made.nodes.values(), made.namespace(STRANGER[0])}:
            keep_neighbours(host)
        yield made


def keep_neighbours(host: NetNS) -> None:
    """Rules that drop may drop neighbour discovery, too."""
    known = run(host, "ip", "neigh", "show", "dev", "eth0").splitlines()
    for address, _, mac, *_ in (line.split() for line in known if "lladdr" in line):
        run(
            host,
            "ip",
            "neigh",
            "replace",
            address,
            "lladdr",
            mac,
            "dev",
            "eth0",
            "nud",
            "permanent",
        )


def load(node: NetNS, text: str) -> str:
    """Instead of what is there; what nft has against it."""
    done = node.run(
        subprocess.run,
        ["nft", "-f", "-"],
        input=f"flush ruleset\n{text}",
        text=True,
        capture_output=True,
        check=False,
    )
    return str(done.stderr)


def compare(place: Lab, text: str) -> tuple[int, int, int]:
    """Each connection is as it is told; how many are named, may be, and are not."""
    node = place.nodes["n1"]
    with Session(node) as session:
        read = nft.tables(session)
        indices = {name: session.index(name) for name in ("eth0", "pod1", "pod2")}
    tables = [dropping_only(table) for table in read]
    told = []
    for connection in asked(indices, sets_marks(read)):
        found = drops(tables, connection[0])
        certain = any(one.certain for one in found)
        told += [
            (one, "drops" if certain else "may" if found else "") for one in questions(connection)
        ]
    place.forget_connections()
    asked_ = [one for one, _ in told]
    passed = place.ask(asked_, [what == "" for _, what in told])
    for (question, what), came in zip(told, passed, strict=True):
        assert what == "may" or came == (what == ""), f"{question} {what!r} {came}\n{text}"
    counts = [what for _, what in told]
    return counts.count("drops"), counts.count("may"), counts.count("")


def test_drawn_rules(place: Lab, effort: int) -> None:
    """Those that nft takes: some ask for two protocols at once."""
    totals = [0, 0, 0]
    taken = 0
    for text in drawn(100 * effort):
        if not load(place.nodes["n1"], text):
            taken += 1
            totals = [a + b for a, b in zip(totals, compare(place, text), strict=True)]
    assert taken > 50 * effort
    assert min(totals) > 300 * effort, totals
