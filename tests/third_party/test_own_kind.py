"""A kind of kernel objects of somebody else: ADD, CHECK, repair and a restart know it, too."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from cnidaria.kernel.errors import KernelError
from cnidaria.kernel.handle import Kernel
from cnidaria.kernel.netns import NetNS
from cnidaria.plan.objects import Object, Veth, from_wire, to_wire
from cnidaria.plugins import load
from support.attachments import attachment, engine
from support.left_out import is_real_root
from support.namespaces import new_namespace, run

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "examples" / "own-kind" / "cnidaria_txqueue.py"
LINK = Veth("cnd1", peer="eth0", mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02")


@pytest.fixture(scope="module")
def example() -> ModuleType:
    """The example's module, loaded as a plugin."""
    spec = importlib.util.spec_from_file_location("cnidaria_txqueue", SOURCE)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    load("cnidaria-flat", extra=[module])
    return module


def plan(example: ModuleType, packets: int = 77) -> tuple[Object, ...]:
    return (
        LINK,
        example.TxQueue("eth0", packets, where="pod"),
        example.TxQueue("cnd1", packets),
    )


def told(namespace: NetNS, link: str) -> int:
    """As ``ip`` says."""
    words = run(namespace, "ip", "link", "show", link).split()
    return int(words[words.index("qlen") + 1])


@pytest.mark.skipif(
    not is_real_root(), reason="needs root: in a user namespace nobody may set a queue's length"
)
def test_what_follows_from_a_plan(example: ModuleType, tmp_path: Path) -> None:
    with new_namespace() as host, new_namespace() as pod:
        first = engine(tmp_path)
        made = first.attach(attachment(1, pod, objects=plan(example)), host, pod)
        assert (told(host, "cnd1"), told(pod, "eth0")) == (77, 77)
        assert first.check(made, host, pod) is None

        run(pod, "ip", "link", "set", "eth0", "txqueuelen", "5")
        difference = first.check(made, host, pod)
        assert str(difference) == "transmit queue of eth0 (pod): packets is 5, must be 77"
        changes = first.put_back(made.key, host, [made.objects[1]])
        assert changes is not None and changes.applied == [made.objects[1]]
        assert told(pod, "eth0") == 77

        first.store.close()
        again = engine(tmp_path)
        assert again.recover(host).kept == [made.id]
        assert again.store.get(*made.key).objects == made.objects
        again.detach(made.key, host, pod)
        assert "cnd1" not in run(host, "ip", "link")
        again.store.close()


def test_what_cannot_be_is_an_error_that_names_it(example: ModuleType) -> None:
    with new_namespace() as host, pytest.raises(KernelError) as caught:
        Kernel(host).apply([example.TxQueue("nosuch0", 7)])
    assert str(caught.value).startswith("cannot add transmit queue of nosuch0: ")


def test_it_travels_as_plain_data(example: ModuleType) -> None:
    for obj in plan(example)[1:]:
        assert from_wire(to_wire(obj)) == obj


def test_the_documentation_shows_what_is_tested() -> None:
    page = (ROOT / "docs" / "modes.md").read_text()
    assert f"```python\n{SOURCE.read_text()}```" in page
