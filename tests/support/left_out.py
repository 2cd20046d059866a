"""pytest plugin: what a run leaves out is said at its end, and is an error when CI=true.

A test may leave itself out on CI only when the table in ``tests/README.md`` lists it.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Generator
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

README = Path(__file__).parent.parent / "README.md"
TABLE = "## What may be left out"

_NAMESPACES = ("kernel", "cluster", "runtime", "third_party")
"""Folders of tests that make namespaces."""

_CAP_NET_ADMIN, _CAP_SYS_ADMIN = 12, 21


def can_make_namespaces() -> bool:
    """Whether this process may create and configure network namespaces."""
    status = Path("/proc/self/status").read_text()
    effective = int(status.split("CapEff:")[1].split()[0], 16)
    needed = 1 << _CAP_NET_ADMIN | 1 << _CAP_SYS_ADMIN
    return effective & needed == needed


def is_real_root() -> bool:
    """Whether this is root of the machine, not only of a user namespace."""
    whole = ["0", "0", "4294967295"]
    return os.geteuid() == 0 and Path("/proc/self/uid_map").read_text().split() == whole


def may_be_left_out(table: str) -> list[tuple[str, str]]:
    """The rows of the README's table: pattern of test ids, part of the reason."""
    section = table.partition(TABLE)[2].partition("\n## ")[0]
    rows = [line.strip("| \n").split("|") for line in section.splitlines() if line.startswith("|")]
    cells = [[cell.strip().strip("`") for cell in row] for row in rows]
    return [(row[0], row[1]) for row in cells[2:]]


def _lacking(folder: str) -> str:
    if folder == "runtime" and not is_real_root():
        return "needs root: container runtimes do not run in a user namespace"
    if folder in _NAMESPACES and not can_make_namespaces():
        return "needs namespaces: run by scripts/in-namespaces, or as root"
    return ""


def _forbid(report: pytest.TestReport | pytest.CollectReport, nodeid: str) -> None:
    """On CI, turn what was left out without being listed into a failure."""
    if os.environ.get("CI") != "true" or not report.skipped or hasattr(report, "wasxfail"):
        return
    reason = _reason(report)
    for pattern, part in may_be_left_out(README.read_text()):
        if fnmatchcase(nodeid, pattern) and part in reason:
            return
    report.outcome = "failed"
    report.longrepr = f"left out on CI, and tests/README.md does not list it: {reason}"


def _reason(report: pytest.TestReport | pytest.CollectReport) -> str:
    text = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
    return text.removeprefix("Skipped: ")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    root = item.config.rootpath / "tests"
    if item.path.is_relative_to(root):
        reason = _lacking(item.path.relative_to(root).parts[0])
        if reason:
            pytest.skip(reason)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid(report, item.nodeid)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid(report, collector.nodeid)
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    skipped = terminalreporter.getreports("skipped")
    if skipped:
        terminalreporter.section("left out")
        for reason, count in Counter(map(_reason, skipped)).most_common():
            terminalreporter.line(f"{count:5} {reason}")
