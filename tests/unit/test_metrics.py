"""The writer of metrics; Prometheus' own parser says what was written."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cnidaria import CniError, Code, Histogram, Metric, Sample
from cnidaria.metrics import Page, number
from cnidaria.node.calls import Calls
from cnidaria.node.frame import Call, Reply
from cnidaria.node.metrics import without_secrets
from cnidaria.node.settings import SettingsError, listen
from cnidaria_policy.metrics import Packets
from support.metrics import parse, types

GAUGE = Metric("cnidaria_depth_bytes", "gauge", "How deep.", ("network", "what"))
COUNTER = Metric("cnidaria_turns_total", "counter", "How often.")
TIMES = Metric("cnidaria_turn_seconds", "histogram", "How long.", ("network",))

texts = st.text() | st.text('\\"\n{}=, #ä')
values = st.floats() | st.integers(-(1 << 70), 1 << 70)


def page(*samples: Sample) -> Page:
    made = Page()
    made.add(samples)
    return made


def same(one: float, other: float) -> bool:
    return one == other or (math.isnan(one) and math.isnan(other))


@given(st.dictionaries(st.tuples(texts, texts), values, min_size=1))
def test_what_was_written_is_read(wanted: dict[tuple[str, str], float]) -> None:
    found = parse(page(*(GAUGE.sample(n, *labels) for labels, n in wanted.items())).text())
    assert len(found) == len(wanted)
    for (network, what), value in wanted.items():
        place = GAUGE.name, (("network", network), ("what", what))
        assert same(found[place], float(value))


@given(texts.filter(str.strip))
def test_a_help_text_is_one_line(text: str) -> None:
    metric = Metric("cnidaria_depth_bytes", "gauge", text)
    written = page(metric.sample(1)).text()
    assert written.count("\n") == 3
    assert parse(written) == {("cnidaria_depth_bytes", ()): 1}


@given(st.lists(st.floats(0, 100), max_size=30))
def test_a_histogram_counts_each_observation_once(observed: list[float]) -> None:
    one = Histogram(TIMES, (0.5, 1, 10), ("pods",))
    for value in observed:
        one.observe(value)
    found = parse(page(*one.samples()).text())
    for bound in (0.5, 1, 10, math.inf):
        place = "cnidaria_turn_seconds_bucket", (("le", number(bound)), ("network", "pods"))
        assert found[place] == sum(value <= bound for value in observed)
    assert found["cnidaria_turn_seconds_sum", (("network", "pods"),)] == pytest.approx(
        sum(observed)
    )


def test_the_format() -> None:
    made = page(COUNTER.sample(3), GAUGE.sample(0.5, "a\\b", 'say "x"\n'))
    assert made.text() == (
        "# HELP cnidaria_depth_bytes How deep.\n"
        "# TYPE cnidaria_depth_bytes gauge\n"
        'cnidaria_depth_bytes{network="a\\\\b",what="say \\"x\\"\\n"} 0.5\n'
        "# HELP cnidaria_turns_total How often.\n"
        "# TYPE cnidaria_turns_total counter\n"
        "cnidaria_turns_total 3\n"
    )
    assert types(made.text()) == {COUNTER.name: "counter", GAUGE.name: "gauge"}


def test_for_programs() -> None:
    (one,) = page(GAUGE.sample(math.nan, "a", "b")).to_json()
    assert one == {
        "name": "cnidaria_depth_bytes",
        "type": "gauge",
        "help": "How deep.",
        "samples": [{"name": one["name"], "labels": {"network": "a", "what": "b"}, "value": None}],
    }


def test_half_a_surrogate_pair_is_written_as_a_question_mark() -> None:
    assert 'what="?"' in page(GAUGE.sample(1, "a", "\udcff")).text().encode().decode()


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ([GAUGE.sample(1, "c", "d"), GAUGE.sample(2, "a", "b")], "there are two of it"),
        ([COUNTER.sample(1), COUNTER.sample(1)], "there are two of it"),
        ([Metric(GAUGE.name, "gauge", "Otherwise.").sample(1)], "two metrics have this name"),
    ],
)
def test_what_contradicts_is_refused_as_a_whole(more: list[Sample], says: str) -> None:
    made = page(GAUGE.sample(1, "a", "b"))
    before = made.text()
    with pytest.raises(ValueError, match=says):
        made.add(more)
    assert made.text() == before
    made.add([COUNTER.sample(1)])


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: Metric("depth", "gauge", "x"), "name = 'depth': must be cnidaria_"),
        (lambda: Metric("cnidaria_a-b", "gauge", "x"), "must be cnidaria_"),
        (lambda: Metric("cnidaria_a", "counter", "x"), "counters, and no others, end in _total"),
        (lambda: Metric("cnidaria_a_total", "gauge", "x"), "counters, and no others"),
        (lambda: Metric("cnidaria_a_sum", "gauge", "x"), "only parts of a histogram"),
        (lambda: Metric("cnidaria_a", "gauge", "x", ("le",)), "labels: 'le'"),
        (lambda: Metric("cnidaria_a", "gauge", "x", ("__a",)), "labels: '__a'"),
        (lambda: Metric("cnidaria_a", "gauge", "x", ("a", "a")), "labels: 'a'"),
        (lambda: Metric("cnidaria_a", "gauge", ""), "help of cnidaria_a: is missing"),
        (lambda: GAUGE.sample(1, "only one"), "zip"),
    ],
)
def test_a_metric_is_named_as_prometheus_has_it(make: Callable[[], object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        make()


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("127.0.0.1:9469", ("127.0.0.1", 9469)),
        ("[::1]:9469", ("::1", 9469)),
        ("0.0.0.0:1", ("0.0.0.0", 1)),
        ("", None),
    ],
)
def test_where_metrics_are_told(text: str, place: tuple[str, int] | None) -> None:
    assert listen("--metrics", text) == place


@pytest.mark.parametrize(
    "text",
    [
        "9469",
        ":9469",
        "127.0.0.1",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "127.0.0.1:1²",
        "::1:9469",
        "[127.0.0.1]:1",
        "localhost:9469",
        "[::1:9469",
        "[]:1",
    ],
)
def test_where_metrics_cannot_be_told(text: str) -> None:
    with pytest.raises(SettingsError) as caught:
        listen("CNIDARIA_METRICS", text)
    problem = "must be an address and a port, such as 127.0.0.1:9469 or [::1]:9469"
    assert str(caught.value) == f"CNIDARIA_METRICS = {text!r}: {problem}"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("sqlite:/var/lib/cluster.db", "sqlite:/var/lib/cluster.db"),
        ("etcd://me:secret@db.example:2379/cni?token=x", "etcd://db.example:2379/cni"),
        ("etcd://db.example", "etcd://db.example"),
        ("redis:db?password=x", "redis:db"),
    ],
)
def test_a_store_is_told_without_secrets(url: str, shown: str) -> None:
    assert without_secrets(url) == shown


# -- calls -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("reply", "code"),
    [
        (Reply(0, b"{}"), "0"),
        (Reply(1, CniError(Code.KERNEL_REFUSED, "no").to_json("1.0.0")), "106"),
        (Reply(1, b'{"code": 4711}'), "other"),
        (Reply(1, b'{"code": "x"}'), "other"),
        (Reply(1, b"[]"), "other"),
        (Reply(1, b""), "other"),
    ],
)
def test_calls_are_counted_by_verb_and_code(reply: Reply, code: str) -> None:
    calls = Calls(lambda _: reply)
    for verb in ("ADD", "VERSION", "SING", ""):
        assert calls.answer(Call(b"", "cnidaria-flat", {"CNI_COMMAND": verb}, b"")) is reply
    found = parse(page(*calls.samples()).text())
    counted = {
        place: n for place, n in found.items() if place[0] == "cnidaria_cni_calls_total" and n
    }
    assert counted == {
        ("cnidaria_cni_calls_total", (("code", code), ("verb", "ADD"))): 1,
        ("cnidaria_cni_calls_total", (("code", code), ("verb", "other"))): 2,
    }
    assert found["cnidaria_cni_call_duration_seconds_count", (("verb", "ADD"),)] == 1


# -- what the kernel has counted -------------------------------------------------------------------

counts = st.dictionaries(
    st.sampled_from(["allow-1", "allow-2", "deny-1", "deny-1-audit-2", "torn", "filter-1"]),
    st.integers(0, 9),
)


@given(st.lists(counts))
def test_sums_of_packets_never_fall(readings: list[dict[str, int]]) -> None:
    """Whatever chains come, go and are made anew; what is only added is counted exactly."""
    packets = Packets()
    for reading in readings:
        before = dict(packets.sums)
        packets.take(reading)
        assert all(packets.sums[verdict] >= count for verdict, count in before.items())
    before = dict(packets.sums)
    packets.take({**packets._before, "deny-9": 2, "allow-9": 3, "torn-9": 0, "x": 7})
    more = {verdict: packets.sums[verdict] - count for verdict, count in before.items()}
    assert more == {"allowed": 3, "denied": 2, "reset": 0, "audited": 0}
