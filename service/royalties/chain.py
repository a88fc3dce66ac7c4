"""The chain: postings are appended one after another, each sealed with the hash of the one before.

The head's row is locked first, so that on PostgreSQL too the numbers have no gap and the chain no
branch. It is the last lock of every transaction that takes it: grants and jobs come before.
"""

import hashlib
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.royalties.dues import Due, Line
from service.royalties.models import Entry, LedgerHead, Posting

VERSION = 1
"""Of the form that is hashed; stands in it."""


class LedgerBroken(RuntimeError):
    """The head is missing: nothing can be posted before somebody has looked at the ledger."""


def lock_head(session: Session) -> LedgerHead:
    """The head, locked until the transaction ends; what is read after this is up to date.

    Raises `LedgerBroken`.
    """
    head = session.scalar(
        select(LedgerHead).with_for_update(), execution_options={"populate_existing": True}
    )
    if head is None:
        raise LedgerBroken("the ledger's head is missing; run `reprise audit`")
    return head


def append(session: Session, head: LedgerHead, due: Due, at: datetime) -> Posting:
    """Post what is due, after everything posted so far. `head` is what `lock_head` gave.

    `at` is the moment that the due's period was taken from: read twice, the clock may have gone
    into the next month.
    """
    posting = Posting(
        seq=head.seq + 1,
        kind=due.kind,
        job_id=due.job_id,
        template_id=due.template_id,
        template_version=due.template_version,
        grant_id=due.grant_id,
        period=due.period,
        currency=due.currency,
        idempotency_key=due.idempotency_key,
        basis=dict(due.basis),
        at=at,
        previous_sha256=head.sha256,
    )
    entries = [
        Entry(
            posting_seq=posting.seq,
            line=number,
            account=line.account,
            role=line.role,
            side=line.side,
            ppm=line.ppm,
            amount=line.amount,
        )
        for number, line in enumerate(due.lines)
    ]
    posting.sha256 = seal(posting, entries)
    # The posting closes its entries: the database takes none for a number that is there already.
    session.add_all(entries)
    session.flush()
    session.add(posting)
    head.seq, head.sha256 = posting.seq, posting.sha256
    session.flush()
    return posting


def seal(posting: Posting, entries: Sequence[Entry]) -> str:
    """SHA-256 (hex) over the hash before and the canonical JSON (RFC 8785) of the posting."""
    document: dict[str, Any] = {
        "v": VERSION,
        "seq": posting.seq,
        "kind": posting.kind,
        "job": posting.job_id,
        "template": posting.template,
        "grant": posting.grant_id,
        "period": posting.period,
        "currency": posting.currency,
        "key": posting.idempotency_key,
        "basis": posting.basis,
        "at": posting.at.isoformat(),
        "entries": [
            {
                "line": entry.line,
                "account": entry.account,
                "role": entry.role,
                "side": entry.side,
                "ppm": entry.ppm,
                "amount": entry.amount,
            }
            for entry in entries
        ],
    }
    return hashlib.sha256(posting.previous_sha256.encode() + rfc8785.dumps(document)).hexdigest()


def entries_of(session: Session, seq: int) -> Sequence[Entry]:
    """A posting's entries in order."""
    query = select(Entry).where(Entry.posting_seq == seq).order_by(Entry.line)
    return session.scalars(query).all()


def line_of(entry: Entry) -> Line:
    """An entry as the line it was made from."""
    return Line(entry.account, entry.role, entry.side, entry.ppm, entry.amount)
