"""The index: from a landmark's hash to the recordings that have it, and the moments.

A recording's landmarks are many (7,000 in three minutes) and a sample of them finds it: a quarter,
chosen by the two peaks' bins alone, so that a copy's are the same ones. A short recording is kept
whole. The pairs of one hash lie side by side in one row, so a question reads some hundred rows
however many recordings there are. One indexer at a time adds to them.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import Select, func, insert, select, update
from sqlalchemy.orm import Session

from service.database import Database, now
from service.recognition.landmarks import APART_BITS
from service.recognition.models import Postings, Recording
from service.recognition.packing import unpack_landmarks

MOST_POSTINGS = 2048
"""Pairs of one hash; what is more common says nothing about which recording it is."""
KEPT_WHOLE = 2048
"""A recording of so few landmarks is indexed with all of them."""
ONE_IN = 4
BATCH = 64
"""Recordings that are indexed in one transaction."""
PAIR = np.dtype([("recording", "<u4"), ("frame", "<u4")])
_CHUNK = 900
_ADVISORY_LOCK = 0x5245505249460001 % 2**63


def sampled(hashes: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which hashes are of the sample: the bins decide, and not the time between the peaks.

    (Knuth's multiplicative hash: neighbouring bins fall apart.)
    """
    mixed: NDArray[np.bool_] = ((hashes >> APART_BITS) * 2_654_435_761 >> 16) % ONE_IN == 0
    return mixed


def index_recordings(database: Database, batch: int = BATCH) -> int:
    """Index what was recorded since; gives how many. A chore of the relay."""
    with database.snapshot() as session:
        if session.scalar(_unindexed().limit(1)) is None:
            return 0
    total = 0
    while True:
        with database.transaction() as session:
            if not _hold(session):
                return total
            rows = session.execute(
                select(Recording.id, Recording.landmarks)
                .where(Recording.id.in_(_unindexed().limit(batch)))
                .order_by(Recording.id)
            ).all()
            add_postings(session, [(row.id, row.landmarks) for row in rows])
            session.execute(
                update(Recording)
                .where(Recording.id.in_([row.id for row in rows]))
                .values(indexed_at=now())
                .execution_options(synchronize_session=False)
            )
        total += len(rows)
        if len(rows) < batch:
            return total


def add_postings(session: Session, recordings: Sequence[tuple[int, bytes]]) -> None:
    """Add the samples of recordings, `(id, packed landmarks)`; the caller alone does so."""
    fresh: defaultdict[int, list[NDArray[np.void]]] = defaultdict(list)
    for number, packed in recordings:
        hashes, frames = unpack_landmarks(packed)
        if hashes.size > KEPT_WHOLE:
            chosen = sampled(hashes)
            hashes, frames = hashes[chosen], frames[chosen]
        values, begins = np.unique(hashes, return_index=True)
        pairs = np.empty(hashes.size, PAIR)
        pairs["recording"], pairs["frame"] = number, frames
        for value, part in zip(values.tolist(), np.split(pairs, begins[1:]), strict=True):
            fresh[value].append(part)
    values_wanted = sorted(fresh)
    for at in range(0, len(values_wanted), _CHUNK):
        _merge(session, {value: fresh[value] for value in values_wanted[at : at + _CHUNK]})


def _merge(session: Session, fresh: dict[int, list[NDArray[np.void]]]) -> None:
    kept = {
        row.hash: row
        for row in session.execute(
            select(Postings.hash, Postings.length, Postings.pairs).where(Postings.hash.in_(fresh))
        )
    }
    added: list[dict[str, object]] = []
    changed: list[dict[str, object]] = []
    for value, parts in fresh.items():
        before = kept.get(value)
        count = 0 if before is None else before.length
        if count >= MOST_POSTINGS:
            continue
        more = np.concatenate(parts)[: MOST_POSTINGS - count]
        row = {
            "hash": value,
            "length": count + len(more),
            "pairs": (b"" if before is None else before.pairs) + more.tobytes(),
        }
        (added if before is None else changed).append(row)
    if added:
        session.execute(insert(Postings), added)
    if changed:
        session.execute(update(Postings), changed)


def _unindexed() -> Select[int]:
    return select(Recording.id).where(Recording.indexed_at.is_(None)).order_by(Recording.id)


def _hold(session: Session) -> bool:
    """Whether this transaction alone indexes. (On SQLite the writing transaction is the lock.)"""
    if session.get_bind().dialect.name == "postgresql":
        return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_ADVISORY_LOCK))))
    return True
