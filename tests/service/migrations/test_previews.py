"""0007 with rows from before: each version gets its draft, and the way back leaves no preview."""

import json

import sqlalchemy as sa
from alembic import command

from service.database import Database
from service.migrations import configuration, migrate
from tests.service.migrations.test_migrations import empty  # noqa: F401 - a fixture

MOMENT = "2026-11-01 12:00:00"
KEY = {"kty": "OKP"}
JOB = {
    "state": "queued",
    "subject": "ada",
    "track_id": "t",
    "template_id": "tpl",
    "template_version": 1,
    "token": "x",
    "stage": "separate",
    "artefacts": "{}",
    "lease_token": 0,
    "attempts": 0,
    "cancel_requested": False,
    "progress": 0.0,
    "event_seq": 0,
    "deadline": MOMENT,
    "audio_seconds": 1.0,
    "created_at": MOMENT,
}


def insert(connection: sa.Connection, table: str, **values: object) -> None:
    columns, marks = ", ".join(values), ", ".join(f":{name}" for name in values)
    statement = f"INSERT INTO {table} ({columns}) VALUES ({marks})"  # noqa: S608 - our own names
    connection.execute(sa.text(statement), values)


def grant(connection: sa.Connection, name: str, version: int, state: str) -> None:
    insert(
        connection,
        "grants",
        id=name,
        track_id="t",
        template_id="tpl",
        template_version=version,
        template_sha256="0" * 64,
        payload=b"{}",
        required_signers="[]",
        generation=1,
        state=state,
        not_before=MOMENT,
        expires_at=MOMENT,
        created_by="p",
        created_at=MOMENT,
    )


def test_rows_from_before_survive_up_and_down(empty: Database) -> None:  # noqa: F811
    command.upgrade(configuration(empty), "0006")
    with empty.engine.begin() as connection:
        insert(
            connection,
            "parties",
            id="p",
            kind="artist",
            name="Ada",
            subject="ada",
            public_key=json.dumps(KEY),
            kid="k",
            created_at=MOMENT,
        )
        insert(
            connection,
            "party_keys",
            kid="k",
            party_id="p",
            public_key=json.dumps(KEY),
            custody="self",
            state="active",
            since=MOMENT,
        )
        insert(
            connection,
            "tracks",
            id="t",
            title="x",
            artist="x",
            credits="[]",
            registered_by="p",
            state="ready",
            ownership_version=1,
            created_at=MOMENT,
        )
        insert(connection, "templates", id="tpl", track_id="t", created_by="p", created_at=MOMENT)
        for version in range(1, 6):
            insert(
                connection,
                "template_versions",
                template_id="tpl",
                version=version,
                track_id="t",
                terms="{}",
                canonical=b"{}",
                sha256="0" * 64,
                created_by="p",
                created_at=MOMENT,
            )
        for version, state in ((2, "open"), (3, "revoked"), (4, "collecting"), (5, "collecting")):
            grant(connection, f"g{version}", version, state)
        # Collecting again after a signature fell: it was open once, for there is a job.
        insert(connection, "jobs", id="old", kind="remix", token_id="old", grant_id="g5", **JOB)
        insert(
            connection,
            "grant_signatures",
            grant_id="g2",
            party_id="p",
            kid="k",
            protected="x",
            signature="x",
            signed_at=MOMENT,
            signed_by="p",
        )

    migrate(empty)
    with empty.engine.begin() as connection:
        query = sa.text("SELECT version, granted_at, discarded_at FROM drafts ORDER BY version")
        rows = connection.execute(query).all()
        assert [(row[0], row[1] is not None, row[2]) for row in rows] == [
            (1, False, None),
            (2, True, None),
            (3, True, None),
            (4, False, None),
            (5, True, None),
        ]
        heard = connection.scalar(sa.text("SELECT heard FROM grant_signatures"))
        assert heard in ("[]", [])
        insert(connection, "jobs", id="new", kind="preview", token_id="new", **JOB)
        insert(
            connection,
            "previews",
            job_id="new",
            template_id="tpl",
            template_version=1,
            track_id="t",
            party_id="p",
            counted=True,
            asked_at=MOMENT,
        )
        insert(
            connection,
            "hearings",
            party_id="p",
            job_id="new",
            file_sha256="0" * 64,
            heard_at=MOMENT,
        )
        insert(connection, "job_events", job_id="new", seq=1, type="queued", data="{}", at=MOMENT)
        for number, (job_id, door) in enumerate(
            (("new", "preview"), ("new", "stage"), ("old", "stage"))
        ):
            insert(
                connection,
                "gate_decisions",
                id=number + 1,
                at=MOMENT,
                door=door,
                opened=True,
                job_id=job_id,
            )

    command.downgrade(configuration(empty), "0006")
    with empty.engine.connect() as connection:
        assert connection.scalars(sa.text("SELECT id FROM jobs")).all() == ["old"]
        assert connection.scalars(sa.text("SELECT job_id FROM job_events")).all() == []
        assert connection.scalars(sa.text("SELECT job_id FROM gate_decisions")).all() == ["old"]
        assert connection.scalar(sa.text("SELECT COUNT(*) FROM grant_signatures")) == 1
    migrate(empty)
