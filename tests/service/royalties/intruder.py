"""One who owns the database."""

from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa
from sqlalchemy.orm import Session

from service.database import Database
from service.royalties.models import APPEND_ONLY

GUARDED = (*APPEND_ONLY, "jobs", "ledger_head", "play_counts", "template_versions")


@contextmanager
def intruder(database: Database) -> Iterator[Session]:
    """No trigger and no foreign key is in the way of this session; all that it does is undone."""
    with Session(database.engine.execution_options(reprise_write=True)) as session:
        if database.engine.dialect.name == "postgresql":
            for table in GUARDED:
                session.execute(sa.text(f"ALTER TABLE {table} DISABLE TRIGGER ALL"))
        else:
            names = session.scalars(
                sa.text("SELECT name FROM sqlite_master WHERE type = 'trigger'")
            ).all()
            for name in names:
                session.execute(sa.text(f"DROP TRIGGER {name}"))
            session.execute(sa.text("PRAGMA defer_foreign_keys = ON"))
        session.flush()
        yield session
        session.rollback()
