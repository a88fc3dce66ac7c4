"""The bodies of `reprise audit` and `reprise settle`."""

import json
import re
from typing import Final

from rich.console import Console
from rich.table import Table

from service.database import Database
from service.errors import InvalidRequest
from service.royalties.audit import CHECKS, Audit, audit
from service.royalties.settlement import settle
from service.settings import Settings, get_settings

IN_ORDER: Final = 0
DIFFERS: Final = 1
_HEAD = re.compile(r"(\d{1,18}):([0-9a-f]{64})")


def audit_command(
    *,
    as_json: bool = False,
    kept_head: str | None = None,
    settings: Settings | None = None,
    console: Console | None = None,
) -> int:
    """Audit the ledger and print what was found; returns the exit status, 1 if anything differs.

    `kept_head` is `NUMBER:SHA256`, as an earlier run printed it. Raises `InvalidRequest`.
    """
    database = Database((settings or get_settings()).database)
    try:
        with database.snapshot() as session:
            seen = audit(session, _parse_head(kept_head))
    finally:
        database.dispose()
    console = console or Console(markup=False, highlight=False, emoji=False, soft_wrap=True)
    if as_json:
        console.print(json.dumps(_document(seen), indent=2))
    else:
        _print(console, seen)
    return DIFFERS if seen.differences else IN_ORDER


def settle_command(period: str, *, settings: Settings | None = None) -> int:
    """Settle a period's plays and print what was posted. Raises as `settle` does."""
    database = Database((settings or get_settings()).database)
    try:
        done = settle(database, period)
    finally:
        database.dispose()
    amounts = ", ".join(f"{amount} {currency}" for currency, amount in done.amounts.items())
    Console(markup=False, highlight=False, soft_wrap=True).print(
        f"{period}: {done.postings} postings for {done.plays} plays, "
        f"{amounts or 'nothing'} in minor units"
    )
    return IN_ORDER


def _parse_head(text: str | None) -> tuple[int, str] | None:
    if text is None:
        return None
    found = _HEAD.fullmatch(text)
    if found is None:
        raise InvalidRequest(f"{text!r} is no head; write NUMBER:SHA256 as an audit printed it")
    return int(found.group(1)), found.group(2)


def _document(seen: Audit) -> dict[str, object]:
    return {
        "in_order": not seen.differences,
        "head": {"seq": seen.head[0], "sha256": seen.head[1]},
        "postings": seen.postings,
        "entries": seen.entries,
        "published_remixes": seen.jobs,
        "plays": seen.plays,
        "unsettled_plays": seen.unsettled_plays,
        "unreversed_takedowns": seen.unreversed_takedowns,
        "balances": [
            {"account": account, "currency": currency, "minor_units": amount}
            for (account, currency), amount in sorted(seen.balances.items())
        ],
        "differences": [
            {"check": found.check, "row": found.row, "detail": found.detail}
            for found in seen.differences
        ],
    }


def _print(console: Console, seen: Audit) -> None:
    table = Table("check", "what it holds", "differences")
    for name, meaning in CHECKS.items():
        count = sum(found.check == name for found in seen.differences)
        table.add_row(name, meaning, str(count) if count else "none")
    console.print(table)
    balances = Table("account", "currency", "minor units")
    for (account, currency), amount in sorted(seen.balances.items()):
        balances.add_row(account, currency, f"{amount:,}")
    console.print(balances)
    for found in seen.differences:
        console.print(f"{found.check}: {found.row}: {found.detail}")
    console.print(
        f"{seen.postings} postings, {seen.entries} entries, {seen.jobs} published remixes, "
        f"{seen.plays} plays"
    )
    if seen.unsettled_plays:
        console.print(f"{seen.unsettled_plays} plays of ended periods wait for `reprise settle`")
    if seen.unreversed_takedowns:
        console.print(f"{seen.unreversed_takedowns} remixes taken down are about to be paid back")
    console.print(f"head {seen.head[0]}:{seen.head[1]}")
    console.print("the ledger differs" if seen.differences else "the ledger is in order")
