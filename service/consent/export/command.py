"""The body of `reprise verify-grant FILE`."""

import json
import unicodedata
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from service.consent.export.checking import Report, TrustedKeys, check_export, read_keys
from service.consent.export.document import MOST_BYTES, ExportUnreadable
from service.consent.plain_words import Unreadable, read
from service.database import now

HOLDS: Final = 0
FAILS: Final = 1
NOT_READ: Final = 2
STYLES = {"holds": "green", "fails": "bold red", "unknown": "yellow"}


class FileUnusable(Exception):
    """A file that was named cannot be used; the words say why."""


def verify_grant_command(
    file: Path, *, keys: Path | None, service_keys: Path | None, as_json: bool
) -> int:
    """Print what holds of an exported grant; gives the exit status.

    0: nothing failed; 1: something did; 2: a file could not be read.
    """
    console = Console(highlight=False, emoji=False)
    try:
        report = check_export(
            _content(file),
            at=now(),
            party_keys=_keys(keys),
            service_keys=_keys(service_keys),
        )
    except FileUnusable as error:
        Console(stderr=True, highlight=False).print(Text(str(error), style="bold red"))
        return NOT_READ
    if as_json:
        # ASCII, so that control characters arrive escaped; no wrapping, so that it stays JSON.
        console.print(json.dumps(_document(report), indent=2), markup=False, soft_wrap=True)
    else:
        _show(console, report)
    return HOLDS if report.holds else FAILS


def _show(console: Console, report: Report) -> None:
    words = _words(report)
    if words:
        console.print(Text("What the owners signed", style="bold"))
        table = Table(show_header=False, box=None, pad_edge=False)
        table.add_column(no_wrap=True, style="bold")
        table.add_column(overflow="fold")
        for label, said in words:
            table.add_row(Text(label), Text(_printable(said)))
        console.print(table)
    checks = Table(title="What was checked", title_justify="left")
    checks.add_column("Check", overflow="fold")
    checks.add_column("Outcome", no_wrap=True)
    checks.add_column("Detail", overflow="fold", ratio=1)
    for check in report.checks:
        outcome = Text(check.outcome, style=STYLES[check.outcome])
        checks.add_row(Text(_printable(check.name)), outcome, Text(_printable(check.detail)))
    console.print(checks)
    failed = sum(check.outcome == "fails" for check in report.checks)
    if failed:
        console.print(Text(f"It does not hold: {failed} checks fail.", style="bold red"))
    else:
        console.print(Text("It holds, as far as a file can tell.", style="bold green"))


def _words(report: Report) -> tuple[tuple[str, str], ...]:
    # Nothing is shown as signed that a check has found not to be.
    if report.payload is None or not report.holds:
        return ()
    try:
        return read(report.payload).lines
    except Unreadable:
        return ()


def _document(report: Report) -> dict[str, Any]:
    return {"holds": report.holds, "checks": [asdict(check) for check in report.checks]}


def _keys(file: Path | None) -> TrustedKeys | None:
    if file is None:
        return None
    try:
        return read_keys(_content(file))
    except ExportUnreadable as error:
        raise FileUnusable(f"{file} cannot be used: {error}") from None


def _content(file: Path) -> bytes:
    try:
        with file.open("rb") as source:
            return source.read(MOST_BYTES + 1)
    except OSError as error:
        raise FileUnusable(f"{file} cannot be read: {error.strerror}") from None


def _printable(text: str) -> str:
    # A name may hold a sequence that would steer the reader's terminal.
    return "".join(char if unicodedata.category(char) not in {"Cc", "Cf"} else "�" for char in text)
