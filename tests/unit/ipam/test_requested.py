"""Requested addresses, and resolv.conf."""

from __future__ import annotations

import os

import pytest

from cnidaria.cni.config import NetConf
from cnidaria.cni.env import Invocation
from cnidaria.cni.errors import CniError, Code
from cnidaria.cni.records import Dns
from cnidaria.ipam import Owner, requested
from cnidaria.ipam.resolv import parse_resolv_conf, read_resolv_conf


def invocation(args: str = "") -> Invocation:
    env = {
        "CNI_COMMAND": "ADD",
        "CNI_CONTAINERID": "c1",
        "CNI_IFNAME": "eth0",
        "CNI_NETNS": "/run/netns/x",
        "CNI_ARGS": args,
    }
    return Invocation.parse(env)


def conf(**more) -> NetConf:
    return NetConf.parse({"cniVersion": "1.0.0", "name": "n", "type": "t", **more})


def test_all_three_places_count_and_the_prefix_length_does_not():
    found = requested(
        conf(
            args={"cni": {"ips": ["10.1.0.6/24", "FD00::0006"]}},
            runtimeConfig={"ips": ["10.1.0.5", "::ffff:10.1.0.7"]},
        ),
        invocation("IP=10.1.0.5/24;K8S_POD_NAME=x"),
    )
    assert [(str(one.address), one.source) for one in found] == [
        ("10.1.0.5", "CNI_ARGS: IP"),
        ("10.1.0.6", "args.cni.ips"),
        ("fd00::6", "args.cni.ips"),
        ("10.1.0.7", "runtimeConfig.ips"),
    ]
    assert requested(conf(), invocation("IP=")) == ()


@pytest.mark.parametrize("text", ["10.1.0", "10.1.0.300", "fe80::1%eth0", "10.1.0.5/99", "x/y"])
def test_what_is_no_address_is_refused(text):
    with pytest.raises(CniError, match="CNI_ARGS: IP") as caught:
        requested(conf(), invocation(f"IP={text}"))
    assert caught.value.code == Code.INVALID_ENVIRONMENT
    with pytest.raises(CniError, match=r"args\.cni\.ips") as caught:
        requested(conf(args={"cni": {"ips": [text]}}), invocation())
    assert caught.value.code == Code.INVALID_CONFIG


def test_owner_knows_its_pod():
    owner = Owner.of(invocation("K8S_POD_NAMESPACE=default;K8S_POD_NAME=web-0"))
    assert (owner.key, owner.group) == ("c1/eth0", "namespace default")
    assert str(owner) == "pod default/web-0, container c1 (eth0)"
    assert Owner.of(invocation()).group == "container c1"


def test_resolv_conf_is_read_as_host_local_reads_it():
    text = """# nameserver 1.1.1.1
; search x
nameserver 192.0.2.1
 nameserver\t2001:db8::1  # trailing words do not count
domain a.example
domain b.example
search a.example b.example
search c.example
options ndots:5
options edns0 trust-ad
nameserver
sortlist 1.2.3.4
"""
    assert parse_resolv_conf(text) == Dns(
        ("192.0.2.1", "2001:db8::1"),
        "b.example",
        ("a.example", "b.example", "c.example"),
        ("ndots:5", "edns0", "trust-ad"),
    )
    assert parse_resolv_conf("") == Dns()


def test_resolv_conf_that_cannot_be_read(tmp_path):
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    bad = [(tmp_path / "none", "No such file"), (fifo, "not a regular"), ("/", "directory")]
    for path, problem in bad:
        with pytest.raises(CniError, match=problem) as caught:
            read_resolv_conf(str(path))
        assert caught.value.code == Code.IO_FAILURE
        assert f'ipam.resolvConf = "{path}"' in caught.value.msg
