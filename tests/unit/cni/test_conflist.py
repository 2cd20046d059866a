"""Networks on disk."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cnidaria.cni.config import parse_conflist, plugin_config
from cnidaria.cni.errors import CniError, Code

PLUGINS = [{"type": "cnidaria-flat", "uplink": "eth0"}, {"type": "portmap"}]


def parse(**keys: Any) -> Any:
    raw = {"name": "net", "cniVersion": "1.0.0", "plugins": PLUGINS, **keys}
    return parse_conflist(json.dumps(raw).encode())


def test_a_list() -> None:
    found = parse(disableCheck=True, disableGC="true")
    assert (found.name, found.cni_version) == ("net", "1.0.0")
    assert list(found.plugins) == PLUGINS
    assert found.disable_check
    assert found.disable_gc
    assert not found.load_only_inlined_plugins


@pytest.mark.parametrize(
    ("version", "versions", "selected"),
    [
        ("0.4.0", None, "0.4.0"),
        (None, None, "0.1.0"),
        ("0.4.0", ["1.0.0", "0.3.1"], "1.0.0"),
        ("1.1.0", ["0.4.0"], "1.1.0"),
        (None, ["0.4.0", "1.1.0", "2.0.0"], "1.1.0"),
        ("9.0.0", ["0.4.0"], "0.4.0"),
        ("9.0.0", None, "9.0.0"),
    ],
)
def test_the_version_that_libcni_selects(version: Any, versions: Any, selected: str) -> None:
    raw = {"name": "net", "plugins": PLUGINS, "cniVersion": version, "cniVersions": versions}
    data = json.dumps({key: value for key, value in raw.items() if value is not None}).encode()
    assert parse_conflist(data).cni_version == selected


def test_what_a_plugin_is_given() -> None:
    conf = plugin_config(parse(plugins=[{"type": "x", "Name": "old", "uplink": "e", "dns": {}}]), 0)
    assert (conf.name, conf.type, conf.cni_version) == ("net", "x", "1.0.0")
    assert conf.own == {"uplink": "e"}


def test_a_configuration_of_a_single_plugin() -> None:
    found = parse_conflist(b'{"name": "net", "cniVersion": "0.3.1", "type": "x", "uplink": "e"}')
    assert (found.name, found.cni_version) == ("net", "0.3.1")
    assert plugin_config(found, 0).own == {"uplink": "e"}


def test_plugins_in_the_directory_of_the_network() -> None:
    found = parse().extended([b'{"type": "tuning"}'])
    assert [plugin["type"] for plugin in found.plugins] == ["cnidaria-flat", "portmap", "tuning"]
    with pytest.raises(CniError, match="missing key"):
        parse().extended([b"{}"])


@pytest.mark.parametrize(
    ("keys", "says"),
    [
        ({"name": ""}, 'missing key "name"'),
        ({"name": "a/b"}, "name = "),
        ({"plugins": []}, "plugins = []: must have at least one plugin"),
        ({"plugins": {}}, "plugins = {}: must be a list"),
        ({"plugins": ["x"]}, 'plugins[0] = "x": must be an object'),
        ({"plugins": [{"type": "a"}, {}]}, 'missing key "plugins[1].type"'),
        ({"plugins": [{"type": "../a"}]}, 'plugins[0].type = "../a"'),
        ({"cniVersion": 1}, "cniVersion = 1: must be a string"),
        ({"cniVersions": "1.0.0"}, "cniVersions = "),
        ({"cniVersions": ["x"]}, "cniVersions = "),
        ({"disableCheck": "maybe"}, 'disableCheck = "maybe": must be true or false'),
    ],
)
def test_malformed_lists(keys: dict[str, Any], says: str) -> None:
    with pytest.raises(CniError) as caught:
        parse(**keys)
    assert caught.value.code == Code.INVALID_CONFIG
    assert says in caught.value.msg


def test_plugins_must_be_inlined_where_only_inlined_ones_count() -> None:
    with pytest.raises(CniError, match="loadOnlyInlinedPlugins"):
        parse_conflist(b'{"name": "net", "loadOnlyInlinedPlugins": true}')
    assert parse_conflist(b'{"name": "net"}').plugins == ()
