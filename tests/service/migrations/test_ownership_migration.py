"""Migration 0003 with rows on both sides of it: what was there stays, and means the same."""

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import rfc8785
import sqlalchemy as sa
from alembic import command

from service.database import Database
from service.migrations import configuration, migrate

MOMENT = "2026-01-02 03:04:05+00:00"


@pytest.fixture(params=["sqlite", "postgresql"])
def before(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """A database of revision 0002 with parties, tracks, shares and a signed grant."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'reprise.db'}")
        _fill(database)
        yield database
        database.dispose()
        return
    address: sa.URL = request.getfixturevalue("postgres")
    name = f"m_{uuid4().hex}"
    server = sa.create_engine(address, isolation_level="AUTOCOMMIT")
    with server.connect() as connection:
        connection.execute(sa.text(f"CREATE DATABASE {name}"))
    database = Database(address.set(database=name).render_as_string(hide_password=False))
    _fill(database)
    yield database
    database.dispose()
    with server.connect() as connection:
        connection.execute(sa.text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


def _fill(database: Database) -> None:
    migrate(database, "0002")
    for party in ("pty_a", "pty_b"):
        put(
            database,
            "parties",
            id=party,
            kind="label",
            name=party,
            subject=party,
            public_key="{}",
            kid=party,
            created_at=MOMENT,
        )
    for track in ("trk_1", "trk_2"):
        put(
            database,
            "tracks",
            id=track,
            title="T",
            artist="A",
            credits="[]",
            registered_by="pty_a",
            state="ready",
            audio_sha256="0" * 64,
            created_at=MOMENT,
        )
    put(database, "shares", track_id="trk_1", party_id="pty_b", side="recording", ppm=400_000)
    put(database, "shares", track_id="trk_1", party_id="pty_a", side="recording", ppm=600_000)
    put(database, "shares", track_id="trk_1", party_id="pty_b", side="composition", ppm=1_000_000)
    put(database, "shares", track_id="trk_2", party_id="pty_a", side="recording", ppm=1_000_000)
    put(database, "templates", id="tpl_1", track_id="trk_1", created_by="pty_a", created_at=MOMENT)
    put(
        database,
        "template_versions",
        template_id="tpl_1",
        version=1,
        track_id="trk_1",
        terms="{}",
        canonical=b"{}",
        sha256="1" * 64,
        created_by="pty_a",
        created_at=MOMENT,
    )
    put(
        database,
        "grants",
        id="grt_1",
        track_id="trk_1",
        template_id="tpl_1",
        template_version=1,
        template_sha256="1" * 64,
        payload=b"signed bytes",
        required_signers="[]",
        generation=1,
        state="open",
        not_before=MOMENT,
        expires_at=MOMENT,
        created_by="pty_a",
        created_at=MOMENT,
    )


def put(database: Database, table: str, **values: Any) -> None:
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    run(database, f"INSERT INTO {table} ({columns}) VALUES ({marks})", **values)  # noqa: S608


def run(database: Database, statement: str, **values: Any) -> None:
    with database.engine.execution_options(reprise_write=True).begin() as connection:
        connection.execute(sa.text(statement), values)


def rows(database: Database, query: str) -> list[tuple[Any, ...]]:
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


def test_what_was_there_stays_and_gets_version_one(before: Database) -> None:
    kept = rows(before, "SELECT id, kind, name FROM parties ORDER BY id")
    migrate(before, "0003")
    assert rows(before, "SELECT id, kind, name FROM parties ORDER BY id") == kept
    assert rows(before, "SELECT id, state, ownership_version, duplicate_of FROM tracks") == [
        ("trk_1", "ready", 1, None),
        ("trk_2", "ready", 1, None),
    ]
    assert rows(before, "SELECT count(*) FROM shares") == [(4,)]
    ((state, generation, payload),) = rows(before, "SELECT state, generation, payload FROM grants")
    assert (state, generation, bytes(payload)) == ("open", 1, b"signed bytes")
    found = rows(
        before,
        "SELECT track_id, version, state, proposed_by, sha256 FROM ownerships ORDER BY track_id",
    )
    first = [
        {"party": "pty_b", "side": "composition", "ppm": 1_000_000},
        {"party": "pty_a", "side": "recording", "ppm": 600_000},
        {"party": "pty_b", "side": "recording", "ppm": 400_000},
    ]
    second = [{"party": "pty_a", "side": "recording", "ppm": 1_000_000}]
    assert found == [
        (track, 1, "in_force", "pty_a", hashlib.sha256(rfc8785.dumps(parts)).hexdigest())
        for track, parts in (("trk_1", first), ("trk_2", second))
    ]
    for (moment,) in rows(before, "SELECT CAST(in_force_at AS TEXT) FROM ownerships"):
        assert moment.startswith("2026-01-02 03:04:05")


def test_the_new_values_are_allowed_after_and_others_are_not(before: Database) -> None:
    for statement, refused in (
        ("UPDATE parties SET kind = 'independent'", "UPDATE parties SET kind = 'pirate'"),
        ("UPDATE tracks SET state = 'held'", "UPDATE tracks SET state = 'lost'"),
        ("UPDATE grants SET state = 'superseded'", "UPDATE grants SET state = 'maybe'"),
    ):
        with pytest.raises(sa.exc.IntegrityError):
            run(before, statement)
        migrate(before, "0003")
        run(before, statement)
        with pytest.raises(sa.exc.IntegrityError):
            run(before, refused)
        command.downgrade(configuration(before), "0002")


def test_down_keeps_the_rows_and_lets_none_of_them_gain(before: Database) -> None:
    migrate(before, "0003")
    run(before, "UPDATE parties SET kind = 'independent' WHERE id = 'pty_a'")
    run(before, "UPDATE tracks SET state = 'held', duplicate_of = 'trk_1' WHERE id = 'trk_2'")
    run(before, "UPDATE grants SET state = 'superseded', generation = 2")
    put(
        before,
        "disputes",
        id="dsp_1",
        track_id="trk_2",
        earlier_track_id="trk_1",
        kind="sound",
        score=0.5,
        offset_seconds=0.0,
        state="open",
        opened_at=MOMENT,
    )
    put(before, "landmarks", hash=1, track_id="trk_1", frame=2)
    command.downgrade(configuration(before), "0002")
    assert rows(before, "SELECT id, kind FROM parties ORDER BY id") == [
        ("pty_a", "artist"),
        ("pty_b", "label"),
    ]
    assert rows(before, "SELECT id, state FROM tracks ORDER BY id") == [
        ("trk_1", "ready"),
        ("trk_2", "rejected"),
    ]
    assert rows(before, "SELECT state, generation FROM grants") == [("revoked", 2)]
    assert rows(before, "SELECT count(*) FROM shares") == [(4,)]
    migrate(before, "0003")
    assert rows(before, "SELECT count(*) FROM ownerships") == [(2,)]


@pytest.mark.parametrize("before", ["sqlite"], indirect=True)
def test_foreign_keys_are_enforced_again_afterwards(before: Database) -> None:
    """Tables are made anew with the enforcement off; the connection goes back to the pool."""
    migrate(before, "0003")
    assert rows(before, "PRAGMA foreign_keys") == [(1,)]
    with pytest.raises(sa.exc.IntegrityError, match="FOREIGN KEY"):
        put(before, "landmarks", hash=1, track_id="trk_none", frame=2)


@pytest.mark.parametrize("before", ["sqlite"], indirect=True)
def test_rows_that_point_nowhere_stop_the_migration(before: Database) -> None:
    with before.engine.connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA foreign_keys=OFF")
        connection.exec_driver_sql("UPDATE shares SET party_id = 'pty_none' WHERE ppm = 400000")
        connection.exec_driver_sql("PRAGMA foreign_keys=ON")
    with pytest.raises(RuntimeError, match="point nowhere"):
        migrate(before, "0003")
    assert rows(before, "SELECT version_num FROM alembic_version") == [("0002",)]
    assert rows(before, "PRAGMA foreign_keys") == [(1,)]
