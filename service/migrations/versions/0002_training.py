"""Training grants, and the adapters that rest on them.

Revision ID: 0002
Revises: 0001
Create Date: 2026-11-22 21:26:12.188706
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | Sequence[str] | None = "0001"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None


def upgrade() -> None:
    """Upgrade the schema."""
    op.create_table(
        "adapters",
        sa.Column("name", sa.String(length=64), nullable=False),
        sa.Column("digest", sa.String(length=64), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("reason", sa.String(length=255), nullable=True),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("marked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("deleted_at", sa.DateTime(timezone=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('ready', 'marked', 'deleted')", name=op.f("ck_adapters_state")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_adapters")),
        sa.UniqueConstraint("digest", name=op.f("uq_adapters_digest")),
    )
    op.create_table(
        "training_grants",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("adapter", sa.String(length=64), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("required_signers", sa.JSON(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(length=255), nullable=True),
        sa.CheckConstraint(
            "state IN ('collecting', 'open', 'revoked')", name=op.f("ck_training_grants_state")
        ),
        sa.ForeignKeyConstraint(
            ["created_by"], ["parties.id"], name=op.f("fk_training_grants_created_by_parties")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_grants")),
    )
    op.create_index(
        op.f("ix_training_grants_adapter"), "training_grants", ["adapter"], unique=False
    )
    op.create_table(
        "adapter_grants",
        sa.Column("adapter", sa.String(length=64), nullable=False),
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.ForeignKeyConstraint(
            ["adapter"], ["adapters.name"], name=op.f("fk_adapter_grants_adapter_adapters")
        ),
        sa.ForeignKeyConstraint(
            ["grant_id"],
            ["training_grants.id"],
            name=op.f("fk_adapter_grants_grant_id_training_grants"),
        ),
        sa.PrimaryKeyConstraint("adapter", "grant_id", name=op.f("pk_adapter_grants")),
    )
    op.create_index(
        op.f("ix_adapter_grants_grant_id"), "adapter_grants", ["grant_id"], unique=False
    )
    op.create_table(
        "training_signatures",
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("protected", sa.String(length=512), nullable=False),
        sa.Column("signature", sa.String(length=128), nullable=False),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["grant_id"],
            ["training_grants.id"],
            name=op.f("fk_training_signatures_grant_id_training_grants"),
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_training_signatures_party_id_parties")
        ),
        sa.PrimaryKeyConstraint("grant_id", "party_id", name=op.f("pk_training_signatures")),
    )
    op.create_table(
        "training_tracks",
        sa.Column("grant_id", sa.String(length=40), nullable=False),
        sa.Column("track_id", sa.String(length=40), nullable=False),
        sa.ForeignKeyConstraint(
            ["grant_id"],
            ["training_grants.id"],
            name=op.f("fk_training_tracks_grant_id_training_grants"),
        ),
        sa.ForeignKeyConstraint(
            ["track_id"], ["tracks.id"], name=op.f("fk_training_tracks_track_id_tracks")
        ),
        sa.PrimaryKeyConstraint("grant_id", "track_id", name=op.f("pk_training_tracks")),
    )
    op.create_index(
        op.f("ix_training_tracks_track_id"), "training_tracks", ["track_id"], unique=False
    )


def downgrade() -> None:
    """Take the upgrade back."""
    op.drop_index(op.f("ix_training_tracks_track_id"), table_name="training_tracks")
    op.drop_table("training_tracks")
    op.drop_table("training_signatures")
    op.drop_index(op.f("ix_adapter_grants_grant_id"), table_name="adapter_grants")
    op.drop_table("adapter_grants")
    op.drop_index(op.f("ix_training_grants_adapter"), table_name="training_grants")
    op.drop_table("training_grants")
    op.drop_table("adapters")
