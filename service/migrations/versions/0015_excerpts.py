"""Excerpts: what is heard of a remix while the rest is made.

Revision ID: 0015
Revises: 0014
Create Date: 2026-11-23 18:30:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0015"
down_revision: str | Sequence[str] | None = "0014"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "excerpts",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("start_seconds", sa.Float(), nullable=False),
        sa.Column("seconds", sa.Float(), nullable=False),
        sa.Column("object_sha256", sa.String(length=64), nullable=False),
        sa.Column("media_type", sa.String(length=64), nullable=False),
        sa.Column("made_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("heard_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint("number >= 1", name=op.f("ck_excerpts_number")),
        sa.CheckConstraint("start_seconds >= 0 AND seconds > 0", name=op.f("ck_excerpts_span")),
        sa.ForeignKeyConstraint(
            ["job_id"], ["jobs.id"], name=op.f("fk_excerpts_job_id_jobs"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "number", name=op.f("pk_excerpts")),
    )
    op.create_index(op.f("ix_excerpts_object_sha256"), "excerpts", ["object_sha256"])


def downgrade() -> None:
    """Take the upgrade back; files of jobs that are under way stay in the store, unnamed."""
    op.drop_index(op.f("ix_excerpts_object_sha256"), table_name="excerpts")
    op.drop_table("excerpts")
