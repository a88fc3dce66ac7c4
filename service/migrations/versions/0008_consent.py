"""A grant counts how often a lost key closed it; a refusal's exact words are the owners' own.

What a loss put back to collecting before this was kept in its generation; there was no count to
take over, so it opens again in the generation that it has.

Revision ID: 0008
Revises: 0007
Create Date: 2026-11-23 08:00:00
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision: str = "0008"
down_revision: str | Sequence[str] | None = "0007"
branch_labels: str | Sequence[str] | None = None
depends_on: str | Sequence[str] | None = None

NAMES = {
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
TABLES = ("grants", "training_grants")


def upgrade() -> None:
    """Upgrade the schema."""
    for table in TABLES:
        with op.batch_alter_table(table, naming_convention=NAMES) as grants:
            grants.add_column(
                sa.Column("losses", sa.Integer(), nullable=False, server_default=sa.text("0"))
            )
        with op.batch_alter_table(table, naming_convention=NAMES) as grants:
            grants.alter_column("losses", server_default=None)
    op.add_column("gate_decisions", sa.Column("told", sa.Text(), nullable=True))


def downgrade() -> None:
    """Take the upgrade back.

    The older program opens a grant only in the generation that was signed, so one that a loss
    closed stays shut for it.
    """
    with op.batch_alter_table("gate_decisions", naming_convention=NAMES) as decisions:
        decisions.drop_column("told")
    for table in TABLES:
        with op.batch_alter_table(table, naming_convention=NAMES) as grants:
            grants.drop_column("losses")
