"""What tracks sound like stands once, in `recordings`; and no number of one is given twice.

Until now SQLite gave a new recording the number of the newest one where that was forgotten.

Revision ID: 0014
Revises: 0013
Create Date: 2026-11-23 12:30:00
"""

import struct
import zlib
from collections.abc import Sequence
from itertools import accumulate

import sqlalchemy as sa
from alembic import op

revision: str = "0014"
down_revision: str | Sequence[str] | None = "0013"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.drop_table("landmarks")
    connection = op.get_bind()
    if connection.dialect.name == "sqlite":
        made = connection.scalar(
            sa.text("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'recordings'")
        )
        if "AUTOINCREMENT" not in made:
            _number_once()


def _number_once() -> None:
    """Make SQLite's `recordings` anew, whose numbers count on: ALTER TABLE cannot say so."""
    for index in ("ix_recordings_track_id", "ix_recordings_unindexed"):
        op.drop_index(index, table_name="recordings")
    op.rename_table("recordings", "recordings_before")
    op.create_table(
        "recordings",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
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
        sqlite_autoincrement=True,
    )
    columns = "id, track_id, job_id, frames, landmark_count, landmarks, recorded_at, indexed_at"
    op.execute(
        f"INSERT INTO recordings ({columns}) SELECT {columns} FROM recordings_before"  # noqa: S608
    )
    op.drop_table("recordings_before")
    op.create_index(op.f("ix_recordings_track_id"), "recordings", ["track_id"])
    op.create_index(
        "ix_recordings_unindexed",
        "recordings",
        ["id"],
        sqlite_where=sa.text("indexed_at IS NULL"),
    )


def downgrade() -> None:
    """Take the upgrade back: tracks' landmarks are rows again, as they were.

    (Numbers still count on; the program before does not mind.)
    """
    op.create_table(
        "landmarks",
        sa.Column("hash", sa.BigInteger(), autoincrement=False, nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.Column("frame", sa.Integer(), autoincrement=False, nullable=False),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_landmarks_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("hash", "track_id", "frame", name=op.f("pk_landmarks")),
    )
    op.create_index(op.f("ix_landmarks_track_id"), "landmarks", ["track_id"], unique=False)
    _refill()


def _refill() -> None:
    connection = op.get_bind()
    landmarks = sa.table(
        "landmarks",
        sa.column("hash", sa.BigInteger()),
        sa.column("track_id"),
        sa.column("frame"),
    )
    numbers = connection.scalars(
        sa.text("SELECT id FROM recordings WHERE job_id IS NULL ORDER BY id")
    ).all()
    for number in numbers:
        track_id, packed = connection.execute(
            sa.text("SELECT track_id, landmarks FROM recordings WHERE id = :id"), {"id": number}
        ).one()
        raw = zlib.decompress(packed)
        planes = struct.unpack(f"<{len(raw) // 4}I", raw)
        half = len(planes) // 2
        rows = [
            {"hash": value, "track_id": track_id, "frame": frame}
            for value, frame in sorted(
                set(zip(accumulate(planes[:half]), planes[half:], strict=True))
            )
        ]
        if rows:
            connection.execute(landmarks.insert(), rows)
