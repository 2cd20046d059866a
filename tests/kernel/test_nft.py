"""nftables without nft: what is declared reads in nft's own words, and reads back the same."""

from __future__ import annotations

import errno

import pytest

from cnidaria.kernel.handle import Kernel, KernelError
from cnidaria.kernel.objects import NftChain, NftElement, NftSet, NftTable
from cnidaria.plan.expr import (
    CT_MARK,
    ETHER_SADDR,
    ICMPV6_TYPE,
    IIFNAME,
    IP6_DADDR,
    IP_DADDR,
    IP_SADDR,
    L4PROTO,
    MARK,
    OIFNAME,
    PRIORITY,
    TCP_DPORT,
    TH_DPORT,
    UDP_DPORT,
    accept,
    counter,
    ct_state,
    dnat,
    drop,
    family,
    fib_exists,
    fib_local,
    fib_missing,
    goto,
    in_set,
    jump,
    limit,
    log,
    mark_from,
    masquerade,
    match,
    nflog,
    notrack,
    priority_from,
    reject,
    reset,
    return_,
    rule,
    set_ct_mark,
    set_mark,
    set_priority,
    tcp_flags,
    vmap,
)
from support.namespaces import run
from support.needs import needs

pytestmark = needs("nft")

T = "cnidaria_test"
TABLE = NftTable(T)
SOURCES = NftSet(T, "sources", ("ifname", "ipv4_addr"))
NETS = NftSet(T, "nets", ("ipv4_addr",), interval=True)
NETS6 = NftSet(T, "nets6", ("ipv6_addr",), interval=True)
CLASS = NftSet(T, "class", ("ipv4_addr",), data=("mark",), interval=True)
POLICY = NftSet(
    T, "policy", ("mark", "inet_proto", "inet_service"), data=("verdict",), interval=True
)
PORTS = NftSet(T, "ports", ("inet_service",))
MARKS = NftSet(T, "marks", ("mark",))
MARK_RANGES = NftSet(T, "mark_ranges", ("mark",), interval=True)
MACS = NftSet(T, "macs", ("ether_addr",))
IDENTITY = NftSet(T, "identity", ("ipv4_addr",), data=("classid",))
ROWS = NftSet(T, "rows", ("classid",), data=("verdict",))
SETS = (SOURCES, NETS, NETS6, CLASS, POLICY, PORTS, MARKS, MARK_RANGES, MACS, IDENTITY, ROWS)
SIDE = NftChain(T, "side", rules=(rule(counter(), accept(), comment="fine"),))

# A rule and what nft calls it.
FILTER = {
    "established": (
        rule(ct_state("established", "related"), accept()),
        "ct state established,related accept",
    ),
    "spoofed": (
        rule(
            match(IIFNAME, "cnd*"),
            in_set((IIFNAME, IP_SADDR), SOURCES, negate=True),
            counter(),
            drop(),
            comment="spoofed",
        ),
        'iifname "cnd*" iifname . ip saddr != @sources counter packets 0 bytes 0 drop '
        'comment "spoofed"',
    ),
    "mark from": (rule(mark_from(IP_DADDR, CLASS)), "meta mark set ip daddr map @class"),
    "vmap": (
        rule(vmap((MARK, L4PROTO, TH_DPORT), POLICY)),
        "meta mark . meta l4proto . th dport vmap @policy",
    ),
    "mark in ranges": (rule(in_set(MARK, MARK_RANGES), drop()), "meta mark @mark_ranges drop"),
    "mark in": (rule(in_set(MARK, MARKS), drop()), "meta mark @marks drop"),
    "port range": (rule(match(TCP_DPORT, "80-90"), jump("side")), "tcp dport 80-90 jump side"),
    "port": (
        rule(match(UDP_DPORT, 4789), in_set(IP_SADDR, NETS, negate=True), drop()),
        "udp dport 4789 ip saddr != @nets drop",
    ),
    "bytes": (rule(match(IP_DADDR, "10.0.0.0/8"), return_()), "ip daddr 10.0.0.0/8 return"),
    "bits": (rule(match(IP_DADDR, "10.0.0.0/9", "!="), drop()), "ip daddr != 10.0.0.0/9 drop"),
    "v6": (rule(match(IP6_DADDR, "fd00::/8"), accept()), "ip6 daddr fd00::/8 accept"),
    "v6 in": (rule(in_set(IP6_DADDR, NETS6), accept()), "ip6 daddr @nets6 accept"),
    "address": (rule(match(IP_SADDR, "10.0.0.1"), accept()), "ip saddr 10.0.0.1 accept"),
    "set mark": (
        rule(set_mark(0x10, 0xF0)),
        "meta mark set meta mark & 0xffffff1f | 0x00000010",
    ),
    "masked": (
        rule(match(MARK, 0x10, mask=0xF0), reject()),
        "meta mark & 0x000000f0 == 0x00000010 reject",
    ),
    "ct mark": (rule(set_ct_mark(5)), "ct mark set 0x00000005"),
    "log": (rule(match(CT_MARK, 5), log("hello ")), 'ct mark 0x00000005 log prefix "hello "'),
    "oif": (rule(match(OIFNAME, "eth0", "!="), goto("side")), 'oifname != "eth0" goto side'),
    "protocol": (rule(match(L4PROTO, "icmpv6"), accept()), "meta l4proto ipv6-icmp accept"),
    "family": (rule(family(6), drop()), "meta nfproto ipv6 drop"),
    "macs": (rule(in_set(ETHER_SADDR, MACS), drop()), "ether saddr @macs drop"),
    "mac": (
        rule(match(ETHER_SADDR, "02:00:00:00:00:01"), drop()),
        "ether saddr 02:00:00:00:00:01 drop",
    ),
    "less": (rule(match(TCP_DPORT, 1024, "<"), drop()), "tcp dport < 1024 drop"),
    "priority from": (
        rule(match(PRIORITY, "0:0"), priority_from(IP_SADDR, IDENTITY)),
        "meta priority none meta priority set ip saddr map @identity",
    ),
    "priority": (
        rule(set_priority("1:a"), vmap(PRIORITY, ROWS)),
        "meta priority set 1:a meta priority vmap @rows",
    ),
    "told": (
        rule(limit(10), nflog(3, "denied", 64), drop()),
        'limit rate 10/second log prefix "denied" group 3 snaplen 64 drop',
    ),
    "torn": (
        rule(ct_state("new"), tcp_flags(0x17, 2, "!="), reset()),
        "ct state new tcp flags != syn / fin,syn,rst,ack reject with tcp reset",
    ),
    "neighbours": (
        rule(match(ICMPV6_TYPE, "133-137"), accept()),
        "icmpv6 type 133-137 accept",
    ),
}
PREROUTING = {
    "missing": (rule(fib_missing("saddr", "iif"), drop()), "fib saddr . iif oif missing drop"),
    "exists": (rule(fib_exists("daddr"), accept()), "fib daddr oif exists accept"),
    "local": (rule(fib_local("daddr"), accept()), "fib daddr type local accept"),
    "notrack": (rule(notrack()), "notrack"),
}
POSTROUTING = {
    "masquerade": (
        rule(match(IP_SADDR, "10.1.0.0/24"), masquerade()),
        "ip saddr 10.1.0.0/24 masquerade",
    ),
    "random": (rule(masquerade(fully_random=True)), "masquerade fully-random"),
}
DNAT = {
    "port": (
        rule(match(TCP_DPORT, 8080), dnat(4, "10.1.0.5", 80)),
        "tcp dport 8080 dnat ip to 10.1.0.5:80",
    ),
    "v6": (rule(match(TCP_DPORT, 8081), dnat(6, "fd00::5")), "tcp dport 8081 dnat ip6 to fd00::5"),
}


def chain(rules, **how):
    return NftChain(T, "under_test", rules=tuple(one for one, _ in rules.values()), **how)


CHAINS = {
    "forward": (
        FILTER,
        chain(FILTER, hook="forward", priority=-10, policy="drop"),
        "type filter hook forward priority filter - 10; policy drop;",
    ),
    "prerouting": (
        PREROUTING,
        chain(PREROUTING, hook="prerouting", priority=-300),
        "type filter hook prerouting priority raw; policy accept;",
    ),
    "postrouting": (
        POSTROUTING,
        chain(POSTROUTING, type="nat", hook="postrouting", priority=100),
        "type nat hook postrouting priority srcnat; policy accept;",
    ),
    "dnat": (
        DNAT,
        chain(DNAT, type="nat", hook="prerouting", priority=-100),
        "type nat hook prerouting priority dstnat; policy accept;",
    ),
}
ELEMENTS = {
    "concatenation": (
        SOURCES.elements(("cnd1", "10.1.0.5"), ("cnd2", "10.1.0.6")),
        '"cnd1" . 10.1.0.5, "cnd2" . 10.1.0.6',
    ),
    "intervals": (
        NETS.elements("10.0.0.0/8", "1.2.3.4", "1.2.3.5", "192.168.0.1-192.168.0.6", "255.0.0.0/8"),
        "1.2.3.4, 1.2.3.5, 10.0.0.0/8, 192.168.0.1-192.168.0.6, 255.0.0.0/8",
    ),
    "v6 intervals": (NETS6.elements("::1", "fd00::/8"), "::1, fd00::/8"),
    "everything": (NETS.elements("0.0.0.0/0"), "0.0.0.0/0"),
    "map": (
        CLASS.elements(
            NftElement(("10.1.0.0/24",), ("0x10",)), NftElement(("10.1.1.7",), ("0x20",))
        ),
        "10.1.0.0/24 : 0x00000010, 10.1.1.7 : 0x00000020",
    ),
    "verdicts": (
        POLICY.elements(
            NftElement(("0x10", "tcp", "80-90"), ("accept",)),
            NftElement(("0x20", "udp", "53"), ("jump side",)),
        ),
        "0x00000010 . tcp . 80-90 : accept, 0x00000020 . udp . 53 : jump side",
    ),
    "ports": (PORTS.elements("80", "443"), "80, 443"),
    "marks": (MARKS.elements("0x10"), "0x00000010"),
    "mark ranges": (MARK_RANGES.elements("0x10-0x1e"), "0x00000010-0x0000001e"),
    "macs": (MACS.elements("02:00:00:00:00:01"), "02:00:00:00:00:01"),
    "identities": (
        IDENTITY.elements(NftElement(("10.1.0.5",), ("1:2f",), comment="shop/web")),
        '10.1.0.5 comment "shop/web" : 1:2f',
    ),
    "rows": (ROWS.elements(NftElement(("1:2f",), ("goto side",))), "1:2f : goto side"),
}


def listed(namespace):
    """The ruleset, a line for each line, and elements on one."""
    return " ".join(run(namespace, "nft", "list", "ruleset").split())


@pytest.fixture
def kernel(host):
    kernel = Kernel(host)
    kernel.apply([TABLE, SIDE, *SETS])
    return kernel


@pytest.mark.parametrize("name", CHAINS)
def test_rules_read_as_in_nft_and_back(kernel, host, name):
    rules, declared, head = CHAINS[name]
    assert kernel.differences([declared])[0].field == ""
    kernel.apply([declared])
    body = run(host, "nft", "list", "chain", "inet", T, "under_test")
    lines = [line.strip() for line in body.splitlines()[2:]]
    assert lines == [head, *[said for _, said in rules.values()], "}", "}"]
    assert kernel.differences([declared]) == []


@pytest.mark.parametrize("name", ELEMENTS)
def test_elements_read_as_in_nft_and_back(kernel, host, name):
    elements, said = ELEMENTS[name]
    empty = listed(host)
    assert kernel.differences([elements])[0].field == "elements"
    for _ in range(2):
        kernel.apply([elements])
        assert f"elements = {{ {said} }}" in listed(host)
        assert kernel.differences([elements]) == []
        assert kernel.differences([elements] * 20) == []
    one = elements.elements[0]
    part = NftSet(T, elements.set, elements.type, data=elements.data, interval=elements.interval)
    assert kernel.withdraw([part.elements(one)]) == []
    assert [d.expected for d in kernel.differences([elements])] == [str(one)]
    assert kernel.withdraw([elements]) == []
    assert kernel.withdraw([elements]) == []
    assert listed(host) == empty


def test_the_same_again_changes_nothing(kernel, host):
    declared = CHAINS["forward"][1]
    kernel.apply([declared])
    before = run(host, "nft", "-a", "list", "ruleset")  # with handles
    kernel.apply([TABLE, SIDE, *SETS, declared])
    assert run(host, "nft", "-a", "list", "ruleset") == before


@pytest.mark.parametrize(
    "change",
    [
        {"rules": (rule(drop()),)},
        {"rules": ()},
        {"policy": "drop"},
        {"priority": 7},
        {"hook": "input"},
        {"hook": None, "policy": "accept"},
    ],
    ids=str,
)
def test_a_chain_is_replaced_as_a_whole(kernel, change):
    first = NftChain(T, "c", hook="forward", rules=(rule(counter(), accept()), rule(drop())))
    kernel.apply([first])
    fields = {name: getattr(first, name) for name in first.__struct_fields__}
    second = NftChain(**{**fields, **change})
    assert kernel.differences([second])
    kernel.apply([second])
    assert kernel.differences([second]) == []


@pytest.mark.parametrize(
    "command",
    [
        f"flush chain inet {T} side",
        f"insert rule inet {T} side drop",
        f"add rule inet {T} side tcp dport 80 ip ttl 1 limit rate 1/second",
        f"delete chain inet {T} side",
        f"delete table inet {T}",
    ],
)
def test_what_others_change_is_seen_and_mended(kernel, host, command):
    run(host, "nft", *command.split())
    assert kernel.differences([SIDE])
    kernel.apply([TABLE, SIDE])
    assert kernel.differences([TABLE, SIDE]) == []


def test_a_set_holds_exactly_its_content(kernel, host):
    for content in (("10.0.0.0/8", "1.2.3.4"), ("1.2.3.4", "1.2.3.5"), (), ("0.0.0.0/0",)):
        declared = NETS.holding(*content)
        assert bool(kernel.differences([declared])) == bool(content)
        kernel.apply([declared])
        assert kernel.differences([declared]) == []
        run(host, "nft", "flush", "set", "inet", T, "nets")
    kernel.apply([NETS.elements("10.0.0.0/8")])
    kernel.apply([NETS])  # without content others' elements are let be
    assert kernel.differences([NETS.elements("10.0.0.0/8")]) == []


def test_data_is_replaced(kernel):
    old = CLASS.elements(NftElement(("10.1.0.0/24",), ("0x10",)))
    new = CLASS.elements(NftElement(("10.1.0.0/24",), ("0x20",)))
    kernel.apply([old])
    assert str(kernel.differences([new])[0]).endswith(
        "elements is '10.1.0.0/24 : 0x10', must be '10.1.0.0/24 : 0x20'"
    )
    kernel.apply([new])
    assert kernel.differences([new]) == []


def test_a_set_of_other_types_is_refused(kernel):
    with pytest.raises(KernelError, match="another is there") as refusal:
        kernel.apply([NftSet(T, "ports", ("ipv4_addr",))])
    assert refusal.value.errno == errno.EEXIST


def test_all_that_is_applied_at_once_is_one_transaction(host):
    steps = []
    Kernel(host, steps.append).apply([TABLE, SIDE, *SETS, ELEMENTS["map"][0]])
    assert len(steps) == 1


def test_what_cannot_be_is_told_and_the_rest_is_done(kernel):
    bad = NftChain(T, "bad", rules=(rule(jump("nowhere")),))
    good = PORTS.elements("80")
    with pytest.raises(KernelError) as refusal:
        kernel.apply([good, bad])
    assert str(refusal.value) == (
        f"cannot add nft chain inet {T} bad (host): No such file or directory"
    )
    assert kernel.differences([good]) == []


@pytest.mark.parametrize("together", [True, False])
def test_all_of_it_goes(kernel, host, together):
    run(host, "nft", "add", "table", "inet", "other")
    declared = [TABLE, SIDE, *SETS, *(one for one, _ in ELEMENTS.values() if one.set != "nets")]
    declared += [
        NftChain(T, f"c{n}", rules=one.rules, hook=one.hook, type=one.type, priority=one.priority)
        for n, (_, one, _) in enumerate(CHAINS.values())
    ]
    kernel.apply(declared)
    owned = {obj.key for obj in kernel.owned()}
    assert owned == {obj.key for obj in declared if obj.kind != "nft_elements"}
    for part in [declared] if together else [[one] for one in reversed(declared)]:
        errors = kernel.withdraw(part)
        assert together or all(error.errno == errno.EBUSY for error in errors)
    assert kernel.withdraw(declared) == []
    assert kernel.owned() == []
    assert listed(host) == "table inet other { }"


def test_what_was_in_use_goes_when_it_is_no_more(kernel):
    """The map's elements name a chain that is to go before the map."""
    elements = ELEMENTS["verdicts"][0]
    kernel.apply([elements])
    assert kernel.withdraw([POLICY, SIDE]) == []


def test_thousands_of_elements(kernel):
    many = PORTS.holding(*(str(port) for port in range(1, 5001)))
    kernel.apply([many])
    assert kernel.differences([many]) == []
    kernel.apply([PORTS.holding()])
    assert kernel.differences([PORTS.holding()]) == []


def test_the_types_of_fields_and_sets_must_agree():
    with pytest.raises(ValueError, match=r"type = .* must be ipv4_addr"):
        in_set(IP_SADDR, PORTS)
    with pytest.raises(ValueError, match=r"data = .* must be verdict"):
        vmap(IP_SADDR, NETS)
    with pytest.raises(ValueError, match="of type ipv4_addr"):
        match(IP_SADDR, "fd00::1")
    with pytest.raises(ValueError, match="within the mask 0xf"):
        set_mark(0x10, 0xF)


def test_somebody_elses_table_of_our_name_is_left_alone(host):
    kernel = Kernel(host)
    run(host, "nft", "add table inet cnidaria-theirs { chain c { }; }")
    before = listed(host)
    theirs = NftTable("cnidaria-theirs")
    with pytest.raises(KernelError, match="somebody else's table"):
        kernel.apply([theirs])
    assert [one.field for one in kernel.differences([theirs])] == ["owner"]
    assert kernel.owned() == []
    assert kernel.withdraw([theirs, NftChain("cnidaria-theirs", "c")]) == []
    assert listed(host) == before


def test_a_table_says_whose_it_is(host):
    kernel = Kernel(host)
    kernel.apply([NftTable("cnidaria-pods")])
    assert 'comment "made by cnidaria"' in run(host, "nft", "list table inet cnidaria-pods")
