"""The migrations say exactly what the models say, on both databases, up and down."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from service.database import Base, Database
from service.migrations import configuration, is_current, migrate, tables
from service.templates.models import TemplateVersion


@pytest.fixture(params=["sqlite", "postgresql"])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database without a single table."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'reprise.db'}")
        yield database
        database.dispose()
        return
    address: sa.URL = request.getfixturevalue("postgres")
    name = f"m_{uuid4().hex}"
    server = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    database = Database(address.set(database=name).render_as_string(hide_password=False))
    yield database
    database.dispose()
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def names(database: Database) -> set[str]:
    return set(sa.inspect(database.engine).get_table_names())


def objects(database: Database) -> list[tuple[str, ...]]:
    """Triggers (and PostgreSQL's functions): what autogenerate does not see."""
    if database.engine.dialect.name == "sqlite":
        query = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'trigger' ORDER BY name"
    else:
        query = """SELECT tgname, tgrelid::regclass::text FROM pg_trigger WHERE NOT tgisinternal
            UNION SELECT proname, 'function' FROM pg_proc
            WHERE pronamespace = 'public'::regnamespace ORDER BY 1"""
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_up_is_what_the_models_say(empty: Database) -> None:
    assert not is_current(empty)
    migrate(empty)
    assert is_current(empty)
    assert names(empty) == {*Base.metadata.tables, "alembic_version"}
    with empty.engine.connect() as connection:
        context = MigrationContext.configure(
            connection, opts={"compare_type": True, "compare_server_default": True}
        )
        assert compare_metadata(context, Base.metadata) == []


def test_a_forgotten_column_would_be_noticed(empty: Database) -> None:
    migrate(empty)
    with empty.engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE parties ADD COLUMN forgotten INTEGER"))
    with empty.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) != []


def test_the_folder_of_the_embedded_database_is_made(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'a' / 'b' / 'reprise.db'}")
    migrate(database)
    assert is_current(database)
    database.dispose()


def test_down_leaves_nothing_and_up_again_works(empty: Database) -> None:
    migrate(empty)
    first = objects(empty)
    assert first
    command.downgrade(configuration(empty), "base")
    assert names(empty) <= {"alembic_version"}
    assert objects(empty) == []
    migrate(empty)
    migrate(empty)
    assert objects(empty) == first


def test_the_migrations_triggers_are_the_models(empty: Database) -> None:
    migrate(empty)
    migrated = objects(empty)
    command.downgrade(configuration(empty), "base")
    Base.metadata.create_all(empty.engine)
    assert objects(empty) == migrated


def test_checks_are_enforced(empty: Database) -> None:
    """A constraint that autogenerate cannot compare is tried out instead."""
    migrate(empty)
    rows = {
        "shares": {"track_id": "t", "party_id": "p", "side": "recording", "ppm": 0},
        "parties": {
            "id": "p",
            "kind": "pirate",
            "name": "x",
            "subject": "s",
            "public_key": "{}",
            "kid": "k",
            "created_at": "2026-01-01",
        },
    }
    for table, values in rows.items():
        columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
        statement = sa.text(f"INSERT INTO {table} ({columns}) VALUES ({marks})")  # noqa: S608
        with pytest.raises(sa.exc.IntegrityError, match=r"(?i)check"), empty.engine.begin() as c:
            c.execute(statement, values)


def test_instances_that_start_together_migrate_once(empty: Database) -> None:
    """Three processes (Alembic keeps its context in the module: it is not for threads)."""
    code = (
        "import sys; from service.database import Database; from service.migrations import migrate;"
        "migrate(Database(sys.argv[1]))"
    )
    root = Path(tables.__file__).parents[2]
    started = [
        subprocess.Popen([sys.executable, "-c", code, empty.url], cwd=root, stderr=subprocess.PIPE)
        for _ in range(3)
    ]
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors.decode()
    assert is_current(empty)


def test_a_migration_that_breaks_leaves_nothing(
    empty: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = ScriptDirectory.from_config(configuration(empty))
    monkeypatch.setattr("alembic.op.create_index", _broken)
    with pytest.raises(RuntimeError, match="half way"):
        migrate(empty)
    assert names(empty) == set()
    monkeypatch.undo()
    migrate(empty)
    assert script.get_heads()
    assert is_current(empty)


def _broken(*_: object, **__: object) -> None:
    raise RuntimeError("half way")


def test_every_table_is_known_to_the_migrations() -> None:
    """A room whose models were not imported would be missed by the comparison above."""
    rooms = {module.__name__ for module in tables.ALL}
    service = Path(tables.__file__).parents[1]
    found = {f"service.{path.parent.name}.models" for path in service.glob("*/models.py")}
    assert rooms == found
    assert TemplateVersion.__tablename__ in Base.metadata.tables
