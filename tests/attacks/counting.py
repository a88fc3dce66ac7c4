"""Counting the tries of each attack: `make attacks` prints the table.

A test says with `@pytest.mark.attack("…")` which attack of docs/attacks.md it tries; with
`cases=[…]` only those of its parameters' ids count. Several marks may stand on one test.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

PROPERTY = "attack"
FUZZED = "fuzzed"
"""A line of words that a test of requests at random adds to the table."""


def names_of(item: pytest.Item) -> list[str]:
    """The attacks that one test with its parameters tries."""
    return [mark.args[0] for mark in item.iter_markers("attack") if _counts(mark, item)]


def _counts(mark: pytest.Mark, item: pytest.Item) -> bool:
    cases = mark.kwargs.get("cases")
    return cases is None or any(_has(item, case) for case in cases)


def _has(item: pytest.Item, case: str) -> bool:
    """Whether a case is one of the parameters of a test (their ids are joined by dashes)."""
    callspec = getattr(item, "callspec", None)
    return callspec is not None and f"-{case}-" in f"-{callspec.id}-"


class Attacks:
    """The plugin (`tests/conftest.py` registers it)."""

    def __init__(self, whole: bool) -> None:
        """`whole`: every parameter of a chosen test is collected, so that cases can be checked."""
        self._whole = whole
        self._tries: Counter[str] = Counter()
        self._failed: Counter[str] = Counter()
        self._tests: dict[str, set[str]] = defaultdict(set)
        self._said: list[str] = []

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, items: Sequence[pytest.Item]) -> None:
        """Note each test's attacks with it, so that they come back from other processes."""
        wanted: dict[tuple[str, str], bool] = {}
        for item in items:
            for mark in item.iter_markers("attack"):
                for case in mark.kwargs.get("cases") or ():
                    key = (item.nodeid.partition("[")[0], case)
                    wanted[key] = wanted.get(key, False) or _has(item, case)
            for name in names_of(item):
                item.user_properties.append((PROPERTY, name))
        missing = [key for key, seen in wanted.items() if not seen]
        if self._whole and missing:
            raise pytest.UsageError(f"attack marks name cases that there are not: {missing}")

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count a try when it has ended, or could not begin."""
        if report.when != "call" and not (report.when == "setup" and report.failed):
            return
        for name, value in report.user_properties:
            if name == FUZZED:
                self._said.append(str(value))
            if name == PROPERTY and not report.skipped:
                attack = str(value)
                self._tries[attack] += 1
                self._failed[attack] += report.failed
                self._tests[attack].add(report.nodeid.partition("[")[0])

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """The table, where attacks were asked for (`-m attack`)."""
        if terminalreporter.config.option.markexpr != "attack" or not self._tries:
            return
        terminalreporter.section("attacks")
        width = max(map(len, self._tries))
        for name in sorted(self._tries):
            held = "held" if not self._failed[name] else f"{self._failed[name]} GOT THROUGH"
            terminalreporter.write_line(
                f"{name:<{width}}  {self._tries[name]:>5} tries  "
                f"{len(self._tests[name]):>3} tests  {held}"
            )
        for said in self._said:
            terminalreporter.write_line(f"  {said}")
        terminalreporter.write_line(
            f"{len(self._tries)} attacks, {sum(self._tries.values())} tries, "
            f"{len(set().union(*self._tests.values()))} tests, {sum(self._failed.values())} failed"
        )
