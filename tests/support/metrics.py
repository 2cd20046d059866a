"""Metrics read by Prometheus' own parser, and judged as strictly as ``promtool check metrics``."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

Labels = tuple[tuple[str, str], ...]
Numbers = dict[tuple[str, Labels], float]


def parse(text: str) -> Numbers:
    """The samples, by name and sorted labels."""
    found: Numbers = {}
    for family in text_string_to_metric_families(text):
        assert family.documentation
        assert family.type in {"counter", "gauge", "histogram"}
        for sample in family.samples:
            place = sample.name, tuple(sorted(sample.labels.items()))
            assert place not in found, f"{place} is there twice"
            found[place] = sample.value
    assert_strict(text)
    return found


def types(text: str) -> dict[str, str]:
    """The families: name to type."""
    lines = [line.split(" ") for line in text.splitlines() if line.startswith("# TYPE ")]
    return {words[2]: words[3] for words in lines}


def assert_strict(text: str) -> None:
    """HELP and TYPE once for each family, before its samples, which are together; a new line ends
    the text; counters end in ``_total``; buckets rise to what ``_count`` says.
    """
    assert text.endswith("\n") and "\n\n" not in text
    families: list[str] = []
    was = ""
    for line in text.split("\n")[:-1]:
        words = line.split(" ", 3)
        if line.startswith("# HELP "):
            assert words[2] not in families
            families.append(words[2])
            was = "help"
        elif line.startswith("# TYPE "):
            assert was == "help" and words[2] == families[-1]
            assert words[2].endswith("_total") is (words[3] == "counter")
            was = words[3]
        else:
            name = line.partition("{")[0].partition(" ")[0]
            parts = ("_bucket", "_sum", "_count") if was == "histogram" else ("",)
            assert name in {families[-1] + part for part in parts}, line
    assert families == sorted(families)
    for family in text_string_to_metric_families(text):
        if family.type == "histogram":
            counts: dict[Labels, list[float]] = {}
            for one in family.samples:
                labels = tuple(pair for pair in sorted(one.labels.items()) if pair[0] != "le")
                if one.name.endswith(("_bucket", "_count")):
                    counts.setdefault(labels, []).append(one.value)
            for numbers in counts.values():
                assert numbers == sorted(numbers) and numbers[-1] == numbers[-2]


def number(numbers: Numbers, name: str, **labels: str) -> float:
    """One of the samples."""
    return numbers[name, tuple(sorted(labels.items()))]
