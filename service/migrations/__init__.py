"""Migrations: the database's schema, changed step by step with Alembic."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.database import Database

__all__ = ["configuration", "is_current", "migrate"]

HERE = Path(__file__).resolve().parent


def configuration(database: Database) -> Config:
    """Alembic's configuration for this database."""
    config = Config()
    config.set_main_option("script_location", str(HERE))
    config.attributes["engine"] = database.engine
    return config


def migrate(database: Database, revision: str = "head") -> None:
    """Bring the database up to `revision`; nothing happens if it is there already.

    Two processes may start together: on PostgreSQL one waits for the other's advisory lock, on
    SQLite for its write lock.
    """
    if database.engine.dialect.name == "sqlite" and database.engine.url.database:
        Path(database.engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    command.upgrade(configuration(database), revision)


def is_current(database: Database) -> bool:
    """Whether the database's schema is the newest this code knows."""
    heads = set(ScriptDirectory.from_config(configuration(database)).get_heads())
    with database.engine.connect() as connection:
        return set(MigrationContext.configure(connection).get_current_heads()) == heads
