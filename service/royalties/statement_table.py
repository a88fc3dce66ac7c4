"""A statement as CSV, written as it is read: any number of lines, few of them in memory."""

import csv
import io
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from service.database import Database
from service.royalties.models import Posting
from service.royalties.statements import (
    LONGEST_PAGE,
    Holder,
    StatementLine,
    newest_posting,
    read_lines,
    sums,
)

COLUMNS = (
    "posting",
    "at",
    "kind",
    "job",
    "template",
    "grant",
    "track",
    "title",
    "role",
    "side",
    "ppm",
    "amount",
    "currency",
)
Cell = str | int


def stream_table(
    database: Database, holder: Holder, period: str, *, page: int = LONGEST_PAGE
) -> Iterator[str]:
    """The lines of a period between the balances before and after, some at a time.

    No transaction lasts while the reader takes its time: the ledger up to its newest posting at
    the beginning does not change, and the closing balance is the sum of what was written.
    """
    with database.snapshot(steady=True) as session:
        newest = newest_posting(session)
        written = Posting.seq <= newest
        balances = Counter(sums(session, holder.account, (Posting.period < period) & written))
        for currency in sums(session, holder.account, (Posting.period == period) & written):
            balances[currency] += 0
    yield _csv([COLUMNS, *_balance_rows("opening balance", balances)])
    after = (0, 0)
    while True:
        with database.snapshot() as session:
            lines = read_lines(session, holder.account, period, after, page, newest)
        if not lines:
            break
        for line in lines:
            balances[line.currency] += line.amount
        yield _csv(_row(line) for line in lines)
        after = (lines[-1].posting, lines[-1].line)
    yield _csv(_balance_rows("closing balance", balances))


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before one that might be.

    Full-width forms count as well as the ASCII ones, and blanks before them do not help. Numbers
    of ours, which may be negative, are written as numbers and never come here.
    """
    first = unicodedata.normalize("NFKC", text).lstrip()[:1]
    risky = first in {"=", "+", "-", "@", "|", "%"} or text.startswith(("\t", "\r", "\n"))
    return f"'{text}" if risky else text


def _row(line: StatementLine) -> list[Cell]:
    texts = (
        line.kind,
        line.job,
        line.template,
        line.grant,
        line.track,
        line.title,
        line.role,
        line.side or "",
    )
    return [
        line.posting,
        line.at.isoformat(),
        *(safe_cell(text) for text in texts),
        "" if line.ppm is None else line.ppm,
        line.amount,
        line.currency,
    ]


def _balance_rows(kind: str, balances: Counter[str]) -> Iterator[list[Cell]]:
    for currency, amount in sorted(balances.items()):
        row: list[Cell] = [""] * len(COLUMNS)
        row[COLUMNS.index("kind")] = kind
        row[COLUMNS.index("amount")] = amount
        row[COLUMNS.index("currency")] = currency
        yield row


def _csv(rows: Iterable[Sequence[Cell]]) -> str:
    out = io.StringIO()
    csv.writer(out, lineterminator="\r\n").writerows(rows)
    return out.getvalue()
