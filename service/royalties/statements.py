"""Statements: what a party earned in a period, or an app owes for it, line by line and in pages."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from service.auth import Principal
from service.catalog.models import Track
from service.catalog.parties import get_party, party_of
from service.database import now
from service.errors import InvalidRequest, NotFound, Problem
from service.jobs.models import Job
from service.royalties.dues import account_of, receivable_of
from service.royalties.models import Entry, LedgerHead, Posting
from service.royalties.periods import end_of_period, has_ended
from service.royalties.settlement import unsettled

PAGE = 200
LONGEST_PAGE = 1000
_CURSOR = re.compile(r"([0-9]{1,18})\.([0-9]{1,9})")


class AppsAreBilled(Problem):
    """What an app owes is between it and the operator."""

    status = 403
    slug = "bill-not-yours"
    title = "This is not your account to read"
    limit = "an app's account is the operator's to read"
    changed_by = "nobody; an owner reads its own party's statement"


@dataclass(frozen=True, slots=True)
class Holder:
    """Whose account it is: a party's, or an app's that owes. `name` is the party's or the app's."""

    account: str
    name: str
    party: str | None
    app: str | None


@dataclass(frozen=True, slots=True)
class StatementLine:
    """One entry of the account, the posting's `line`. `amount` is in minor units of `currency`."""

    posting: int
    line: int
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

    @property
    def cursor(self) -> str:
        """Where a page that follows this line begins."""
        return f"{self.posting}.{self.line}"


@dataclass(frozen=True, slots=True)
class Balance:
    """What was owed before the period and is after it, in minor units of `currency`."""

    currency: str
    opening: int
    earned: int
    closing: int


@dataclass(frozen=True, slots=True)
class Statement:
    """A page of an account over one period; `final` once nothing can be added to it.

    The balances are the whole period's. `next` is where the next page begins, if there is one.
    """

    party: str | None
    app: str | None
    name: str
    period: str
    final: bool
    balances: Sequence[Balance]
    lines: Sequence[StatementLine]
    next: str | None


def holder_of(
    session: Session, principal: Principal, party_id: str | None = None, app: str | None = None
) -> Holder:
    """Whose statement it is: the principal's own party's; an operator names any, or an app.

    Raises `NotFound` (for another's too: the same answer), `AppsAreBilled` or `InvalidRequest`.
    """
    if app is not None:
        if principal.role != "operator":
            raise AppsAreBilled("what an app owes is for the operator of this service to read")
        if party_id is not None:
            raise InvalidRequest("name a party or an app, not both")
        return Holder(receivable_of(app), app, None, app)
    party = party_of(session, principal)
    if party_id is not None and principal.role == "operator":
        party = get_party(session, party_id)
    if party is None and party_id is None:
        raise InvalidRequest(
            "you act for no party: name one with ?party=, as an operator, or register yours",
            limit="a statement is a party's",
            changed_by="you (POST /v1/parties)",
        )
    if party is None or party_id not in (None, party.id):
        raise NotFound("no such party")
    return Holder(account_of(party.id), party.name, party.id, None)


def statement(
    session: Session, holder: Holder, period: str, *, after: str | None = None, limit: int = PAGE
) -> Statement:
    """A page of at most `limit` lines, those after the cursor `after`.

    Raises `InvalidRequest` for what is no period or cursor.
    """
    end_of_period(period)
    begin = parse_cursor(after)
    opening = sums(session, holder.account, Posting.period < period)
    earned = sums(session, holder.account, Posting.period == period)
    lines = read_lines(session, holder.account, period, begin, limit + 1)
    more = len(lines) > limit
    lines = lines[:limit]
    return Statement(
        party=holder.party,
        app=holder.app,
        name=holder.name,
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
        lines=lines,
        next=lines[-1].cursor if more else None,
    )


def parse_cursor(cursor: str | None) -> tuple[int, int]:
    """Posting and line that a cursor names; before all of them without one.

    Raises `InvalidRequest`.
    """
    if cursor is None:
        return (0, 0)
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise InvalidRequest(
            "`after` is no place in a statement; take it from `next` of the page before",
            limit="after",
            changed_by="whoever asks, by leaving it out",
        )
    return int(found.group(1)), int(found.group(2))


def newest_posting(session: Session) -> int:
    """The number of the newest posting; what is read up to it does not change."""
    return session.scalar(select(LedgerHead.seq)) or 0


def sums(session: Session, account: str, when: ColumnElement[bool]) -> dict[str, int]:
    """What an account's entries of these postings come to, by currency."""
    query = (
        select(Posting.currency, func.sum(Entry.amount))
        .join(Posting, Posting.seq == Entry.posting_seq)
        .where(Entry.account == account, when)
        .group_by(Posting.currency)
    )
    return {currency: int(total) for currency, total in session.execute(query)}


def read_lines(
    session: Session,
    account: str,
    period: str,
    after: tuple[int, int],
    limit: int,
    newest: int | None = None,
) -> list[StatementLine]:
    """At most `limit` of an account's lines of a period, in the ledger's order."""
    seq, number = after
    # By the account's index alone: every page costs the same, wherever it begins.
    query = (
        select(Posting, Entry, Job.track_id, Track.title)
        .join(Entry, Entry.posting_seq == Posting.seq)
        .join(Job, Job.id == Posting.job_id)
        .join(Track, Track.id == Job.track_id)
        .where(
            Entry.account == account,
            Entry.posting_seq >= seq,
            or_(Entry.posting_seq > seq, Entry.line > number),
            Posting.period == period,
        )
        .order_by(Entry.posting_seq, Entry.line)
        .limit(limit)
    )
    if newest is not None:
        query = query.where(Entry.posting_seq <= newest)
    return [
        StatementLine(
            posting=posting.seq,
            line=entry.line,
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
