"""Alembic's environment: one transaction on the engine that the caller handed over."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from alembic import context
from sqlalchemy import Connection, Engine, text

from service.database import Base, UTCDateTime
from service.migrations import tables  # noqa: F401 - the metadata must know them

# Any two instances of this service agree on this number, and nobody else uses it.
ADVISORY_LOCK = 0x5245505249534500 % 2**63


def render_item(kind: str, item: Any, _context: Any) -> str | Literal[False]:
    """Write our own column type as what it is in the database: revisions outlive the code."""
    if kind == "type" and isinstance(item, UTCDateTime):
        return "sa.DateTime(timezone=True)"
    return False


def run(connection: Connection) -> None:
    """Upgrade or downgrade on one connection, one instance at a time."""
    postgres = connection.dialect.name == "postgresql"
    context.configure(
        connection=connection,
        target_metadata=Base.metadata,
        render_as_batch=not postgres,
        compare_type=True,
        render_item=render_item,
        # SQLite's driver is told when to begin (service.database), so its DDL rolls back too.
        transactional_ddl=True,
    )
    with context.begin_transaction():
        if postgres:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": ADVISORY_LOCK})
        context.run_migrations()
        if not postgres:
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
            if broken:
                raise RuntimeError(f"rows that point nowhere after the migration: {broken[:5]}")


@contextmanager
def unenforced(connection: Connection) -> Iterator[None]:
    """Let SQLite's tables be made anew though others refer to them; `run` checks at its end.

    Outside a transaction, for there the setting is a no-op.
    """
    if connection.dialect.name != "sqlite":
        yield
        return
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


engine: Engine = context.config.attributes["engine"]
with engine.execution_options(reprise_write=True).connect() as opened, unenforced(opened):
    run(opened)
