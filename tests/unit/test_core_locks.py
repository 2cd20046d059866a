"""Objects of the core compared with themselves and with each other, while others change them."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest
from cnidaria_core import AddressPool, BlockPool, PolicyEngine, RouteTable

MADE = {
    "AddressPool": lambda: AddressPool([("10.0.0.1", "10.0.0.9")]),
    "BlockPool": lambda: BlockPool("10.0.0.0/16", 26),
    "PolicyEngine": PolicyEngine,
    "RouteTable": lambda: RouteTable([("10.0.0.0/8", 1)]),
}
CHANGES = {
    "AddressPool": lambda one: one.release(one.allocate("x", now=0), now=0),
    "BlockPool": lambda one: one.observe("10.0.0.0/26"),
    "PolicyEngine": lambda one: one.apply(
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"n{len(one)}"}}
    ),
    "RouteTable": lambda one: one.insert("10.1.0.0/16", 1),
}
TIMES = 300
SECONDS = 60


def compare(kind: str) -> None:
    """Both ways round, by several threads at once."""
    one, other = MADE[kind](), MADE[kind]()
    assert one == one == other
    one.diff(one)

    def equal(number: int) -> bool:
        return [one == other, other == one, one == one][number % 3]

    with ThreadPoolExecutor(4) as threads:
        changed = threads.map(lambda _: CHANGES[kind](one), range(TIMES))
        compared = threads.map(equal, range(TIMES))
        assert len(list(changed)) == len(list(compared)) == TIMES


@pytest.mark.parametrize("kind", MADE)
def test_nobody_waits_for_ever(kind: str) -> None:
    """In another process: a deadlock of the core could not be left otherwise."""
    subprocess.run([sys.executable, __file__, kind], check=True, timeout=SECONDS)


if __name__ == "__main__":
    compare(sys.argv[1])
