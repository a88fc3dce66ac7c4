"""Parties' keys over time, and mandates to sign.

Revision ID: 0004
Revises: 0003
Create Date: 2026-11-23 03:45:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | Sequence[str] | None = "0003"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

SIGNATURES = ("grant_signatures", "training_signatures")


def upgrade() -> None:
    """Upgrade the schema. Every party's key so far is its first, in its own hands."""
    op.create_table(
        "party_keys",
        sa.Column("kid", sa.String(length=64), nullable=False),
        sa.Column("party_id", sa.String(length=40), nullable=False),
        sa.Column("public_key", sa.JSON(), nullable=False),
        sa.Column("custody", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lost_since", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lost_reported_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("lost_reported_by", sa.String(length=255), nullable=True),
        sa.Column("replaced_by", sa.String(length=64), nullable=True),
        sa.Column("introduction", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("sealed_key", sa.LargeBinary(), nullable=True),
        sa.Column("sealed_by", sa.String(length=64), nullable=True),
        sa.CheckConstraint("custody IN ('self', 'service')", name=op.f("ck_party_keys_custody")),
        sa.CheckConstraint(
            "state IN ('active', 'retired', 'lost')", name=op.f("ck_party_keys_state")
        ),
        sa.CheckConstraint(
            "sealed_key IS NULL OR custody = 'service'", name=op.f("ck_party_keys_sealed_key")
        ),
        sa.ForeignKeyConstraint(
            ["party_id"], ["parties.id"], name=op.f("fk_party_keys_party_id_parties")
        ),
        sa.ForeignKeyConstraint(
            ["replaced_by"], ["party_keys.kid"], name=op.f("fk_party_keys_replaced_by_party_keys")
        ),
        sa.PrimaryKeyConstraint("kid", name=op.f("pk_party_keys")),
    )
    op.create_index(op.f("ix_party_keys_party_id"), "party_keys", ["party_id"], unique=False)
    op.create_index(
        "ix_party_keys_active",
        "party_keys",
        ["party_id"],
        unique=True,
        sqlite_where=sa.text("state = 'active'"),
        postgresql_where=sa.text("state = 'active'"),
    )
    op.execute(
        """INSERT INTO party_keys (kid, party_id, public_key, custody, state, since)
        SELECT kid, id, public_key, 'self', 'active', created_at FROM parties"""
    )
    op.create_table(
        "mandates",
        sa.Column("id", sa.String(length=40), nullable=False),
        sa.Column("grantor", sa.String(length=40), nullable=False),
        sa.Column("agent", sa.String(length=40), nullable=False),
        sa.Column("payload", sa.LargeBinary(), nullable=False),
        sa.Column("kid", sa.String(length=64), nullable=True),
        sa.Column("protected", sa.String(length=512), nullable=True),
        sa.Column("signature", sa.String(length=128), nullable=True),
        sa.Column("signed_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("not_before", sa.DateTime(timezone=True), nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created_by", sa.String(length=40), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("revoked_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("revoked_by", sa.String(length=255), nullable=True),
        sa.Column("earlier", sa.JSON(none_as_null=True), nullable=True),
        sa.CheckConstraint(
            "state IN ('collecting', 'open', 'revoked')", name=op.f("ck_mandates_state")
        ),
        sa.ForeignKeyConstraint(["agent"], ["parties.id"], name=op.f("fk_mandates_agent_parties")),
        sa.ForeignKeyConstraint(
            ["created_by"], ["parties.id"], name=op.f("fk_mandates_created_by_parties")
        ),
        sa.ForeignKeyConstraint(
            ["grantor"], ["parties.id"], name=op.f("fk_mandates_grantor_parties")
        ),
        sa.ForeignKeyConstraint(
            ["kid"], ["party_keys.kid"], name=op.f("fk_mandates_kid_party_keys")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_mandates")),
    )
    for name in ("agent", "grantor", "kid"):
        op.create_index(op.f(f"ix_mandates_{name}"), "mandates", [name], unique=False)
    for table in SIGNATURES:
        with op.batch_alter_table(table) as batch:
            batch.add_column(sa.Column("signed_by", sa.String(length=40), nullable=True))
            batch.add_column(sa.Column("mandate_id", sa.String(length=40), nullable=True))
            batch.add_column(sa.Column("earlier", sa.JSON(none_as_null=True), nullable=True))
        op.execute(f"UPDATE {table} SET signed_by = party_id")  # noqa: S608 - our own names
        with op.batch_alter_table(table) as batch:
            batch.alter_column("signed_by", existing_type=sa.String(length=40), nullable=False)
            for column, target in (
                ("kid", "party_keys.kid"),
                ("mandate_id", "mandates.id"),
                ("signed_by", "parties.id"),
            ):
                referred, _, key = target.partition(".")
                batch.create_foreign_key(
                    op.f(f"fk_{table}_{column}_{referred}"), referred, [column], [key]
                )
            for column in ("kid", "mandate_id"):
                batch.create_index(op.f(f"ix_{table}_{column}"), [column], unique=False)


def downgrade() -> None:
    """Take the upgrade back. A signature under a mandate has no place in the older tables."""
    for table in SIGNATURES:
        op.execute(f"DELETE FROM {table} WHERE mandate_id IS NOT NULL")  # noqa: S608 - as above
        with op.batch_alter_table(table) as batch:
            for column in ("kid", "mandate_id"):
                batch.drop_index(op.f(f"ix_{table}_{column}"))
            for column, referred in (
                ("kid", "party_keys"),
                ("mandate_id", "mandates"),
                ("signed_by", "parties"),
            ):
                batch.drop_constraint(op.f(f"fk_{table}_{column}_{referred}"), type_="foreignkey")
            for column in ("earlier", "mandate_id", "signed_by"):
                batch.drop_column(column)
    op.drop_table("mandates")
    op.drop_table("party_keys")
