"""A log on the test's database, and a hand that may change it behind the service's back."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pytest
from sqlalchemy import delete, select, update

from service.database import Database
from service.settings import Settings
from service.transparency.entries import append
from service.transparency.log_keys import LogKeys
from service.transparency.merkle import hash_leaf
from service.transparency.models import LogCheckpoint, LogEntry, LogTile
from service.transparency.monitor import Report, watch_database
from service.transparency.reading import signed
from service.transparency.sequencer import integrate

Row = tuple[bytes, bytes]
"""A leaf and its record."""


@dataclass
class Book:
    """The log; each method commits."""

    database: Database
    keys: LogKeys

    def add(self, count: int, ref: str = "grt_a") -> None:
        """Write entries about one grant, each in a transaction of its own."""
        for number in range(count):
            with self.database.transaction() as session:
                append(session, "grant-made", ref, number=number)

    def sign(self, batch: int = 1000) -> str:
        """Sequence what waits; gives the newest checkpoint's note."""
        integrate(self.database, self.keys, batch)
        with self.database.snapshot() as session:
            return signed(session).note

    def watch(self, seen: Sequence[str] = ()) -> Report:
        """The monitor on this database."""
        return watch_database(self.database, self.keys.verifiers, seen)

    def failed(self, seen: Sequence[str] = ()) -> set[str]:
        """The checks of the monitor that do not hold."""
        return {finding.check for finding in self.watch(seen).findings}

    def rows(self) -> list[LogEntry]:
        """The entries in the order in which they were written."""
        with self.database.snapshot() as session:
            found = list(session.scalars(select(LogEntry).order_by(LogEntry.id)))
            session.expunge_all()
            return found

    def rewrite(self, change: Callable[[list[Row]], None]) -> str:
        """Forge another history with the log's own key, complete in itself; gives its note."""
        rows = [(row.leaf, row.record) for row in self.rows()]
        change(rows)
        with self.database.transaction() as session:
            for table in (LogEntry, LogTile, LogCheckpoint):
                session.execute(delete(table))
            for leaf, record in rows:
                session.add(
                    LogEntry(
                        ref="grt_a",
                        subject="0" * 64,
                        leaf=leaf,
                        leaf_hash=hash_leaf(leaf),
                        record=record,
                    )
                )
                session.flush()
        return self.sign()

    def change_entry(self, at: int, **columns: object) -> None:
        """Change one entry's row, and nothing else."""
        with self.database.transaction() as session:
            session.execute(update(LogEntry).where(LogEntry.position == at).values(**columns))


@pytest.fixture
def book(database: Database, settings: Settings) -> Book:
    return Book(database, LogKeys(settings))
