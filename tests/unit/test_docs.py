"""The documentation names everything there is: hooks, keys, commands, codes, objects."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from cnidaria import Metric, hookspecs, kinds
from cnidaria.cli import COMMANDS
from cnidaria.cluster import ClusterConfig
from cnidaria.cni.errors import Code
from cnidaria.cni.fields import json_schema
from cnidaria.node.metrics import METRICS
from cnidaria.plan import objects
from cnidaria_flat import FlatConfig
from cnidaria_overlay import OverlayConfig
from cnidaria_policy import PolicyConfig
from cnidaria_policy import metrics as policy_metrics

DOCS = Path(__file__).parents[2] / "docs"
MODES = (DOCS / "modes.md").read_text()
NODE = (DOCS / "node.md").read_text()
NOT_FOR_MODES = {"Object", "Link", "End", "Where", "NftElement", "AnyLink"}


def keys(config: type) -> list[str]:
    schema = json_schema(config)
    name = schema["$ref"].rpartition("/")[2]
    return sorted(schema["$defs"][name]["properties"])


@pytest.mark.parametrize("hook", [name for name in dir(hookspecs.Hooks) if name[0] != "_"])
def test_every_hook_is_documented(hook: str) -> None:
    assert f"`{hook}`" in MODES


@pytest.mark.parametrize("key", sorted({*keys(FlatConfig), *keys(OverlayConfig)}))
def test_every_key_is_documented(key: str) -> None:
    assert f"| `{key}` |" in NODE


@pytest.mark.parametrize("key", keys(PolicyConfig))
def test_every_key_of_policies_is_documented(key: str) -> None:
    assert f"| `{key}` |" in (DOCS / "policy.md").read_text()


@pytest.mark.parametrize("key", keys(ClusterConfig))
def test_every_key_of_a_cluster_is_documented(key: str) -> None:
    assert f"`{key}` (" in NODE


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_is_documented(command: str) -> None:
    assert f"`cnidaria {command}`" in NODE


@pytest.mark.parametrize("code", [code for code in Code if code >= 100])
def test_every_code_of_ours_is_documented(code: Code) -> None:
    assert f"| {code.value} |" in NODE


@pytest.mark.parametrize(
    "kind",
    sorted(
        set(objects.__all__)
        - NOT_FOR_MODES
        - {n for n in objects.__all__ if n[0].islower() or n.isupper()}
    ),
)
def test_every_kind_of_object_is_documented(kind: str) -> None:
    assert f"`{kind}`" in MODES


@pytest.mark.parametrize("name", kinds.__all__)
def test_everything_for_kinds_is_documented(name: str) -> None:
    assert f"`{name}`" in MODES


METRIC_ROW = re.compile(r"^\| `(cnidaria_\w+)` \| (\w+) \| ([\w, ]*) \|", re.MULTILINE)


@pytest.mark.parametrize(
    ("page", "metrics"), [("node.md", METRICS), ("policy.md", policy_metrics.METRICS)]
)
def test_every_metric_is_documented_and_no_other(page: str, metrics: tuple[Metric, ...]) -> None:
    """Name, type and labels."""
    wanted = [(one.name, one.type, ", ".join(one.labels)) for one in metrics]
    rows = METRIC_ROW.findall((DOCS / page).read_text())
    assert sorted((name, kind, labels.strip()) for name, kind, labels in rows) == sorted(wanted)
