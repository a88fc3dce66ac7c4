"""The gate's record, quotas in all, takedowns.

Revision ID: 0006
Revises: 0005
Create Date: 2026-11-23 03:45:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | Sequence[str] | None = "0005"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "gate_decisions",
        sa.Column("id", NUMBER, autoincrement=True, nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("door", sa.String(length=16), nullable=False),
        sa.Column("stage", sa.String(length=16), nullable=True),
        sa.Column("opened", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.String(length=64), nullable=True),
        sa.Column("detail", sa.Text(), nullable=True),
        sa.Column("token_sha256", sa.String(length=64), nullable=True),
        sa.Column("caller_sha256", sa.String(length=64), nullable=True),
        sa.Column("track_id", sa.String(length=40), nullable=True),
        sa.Column("template_id", sa.String(length=40), nullable=True),
        sa.Column("template_version", sa.Integer(), nullable=True),
        sa.Column("grant_id", sa.String(length=40), nullable=True),
        sa.Column("generation", sa.Integer(), nullable=True),
        sa.Column("job_id", sa.String(length=40), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_gate_decisions")),
    )
    for column in ("track_id", "grant_id", "job_id"):
        op.create_index(op.f(f"ix_gate_decisions_{column}"), "gate_decisions", [column])
    op.create_index("ix_gate_decisions_caller_sha256", "gate_decisions", ["caller_sha256", "door"])
    op.create_table(
        "quota_totals",
        sa.Column("template_id", sa.String(length=40), nullable=False),
        sa.Column("taken", sa.Integer(), nullable=False),
        sa.CheckConstraint("taken >= 0", name=op.f("ck_quota_totals_taken")),
        sa.ForeignKeyConstraint(
            ["template_id"], ["templates.id"], name=op.f("fk_quota_totals_template_id_templates")
        ),
        sa.PrimaryKeyConstraint("template_id", name=op.f("pk_quota_totals")),
    )
    op.create_table(
        "takedowns",
        sa.Column("job_id", sa.String(length=40), nullable=False),
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("cause", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("by", sa.String(length=255), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.CheckConstraint("cause IN ('revocation', 'order')", name=op.f("ck_takedowns_cause")),
        sa.ForeignKeyConstraint(
            ["grant_id"], ["grants.id"], name=op.f("fk_takedowns_grant_id_grants")
        ),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_takedowns")),
    )
    op.create_index(op.f("ix_takedowns_grant_id"), "takedowns", ["grant_id"])
    # Uses from before there was a total are not among its remixes.
    with op.batch_alter_table("quota_uses") as batch:
        batch.add_column(
            sa.Column("counted", sa.Boolean(), nullable=False, server_default=sa.false())
        )
    with op.batch_alter_table("quota_uses") as batch:
        batch.alter_column("counted", server_default=None)


def downgrade() -> None:
    """Take the upgrade back."""
    with op.batch_alter_table("quota_uses") as batch:
        batch.drop_column("counted")
    op.drop_index(op.f("ix_takedowns_grant_id"), table_name="takedowns")
    op.drop_table("takedowns")
    op.drop_table("quota_totals")
    op.drop_index("ix_gate_decisions_caller_sha256", table_name="gate_decisions")
    for column in ("job_id", "grant_id", "track_id"):
        op.drop_index(op.f(f"ix_gate_decisions_{column}"), table_name="gate_decisions")
    op.drop_table("gate_decisions")
