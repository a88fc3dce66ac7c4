"""The sequencer: gives entries their places in the tree, and signs what it then is.

Entries are written without a place, so that whoever publishes or revokes waits for nobody. One
sequencer at a time takes those that are committed, in the order of their numbers, and in one
transaction sets their places, grows the tiles and keeps a signed checkpoint: after a crash all of
it is there or none. A key that is new signs the newest checkpoint at once. An entry has its place
within seconds, `MAX_MERGE_DELAY_SECONDS` at most while a relay runs. A number may be committed
after a larger one has got its place; two events of one grant never are, for the second waits for
the first's commit.
"""

import structlog
from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from service.database import Database
from service.transparency.log_keys import LogKeys
from service.transparency.merkle import root
from service.transparency.models import LogCheckpoint, LogEntry, LogTile
from service.transparency.tiles import TileMissing, Tiles

log = structlog.get_logger(__name__)

MAX_MERGE_DELAY_SECONDS = 60
BATCH = 1000
# Any two instances of this service agree on this number, and nobody else uses it.
_ADVISORY_LOCK = 0x52455052494C4F47 % 2**63


class LogDamaged(Exception):
    """The tree that is kept is not the one that was signed: nothing more may be signed on it."""


def keep_sequencing(database: Database, keys: LogKeys) -> int:
    """`integrate` as a chore of the relay: a damaged log is told, and holds up nothing else."""
    try:
        return integrate(database, keys)
    except LogDamaged as damage:
        log.error("public_log_damaged", detail=str(damage))
        return 0


def integrate(database: Database, keys: LogKeys, batch: int = BATCH) -> int:
    """Give every waiting entry its place; gives how many. Raises `LogDamaged`."""
    with database.snapshot() as session:
        last = latest(session)
        if last is not None and not _waiting(session) and keys.have_signed(last.note):
            return 0
    total = 0
    while True:
        # A checkpoint that somebody has seen is never taken back.
        with database.transaction() as session:
            if not _hold(session):
                return total
            count = _integrate(session, keys, batch)
        total += count
        if count < batch:
            return total


def latest(session: Session) -> LogCheckpoint | None:
    """The newest checkpoint; None before the first."""
    return session.scalar(select(LogCheckpoint).order_by(LogCheckpoint.size.desc()).limit(1))


def stored_tiles(session: Session) -> Tiles:
    """The tree as it is kept; read what belongs together in one session."""

    def load(level: int, number: int) -> bytes:
        kept = session.scalar(
            select(LogTile.hashes).where(LogTile.level == level, LogTile.number == number)
        )
        return kept or b""

    return Tiles(load)


def _integrate(session: Session, keys: LogKeys, batch: int) -> int:
    last = latest(session)
    size = 0 if last is None else last.size
    rows = session.execute(
        select(LogEntry.id, LogEntry.leaf_hash)
        .where(LogEntry.position.is_(None))
        .order_by(LogEntry.id)
        .limit(batch)
    ).all()
    if last is not None and not rows and keys.have_signed(last.note):
        return 0
    tiles = stored_tiles(session)
    try:
        if last is not None and root(tiles.nodes, size) != last.root:
            raise LogDamaged(f"the tree of {size} entries has another root than was signed")
        grown = tiles.grow(size, (row.leaf_hash for row in rows))
        top = root(tiles.nodes, grown)
    except TileMissing as missing:
        raise LogDamaged(str(missing)) from missing
    if rows:
        places = [{"id": row.id, "position": size + number} for number, row in enumerate(rows)]
        session.execute(update(LogEntry), places)
    for (level, number), hashes in tiles.changed().items():
        session.merge(LogTile(level=level, number=number, hashes=hashes))
    if last is not None and not rows:
        last.note = keys.sign_too(last.note, grown, top)
    else:
        session.add(LogCheckpoint(size=grown, root=top, note=keys.sign(grown, top)))
    return len(rows)


def _waiting(session: Session) -> bool:
    query = select(LogEntry.id).where(LogEntry.position.is_(None)).limit(1)
    return session.scalar(query) is not None


def _hold(session: Session) -> bool:
    """Whether this transaction alone sequences. (On SQLite the writing transaction is the lock.)"""
    if session.get_bind().dialect.name == "postgresql":
        return bool(session.scalar(select(func.pg_try_advisory_xact_lock(_ADVISORY_LOCK))))
    return True
