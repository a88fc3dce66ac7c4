"""The public log, and recordings that are found again by their sound.

The log begins empty: what was issued and granted before is not in it. Recordings take over what
tracks sound like; remixes published before are not among them.

Revision ID: 0011
Revises: 0010
Create Date: 2026-11-23 08:00:00
"""

import struct
import zlib
from collections.abc import Sequence
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision: str = "0011"
down_revision: str | Sequence[str] | None = "0010"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "log_entries",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("position", sa.BigInteger(), nullable=True),
        sa.Column("ref", sa.String(length=80), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.Column("leaf_hash", sa.LargeBinary(), nullable=False),
        sa.Column("record", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_log_entries")),
        sa.UniqueConstraint("leaf_hash", name=op.f("uq_log_entries_leaf_hash")),
        sa.UniqueConstraint("position", name=op.f("uq_log_entries_position")),
    )
    op.create_index(op.f("ix_log_entries_ref"), "log_entries", ["ref"])
    op.create_index(op.f("ix_log_entries_subject"), "log_entries", ["subject"])
    pending = sa.text("position IS NULL")
    op.create_index(
        "ix_log_entries_pending",
        "log_entries",
        ["id"],
        sqlite_where=pending,
        postgresql_where=pending,
    )
    op.create_table(
        "log_tiles",
        sa.Column("level", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("hashes", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("level", "number", name=op.f("pk_log_tiles")),
    )
    op.create_table(
        "log_checkpoints",
        sa.Column("size", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_log_checkpoints")),
    )
    _recognition()


def _recognition() -> None:
    op.create_table(
        "recordings",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.Column("frames", sa.Integer(), nullable=False),
        sa.Column("landmark_count", sa.Integer(), nullable=False),
        sa.Column("landmarks", sa.LargeBinary(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("indexed_at", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_recordings_job_id_jobs")),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_recordings_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recordings")),
        sa.UniqueConstraint("job_id", name=op.f("uq_recordings_job_id")),
    )
    op.create_index(op.f("ix_recordings_track_id"), "recordings", ["track_id"])
    unindexed = sa.text("indexed_at IS NULL")
    op.create_index(
        "ix_recordings_unindexed",
        "recordings",
        ["id"],
        sqlite_where=unindexed,
        postgresql_where=unindexed,
    )
    op.create_table(
        "postings_of_landmarks",
        sa.Column("hash", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("length", sa.Integer(), nullable=False),
        sa.Column("pairs", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_postings_of_landmarks")),
    )
    _take_over()


def _take_over() -> None:
    """The tracks' landmarks that are there, packed; the relay indexes them."""
    connection = op.get_bind()
    recordings = sa.table(
        "recordings",
        sa.column("track_id"),
        sa.column("frames"),
        sa.column("landmark_count"),
        sa.column("landmarks"),
        sa.column("recorded_at", sa.DateTime(timezone=True)),
    )
    tracks = connection.execute(
        sa.text(
            "SELECT id, duration_seconds FROM tracks WHERE duration_seconds IS NOT NULL "
            "AND EXISTS (SELECT 1 FROM landmarks WHERE track_id = tracks.id)"
        )
    ).all()
    for track_id, seconds in tracks:
        marks = connection.execute(
            sa.text(
                "SELECT hash, frame FROM landmarks WHERE track_id = :track ORDER BY hash, frame"
            ),
            {"track": track_id},
        ).all()
        before = [0, *(value for value, _ in marks)]
        steps = (value - earlier for (value, _), earlier in zip(marks, before, strict=False))
        planes = [*steps, *(frame for _, frame in marks)]
        connection.execute(
            recordings.insert(),
            {
                "track_id": track_id,
                "frames": round(seconds * 11_025 / 256),
                "landmark_count": len(marks),
                "landmarks": zlib.compress(struct.pack(f"<{len(planes)}I", *planes), 6),
                "recorded_at": datetime.now(UTC),
            },
        )


def downgrade() -> None:
    """Take the upgrade back: the log is gone, and what replaces it later is another log."""
    tables = ("postings_of_landmarks", "recordings", "log_checkpoints", "log_tiles", "log_entries")
    for table in tables:
        op.drop_table(table)
