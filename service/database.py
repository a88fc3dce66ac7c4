"""Database: one transaction per request or task, on SQLite (WAL) or PostgreSQL."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    BigInteger,
    Connection,
    DateTime,
    Dialect,
    Engine,
    Integer,
    MetaData,
    TypeDecorator,
    create_engine,
    event,
)
from sqlalchemy.orm import DeclarativeBase, Session

SequenceId = BigInteger().with_variant(Integer, "sqlite")
"""A row's number; SQLite counts only its own kind of integer by itself."""

SQLITE_SYNCHRONOUS = "FULL"
"""A commit is on the disk before anybody sees it: a revocation that has returned, a checkpoint that
was signed and a payment are not taken back by a loss of power. (PostgreSQL's way by itself.)"""


class UTCDateTime(TypeDecorator[datetime]):
    """An aware UTC datetime on every backend (SQLite keeps no zone)."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:
        """Refuse naive times and store UTC."""
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError("naive datetime; times are aware UTC")
        return value.astimezone(UTC)

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Give the zone back."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class Base(DeclarativeBase):
    """Base of every table; names of constraints are fixed so that migrations can name them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "ck": "ck_%(table_name)s_%(constraint_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
            "pk": "pk_%(table_name)s",
        }
    )
    type_annotation_map = {datetime: UTCDateTime}


def new_id(prefix: str) -> str:
    """A fresh identifier such as `trk_1f0c…` (122 random bits)."""
    return f"{prefix}_{uuid.uuid4().hex}"


def now() -> datetime:
    """The time, aware UTC."""
    return datetime.now(UTC)


_KEPT = "reprise_kept"


def keep(session: Session, row: Base) -> None:
    """Write a row when the session ends, whether or not its own transaction is committed.

    For what must be on record although nothing else happened, such as a refusal. The block that
    opened the session raises if the row cannot be written.
    """
    session.info.setdefault(_KEPT, []).append(row)


def may_write(session: Session) -> bool:
    """Whether the session is a `transaction()`, so that what is added to it is committed."""
    return bool(session.connection().get_execution_options().get("reprise_write", False))


class Database:
    """An engine and its two kinds of session.

    `transaction()` may write; on SQLite it takes the write lock when it begins, so two writers
    wait for each other and never deadlock on a lock upgrade. `snapshot()` only reads.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self.engine: Engine = create_engine(url, pool_pre_ping=True)
        if self.engine.dialect.name == "sqlite":
            _prepare_sqlite(self.engine)

    @contextmanager
    def transaction(self) -> Iterator[Session]:
        """A read-write session, committed at the end of the block, rolled back on an error.

        What was committed outlives a loss of power, and nobody sees it before it would.
        """
        with self._session(writes=True) as session, session.begin():
            yield session

    @contextmanager
    def snapshot(self, *, steady: bool = False) -> Iterator[Session]:
        """A session that only reads; of what it does only `keep`'s rows are kept.

        A `steady` one sees a single state of the database in all its statements (SQLite's always
        do).
        """
        with self._session(writes=False) as session:
            if steady and self.engine.dialect.name == "postgresql":
                session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
            try:
                yield session
            finally:
                session.rollback()

    @contextmanager
    def _session(self, *, writes: bool) -> Iterator[Session]:
        engine = self.engine.execution_options(reprise_write=True) if writes else self.engine
        session = Session(engine, expire_on_commit=False)
        try:
            with session:
                yield session
        finally:
            rows = session.info.pop(_KEPT, ())
            if rows:
                with self.transaction() as keeping:
                    keeping.add_all(rows)

    def dispose(self) -> None:
        """Close the pooled connections."""
        self.engine.dispose()


def _prepare_sqlite(engine: Engine) -> None:
    @event.listens_for(engine, "connect")
    def on_connect(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself; `on_begin` decides which kind.
        connection.isolation_level = None
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            f"synchronous={SQLITE_SYNCHRONOUS}",
            "foreign_keys=ON",
            "busy_timeout=15000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def on_begin(connection: Connection) -> None:
        write = connection.get_execution_options().get("reprise_write", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
