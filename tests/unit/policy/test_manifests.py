"""Files of Kubernetes objects: what is refused, at which line, and what stays in force."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from cnidaria_policy.folder import Folders
from cnidaria_policy.manifests import Refused, line_in, read

GOOD = """\
# a comment
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web, namespace: shop}
spec:
  podSelector: {}
  ingress:
  - from:
    - ipBlock:
        cidr: 10.0.0.0/8
        except: [10.1.0.0/16]
    ports:
    - port: 80
      endPort: 90
"""

BAD = {
    "a block that is none": ("cidr: 10.0.0.0/8", "cidr: 10.0.0.0/33", 10, "cidr"),
    "an exception outside": ("[10.1.0.0/16]", "[11.0.0.0/16]", 11, "except"),
    "a range backwards": ("endPort: 90", "endPort: 79", 14, "endPort"),
    "a port's name that is too long": (
        "port: 80\n      endPort: 90",
        "port: a-very-long-name",
        13,
        "port",
    ),
    "a field that nobody knows": ("podSelector", "podSelektor", 6, "podSelektor"),
    "a label that cannot be": (
        "podSelector: {}",
        'podSelector: {matchLabels: {"a b": x}}',
        6,
        "a b",
    ),
    "an operator that nobody knows": (
        "podSelector: {}",
        "podSelector: {matchExpressions: [{key: a, operator: Near, values: [b]}]}",
        6,
        "Near",
    ),
    "a kind that nobody knows": ("kind: NetworkPolicy", "kind: NetworkPolcy", 3, "NetworkPolcy"),
    "a version that nobody knows": ("networking.k8s.io/v1", "networking.k8s.io/v9", 2, "v9"),
    "no name": ("name: web, ", "", 4, "name"),
    "a key twice": ("podSelector: {}", "podSelector: {}\n  podSelector: {}", 7, "twice"),
    "no YAML": ("podSelector: {}", "podSelector: {", 8, ""),
    "a tab": ("  podSelector", "\tpodSelector", 6, ""),
    "no mapping": (GOOD, "- 1\n- 2\n", 1, ""),
    "a text": (GOOD, "hello\n", 1, ""),
    "not text": (GOOD, "\x00\x01", 1, ""),
}


def file(folder: Path, text: str, name: str = "a.yaml") -> Path:
    path = folder / name
    path.write_text(text)
    return path


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_said_with_its_line(name: str, tmp_path: Path) -> None:
    right, wrong, line, word = BAD[name]
    assert right in GOOD
    path = file(tmp_path, GOOD.replace(right, wrong))
    with pytest.raises(Refused) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}:{line}: "), caught.value
    assert word in str(caught.value)


def test_lists_documents_and_json_are_read(tmp_path: Path) -> None:
    (one,) = read(file(tmp_path, GOOD))
    assert one.key == ("NetworkPolicy", "shop", "web")
    assert one.line == 2
    assert line_in(one, "spec.ingress[0].ports[0]") == 13
    indented = "".join(f"    {line}\n" for line in GOOD.splitlines()[2:])
    whole = f"apiVersion: v1\nkind: List\nitems:\n  - apiVersion: networking.k8s.io/v1\n{indented}"
    assert [each.key for each in read(file(tmp_path, whole))] == [one.key]
    typed = (
        '{"apiVersion": "v1", "kind": "NamespaceList", "items": '
        '[{"apiVersion": "v1", "metadata": {"name": "x"}}]}'
    )
    (namespace,) = read(file(tmp_path, typed, "b.json"))
    assert namespace.key == ("Namespace", "", "x")
    assert read(file(tmp_path, "---\n---\n# nothing\n")) == []


@pytest.mark.parametrize("items", ["5", "text", "{a: 1}", "[5]"])
def test_a_list_of_what_is_no_object(items: str, tmp_path: Path) -> None:
    with pytest.raises(Refused) as caught:
        read(file(tmp_path, f"kind: List\napiVersion: v1\nitems: {items}\n"))
    assert caught.value.line == 3


def test_aliases_cost_no_more_than_they_say(tmp_path: Path) -> None:
    """Each level names the one before ten times: a billion, if it were written out."""
    levels = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10))
    with pytest.raises(Refused):
        read(file(tmp_path, f"a0: &a0 x\n{levels}"))


def test_nested_too_deeply(tmp_path: Path) -> None:
    with pytest.raises(Refused):
        read(file(tmp_path, "a: " + "[" * 20_000 + "]" * 20_000))


# -- directories -----------------------------------------------------------------------------------


def policy(name: str) -> str:
    return GOOD.replace("name: web", f"name: {name}")


def names(folders: Folders) -> set[str]:
    return {name for _, _, name in folders.look()}


def test_a_file_that_becomes_bad_keeps_what_it_said(tmp_path: Path) -> None:
    path = file(tmp_path, policy("one"))
    folders = Folders([str(tmp_path)])
    assert names(folders) == {"one"}
    assert folders.is_whole
    same = folders.look()
    assert folders.look() is same
    file(tmp_path, policy("two"), "b.yml")
    file(tmp_path, "kind: [", "a.yaml")
    assert names(folders) == {"one", "two"}
    (problem,) = folders.problems
    assert problem.startswith(f"{path}:")
    path.write_text(policy("three"))
    assert names(folders) == {"two", "three"}
    assert folders.problems == []
    path.unlink()
    assert names(folders) == {"two"}


def test_a_change_that_leaves_size_and_time_as_they_were(tmp_path: Path) -> None:
    """As of files that come out of an image, or one that changes twice between two ticks."""
    path = file(tmp_path, policy("one"))
    os.utime(path, ns=(0, 0))
    folders = Folders([str(tmp_path)])
    assert names(folders) == {"one"}
    for name in ("two", "six", "ten"):
        path.write_text(policy(name))
        os.utime(path, ns=(0, 0))
        assert names(folders) == {name}
    time.sleep(0.2)
    same = folders.look()
    path.touch()
    assert folders.look() is same  # it says the same


def test_a_file_that_was_never_good_leaves_it_open_what_the_policies_are(tmp_path: Path) -> None:
    file(tmp_path, policy("one"))
    bad = file(tmp_path, "kind: [", "b.yaml")
    folders = Folders([str(tmp_path)])
    assert names(folders) == {"one"}
    assert not folders.is_whole
    bad.unlink()
    folders.look()
    assert folders.is_whole


def test_a_directory_that_goes_away_keeps_what_it_said(tmp_path: Path) -> None:
    inside = tmp_path / "policies"
    folders = Folders([str(inside)])
    assert names(folders) == set()
    assert not folders.is_whole
    assert "No such file" in folders.problems[0]
    inside.mkdir()
    file(inside, policy("one"))
    assert names(folders) == {"one"}
    assert folders.is_whole
    os.rename(inside, tmp_path / "elsewhere")
    assert names(folders) == {"one"}
    assert folders.problems


def test_of_two_objects_of_one_name_the_first_counts(tmp_path: Path) -> None:
    first = file(tmp_path, policy("one"))
    second = file(tmp_path, policy("one").replace("10.1.0.0/16", "10.2.0.0/16"), "b.yaml")
    folders = Folders([str(tmp_path)])
    ((key, obj),) = folders.look().items()
    assert key[2] == "one"
    assert obj["spec"]["ingress"][0]["from"][0]["ipBlock"]["except"] == ["10.1.0.0/16"]
    (problem,) = folders.problems
    assert f"{second}:2" in problem
    assert f"{first}:2" in problem
