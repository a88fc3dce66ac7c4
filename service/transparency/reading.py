"""Reading the log: checkpoints, entries, proofs and tiles, of what has been signed already."""

from collections.abc import Sequence

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from service.database import now
from service.errors import Conflict, NotFound
from service.transparency.merkle import HASH_BYTES, Hash, consistency_proof, inclusion_proof
from service.transparency.models import LogCheckpoint, LogEntry
from service.transparency.proof import write_proof
from service.transparency.sequencer import latest, stored_tiles
from service.transparency.tiles import HEIGHT, WIDTH, width

TOP_LEVEL = 63 // HEIGHT


class NotLoggedYet(Conflict):
    """It is recorded, and has no place in the signed tree yet: that takes seconds."""

    slug = "not-logged-yet"
    title = "Not in the signed log yet"
    limit = "the log is signed a moment after what it records"
    changed_by = "nobody; ask again a little later"


class SizeUnknown(NotFound):
    """The log has not grown to that size."""

    slug = "log-size-unknown"
    title = "The log is not that large"
    limit = "how many entries the log has signed"
    changed_by = "nobody; it grows by what happens"


def signed(session: Session) -> LogCheckpoint:
    """The newest checkpoint. Raises `NotLoggedYet` before the first."""
    found = latest(session)
    if found is None:
        raise NotLoggedYet("the log has signed no checkpoint yet", headers={"Retry-After": "2"})
    return found


def waiting(session: Session) -> tuple[int, float]:
    """How many entries wait for their place, and for how many seconds the oldest does."""
    count, oldest = session.execute(
        select(func.count(), func.min(LogEntry.at)).where(LogEntry.position.is_(None))
    ).one()
    return count, 0.0 if oldest is None else max(0.0, (now() - oldest).total_seconds())


def entries(session: Session, start: int, end: int) -> Sequence[LogEntry]:
    """The entries from `start` up to, not including, `end`, in the tree's order."""
    return session.scalars(
        select(LogEntry)
        .where(LogEntry.position >= start, LogEntry.position < end)
        .order_by(LogEntry.position)
    ).all()


def entries_about(session: Session, subject: str, start: int, limit: int) -> Sequence[LogEntry]:
    """What the log holds about one subject from `start` on, in the tree's order."""
    return session.scalars(
        select(LogEntry)
        .where(LogEntry.subject == subject, LogEntry.position >= start)
        .order_by(LogEntry.position)
        .limit(limit)
    ).all()


def prove_inclusion(
    session: Session, leaf_hash: Hash, size: int | None
) -> tuple[int, int, list[Hash]]:
    """Index, size and proof of a leaf. Raises `NotFound`, `NotLoggedYet` or `SizeUnknown`."""
    found = session.scalar(select(LogEntry).where(LogEntry.leaf_hash == leaf_hash))
    if found is None:
        raise NotFound("the log has no such leaf")
    size = _within(session, size)
    if found.position is None or found.position >= size:
        raise NotLoggedYet("a later checkpoint covers this leaf", headers={"Retry-After": "2"})
    path = inclusion_proof(stored_tiles(session).nodes, found.position, size)
    return found.position, size, path


def prove_consistency(session: Session, first: int, second: int | None) -> tuple[int, list[Hash]]:
    """The second size and the proof from the first. Raises `SizeUnknown`."""
    second = _within(session, second)
    if first > second:
        raise SizeUnknown(f"a log of {second} entries has not grown from one of {first}")
    return second, consistency_proof(stored_tiles(session).nodes, first, second)


def proof_of(session: Session, entry: LogEntry) -> str:
    """The proof that travels: an entry's record and place, under the newest checkpoint.

    Raises `NotLoggedYet`.
    """
    checkpoint = signed(session)
    if entry.position is None or entry.position >= checkpoint.size:
        raise NotLoggedYet("it is signed within seconds", headers={"Retry-After": "2"})
    path = inclusion_proof(stored_tiles(session).nodes, entry.position, checkpoint.size)
    return write_proof(entry.record, entry.position, path, checkpoint.note)


def entries_of(session: Session, ref: str) -> Sequence[LogEntry]:
    """Everything that was recorded about a job or grant, in the order in which it happened."""
    return session.scalars(select(LogEntry).where(LogEntry.ref == ref).order_by(LogEntry.id)).all()


def tile(session: Session, level: int, number: int, wide: int) -> bytes:
    """A tile's first `wide` hashes. Raises `NotFound` for one that no checkpoint covers."""
    _require_covered(session, level, number, wide)
    found = stored_tiles(session).hashes(level, number)
    return found[: wide * HASH_BYTES]


def entry_bundle(session: Session, number: int, wide: int) -> bytes:
    """Leaves side by side, each after its length in two bytes. Raises `NotFound`."""
    _require_covered(session, 0, number, wide)
    start = number * WIDTH
    return b"".join(
        len(entry.leaf).to_bytes(2, "big") + entry.leaf
        for entry in entries(session, start, start + wide)
    )


def _require_covered(session: Session, level: int, number: int, wide: int) -> None:
    covered = level <= TOP_LEVEL and width(level, number, signed(session).size)
    if not covered or wide > covered:
        raise NotFound("no such tile")


def _within(session: Session, size: int | None) -> int:
    largest = signed(session).size
    if size is None:
        return largest
    if size > largest:
        raise SizeUnknown(f"the log has {largest} entries")
    return size
