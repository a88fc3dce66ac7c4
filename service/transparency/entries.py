"""Entries: what goes into the log, written in the transaction of what it records.

Public is a leaf: what kind of thing happened, a name for whom or what that only those concerned
can connect (`subject`, 256 random bits for each job and grant), and the hash of the record. The
record itself holds 256 random bits too, so that nobody finds it by guessing; it is handed only to
those who may read what it tells.
"""

import hashlib
import secrets
from collections.abc import Mapping
from typing import Any, Literal

import rfc8785
from sqlalchemy import select
from sqlalchemy.orm import Session

from service.database import now
from service.transparency.merkle import hash_leaf
from service.transparency.models import LogEntry

EventType = Literal[
    "credential-issued",
    "credential-taken-down",
    "grant-made",
    "grant-opened",
    "grant-suspended",
    "grant-revoked",
    "grant-superseded",
    "training-grant-made",
    "training-grant-opened",
    "training-grant-suspended",
    "training-grant-revoked",
    "training-grant-superseded",
]
LEAF_VERSION = 1
SECRET_BYTES = 32


def append(session: Session, event: EventType, ref: str, **facts: Any) -> LogEntry:
    """Record an event about a job or grant (`ref`) in the caller's transaction; all or nothing.

    The caller holds the row of what it is about, so that two events of it have one order. `facts`
    are what the record tells besides, as JSON. Takes no lock of its own: the place in the tree is
    given afterwards.
    """
    moment = now()
    subject = subject_of(session, ref) or secrets.token_hex(SECRET_BYTES)
    record = {
        **facts,
        "type": event,
        "ref": ref,
        "subject": subject,
        "salt": secrets.token_hex(SECRET_BYTES),
        "at": moment.isoformat(timespec="seconds"),
    }
    leaf = leaf_of(record)
    entry = LogEntry(
        ref=ref,
        subject=subject,
        leaf=leaf,
        leaf_hash=hash_leaf(leaf),
        record=rfc8785.dumps(record),
        at=moment,
    )
    session.add(entry)
    session.flush()
    return entry


def leaf_of(record: Mapping[str, Any]) -> bytes:
    """The bytes that the log holds for a record. Raises `ValueError` for what is none."""
    try:
        # RFC 8785 knows one way to write a record, so it may travel as any JSON.
        commitment = hashlib.sha256(rfc8785.dumps(dict(record))).hexdigest()
        return rfc8785.dumps(
            {
                "commitment": commitment,
                "subject": str(record["subject"]),
                "type": str(record["type"]),
                "v": LEAF_VERSION,
            }
        )
    except (KeyError, TypeError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise ValueError("this is no record of the log") from error


def subject_of(session: Session, ref: str) -> str | None:
    """The name under which the log's entries about a job or grant stand; None before the first."""
    return session.scalar(
        select(LogEntry.subject).where(LogEntry.ref == ref).order_by(LogEntry.id).limit(1)
    )
