"""Statements: what a party earned in a period, line by line, as JSON and as CSV."""

import csv
import io
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Party, Track
from service.catalog.parties import get_party, party_of
from service.database import now
from service.errors import InvalidRequest, NotFound
from service.jobs.models import Job
from service.royalties.dues import account_of
from service.royalties.models import Entry, Posting
from service.royalties.periods import end_of_period, has_ended
from service.royalties.settlement import unsettled

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


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One entry of the party's account. `amount` is in minor units of `currency`."""

    posting: int
    at: datetime
    kind: str
    job: str
    template: str
    grant: str
    track: str
    title: str
    role: str
    side: str | None
    ppm: int | None
    amount: int
    currency: str


@dataclass(frozen=True, slots=True)
class Balance:
    """What was owed before the period and is after it, in minor units of `currency`."""

    currency: str
    opening: int
    earned: int
    closing: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A party's account over one period; `final` once nothing can be added to it."""

    party: str
    name: str
    period: str
    final: bool
    balances: Sequence[Balance]
    lines: Sequence[StatementLine]


def statement(
    session: Session, principal: Principal, period: str, party_id: str | None = None
) -> Statement:
    """The statement of the principal's own party; an operator names any.

    Raises `NotFound` (for another's too: the same answer) or `InvalidRequest`.
    """
    party = _party(session, principal, party_id)
    end_of_period(period)
    account = account_of(party.id)
    opening = _sums(session, account, Posting.period < period)
    earned = _sums(session, account, Posting.period == period)
    return Statement(
        party=party.id,
        name=party.name,
        period=period,
        final=_is_final(session, period),
        balances=[
            Balance(
                currency,
                opening.get(currency, 0),
                earned.get(currency, 0),
                opening.get(currency, 0) + earned.get(currency, 0),
            )
            for currency in sorted({*opening, *earned})
        ],
        lines=_lines(session, account, period),
    )


def as_csv(made: Statement) -> str:
    """The statement as CSV (RFC 4180): its lines, after a line each for the opening balances and
    before one each for the closing ones.
    """
    out = io.StringIO(newline="")
    writer = csv.writer(out)
    writer.writerow(COLUMNS)
    for balance in made.balances:
        writer.writerow(_balance_row("opening balance", balance.opening, balance.currency))
    for line in made.lines:
        writer.writerow(
            [
                line.posting,
                line.at.isoformat(),
                *(
                    safe_cell(text)
                    for text in (
                        line.kind,
                        line.job,
                        line.template,
                        line.grant,
                        line.track,
                        line.title,
                        line.role,
                        line.side or "",
                    )
                ),
                "" if line.ppm is None else line.ppm,
                line.amount,
                line.currency,
            ]
        )
    for balance in made.balances:
        writer.writerow(_balance_row("closing balance", balance.closing, balance.currency))
    return out.getvalue()


def safe_cell(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe stands before one that might be.

    Full-width forms count as well as the ASCII ones, and blanks before them do not help. Numbers
    of ours, which may be negative, are written as numbers and never come here.
    """
    first = unicodedata.normalize("NFKC", text).lstrip()[:1]
    risky = first in {"=", "+", "-", "@", "|", "%"} or text.startswith(("\t", "\r", "\n"))
    return f"'{text}" if risky else text


def _balance_row(kind: str, amount: int, currency: str) -> list[str | int]:
    row: list[str | int] = [""] * len(COLUMNS)
    row[COLUMNS.index("kind")] = kind
    row[COLUMNS.index("amount")] = amount
    row[COLUMNS.index("currency")] = currency
    return row


def _party(session: Session, principal: Principal, party_id: str | None) -> Party:
    own = party_of(session, principal)
    if party_id is not None and principal.role == "operator":
        return get_party(session, party_id)
    if own is not None and party_id in (None, own.id):
        return own
    if party_id is None:
        raise InvalidRequest(
            "you act for no party: name one with ?party=, as an operator, or register yours",
            limit="a statement is a party's",
            changed_by="you (POST /v1/parties)",
        )
    raise NotFound("no such party")


def _sums(session: Session, account: str, when: object) -> dict[str, int]:
    query = (
        select(Posting.currency, func.sum(Entry.amount))
        .join(Posting, Posting.seq == Entry.posting_seq)
        .where(Entry.account == account, when)  # type: ignore[arg-type]
        .group_by(Posting.currency)
    )
    return {currency: int(total) for currency, total in session.execute(query)}


def _lines(session: Session, account: str, period: str) -> list[StatementLine]:
    query = (
        select(Posting, Entry, Job.track_id, Track.title)
        .join(Entry, Entry.posting_seq == Posting.seq)
        .join(Job, Job.id == Posting.job_id)
        .join(Track, Track.id == Job.track_id)
        .where(Entry.account == account, Posting.period == period)
        .order_by(Posting.seq, Entry.line)
    )
    return [
        StatementLine(
            posting=posting.seq,
            at=posting.at,
            kind=posting.kind,
            job=posting.job_id,
            template=posting.template,
            grant=posting.grant_id,
            track=track_id,
            title=title,
            role=entry.role,
            side=entry.side,
            ppm=entry.ppm,
            amount=entry.amount,
            currency=posting.currency,
        )
        for posting, entry, track_id, title in session.execute(query)
    ]


def _is_final(session: Session, period: str) -> bool:
    if not has_ended(period, now()):
        return False
    return session.execute(unsettled(period).limit(1)).first() is None
