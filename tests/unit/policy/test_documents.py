"""YAML as Kubernetes' tools read it: what each text means, and what is refused, at which field.

What is expected of texts without quotes is what sigs.k8s.io/yaml 1.4.0 makes of them.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from cnidaria_policy.documents import MOST, Wrong, documents, nearest, resolved, steps, written
from cnidaria_policy.manifests import Refused, line_in, read

POLICY = """\
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {matchLabels: {app: LABEL}}
  ingress:
  - ports:
    - port: PORT
"""

MEANT: dict[str, Any] = {
    "80": 80, "8_0": 80, "0x50": 80, "0120": 80, "0o120": 80, "0b1010000": 80, "+80": 80, "-1": -1,
    "80.0": 80, "8e1": 80, ".5": 0.5, "80.5": 80.5, "1e3": 1000, "09": 9, "1.": 1,
    "1:20": "1:20", "2020-01-01": "2020-01-01", "0b12": "0b12", "0x": "0x", "1e400": "1e400",
    "9223372036854775808": 1 << 63, "-9223372036854775808": -(1 << 63), "-": "-",
    "0x" + "f" * 17: "0x" + "f" * 17, "9" * 400: "9" * 400, "1e30": 1e30,
    "": None, "~": None, "Null": None, "nULL": "nULL",
    "y": True, "Yes": True, "on": True, "TRUE": True, "N": False, "off": False, "yEs": "yEs",
    "=": "=", "<<": "<<", "web": "web",
}  # fmt: skip

WRONG = {
    "infinity": ("PORT", ".inf", 8, "spec.ingress[0].ports[0].port: .inf: must be a number that"),
    "no number": ("PORT", ".NaN", 8, "spec.ingress[0].ports[0].port: .NaN: must be a number that"),
    "base 60": ("PORT", "1:20", 8, '"1:20": must be a port'),
    "a bool": ("LABEL", "y", 5, "spec.podSelector.matchLabels.app: true: must be a string"),
    "binary": ("LABEL", "!!binary d2Vi", 5, "matchLabels.app: the tag !!binary: JSON has no such"),
    "a time": ("LABEL", "!!timestamp 2020-01-01", 5, "matchLabels.app: the tag !!timestamp: JSON"),
    "a set": ("LABEL", "!!set {a, b}", 5, "matchLabels.app: the tag !!set: JSON has no such thing"),
    "a list's tag": ("LABEL", "!!omap [a: b]", 5, "matchLabels.app: the tag !!omap: JSON has no"),
    "an own tag": ("LABEL", "!foo web", 5, "matchLabels.app: the tag !foo: JSON has no such"),
    "Python": ("LABEL", "!!python/name:os.system ''", 5, "the tag !!python/name:os.system: JSON"),
    "no bool": ("LABEL", "!!bool maybe", 5, "matchLabels.app: 'maybe' is no !!bool"),
    "no int": ("PORT", "!!int x", 8, "ports[0].port: 'x' is no !!int"),
    "no float": ("PORT", "!!float x", 8, "ports[0].port: 'x' is no !!float"),
    "no null": ("LABEL", "!!null x", 5, "matchLabels.app: 'x' is no !!null"),
    "a key twice": (
        "LABEL",
        "web, app: db",
        5,
        "spec.podSelector.matchLabels: the key 'app' is th",
    ),
    "merged twice": (
        "LABEL",
        "web, <<: {a: b}, <<: {c: d}",
        5,
        "matchLabels: the key '<<' is ther",
    ),
    "a number as key": (
        "LABEL",
        "web, 5: x",
        5,
        "matchLabels: the key '5' is no text: write it in",
    ),
    "a bool as key": ("LABEL", "web, yes: x", 5, "matchLabels: the key 'yes' is no text: write it"),
    "nothing as key": ("LABEL", "web, ~: x", 5, "matchLabels: the key '~' is no text: write it in"),
    "infinity as key": (
        "LABEL",
        "web, .inf: x",
        5,
        "matchLabels: .inf: must be a number that JSON",
    ),
    "a list as key": ("LABEL", "web, [a]: x", 5, "matchLabels: a list or a mapping is no key"),
    "a mapping as key": ("LABEL", "web, ? {a: b} : x", 5, "matchLabels: a list or a mapping is no"),
    "an alias as key": ("LABEL", "&a 5, *a : x", 5, "matchLabels: the key 5 is no text"),
    "no such anchor": ("LABEL", "*x", 5, "matchLabels.app: the anchor 'x' is not there before"),
    "an anchor twice": (
        "LABEL",
        "&a web, b: &a x",
        5,
        "matchLabels.b: the anchor 'a' is there twice",
    ),
    "an anchor in itself": (
        "LABEL",
        "&a {b: *a}",
        5,
        "matchLabels.app.b: the anchor 'a' contains its",
    ),
    "merged with itself": (
        "{matchLabels",
        "&a {<<: *a, matchLabels",
        5,
        "the anchor 'a' contains its",
    ),
    "merged with a text": (
        "LABEL",
        "web, <<: 5",
        5,
        "matchLabels.<<: << must be a mapping, or a list",
    ),
    "merged with texts": ("LABEL", "web, <<: [5]", 5, "matchLabels.<<: << must be a mapping, or"),
    "a tab": (
        "  ingress",
        "\tingress",
        6,
        "is not YAML: found character that cannot start any token",
    ),
    "NUL": ("LABEL", "a\0b", 5, "is not YAML: character 0x00: control characters are not allowed"),
    "a bell": (
        "LABEL",
        "a\ab",
        5,
        "is not YAML: character 0x07: control characters are not allowed",
    ),
    "NUL in quotes": ("LABEL", '"a\\0b"', 5, 'matchLabels.app: "a\\u0000b": the value of a label'),
    "half a character": ("LABEL", '"\\ud800"', 5, "is not YAML: found invalid Unicode character"),
    "no Unicode": (
        "LABEL",
        "\udcff",
        5,
        "is not YAML: character 0xff: invalid leading UTF-8 octet",
    ),
    "YAML 2": ("apiV", "%YAML 2.0\n---\napiV", 1, "is not YAML: found incompatible YAML document"),
    "the second document": (POLICY, f"{POLICY}---\n{POLICY}".replace("PORT", "80", 1), 17, "PORT"),
    "a key for terminals": ("spec:", '"\\e[31mspec":', 1, "web: \\x1b[31mspec: {"),
    "JSON in a text": (
        POLICY,
        """'{"apiVersion": "v1", "kind": "Namespace"}'""",
        1,
        "must be a mapping",
    ),
}


def values(text: str) -> list[Any]:
    return [one.value for one in documents(text.encode())]


@pytest.mark.parametrize("text", MEANT)
def test_what_a_text_without_quotes_means(text: str) -> None:
    found = resolved(text)
    assert (found, type(found)) == (MEANT[text], type(MEANT[text]))


@pytest.mark.parametrize("name", WRONG)
def test_what_is_wrong_is_said_with_its_line_and_field(name: str, tmp_path: Path) -> None:
    right, wrong, line, said = WRONG[name]
    text = POLICY.replace(right, wrong).replace("LABEL", "web")
    if "second" not in name:
        text = text.replace("PORT", "80")
    path = tmp_path / "a.yaml"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(Refused) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert said in str(caught.value)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    "text",
    [
        POLICY,
        "\ufeff" + POLICY,
        POLICY.replace("\n", "\r\n"),
        POLICY.replace("port: ", "port:\t"),
        "%YAML 1.1\n---\n" + POLICY,
        POLICY.replace("PORT", "80.0"),
        POLICY.replace("PORT", "!!int '80'"),
        POLICY.replace("LABEL", "! web"),
        POLICY.replace("LABEL", "&a web, b: *a").replace("PORT", "80"),
        POLICY.replace("app: LABEL", "<<: {app: db}, app: web"),
        POLICY.replace("app: LABEL", "<<: [{app: web}, {app: db}]"),
    ],
)
def test_what_is_read(text: str, tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_bytes(text.replace("LABEL", "web").replace("PORT", "80").encode())
    (one,) = read(path)
    assert one.obj["spec"]["podSelector"]["matchLabels"]["app"] == "web"
    assert one.obj["spec"]["ingress"] == [{"ports": [{"port": 80}]}]
    path.write_bytes(path.read_text(encoding="utf-8-sig").encode("utf-16"))
    assert [same.obj for same in read(path)] == [one.obj]


def test_merged_values_yield_to_those_written() -> None:
    (found,) = values("a: &a {p: 1, q: 2}\nb: {q: 3, <<: *a, r: 4}\n'<<': 5\n")
    assert found == {"a": {"p": 1, "q": 2}, "b": {"p": 1, "q": 3, "r": 4}, "<<": 5}


@pytest.mark.parametrize(
    ("first", "next_"),
    [("x", "[*]"), ("{k: x}", "{a: *, b: *}"), ("{k: x}", "{<<: [*, *]}"), ("[]", "[*, *, *]")],
)
def test_aliases_are_counted_as_what_they_stand_for(first: str, next_: str) -> None:
    wide = next_ if next_ != "[*]" else f"[{', '.join(['*'] * 10)}]"
    levels = "".join(f"a{n}: &a{n} {wide.replace('*', f'*a{n - 1}')}\n" for n in range(1, 40))
    with pytest.raises(Wrong, match=f"has more than {MOST} values, with aliases written out"):
        values(f"a0: &a0 {first}\n{levels}")


# -- exactness -------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(max_codepoint=0xFFFF, exclude_categories=["Cs"]), max_size=4)


def json_with(keys: st.SearchStrategy[str]) -> st.SearchStrategy[Any]:
    return st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(1 << 63), (1 << 64) - 1)
        | st.floats(allow_nan=False, allow_infinity=False).filter(lambda one: not one.is_integer())
        | TEXTS,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
        max_leaves=12,
    )


@given(st.lists(json_with(TEXTS), max_size=3))
def test_json_is_read_as_what_it_is(some: list[Any]) -> None:
    assert values("".join(f"--- {json.dumps(one)}\n" for one in some)) == some


@given(st.lists(json_with(TEXTS.map("key{}".format)), max_size=3), st.booleans())
def test_lines_are_those_of_the_nodes(some: list[Any], flow: bool) -> None:
    """As PyYAML's composer has them, of one document, or of all."""
    text = yaml.safe_dump_all(some, default_flow_style=flow).encode()
    nodes = list(yaml.compose_all(text, yaml.CSafeLoader))
    for chosen in range(len(some)):
        for number, one in enumerate(documents(text, chosen.__eq__)):
            marks = {path: line for path, line in marked(nodes[number]) if len(path) <= 2}
            assert one.lines == (dict(marked(nodes[number])) if number == chosen else marks)


def marked(node: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[Any, int]]:
    yield path, node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            yield from marked(value, (*path, key.value))
    elif isinstance(node, yaml.SequenceNode):
        for place, value in enumerate(node.value):
            yield from marked(value, (*path, place))


def test_paths() -> None:
    path = ("spec", "ingress", 0, "ports", 12)
    assert written(path) == "spec.ingress[0].ports[12]"
    assert steps(written(path)) == path
    assert nearest({(): 1, ("spec", "ingress"): 5}, path) == 5
    assert nearest({}, path) == 1


def test_lines_of_a_list_of_objects(tmp_path: Path) -> None:
    """Also where an alias stands for a part of it."""
    path = tmp_path / "a.yaml"
    spec = "{podSelector: &all {}, ingress: [{from: [{podSelector: *all}]}]}"
    item = POLICY.splitlines()[:3]
    path.write_text(
        "kind: List\napiVersion: v1\nitems:\n"
        + "".join(f"- {item[0]}\n  {item[1]}\n  {item[2]}\n  spec: {one}\n" for one in (spec, "{}"))
        .replace("shop", "x", 1)
        .replace("spec: {}", "spec:\n    podSelector: {}")
    )
    first, second = read(path)
    assert (first.line, second.line) == (4, 8)
    assert line_in(first, "spec.ingress[0].from[0].podSelector.matchLabels") == 7
    assert line_in(second, "spec.podSelector") == 12
