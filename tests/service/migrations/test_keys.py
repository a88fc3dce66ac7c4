"""Rows from before keys had a history: they survive, and mean what they meant."""

import json
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command

from service.database import Database
from service.migrations import configuration, migrate

ROWS = {
    "parties": {
        "id": "pty_1",
        "kind": "artist",
        "name": "Ada",
        "subject": "ada",
        "public_key": json.dumps({"kty": "OKP", "crv": "Ed25519", "x": "AAAA"}),
        "kid": "kid_1",
        "created_at": "2026-01-02 03:04:05.000006",
    },
    "training_grants": {
        "id": "tgr_1",
        "adapter": "ada-drums",
        "payload": b"{}",
        "required_signers": "[]",
        "generation": 1,
        "state": "open",
        "not_before": "2026-01-02 03:04:05.000000",
        "expires_at": "2027-01-02 03:04:05.000000",
        "created_by": "pty_1",
        "created_at": "2026-01-02 03:04:05.000000",
    },
    "training_signatures": {
        "grant_id": "tgr_1",
        "party_id": "pty_1",
        "kid": "kid_1",
        "protected": "e30",
        "signature": "AA",
        "signed_at": "2026-01-03 00:00:00.000000",
    },
}


def rows(database: Database, query: str) -> list[tuple[object, ...]]:
    with database.engine.connect() as connection:
        return [tuple(row) for row in connection.execute(sa.text(query))]


@pytest.fixture
def older(database: Database) -> Database:
    """A database of the version before, with a party and a signature of its."""
    command.downgrade(configuration(database), "0003")
    with database.engine.begin() as connection:
        for table, values in ROWS.items():
            columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
            connection.execute(
                sa.text(f"INSERT INTO {table} ({columns}) VALUES ({marks})"),  # noqa: S608
                values,
            )
    return database


def test_every_party_keeps_its_key_and_every_signature_its_signer(older: Database) -> None:
    migrate(older)
    found = rows(
        older,
        "SELECT k.kid, k.party_id, k.custody, k.state, k.retired_at, k.lost_since FROM party_keys k"
        " JOIN parties p ON p.id = k.party_id AND p.kid = k.kid AND p.created_at = k.since",
    )
    assert found == [("kid_1", "pty_1", "self", "active", None, None)]
    signatures = "SELECT kid, signed_by, mandate_id, signature FROM training_signatures"
    assert rows(older, signatures) == [("kid_1", "pty_1", None, "AA")]
    command.downgrade(configuration(older), "0003")
    assert rows(older, "SELECT kid, party_id, signature FROM training_signatures") == [
        ("kid_1", "pty_1", "AA")
    ]
    assert rows(older, "SELECT id, kid FROM parties") == [("pty_1", "kid_1")]


def test_a_signature_names_a_key_that_there_is(older: Database) -> None:
    migrate(older)
    with pytest.raises(sa.exc.IntegrityError), older.engine.begin() as connection:
        connection.execute(sa.text("UPDATE training_signatures SET kid = 'none'"))


def test_the_tables_of_the_test_are_those_of_the_version(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path / 'old.db'}")
    migrate(database, "0003")
    assert "party_keys" not in sa.inspect(database.engine).get_table_names()
    database.dispose()
