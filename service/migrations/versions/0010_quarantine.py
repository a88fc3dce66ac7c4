"""Quarantine: what was made and may not leave, for an operator to see.

Files that an earlier version put into `home/quarantine` stay there; no row names them.

Revision ID: 0010
Revises: 0009
Create Date: 2026-11-23 08:00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0010"
down_revision: str | Sequence[str] | None = "0009"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "quarantine",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=False),
        sa.Column("reasons", sa.JSON(), nullable=False),
        sa.Column("file_sha256", sa.String(length=64), nullable=True),
        sa.Column("media_type", sa.String(length=64), nullable=True),
        sa.Column("bytes", sa.BigInteger(), nullable=True),
        sa.Column("manifest_id", sa.String(length=200), nullable=True),
        sa.Column("expected", sa.JSON(), nullable=True),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("resolved_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("resolved_by", sa.String(length=255), nullable=True),
        sa.CheckConstraint("stage IN ('stamp', 'publish')", name=op.f("ck_quarantine_stage")),
        sa.CheckConstraint(
            "(resolved_at IS NULL) = (resolved_by IS NULL)", name=op.f("ck_quarantine_resolved")
        ),
        sa.CheckConstraint(
            "(file_sha256 IS NULL) = (media_type IS NULL)",
            name=op.f("ck_quarantine_file"),
        ),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_quarantine_job_id_jobs")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
    )
    op.create_index("ix_quarantine_at", "quarantine", ["at"])
    for column in ("job_id", "file_sha256"):
        op.create_index(op.f(f"ix_quarantine_{column}"), "quarantine", [column])


def downgrade() -> None:
    """Take the upgrade back; the files stay in the object store, named by nobody."""
    op.drop_table("quarantine")
