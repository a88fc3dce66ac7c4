"""Takedowns of many remixes: decided in one row, carried out in batches.

What was revoked before has its takedowns already, all of them in the revocation's transaction.

Revision ID: 0013
Revises: 0012
Create Date: 2026-11-24 08:00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0013"
down_revision: str | Sequence[str] | None = "0012"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "takedown_decisions",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            autoincrement=True,
            nullable=False,
        ),
        sa.Column("grant_id", sa.String(length=40), nullable=True),
        sa.Column("track_id", sa.String(length=40), nullable=True),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reached", sa.String(length=40), nullable=False),
        sa.Column("done_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "cause IN ('revocation', 'order')", name=op.f("ck_takedown_decisions_cause")
        ),
        sa.CheckConstraint(
            "(grant_id IS NULL) <> (track_id IS NULL)",
            name=op.f("ck_takedown_decisions_one_of_both"),
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_takedown_decisions_grant_id_grants")
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_takedown_decisions_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_takedown_decisions")),
        sa.UniqueConstraint("grant_id", name=op.f("uq_takedown_decisions_grant_id")),
        sa.UniqueConstraint("track_id", name=op.f("uq_takedown_decisions_track_id")),
    )
    pending = sa.text("done_at IS NULL")
    op.create_index(
        "ix_takedown_decisions_pending",
        "takedown_decisions",
        ["id"],
        sqlite_where=pending,
        postgresql_where=pending,
    )


def downgrade() -> None:
    """Take the upgrade back, once all that was decided is carried out.

    An earlier version would give out what is left, and not pay it back.
    """
    left = sa.text("SELECT count(*) FROM takedown_decisions WHERE done_at IS NULL")
    if op.get_bind().scalar(left):
        raise RuntimeError("takedowns are under way; let the relay finish them first")
    op.drop_table("takedown_decisions")
