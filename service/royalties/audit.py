"""The audit: everything in the ledger computed again from what was signed, published and heard.

It trusts no figure that it can compute: hashes, balances, every posting's lines from the grant's
payload, plays from the plays themselves, reversals from what they reverse, and for every published
remix with a price its posting. What it cannot see is a ledger that was rewritten whole, newest
hash included: keep the head that a run prints, and give it to the next.
"""

from collections.abc import Iterator, Sequence
from itertools import groupby

from sqlalchemy import select
from sqlalchemy.orm import Session

from service.errors import Problem
from service.royalties.audit_jobs import check_jobs
from service.royalties.audit_plays import check_plays
from service.royalties.chain import line_of, seal
from service.royalties.dues import Line
from service.royalties.findings import CHECKS, Audit, Difference
from service.royalties.models import GENESIS, Entry, LedgerHead, Posting
from service.royalties.recount import Recount

__all__ = ["CHECKS", "Audit", "Difference", "audit"]

WINDOW = 500


def audit(session: Session, kept_head: tuple[int, str] | None = None) -> Audit:
    """Look at the whole ledger, in the caller's snapshot. Writes nothing.

    `kept_head` is the number and hash of an earlier run's head. The session's identity map is
    emptied on the way, so that what it read before answers for nothing.
    """
    if session.get_bind().dialect.name == "postgresql" and not session.in_transaction():
        session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
    seen = Audit()
    recount = Recount(session, seen)
    previous = GENESIS
    for window in _windows(session):
        recount.prepare([posting for posting, _ in window])
        for posting, entries in window:
            previous = _check_link(seen, posting, entries, previous, kept_head)
            lines = tuple(line_of(entry) for entry in entries)
            _check_balance(seen, posting, lines)
            try:
                recount.compare(posting, lines)
            # A changed row may hold anything at all; what cannot be read is a difference too.
            except (AttributeError, LookupError, Problem, TypeError, ValueError) as error:
                seen.found("due", f"posting {posting.seq}", f"cannot be computed again: {error!r}")
    _check_head(session, seen, kept_head)
    _check_orphans(session, seen)
    check_jobs(session, seen, recount)
    check_plays(session, seen)
    return seen


def _windows(session: Session) -> Iterator[list[tuple[Posting, list[Entry]]]]:
    """Every posting with its entries, in order, some hundred at a time."""
    after = -(2**62)
    fresh = {"populate_existing": True}
    while True:
        session.expire_all()
        window = session.scalars(
            select(Posting).where(Posting.seq > after).order_by(Posting.seq).limit(WINDOW),
            execution_options=fresh,
        ).all()
        if not window:
            return
        entries = session.scalars(
            select(Entry)
            .where(Entry.posting_seq > after, Entry.posting_seq <= window[-1].seq)
            .order_by(Entry.posting_seq, Entry.line),
            execution_options=fresh,
        ).all()
        by_posting = {
            seq: list(lines) for seq, lines in groupby(entries, lambda entry: entry.posting_seq)
        }
        yield [(posting, by_posting.get(posting.seq, [])) for posting in window]
        after = window[-1].seq
        # Weakly held entities would be compared with the rows of the next window for nothing.
        session.expunge_all()


def _check_link(
    seen: Audit,
    posting: Posting,
    entries: Sequence[Entry],
    previous: str,
    kept: tuple[int, str] | None,
) -> str:
    row = f"posting {posting.seq}"
    seen.postings += 1
    seen.entries += len(entries)
    if posting.seq != seen.postings:
        seen.found("chain", row, f"number {seen.postings} is expected")
    if posting.previous_sha256 != previous:
        seen.found("chain", row, "it does not name the hash before it")
    try:
        if seal(posting, entries) != posting.sha256:
            seen.found("chain", row, "it does not match its hash")
    except (AttributeError, TypeError, ValueError) as error:
        seen.found("chain", row, f"unreadable: {error!r}")
    seen.head = (posting.seq, posting.sha256)
    if kept is not None and posting.seq == kept[0] and posting.sha256 != kept[1]:
        seen.found("head", row, "its hash is not the one that was kept")
    return posting.sha256


def _check_balance(seen: Audit, posting: Posting, lines: Sequence[Line]) -> None:
    total = sum(line.amount for line in lines)
    if total != 0 or not lines:
        seen.found("balance", f"posting {posting.seq}", f"sums to {total}")
    for line in lines:
        seen.balances[line.account, posting.currency] += line.amount


def _check_head(session: Session, seen: Audit, kept: tuple[int, str] | None) -> None:
    heads = session.execute(select(LedgerHead.id, LedgerHead.seq, LedgerHead.sha256)).all()
    if [tuple(head) for head in heads] != [(1, *seen.head)]:
        seen.found("head", "ledger_head", "it is not the newest posting")
    if kept is None:
        return
    if not 0 <= kept[0] <= seen.head[0]:
        seen.found("head", f"posting {kept[0]}", "it was there once and is gone")
    if kept[0] == 0 and kept[1] != GENESIS:
        seen.found("head", "posting 0", "an empty ledger has another hash")


def _check_orphans(session: Session, seen: Audit) -> None:
    orphans = (
        select(Entry.posting_seq)
        .where(~select(Posting.seq).where(Posting.seq == Entry.posting_seq).exists())
        .distinct()
    )
    for seq in session.scalars(orphans):
        seen.found("balance", f"posting {seq}", "there are entries without a posting")
