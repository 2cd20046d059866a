"""host-local itself, as the twin: what it takes we take, and the addresses are the same."""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError
from cnidaria.ipam import IpamConfig, Owner, Pools, requested
from support.needs import needs
from support.node import PLUGIN_DIR

pytestmark = needs(f"{PLUGIN_DIR}/host-local")

VERSION = "0.4.0"


def environment(number: int, args: str) -> dict[str, str]:
    return {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": f"c{number}",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/var/run/netns/none",
        "CNI_PATH": PLUGIN_DIR,
        "CNI_ARGS": args,
    }


def theirs(conf: dict[str, Any], env: dict[str, str]) -> dict[str, Any] | None:
    done = subprocess.run(
        [f"{PLUGIN_DIR}/host-local"],
        input=json.dumps(conf).encode(),
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        check=False,
    )
    return json.loads(done.stdout) if done.returncode == 0 else None


def ours(pools: Pools, conf: dict[str, Any], env: dict[str, str]) -> dict[str, Any] | None:
    try:
        invocation, parsed = Invocation.parse(env), NetConf.parse(conf)
        config = IpamConfig.of(parsed)
        wishes = requested(parsed, invocation)
        found = pools.lease(parsed.name, config, Owner.of(invocation), wishes)
    except CniError:
        return None
    return found.result(VERSION).to_json(VERSION)


ADDRESSES = st.one_of(
    st.integers(1, 30).map(lambda n: f"10.0.0.{n}"),
    st.integers(1, 30).map(lambda n: f"fd00::{n:x}"),
)
# Not the first and last addresses of subnets: those are where we differ on purpose.
SUBNETS = st.sampled_from(
    ["10.0.0.0/24", "10.0.0.0/27", "10.0.0.32/29", "fd00::/64", "fd00::/120", "fd01::20/125"] * 3
    + ["10.0.0.1/24", "10.0.0.0/31", "fd00::/127", "nonsense"]
)
RANGE = st.fixed_dictionaries(
    {"subnet": SUBNETS},
    optional={"rangeStart": ADDRESSES, "rangeEnd": ADDRESSES},
)
IPAM = st.fixed_dictionaries(
    {},
    optional={
        "subnet": SUBNETS,
        "rangeStart": ADDRESSES,
        "ranges": st.lists(st.lists(RANGE, max_size=2), max_size=2),
        "routes": st.just([{"dst": "0.0.0.0/0"}, {"dst": "fd09::/16", "gw": "fd00::1"}]),
    },
)


@given(
    ipam=IPAM,
    ip=st.none() | ADDRESSES,
    ips=st.lists(ADDRESSES, max_size=2),
)
def test_the_same_addresses_for_the_same_configuration(ipam, ip, ips):
    if "rangeStart" in ipam and "subnet" not in ipam:
        return  # It passes over a range without subnet; we say that it is one.
    pools = Pools(lambda: 0.0)
    with tempfile.TemporaryDirectory() as directory:
        conf = {
            "cniVersion": VERSION,
            "name": "net",
            "type": "host-local",
            "ipam": {"type": "host-local", "dataDir": directory, **ipam},
        }
        # Requests come last: a requested address moves host-local's round robin, but not ours.
        asking = {**conf, "runtimeConfig": {"ips": ips}}
        calls = [(conf, ""), (conf, ""), (conf, ""), (asking, f"IP={ip}" if ip else "")]
        for number, (asked, args) in enumerate(calls):
            env = environment(number, args)
            want, have = theirs(asked, env), ours(pools, asked, env)
            given_ips = (want or {}).get("ips", [])
            if {one["gateway"] for one in given_ips} & {
                one["address"].partition("/")[0] for one in given_ips
            }:
                return  # It hands out another range's gateway; we do not.
            assert have == want
